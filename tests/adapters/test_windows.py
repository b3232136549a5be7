"""Attention in windows with decomposed relative positions, against the same thing written out in loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit
from adapters.interface import Encoder, Grid
from adapters.relative_positions import RelativeAttention, squeeze
from adapters.windows import RelativeTerms, WindowedViT, spread, unwindowed, windows


def architecture(**facts: object) -> Architecture:
    small = {"kind": "vit", "width": 32, "depth": 3, "heads": 2, "patch": 4, "activation": "gelu", "image_size": 24}
    return Architecture.model_validate(small | facts)


def random_vit(**facts: Any) -> PlainViT:
    """Every parameter random and large enough to matter."""
    vit = build_vit(architecture(**facts), image_size=24, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in vit.parameters():
            if parameter.requires_grad or parameter.ndim > 1:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return vit.eval()


def with_random_terms(encoder: WindowedViT) -> WindowedViT:
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in encoder.terms.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return encoder


def images(side: int = 24, count: int = 2, channels: int = 3) -> Tensor:
    return torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(3))


def last_map(encoder: Encoder | WindowedViT | PlainViT, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return encoder.maps(pixels)[-1].values


def attended_in_loops(vit: PlainViT, index: int, terms: RelativeTerms, cells: Tensor) -> Tensor:
    """Attention among cells [h, w, D] of one window: one head, one query and one key at a time."""
    attention = vit.blocks[index].attn
    rows, columns, width = cells.shape
    heads = vit.architecture.heads
    size = width // heads
    queries, keys, values = attention.qkv(cells).view(rows, columns, 3, heads, size).unbind(2)  # type: ignore[operator, union-attr]
    mixed = torch.zeros(rows, columns, heads, size)
    places = [(row, column) for row in range(rows) for column in range(columns)]
    for head in range(heads):
        for row, column in places:
            query = queries[row, column, head]
            logits = []
            for other_row, other_column in places:
                logit = query @ keys[other_row, other_column, head] / math.sqrt(size)
                logit = logit + query @ terms.rel_pos_h[row - other_row + rows - 1]
                logit = logit + query @ terms.rel_pos_w[column - other_column + columns - 1]
                if isinstance(attention, RelativeAttention):
                    bucket = (squeeze(row - other_row) + 3) * 7 + squeeze(column - other_column) + 3
                    logit = logit + query @ attention.rpe_k.lookup_table_weight[0, :, bucket]
                logits.append(logit)
            shares = torch.stack(logits).softmax(dim=0)
            mixed[row, column, head] = sum(
                share * values[place[0], place[1], head] for share, place in zip(shares, places, strict=True)
            )
    out: Tensor = attention.proj(mixed.flatten(2))  # type: ignore[operator, union-attr]
    return out


def in_loops(encoder: WindowedViT, pixels: Tensor, window: int) -> Tensor:
    """All blocks, one image and one window at a time; what lies beyond the grid is zero after the first norm."""
    vit = encoder.vit
    grid = vit.grid_of(pixels.shape[2], pixels.shape[3])
    found = []
    for image in pixels:
        tokens = vit.patch_embed(image[None])[0].permute(1, 2, 0)
        if vit.pos_embed is not None:
            tokens = tokens + vit.pos_embed[0, vit.class_rows :].view(grid.h, grid.w, -1)
        for index, terms in enumerate(encoder.terms):
            assert isinstance(terms, RelativeTerms)
            block = vit.blocks[index]
            normed = block.norm1(tokens)  # type: ignore[operator]
            side = Grid(window, window)
            if index in encoder.global_blocks or (window >= grid.h and window >= grid.w):
                side = grid
            mixed = torch.zeros_like(tokens)
            for top in range(0, grid.h, side.h):
                for left in range(0, grid.w, side.w):
                    cells = torch.zeros(side.h, side.w, vit.width)
                    part = normed[top : top + side.h, left : left + side.w]
                    cells[: part.shape[0], : part.shape[1]] = part
                    answer = attended_in_loops(vit, index, terms, cells)
                    mixed[top : top + side.h, left : left + side.w] = answer[: part.shape[0], : part.shape[1]]
            tokens = tokens + mixed
            tokens = tokens + block.mlp(block.norm2(tokens))  # type: ignore[operator]
        found.append(tokens.permute(2, 0, 1))
    return torch.stack(found)


@pytest.mark.parametrize("window", [2, 3, 4, 5], ids="window {}".format)
@pytest.mark.parametrize("position", ["learned", "irpe_k"])
def test_windows_and_relative_terms_give_what_loops_give(window: int, position: str) -> None:
    # 6 x 6 patches: windows of 4 and 5 do not divide the grid and are filled up.
    encoder = with_random_terms(WindowedViT(random_vit(position=position), window=window, global_blocks=[1, 2]))
    with torch.no_grad():
        expected = in_loops(encoder, images(), window)
    torch.testing.assert_close(last_map(encoder, images()), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"position": "none"},
        {"position": "sincos3d"},
        {"position": "irpe_k"},
        {"position": "sincos2d"},
        {"pre_norm": True, "activation": "quick_gelu"},
        {"feature_layer": -2, "final_norm": True},
        {"feature_layer": 1},
        {"output_norm": True},
    ],
    ids=str,
)
def test_one_window_without_terms_is_the_encoder_before_its_last_norm(facts: dict[str, object]) -> None:
    # Without a class token, for that is dropped; against the same encoder with norms that change nothing.
    vit = random_vit(class_token=False, **facts)
    plain = build_vit(
        architecture(**({"class_token": False} | facts | {"final_norm": False, "output_norm": False})),
        image_size=24,
        seed=None,
    ).eval()
    plain.load_state_dict(vit.state_dict(), strict=False)
    expected = last_map(plain, images())
    for global_blocks in ([], [0, 1, 2]):
        windowed = WindowedViT(vit, window=6, global_blocks=global_blocks)
        torch.testing.assert_close(last_map(windowed, images()), expected, atol=2e-5, rtol=1e-4)


def test_a_window_beyond_the_grid_is_the_grid() -> None:
    vit = random_vit()
    torch.testing.assert_close(
        last_map(WindowedViT(vit, window=14, global_blocks=[]), images()),
        last_map(WindowedViT(vit, window=6, global_blocks=[]), images()),
        rtol=0,
        atol=0,
    )


def test_windows_see_only_themselves_until_a_global_block() -> None:
    changed = images()
    changed[:, :, :12, :12] += 1  # the first of four windows of 3 x 3 patches
    alone = WindowedViT(random_vit(), window=3, global_blocks=[])
    together = WindowedViT(random_vit(), window=3, global_blocks=[2])
    for encoder, elsewhere_changes in ((alone, False), (together, True)):
        difference = (last_map(encoder, changed) - last_map(encoder, images())).abs().amax(dim=1)
        assert difference[:, :3, :3].min() > 0
        assert bool((difference[:, 3:, 3:] > 0).any()) == elsewhere_changes


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), side=st.integers(1, 5), batch=st.integers(1, 3))
def test_cutting_and_joining_windows_gives_the_tokens_back(height: int, width: int, side: int, batch: int) -> None:
    tokens = torch.arange(batch * height * width * 2).view(batch, height * width, 2).float()
    grid, window = Grid(height, width), Grid(side, side)
    cut = windows(tokens, grid, window)
    assert cut.shape == (batch * -(-height // side) * -(-width // side), side * side, 2)
    assert torch.equal(unwindowed(cut, grid, window), tokens)
    assert cut.sum() == tokens.sum()  # what is filled up is zero


def test_global_blocks_of_another_depth_are_spread_evenly() -> None:
    published = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23)}  # section 4.1 of the task specification
    for depth, blocks in published.items():
        assert spread(blocks, depth) == blocks
        assert spread((2, 5, 8, 11), depth) == blocks
    assert spread((1, 3), 4) == (1, 3)
    assert spread((2, 5, 8, 11), 4) == (0, 1, 2, 3)
    assert spread((2, 5, 8, 11), 2) == (0, 1)
    assert spread((2, 5, 8, 11), 9) == (1, 3, 5, 8)
    assert spread((), 12) == ()


@pytest.mark.parametrize("facts", [{}, {"position": "irpe_k"}, {"feature_layer": -2}, {"output_norm": True}], ids=str)
def test_every_parameter_that_is_trained_has_a_gradient(facts: dict[str, object]) -> None:
    encoder = with_random_terms(WindowedViT(random_vit(**facts).train(), window=4, global_blocks=[2]))
    encoder.maps(images())[0].values.square().sum().backward()  # type: ignore[no-untyped-call]
    silent = {
        name
        for name, parameter in encoder.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    }
    assert silent == set()
    frozen = {name for name, parameter in encoder.named_parameters() if not parameter.requires_grad}
    assert "vit.cls_token" in frozen
    assert "vit.norm.weight" in frozen


def test_terms_start_at_zero_belong_to_their_block_and_are_not_decayed() -> None:
    encoder = WindowedViT(random_vit(), window=2, global_blocks=[2])
    assert all(not parameter.any() for parameter in encoder.terms.parameters())
    assert encoder.layer_id("terms.1.rel_pos_h") == encoder.layer_id("vit.blocks.1.mlp.fc1.weight") == 2
    assert encoder.layer_id("vit.pos_embed") == 0
    assert encoder.no_weight_decay() == {
        "vit.cls_token",
        "vit.pos_embed",
        *(f"terms.{index}.rel_pos_{axis}" for index in range(3) for axis in "hw"),
    }
    lengths = [tuple(terms.state_dict()["rel_pos_h"].shape) for terms in encoder.terms]
    assert lengths == [(3, 16), (3, 16), (11, 16)]  # 2 x side - 1, of the window or of the grid


def test_images_of_another_size_resize_positions_and_terms() -> None:
    encoder = with_random_terms(WindowedViT(random_vit(), window=4, global_blocks=[2]))
    found = encoder(images(side=40))
    assert found.tokens.shape == (2, 100, 32)
    assert found.class_token is None
    assert bool(found.tokens.isfinite().all())


def test_a_windowed_vit_is_an_encoder() -> None:
    encoder = WindowedViT(random_vit(), window=4, global_blocks=[2])
    assert isinstance(encoder, Encoder)
    (only,) = encoder.maps(images())
    assert only.stride == 4
    assert only.values.is_contiguous(memory_format=torch.channels_last)
    features = encoder(images())
    torch.testing.assert_close(features.tokens.transpose(1, 2).unflatten(2, (6, 6)), only.values)


def test_training_in_half_precision_stays_finite() -> None:
    encoder = with_random_terms(WindowedViT(random_vit(position="irpe_k").train(), window=4, global_blocks=[2]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder.maps(images())[0].values
    exact = last_map(encoder, images())
    assert (found.float() - exact).abs().mean() < 0.05 * exact.abs().mean()
