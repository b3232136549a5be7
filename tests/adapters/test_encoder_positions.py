"""Absolute positions: tables by their formulas, resized where they are weights, made anew where they are not."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit
from adapters.interface import Grid
from adapters.positions import resize_positions, sincos3d_table, sincos_table
from foundation.errors import UsageError

PLAIN = Architecture(kind="vit", width=48, depth=2, heads=3, patch=8, activation="gelu", image_size=32)
PRITHVI_LIKE = PLAIN.model_copy(update={"position": "sincos3d", "in_channels": 6})


def build(architecture: Architecture) -> PlainViT:
    return build_vit(architecture, image_size=architecture.image_size, seed=0).eval()


def images(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(7))


# ---- weights


def test_resizing_positions_keeps_the_class_row() -> None:
    table = torch.randn(1, 17, 8)
    resized = resize_positions(table, old=Grid(4, 4), new=Grid(6, 3), class_token=True)
    assert resized.shape == (1, 19, 8)
    assert torch.equal(resized[:, 0], table[:, 0])


def test_resizing_keeps_a_constant_table_constant() -> None:
    table = torch.full((1, 16, 8), 3.0)
    torch.testing.assert_close(
        resize_positions(table, old=Grid(4, 4), new=Grid(7, 5), class_token=False), torch.full((1, 35, 8), 3.0)
    )


def test_a_resized_table_is_remembered_only_until_the_weights_change() -> None:
    encoder = build(PLAIN)
    assert encoder.pos_embed is not None
    with torch.no_grad():
        before = encoder(images(64, 64)).pooled
        assert torch.equal(encoder(images(64, 64)).pooled, before)
        encoder.pos_embed.mul_(3.0)
        after = encoder(images(64, 64)).pooled
        fresh = build(PLAIN)
        fresh.load_state_dict(encoder.state_dict())
        assert not torch.equal(after, before)
        assert torch.equal(after, fresh(images(64, 64)).pooled)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_reach_the_table_through_the_resizing(training: bool) -> None:
    encoder = build(PLAIN).train(training)
    assert encoder.pos_embed is not None
    with torch.no_grad():
        encoder(images(64, 64))  # fills the memory, which must not be what is differentiated
    for _ in range(2):
        encoder.pos_embed.grad = None
        encoder(images(64, 64)).pooled.square().sum().backward()
        assert encoder.pos_embed.grad is not None
        assert encoder.pos_embed.grad.abs().sum() > 0


def test_a_stored_sine_cosine_table_is_resized_and_not_made_anew() -> None:
    """MoCo v3 stores another order than MAE's formula: sin(w), cos(w), sin(h), cos(h) over quarters."""
    encoder = build(PLAIN.model_copy(update={"position": "sincos2d"}))
    assert encoder.pos_embed is not None
    with torch.no_grad():
        encoder.pos_embed.copy_(encoder.pos_embed.flip(2))
        seen: list[Tensor] = []
        encoder.pos_drop.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        encoder.patch_embed.proj.weight.zero_()
        encoder.patch_embed.proj.bias.zero_()
        encoder(images(48, 40))
    stored = encoder.pos_embed.detach()
    expected = resize_positions(stored, old=Grid(4, 4), new=Grid(6, 5), class_token=True)
    torch.testing.assert_close(seen[0][0, 1:], expected[0, 1:])


# ---- formulas


def test_the_sine_cosine_table_is_that_of_the_formula() -> None:
    table = sincos_table(Grid(2, 3), 8, class_token=True)[0]
    assert torch.equal(table[0], torch.zeros(8))
    row, column = 1.0, 2.0  # the last cell
    expected = [
        *(torch.tensor([column, column / 100]).sin()),
        *(torch.tensor([column, column / 100]).cos()),
        *(torch.tensor([row, row / 100]).sin()),
        *(torch.tensor([row, row / 100]).cos()),
    ]
    torch.testing.assert_close(table[-1], torch.stack(expected))


def test_a_sine_cosine_table_is_fixed() -> None:
    encoder = build(PLAIN.model_copy(update={"position": "sincos2d"}))
    assert encoder.pos_embed is not None
    assert not encoder.pos_embed.requires_grad
    assert torch.equal(encoder.pos_embed, sincos_table(Grid(4, 4), 48, class_token=True))


def by_formula(frames: int, grid: Grid, width: int) -> Tensor:
    """Section 9.5 of the adapter specification, one number after the other."""
    rows = [[0.0] * width]
    for time in range(frames):
        for row in range(grid.h):
            for column in range(grid.w):
                numbers = []
                for position, share in ((column, 6), (row, 6), (time, 4)):
                    half = width * share // 16 // 2
                    angles = [position / 10_000 ** (i / half) for i in range(half)]
                    numbers += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
                rows.append(numbers)
    return torch.tensor([rows])


@settings(max_examples=15, deadline=None)
@given(frames=st.integers(1, 3), rows=st.integers(1, 5), columns=st.integers(1, 4), sixteenths=st.integers(1, 3))
def test_the_table_over_space_and_time_is_that_of_the_formula(
    frames: int, rows: int, columns: int, sixteenths: int
) -> None:
    grid, width = Grid(rows, columns), 16 * sixteenths
    table = sincos3d_table(grid, width, class_token=True, frames=frames)
    torch.testing.assert_close(table, by_formula(frames, grid, width))
    assert torch.equal(table[:, 1:], sincos3d_table(grid, width, class_token=False, frames=frames))


def test_one_frame_has_the_first_rows_of_three() -> None:
    """As published: 3 frames of 14 x 14 and the class row are 589, of which one frame takes 197."""
    three = sincos3d_table(Grid(14, 14), 768, class_token=True, frames=3)
    one = sincos3d_table(Grid(14, 14), 768, class_token=True)
    assert three.shape == (1, 589, 768)
    assert torch.equal(one, three[:, :197])


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 40), (16, 24)])
def test_the_table_over_space_and_time_is_made_anew_for_every_size(height: int, width: int) -> None:
    encoder = build(PRITHVI_LIKE)
    seen: list[Tensor] = []
    encoder.pos_drop.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        encoder.patch_embed.proj.weight.zero_()
        encoder.patch_embed.proj.bias.zero_()
        encoder(images(height, width, 6))
    expected = sincos3d_table(Grid(height // 8, width // 8), 48, class_token=True)
    torch.testing.assert_close(seen[0][0, 1:], expected[0, 1:])


def test_a_table_that_follows_from_a_formula_is_no_weight() -> None:
    encoder = build(PRITHVI_LIKE)
    assert not [name for name in encoder.state_dict() if "pos_embed" in name or "table" in name]
    assert encoder.position_name is None
    # It is right even where no seed asks for initial values, as for a model that a file fills.
    unfilled = build_vit(PRITHVI_LIKE, image_size=32, seed=None)
    assert torch.equal(unfilled.get_buffer("fixed_table"), sincos3d_table(Grid(4, 4), 48, class_token=True))


@pytest.mark.parametrize("width", [40, 72])
def test_widths_that_the_axes_cannot_share_are_refused(width: int) -> None:
    with pytest.raises(UsageError, match="16 divides"):
        sincos3d_table(Grid(2, 2), width, class_token=True)
