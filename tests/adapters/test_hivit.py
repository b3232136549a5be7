"""HiViT against section 9.15 of the adapter specification written out patch by patch and cell by cell."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from adapters.card import Architecture
from adapters.encoder import compile_encoder
from adapters.hivit import HiViT, build_hivit
from adapters.interface import Encoder, Grid
from adapters.positions import resize_positions, sincos_table
from foundation.errors import UsageError

TINY = Architecture(
    kind="hivit",
    width=16,
    depth=2,
    heads=2,
    patch=16,
    activation="gelu",
    class_token=False,
    final_norm=False,
    position="sincos2d",
    image_size=32,
)
PUBLISHED = TINY.model_copy(update={"width": 512, "depth": 20, "heads": 8, "image_size": 224})


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(7))


def build(architecture: Architecture = TINY, **options: float) -> HiViT:
    encoder = build_hivit(architecture, image_size=architecture.image_size, seed=0, **options).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return encoder


# ---- the reference: lists and vectors


def norm(vector: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    centred = vector - vector.mean()
    scaled = centred / torch.sqrt((centred * centred).mean() + 1e-6)
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(vector: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    bias = state.get(f"{name}.bias")
    product = state[f"{name}.weight"] @ vector
    return product if bias is None else product + bias


def mlp(vector: Tensor, state: dict[str, Tensor], block: str) -> Tensor:
    hidden = linear(norm(vector, state, f"{block}.norm2"), state, f"{block}.mlp.fc1")
    gelu = torch.tensor([x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in hidden.tolist()])
    return linear(gelu, state, f"{block}.mlp.fc2")


Cells = dict[tuple[int, int], Tensor]
"""Inner cells of one patch by row and column."""


def merged(cells: Cells, state: dict[str, Tensor], block: str) -> Cells:
    side = math.isqrt(len(cells)) // 2
    result = {}
    for row in range(side):
        for column in range(side):
            around = [(0, 0), (1, 0), (0, 1), (1, 1)]  # even rows first, then columns
            four = torch.cat([cells[2 * row + down, 2 * column + right] for down, right in around])
            result[row, column] = linear(norm(four, state, f"{block}.norm"), state, f"{block}.reduction")
    return result


def attended(tokens: list[Tensor], state: dict[str, Tensor], block: str, heads: int) -> list[Tensor]:
    width = len(tokens[0])
    part = width // heads
    joined = [linear(norm(token, state, f"{block}.norm1"), state, f"{block}.attn.qkv") for token in tokens]
    mixed = []
    for own in joined:
        heads_out = []
        for head in range(heads):
            at = slice(head * part, (head + 1) * part)
            logits = torch.stack([own[:width][at] @ other[width : 2 * width][at] / math.sqrt(part) for other in joined])
            weights = logits.softmax(dim=0)
            heads_out.append(sum(w * other[2 * width :][at] for w, other in zip(weights, joined, strict=True)))
        mixed.append(linear(torch.cat(heads_out), state, f"{block}.attn.proj"))
    return mixed


class Reference:
    """Features and inner cells of one image."""

    def __init__(self, encoder: HiViT, image: Tensor, table: Tensor) -> None:
        state = encoder.state_dict()
        grid = Grid(image.shape[1] // 16, image.shape[2] // 16)
        self.fine: dict[tuple[int, int], Cells] = {}
        self.middle: dict[tuple[int, int], Cells] = {}
        tokens = []
        for row in range(grid.h):
            for column in range(grid.w):
                patch = image[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
                tokens.append(self._stem(state, patch, (row, column)) + table[0, row * grid.w + column])
        for number in range(10, 10 + encoder.architecture.depth):
            block = f"blocks.{number}"
            added = attended(tokens, state, block, encoder.architecture.heads)
            tokens = [token + change for token, change in zip(tokens, added, strict=True)]
            tokens = [token + mlp(token, state, block) for token in tokens]
        self.tokens = torch.stack(tokens)

    def _stem(self, state: dict[str, Tensor], patch: Tensor, place: tuple[int, int]) -> Tensor:
        cells: Cells = {}
        kernel = state["patch_embed.proj.weight"]
        for row in range(4):
            for column in range(4):
                pixels = patch[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                projected = (kernel * pixels).sum(dim=(1, 2, 3)) + state["patch_embed.proj.bias"]
                cells[row, column] = norm(projected, state, "patch_embed.norm")
        for number in range(4):
            cells = {at: cell + mlp(cell, state, f"blocks.{number}") for at, cell in cells.items()}
        self.fine[place] = cells
        cells = merged(cells, state, "blocks.4")
        for number in range(5, 9):
            cells = {at: cell + mlp(cell, state, f"blocks.{number}") for at, cell in cells.items()}
        self.middle[place] = cells
        return merged(cells, state, "blocks.9")[0, 0]


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 48)])
def test_tokens_and_maps_are_those_of_the_written_out_network(height: int, width: int) -> None:
    encoder, batch = build(), images(height, width)
    assert encoder.absolute_pos_embed is not None
    new = Grid(height // 16, width // 16)
    with torch.no_grad():
        table = resize_positions(encoder.absolute_pos_embed, old=Grid(2, 2), new=new, class_token=False)
        features, maps = encoder(batch), encoder.maps(batch)
        reference = Reference(encoder, batch[1], table)
    close(features.tokens[1], reference.tokens)
    close(features.pooled[1], reference.tokens.mean(dim=0))
    assert features.class_token is None
    assert features.grid == new
    assert [one.stride for one in maps] == [4, 8, 16]
    for one, patches, inner in zip(maps[:2], (reference.fine, reference.middle), (4, 2), strict=True):
        for (row, column), cells in patches.items():
            for (down, right), cell in cells.items():
                found = one.values[1, :, inner * row + down, inner * column + right]
                close(found, cell)
    close(maps[2].values[1].flatten(1).T, reference.tokens)


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    with torch.device("meta"):
        found = {name: tuple(value.shape) for name, value in HiViT(PUBLISHED, image_size=224).state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {
        "absolute_pos_embed": (1, 196, 512),
        "patch_embed.proj.weight": (128, 3, 4, 4),
        "patch_embed.proj.bias": (128,),
        "patch_embed.norm.weight": (128,),
        "patch_embed.norm.bias": (128,),
    }
    for merge, width in ((4, 128), (9, 256)):
        expected[f"blocks.{merge}.norm.weight"] = expected[f"blocks.{merge}.norm.bias"] = (4 * width,)
        expected[f"blocks.{merge}.reduction.weight"] = (2 * width, 4 * width)
    for numbers, width, hidden in ((range(4), 128, 384), (range(5, 9), 256, 768), (range(10, 30), 512, 2048)):
        for number in numbers:
            linears = {"mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden)}
            norms = ["norm2"]
            if width == 512:
                linears |= {"attn.qkv": (1536, 512), "attn.proj": (512, 512)}
                norms.append("norm1")
            for name, (outputs, inputs) in linears.items():
                expected[f"blocks.{number}.{name}.weight"] = (outputs, inputs)
                expected[f"blocks.{number}.{name}.bias"] = (outputs,)
            for name in norms:
                for leaf in ("weight", "bias"):
                    expected[f"blocks.{number}.{name}.{leaf}"] = (width,)
    assert found == expected
    assert round(sum(math.prod(shape) for shape in found.values()) / 1e6) == 66


def test_it_is_an_encoder_with_thirty_layers_in_base() -> None:
    with torch.device("meta"):
        encoder = HiViT(PUBLISHED, image_size=224)
    assert isinstance(encoder, Encoder)
    assert (encoder.width, encoder.stride, encoder.layer_count, encoder.in_channels) == (512, 16, 30, 3)
    ids = {name: encoder.layer_id(name) for name, _ in encoder.named_parameters()}
    assert ids["absolute_pos_embed"] == ids["patch_embed.norm.weight"] == 0
    assert (ids["blocks.0.norm2.weight"], ids["blocks.4.reduction.weight"], ids["blocks.29.attn.qkv.weight"]) == (
        1,
        5,
        30,
    )
    assert set(ids.values()) == set(range(31))
    assert encoder.no_weight_decay() == {"absolute_pos_embed"} <= ids.keys()


def test_every_trained_parameter_gets_a_gradient_and_the_fixed_table_none() -> None:
    encoder = build().train()
    encoder(images(32, 32)).tokens.square().sum().backward()
    idle = [name for name, one in encoder.named_parameters() if one.grad is None or not one.grad.abs().sum() > 0]
    assert idle == ["absolute_pos_embed"]
    learned = build(TINY.model_copy(update={"position": "learned"})).train()
    learned(images(48, 32)).pooled.square().sum().backward()
    assert learned.absolute_pos_embed is not None
    assert learned.absolute_pos_embed.grad is not None


def test_an_image_has_the_same_features_in_any_batch() -> None:
    encoder, batch = build(), images(48, 32, count=3)
    with torch.no_grad():
        together, alone = encoder(batch), encoder(batch[1:2])
        assert torch.equal(encoder(batch).tokens, together.tokens)
    torch.testing.assert_close(together.tokens[1:2], alone.tokens, atol=1e-5, rtol=1e-5)


def test_copies_half_precision_and_compilation_compute_the_same() -> None:
    encoder, batch = build(), images(48, 32)
    with torch.no_grad():
        expected = encoder(batch).tokens
        assert torch.equal(copy.deepcopy(encoder)(batch).tokens, expected)
        with torch.autocast("cpu", torch.bfloat16):
            half = encoder(batch).tokens.float()
        compile_encoder(encoder, backend="eager")
        compiled = encoder(batch).tokens
    torch._dynamo.reset()
    assert (half - expected).norm() / expected.norm() < 0.05
    torch.testing.assert_close(compiled, expected, atol=1e-5, rtol=1e-5)


def test_the_seed_alone_decides_the_start() -> None:
    first, again, other = (build_hivit(TINY, image_size=32, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.mlp.fc1.weight"], other["blocks.0.mlp.fc1.weight"])
    assert torch.equal(first["absolute_pos_embed"], sincos_table(Grid(2, 2), 16, class_token=False))
    assert torch.equal(first["patch_embed.norm.weight"], torch.ones(4))


def test_drop_path_grows_over_all_residual_blocks() -> None:
    encoder = build(drop_path=0.9)
    rates = [
        getattr(drop, "drop_prob", 0.0)
        for block in encoder.blocks
        for drop in (getattr(block, "drop_path", None), getattr(block, "drop_path1", None))
        if drop is not None
    ]
    assert rates == pytest.approx([0.1 * i for i in range(10)])
    with torch.no_grad():
        assert torch.equal(encoder(images(32, 32)).pooled, build()(images(32, 32)).pooled)


@pytest.mark.parametrize(
    "change",
    [
        {"patch": 14},
        {"class_token": True},
        {"pre_norm": True},
        {"activation": "quick_gelu"},
        {"position": "irpe_k"},
        {"width": 18},
        {"heads": 3},
        {"depth": 0},
        {"feature_layer": -2},
    ],
    ids=str,
)
def test_what_no_hivit_has_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="not a HiViT"):
        build_hivit(TINY.model_copy(update=change), image_size=32, seed=0)


def test_sides_and_channels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="patches of 16"):
        build()(images(32, 40))
    with pytest.raises(UsageError, match=r"\[B, 3, H, W\]"):
        build()(images(32, 32)[:, :1])
