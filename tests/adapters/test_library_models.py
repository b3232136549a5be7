"""Models of timm, open_clip and the Hugging Face hub by their names there, held against the libraries themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from torch import Tensor, nn

from adapters.card import ModelCard
from adapters.interface import Features
from adapters.load import load
from adapters.registry import select, weight_state
from adapters.timm_names import timm_names
from foundation.errors import MissingError, UsageError

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": 32,
}


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hugging Face cache of the test's own, empty."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def place(cache: Path, repository: str) -> Path:
    """The snapshot folder of a repository in the cache, as the hub's client leaves it."""
    home = cache / f"models--{repository.replace('/', '--')}"
    snapshot = home / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("0" * 40)
    return snapshot


def the(spec: str) -> ModelCard:
    (card,) = select(spec)
    return card


def seen(card: ModelCard, images: Tensor, size: int) -> Features:
    encoder: Any = load(card, image_size=size, seed=0).encoder
    with torch.no_grad():
        found: Features = encoder.eval()(images)
    return found


def batch(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def randomise(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


# ---- timm


def test_the_architectures_in_timms_sources_are_those_that_timm_registers() -> None:
    import timm
    from timm.models import _registry

    registered = set(timm.list_models()) | set(_registry._deprecated_models)
    assert registered - timm_names().architectures == set()
    assert {name for name in timm_names().architectures if not timm.is_model(name)} == set()


def test_nearly_all_tags_of_weights_are_in_timms_sources() -> None:
    import timm

    tagged = {name for name in timm.list_models(pretrained=True) if "." in name}
    assert len(tagged & timm_names().tagged) > 0.95 * len(tagged)


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("timm:resnet81", "resnet18"),
        ("timm:resnet18.a1_in2k@pretrained", "resnet18.a1_in1k"),
        ("timm:vit_base_patch61_224@pretrained", "vit_base_patch16_224"),
        ("mine=x.pth:resnet81", "resnet18"),
        ("open_clip:ViT-B-23@openai", "ViT-B-32"),
        ("open_clip:ViT-B-32@laion2b_s34b_b97k", "laion2b_s34b_b79k"),
    ],
)
def test_an_unknown_name_is_refused_while_planning_with_the_near_ones(spec: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(spec)
    assert near in caught.value.way_out


def test_tags_that_timm_makes_by_code_are_known_too() -> None:
    import timm

    hidden = sorted(set(timm.list_models(pretrained=True)) - timm_names().tagged)
    for name in hidden[:3]:
        assert the(f"timm:{name}@pretrained").weights.kind == "timm"


def test_planning_with_names_of_libraries_imports_none_of_them() -> None:
    code = (
        "import sys\n"
        "from adapters.registry import select\n"
        "from foundation.errors import BenchError\n"
        "for spec in ('timm:resnet18.a1_in1k@pretrained', 'open_clip:ViT-B-32@openai', 'timm:resnet81',\n"
        "             'hf:no/thing', 'mine=x.pth:ViT-B-16'):\n"
        "    try: select(spec)\n"
        "    except BenchError: pass\n"
        "heavy = {'torch', 'timm', 'open_clip', 'transformers'} & sys.modules.keys()\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- open_clip


def test_every_tag_of_every_plain_tower_is_what_open_clip_says() -> None:
    import open_clip

    plain = 0
    for name, tag in open_clip.list_pretrained():
        try:
            card = the(f"open_clip:{name}@{tag}")
        except UsageError as refused:
            assert "timm" in refused.what or "no plain" in refused.what
            continue
        plain += 1
        published = open_clip.pretrained.get_pretrained_cfg(name, tag)
        config = open_clip.get_model_config(name)
        assert config is not None and card.architecture is not None and card.input is not None
        assert (card.input.mean, card.input.std) == (tuple(published["mean"]), tuple(published["std"]))
        quick = config.get("quick_gelu", False) or published.get("quick_gelu", False)
        assert card.architecture.activation == ("quick_gelu" if quick else "gelu"), card.id
    assert plain > 80


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16-plus-240", "ViT-L-14-336"])
def test_the_geometry_is_that_of_open_clips_own_tower(name: str) -> None:
    import open_clip
    from open_clip.transformer import VisionTransformer

    config: Any = open_clip.get_model_config(name)

    architecture = the(f"open_clip:{name}").architecture
    assert architecture is not None
    with torch.device("meta"):
        tower = open_clip.CLIP(**config).visual
    assert isinstance(tower, VisionTransformer)
    grid = architecture.image_size // architecture.patch
    assert tower.positional_embedding.shape == (1 + grid**2, architecture.width)
    assert len(tower.transformer.resblocks) == architecture.depth
    block: Any = tower.transformer.resblocks[0]
    assert block.attn.num_heads == architecture.heads
    assert block.mlp.c_fc.out_features == architecture.width * architecture.mlp_ratio
    assert block.ln_1.eps == architecture.norm_eps


def test_weights_trained_with_quick_gelu_get_it_even_where_the_name_says_gelu() -> None:
    card = the("open_clip:ViT-B-32@openai")
    assert card.architecture is not None and card.architecture.activation == "quick_gelu"
    assert "QuickGELU" in card.note


@pytest.mark.parametrize(
    ("spec", "way_out"),
    [
        ("open_clip:RN50@openai", "harness models new"),
        ("open_clip:coca_ViT-B-32", "harness models new"),
        ("open_clip:ViT-B-16-SigLIP@webli", "timm:vit_base_patch16_siglip_224"),
        ("open_clip:", "open_clip:ViT-B-32@"),
    ],
)
def test_towers_that_are_no_plain_vision_transformers_are_refused(spec: str, way_out: str) -> None:
    with pytest.raises(UsageError) as caught:
        select(spec)
    assert way_out in caught.value.way_out


@pytest.mark.parametrize("spec", ["open_clip:ViT-B-32@laion2b_s34b_b79k", "open_clip:ViT-B-16-quickgelu@metaclip-400m"])
def test_the_id_of_an_open_clip_model_selects_it_again(spec: str) -> None:
    card = the(spec)
    assert the(card.id) == card


def test_weights_that_are_not_here_are_named_with_the_place_to_get_them(tmp_path: Path) -> None:
    card = the("open_clip:ViT-B-32@laion2b_s34b_b79k")
    state = weight_state(card, tmp_path)
    assert state.state == "missing"
    assert "laion/CLIP-ViT-B-32-laion2B-s34B-b79K" in state.way_out
    assert "open_clip_model.safetensors" in state.way_out


def test_weights_in_the_hub_cache_give_the_tokens_of_open_clips_tower(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import CLIP
    from safetensors.torch import save_file

    from adapters import library_models

    config = {
        "embed_dim": 16,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 5, "vocab_size": 11, "width": 16, "heads": 2, "layers": 1},
    }
    file = hub_cache / "ViT-B-32.json"
    snapshot = place(hub_cache, "laion/CLIP-ViT-B-32-laion2B-s34B-b79K")
    file.write_text(json.dumps(config))
    monkeypatch.setattr(library_models, "_open_clip_configs", lambda: {"vit-b-32": file})
    model = CLIP(**config, output_dict=True).eval()
    randomise(model)
    model.visual.output_tokens = True
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()},
        snapshot / "open_clip_model.safetensors",
    )
    card = the("open_clip:ViT-B-32@laion2b_s34b_b79k")
    assert card.weights.kind == "file"
    found = seen(card, batch(), 32)
    model.visual.proj = None  # the projection belongs to the text side
    with torch.no_grad():
        pooled, _ = model.visual(batch())
    torch.testing.assert_close(found.pooled, pooled, rtol=1e-4, atol=1e-4)


# ---- Hugging Face hub


def placed_clip(cache: Path, repository: str = "Some-Org/Tiny-CLIP", **options: Any) -> Any:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    model: Any = CLIPVisionModel(CLIPVisionConfig(**TINY, **options))
    model.eval()
    randomise(model)
    snapshot = place(cache, repository)
    model.save_pretrained(snapshot)
    (snapshot / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]})
    )
    return model


def placed_vit(cache: Path, repository: str = "some/tiny-vit") -> Any:
    from transformers import ViTConfig, ViTModel

    model: Any = ViTModel(ViTConfig(**TINY), add_pooling_layer=False)
    model.eval()
    randomise(model)
    model.save_pretrained(place(cache, repository))
    return model


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_a_clip_model_of_the_hub_gives_the_features_of_transformers(hub_cache: Path, activation: str) -> None:
    model = placed_clip(hub_cache, hidden_act=activation)
    card = the("hf:Some-Org/Tiny-CLIP")
    assert card.input is not None and card.input.std == (0.4, 0.5, 0.6)
    found = seen(card, batch(), 32)
    with torch.no_grad():
        expected = model(batch())
    torch.testing.assert_close(found.pooled, expected.pooler_output, rtol=1e-4, atol=1e-4)


def test_a_vit_of_the_hub_gives_the_tokens_of_transformers(hub_cache: Path) -> None:
    model = placed_vit(hub_cache)
    found = seen(the("hf:some/tiny-vit"), batch(), 32)
    with torch.no_grad():
        expected = model(batch()).last_hidden_state
    torch.testing.assert_close(found.tokens, expected[:, 1:], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.pooled, expected[:, 0], rtol=1e-4, atol=1e-4)


def test_the_geometry_of_a_hub_model_is_that_of_its_configuration(hub_cache: Path) -> None:
    placed_clip(hub_cache)
    card = the("hf:Some-Org/Tiny-CLIP")
    assert card.architecture is not None
    geometry = card.architecture
    assert (geometry.width, geometry.depth, geometry.heads, geometry.patch, geometry.image_size) == (32, 2, 4, 8, 32)
    assert (geometry.mlp_ratio, geometry.activation, geometry.pre_norm) == (3.0, "quick_gelu", True)
    assert card.weights.path is not None and card.weights.path.endswith("model.safetensors")


@pytest.mark.parametrize("nothing_written", ["clip", "clip_vision_model", "vit"])
def test_values_that_a_configuration_leaves_out_are_those_of_transformers(
    hub_cache: Path, nothing_written: str
) -> None:
    from transformers import CLIPVisionConfig, ViTConfig

    snapshot = place(hub_cache, "org/plain")
    (snapshot / "config.json").write_text(json.dumps({"model_type": nothing_written, "vision_config": {}}))
    (snapshot / "model.safetensors").touch()
    architecture = the("hf:org/plain").architecture
    usual: Any = ViTConfig() if nothing_written == "vit" else CLIPVisionConfig()
    assert architecture is not None
    assert (architecture.width, architecture.depth, architecture.heads, architecture.patch, architecture.norm_eps) == (
        usual.hidden_size,
        usual.num_hidden_layers,
        usual.num_attention_heads,
        usual.patch_size,
        usual.layer_norm_eps,
    )
    assert (architecture.activation, architecture.mlp_ratio) == (
        usual.hidden_act,
        usual.intermediate_size / usual.hidden_size,
    )


def test_the_id_of_a_hub_model_selects_it_again_whatever_the_case_of_its_letters(hub_cache: Path) -> None:
    placed_clip(hub_cache)
    card = the("hf:Some-Org/Tiny-CLIP")
    assert card.id == "hf:some-org--tiny-clip"
    assert the(card.id) == card


def test_a_hub_model_that_is_not_here_is_missing_with_the_command_that_brings_it() -> None:
    with pytest.raises(MissingError) as caught:
        select("hf:openai/clip-vit-base-patch16")
    assert "hf download openai/clip-vit-base-patch16" in caught.value.way_out


def test_a_configuration_without_weights_is_missing(hub_cache: Path) -> None:
    (place(hub_cache, "org/empty") / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(MissingError, match=r"model\.safetensors"):
        select("hf:org/empty")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "swin"}, "family 'swin'"),
        ({"model_type": "vit", "hidden_act": "silu"}, "activation 'silu'"),
        ({"model_type": "vit", "qkv_bias": False}, "without biases"),
        ({"model_type": "vit", "num_channels": 4}, "4 channels"),
    ],
)
def test_hub_models_that_are_not_read_say_why(hub_cache: Path, config: dict[str, Any], says: str) -> None:
    snapshot = place(hub_cache, "org/other")
    (snapshot / "config.json").write_text(json.dumps(config))
    (snapshot / "model.safetensors").touch()
    with pytest.raises(UsageError, match=says) as caught:
        select("hf:org/other")
    assert caught.value.way_out


@pytest.mark.parametrize("written", ["hf:", "hf:a/b/c", "hf:/b", "hf:a/"])
def test_what_is_no_repository_is_refused_with_the_form(written: str) -> None:
    with pytest.raises(UsageError, match="not a repository"):
        select(written)


# ---- files of one's own with a geometry of open_clip


def test_a_file_of_ones_own_may_name_a_geometry_of_open_clip() -> None:
    card = the("mine=ckpt.pt:ViT-B-16-quickgelu")
    assert card.architecture is not None and card.input is not None
    assert (card.architecture.patch, card.architecture.pre_norm, card.architecture.activation) == (
        16,
        True,
        "quick_gelu",
    )
    assert card.layout == "openai_clip"
    assert card.input.mean[0] == 0.48145466
