"""The CLIP family: the same weights give the same features in open_clip, in transformers and here."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg, resize_pos_embed
from torch import Tensor, nn

from adapters.card import Architecture
from tests.adapters.parity import (
    architecture,
    assert_equal_features,
    clip_like,
    images,
    ours,
    randomise,
    resized,
)
from tests.adapters.published_files import save_mmengine, save_torchscript, save_zip

TEXT = CLIPTextCfg(context_length=7, vocab_size=11, width=16, heads=2, layers=1)


def their_clip(facts: Architecture, image_size: int | None = None) -> CLIP:
    """open_clip's model of the same geometry, text side and all."""
    vision = CLIPVisionCfg(
        layers=facts.depth,
        width=facts.width,
        head_width=facts.width // facts.heads,
        patch_size=facts.patch,
        image_size=image_size or facts.image_size,
        output_tokens=True,
    )
    model = CLIP(16, vision, TEXT, quick_gelu=facts.activation == "quick_gelu", output_dict=True)
    randomise(model)
    return model.eval()


def their_features(model: CLIP, size: int) -> tuple[Tensor, Tensor]:
    """Class token before the projection, and patch tokens, after the final norm."""
    model.visual.proj = None
    with torch.no_grad():
        pooled, tokens = model.visual(images(size))
    return pooled, tokens


def at_size(model: CLIP, facts: Architecture, size: int) -> CLIP:
    """open_clip's model with its position table resized by open_clip itself."""
    larger = their_clip(facts, size)
    state = dict(model.state_dict())
    resize_pos_embed(state, larger)
    larger.load_state_dict(state)
    return larger


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
@pytest.mark.parametrize("container", ["flat", "TorchScript", "SkyScript"])
def test_open_clip_and_we_agree(tmp_path: Path, container: str, activation: str, size: int) -> None:
    facts = clip_like(activation=activation)
    model = their_clip(facts)
    path, state = tmp_path / "a.pt", model.state_dict()
    if container == "SkyScript":
        save_zip(path, {f"module.{name}": value for name, value in state.items()})
    elif container == "TorchScript":
        save_torchscript(path, state)
    else:
        torch.save(state, path)
    theirs = their_features(at_size(model, facts, size), size)
    assert_equal_features(ours(path, facts, "openai_clip", size), *theirs, size // 8)


def test_the_activation_decides(tmp_path: Path) -> None:
    model = their_clip(clip_like(activation="gelu"))
    torch.save(model.state_dict(), tmp_path / "a.pt")
    theirs = their_features(model, 32)
    mine = ours(tmp_path / "a.pt", clip_like(activation="quick_gelu"), "openai_clip", 32)
    assert (mine.tokens - theirs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "shards"])
def test_transformers_and_we_agree(tmp_path: Path, size: int, safe: bool) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    facts = clip_like()
    config = CLIPVisionConfig(
        hidden_size=facts.width,
        intermediate_size=4 * facts.width,
        num_hidden_layers=facts.depth,
        num_attention_heads=facts.heads,
        image_size=32,
        patch_size=facts.patch,
        hidden_act="quick_gelu",
    )
    model = CLIPVisionModel(config).train(False)
    randomise(model)
    model.save_pretrained(tmp_path, max_shard_size="5GB" if safe else "20KB")
    path = tmp_path / ("model.safetensors" if safe else "model.safetensors.index.json")
    assert path.is_file()
    if size != 32:  # transformers interpolates without anti-aliasing: both sides get the table of our rule
        table = model.embeddings.position_embedding
        weight = resized(table.weight[None], size // 8)[0].detach()
        model.embeddings.position_embedding = nn.Embedding(len(weight), facts.width, _weight=weight)
        model.embeddings.position_ids = torch.arange(len(weight))[None]
        model.embeddings.image_size = size
    with torch.no_grad():
        theirs = model(images(size))
        tokens = model.post_layernorm(theirs.last_hidden_state)
    mine = ours(path, facts, "hf_clip", size)
    # `last_hidden_state` is before the final norm, `pooler_output` after it (section 3.1).
    assert_equal_features(mine, theirs.pooler_output, tokens[:, 1:], size // 8)


# ---- BAN, SAN, ChangeCLIP, BITA: parts of CLIP, without a library of their own


def renamed(state: dict[str, Tensor], table: dict[str, str]) -> dict[str, Tensor]:
    """The tensors with these words replaced in their names; those of the text side are left out."""
    found = {}
    for name, value in state.items():
        if name.startswith("visual."):
            name = name.removeprefix("visual.")
            for theirs, upstream in table.items():
                name = name.replace(theirs, upstream)
            found[name] = value.clone()
    return found


MMSEG = {
    "transformer.resblocks.": "layers.",
    "ln_1": "ln1",
    "ln_2": "ln2",
    "attn.": "attn.attn.",
    "mlp.c_fc": "ffn.layers.0.0",
    "mlp.c_proj": "ffn.layers.1",
    "conv1": "patch_embed.projection",
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
}
SAN_TAIL = {"ln1": "norms.0", "ln2": "norms.1", "attn.attn": "attentions.0.attn", "ffn.": "ffns.0."}


def mmseg_state(model: CLIP) -> dict[str, Tensor]:
    state = renamed(dict(model.state_dict()), MMSEG)
    state["cls_token"] = state["cls_token"].reshape(1, 1, -1)
    state["pos_embed"] = state["pos_embed"][None]
    return state


def test_ban_is_the_first_blocks_of_clip_without_a_final_norm(tmp_path: Path) -> None:
    model = their_clip(clip_like(depth=4))
    state = {name: value for name, value in mmseg_state(model).items() if "layers.3" not in name}
    state = {
        f"image_encoder.{name}": value for name, value in state.items() if not name.startswith(("ln_post", "proj"))
    }
    save_mmengine(tmp_path / "a.pth", state | {"decode_head.mask_decoder.x": torch.ones(1)})
    model.visual.transformer.resblocks = model.visual.transformer.resblocks[:3]
    model.visual.ln_post = nn.Identity()
    mine = ours(tmp_path / "a.pth", clip_like(depth=3, final_norm=False), "mmseg_vit", 32)
    pooled, tokens = their_features(model, 32)
    assert_equal_features(mine, pooled, tokens, 4)


@pytest.mark.parametrize("size", [32, 48])
def test_a_san_file_with_its_tail_is_clip_again(tmp_path: Path, size: int) -> None:
    facts = clip_like(depth=4)
    model = their_clip(facts)
    state = {}
    for name, value in mmseg_state(model).items():
        if name == "proj":
            state["decode_head.rec_with_attnbias.proj.weight"] = value.T
        elif name.startswith("ln_post"):
            state[f"decode_head.rec_with_attnbias.{name}"] = value
        elif name.startswith(("layers.2.", "layers.3.")):
            number = int(name[7]) - 2
            for word, upstream in SAN_TAIL.items():
                name = name.replace(word, upstream)
            state[f"decode_head.rec_with_attnbias.layers.{number}{name[8:]}"] = value
        else:
            state[f"image_encoder.{name}"] = value
    torch.save(state, tmp_path / "a.pth")
    theirs = their_features(at_size(model, facts, size), size)
    assert_equal_features(ours(tmp_path / "a.pth", facts, "mmseg_vit", size), *theirs, size // 8)


@pytest.mark.parametrize("size", [32, 48])
def test_changeclip_adds_its_class_embedding_twice(tmp_path: Path, size: int) -> None:
    facts = clip_like(doubled_class_token=True)
    model = their_clip(facts)
    state = renamed(dict(model.state_dict()), {})
    backbone = {f"backbone.{name}": value for name, value in state.items()} | {"backbone.fpn3.weight": torch.ones(32)}
    save_mmengine(tmp_path / "a.pth", backbone)
    larger = at_size(model, facts, size)
    with torch.no_grad():  # upstream: once as the token, once inside the position term of its row
        larger.visual.positional_embedding[0] += larger.visual.class_embedding
    theirs = their_features(larger, size)
    assert_equal_features(ours(tmp_path / "a.pth", facts, "changeclip", size), *theirs, size // 8)


@pytest.mark.parametrize("size", [32, 48])
def test_bita_norms_all_tokens_of_a_shortened_clip(tmp_path: Path, size: int) -> None:
    from adapters.card import Companion
    from adapters.load import load
    from tests.adapters.parity import card_of

    facts = clip_like(depth=3)
    model = their_clip(clip_like(depth=5))
    tower = renamed(dict(model.state_dict()), {})
    left_out = ("ln_post", "proj", "transformer.resblocks.4")
    torch.save({k: v for k, v in tower.items() if not k.startswith(left_out)}, tmp_path / "tower.pth")
    norm = nn.LayerNorm(32, eps=1e-5)
    randomise(norm, seed=9)
    torch.save({"model": {f"ln_vision.{k}": v for k, v in norm.state_dict().items()}}, tmp_path / "a.pth")
    card = card_of(tmp_path / "a.pth", facts, "bita").model_copy(
        update={"companion": Companion(filename="tower.pth", layout="openai_clip", url="https://example.org")}
    )
    model = at_size(model, clip_like(depth=5), size)
    model.visual.transformer.resblocks = model.visual.transformer.resblocks[:3]
    model.visual.ln_post = norm
    loaded = load(card, image_size=size, seed=0)
    assert isinstance(loaded.encoder, nn.Module)
    with torch.no_grad():
        mine = loaded.encoder.eval()(images(size))
    assert_equal_features(mine, *their_features(model, size), size // 8)


@pytest.mark.slow  # ViT-B/32 at full width
def test_open_clip_and_we_agree_at_full_size(tmp_path: Path) -> None:
    model = open_clip.create_model("ViT-B-32-quickgelu", force_quick_gelu=True).eval()
    torch.save(model.state_dict(), tmp_path / "a.pt")
    facts = architecture(
        width=768,
        depth=12,
        heads=12,
        patch=32,
        image_size=224,
        activation="quick_gelu",
        norm_eps=1e-5,
        pre_norm=True,
        patch_bias=False,
    )
    model.visual.output_tokens = True
    theirs = their_features(model, 224)
    assert_equal_features(ours(tmp_path / "a.pt", facts, "openai_clip", 224), *theirs, 7)
