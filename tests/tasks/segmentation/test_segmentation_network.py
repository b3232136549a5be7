"""The decoder is the mask transformer of the Segmenter paper, and fits encoders of any kind."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.timm_encoder import build_timm
from tasks.segmentation.network import MaskDecoder, Segmenter, heads_of

WIDTH, CLASSES, PATCHES = 128, 3, 5


def _decoder(blocks: int = 2, seed: int = 0, width: int = WIDTH) -> MaskDecoder:
    """With weights that are large enough to see."""
    decoder = MaskDecoder(width, CLASSES, blocks=blocks, dropout=0.0, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return decoder.eval()


def _tokens(batch: int = 2) -> Tensor:
    return torch.randn(batch, PATCHES, WIDTH, generator=torch.Generator().manual_seed(9))


def _norm(values: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    centred = values - values.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight + bias


def _paper(state: dict[str, Tensor], tokens: Tensor, blocks: int, heads: int, eps: float) -> Tensor:
    """Section 3.2 of the Segmenter paper in plain operations."""
    z = tokens @ state["embed.weight"].T + state["embed.bias"]
    z = torch.cat([z, state["class_vectors"].repeat(len(z), 1, 1)], dim=1)
    batch, length, width = z.shape
    for block in range(blocks):
        own = {name.removeprefix(f"blocks.{block}."): value for name, value in state.items()}
        y = _norm(z, own["norm1.weight"], own["norm1.bias"], eps)
        qkv = y @ own["attn.qkv.weight"].T + own["attn.qkv.bias"]
        q, k, v = (part.view(batch, length, heads, -1).transpose(1, 2) for part in qkv.chunk(3, dim=2))
        weights = (q @ k.transpose(2, 3) / math.sqrt(width // heads)).exp()
        mixed = (weights / weights.sum(-1, keepdim=True)) @ v
        z = z + mixed.transpose(1, 2).reshape(batch, length, width) @ own["attn.proj.weight"].T + own["attn.proj.bias"]
        y = _norm(z, own["norm2.weight"], own["norm2.bias"], eps)
        y = y @ own["mlp.fc1.weight"].T + own["mlp.fc1.bias"]
        y = y * 0.5 * (1 + torch.erf(y / math.sqrt(2)))
        z = z + y @ own["mlp.fc2.weight"].T + own["mlp.fc2.bias"]
    z = _norm(z, state["norm.weight"], state["norm.bias"], 1e-5)
    patches = z[:, :-CLASSES] @ state["project_patches.weight"].T
    classes = z[:, -CLASSES:] @ state["project_classes.weight"].T
    scores = torch.zeros(batch, patches.shape[1], CLASSES, dtype=z.dtype)
    for b in range(batch):
        for n in range(patches.shape[1]):
            for k_ in range(CLASSES):
                p, c = patches[b, n], classes[b, k_]
                scores[b, n, k_] = (p * c).sum() / (p.square().sum().sqrt() * c.square().sum().sqrt())
    return _norm(scores, state["class_norm.weight"], state["class_norm.bias"], 1e-5)


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_decoder_computes_what_the_paper_writes(blocks: int) -> None:
    decoder = _decoder(blocks).double()
    tokens = _tokens().double()
    block = decoder.blocks[0]
    assert isinstance(block.norm1, nn.LayerNorm)
    with torch.no_grad():
        expected = _paper(dict(decoder.state_dict()), tokens, blocks, 2, block.norm1.eps)
        assert torch.allclose(decoder(tokens), expected, atol=1e-9)


def test_patches_and_classes_see_each_other() -> None:
    decoder, tokens = _decoder(), _tokens()
    with torch.no_grad():
        before = decoder(tokens)
        tokens[:, 0] += 1.0
        after = decoder(tokens)
    assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-5)


def test_classes_in_another_order_give_logits_in_that_order() -> None:
    decoder, tokens, order = _decoder(), _tokens(), [2, 0, 1]
    with torch.no_grad():
        for part in ("weight", "bias"):  # after this every class is normed alike
            getattr(decoder.class_norm, part).fill_(1.0)
        before = decoder(tokens)
        decoder.class_vectors.copy_(decoder.class_vectors[:, order].clone())
        assert torch.allclose(decoder(tokens), before[..., order], atol=1e-5)


@pytest.mark.parametrize(("width", "heads"), [(768, 12), (1024, 16), (128, 2), (32, 1), (96, 1), (144, 2), (200, 2)])
def test_a_head_is_sixty_four_channels_wide_where_that_divides(width: int, heads: int) -> None:
    assert heads_of(width) == heads and width % heads == 0


def test_its_norms_have_the_epsilon_of_segmenter() -> None:
    decoder = MaskDecoder(WIDTH, CLASSES, blocks=2, dropout=0.0, seed=0)
    assert {module.eps for module in decoder.modules() if isinstance(module, nn.LayerNorm)} == {1e-5}


def test_it_begins_as_segmenter_does_and_hangs_on_the_seed_alone() -> None:
    decoders = []
    for seed, elsewhere in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(elsewhere)
        decoders.append(MaskDecoder(WIDTH, CLASSES, blocks=2, dropout=0.0, seed=seed))
    first, same, other = (decoder.state_dict() for decoder in decoders)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["class_vectors"], other["class_vectors"])
    for name, value in first.items():
        if value.ndim > 1:
            assert float(value.std()) == pytest.approx(0.02, rel=0.2), name
        else:
            assert (value == (1 if "norm" in name and name.endswith("weight") else 0)).all(), name


def test_logits_lie_on_the_grid_of_a_plain_encoder() -> None:
    tiny = Architecture(kind="vit", width=32, depth=2, heads=2, patch=8, activation="gelu", image_size=24)
    encoder = build_vit(tiny, image_size=24, seed=0).eval()
    model = Segmenter(encoder, CLASSES, blocks=1, dropout=0.0, seed=0).eval()
    images = torch.randn(2, 3, 16, 40)
    with torch.no_grad():
        logits = model(images)
        assert logits.shape == (2, 2, 5, CLASSES)
        assert torch.equal(logits.flatten(1, 2), model.decoder(encoder(images).tokens))
    names = [name for name, _ in model.named_parameters()]
    assert {model.layer_id(name) for name in names if name.startswith("decoder.")} == {encoder.layer_count + 1}
    assert model.layer_id("encoder.blocks.1.norm1.weight") == 2
    assert model.no_weight_decay() <= set(names)


def test_a_hierarchical_encoder_gives_its_last_map() -> None:
    resnet = Architecture(kind="timm", timm_name="resnet18", image_size=64)
    encoder = build_timm(resnet, image_size=64, seed=0)
    model = Segmenter(encoder, CLASSES, blocks=1, dropout=0.0, seed=0)
    logits = model(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 2, 2, CLASSES)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.decoder.parameters())
