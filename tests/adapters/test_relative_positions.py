"""Relative positions on the keys, against the formula of section 9.9 of the adapter specification in plain loops."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from adapters.card import Architecture
from adapters.encoder import PlainViT, build_vit
from adapters.interface import Grid
from adapters.relative_positions import BUCKETS, CLASS_BUCKET, RelativeAttention, buckets, squeeze

SAR_JEPA_LIKE = Architecture(
    kind="vit",
    width=48,
    depth=2,
    heads=3,
    patch=8,
    activation="gelu",
    in_channels=1,
    position="irpe_k",
    image_size=32,
)


def bucket(query: tuple[int, int] | None, key: tuple[int, int] | None) -> int:
    """The published rule; None is the class token."""
    if query is None or key is None:
        return 49
    near = {0: 0, 1: 1, 2: 2, 3: 2}
    row, column = (
        (1 if one > other else -1) * near.get(abs(one - other), 3) for one, other in zip(query, key, strict=True)
    )
    return (row + 3) * 7 + (column + 3)


def places(grid: Grid, *, class_token: bool) -> list[tuple[int, int] | None]:
    cells = [(row, column) for row in range(grid.h) for column in range(grid.w)]
    return [*([None] if class_token else []), *cells]


def random_attention(width: int = 48, heads: int = 3) -> RelativeAttention:
    attention = RelativeAttention(width, heads)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return attention


def in_loops(attention: RelativeAttention, tokens: Tensor, grid: Grid, *, class_token: bool) -> Tensor:
    """Attention written out: one query, one key, one logit at a time."""
    where = places(grid, class_token=class_token)
    width = tokens.shape[2] // attention.heads
    table = attention.rpe_k.lookup_table_weight[0]
    result = torch.zeros_like(tokens)
    for item, image in enumerate(tokens):
        query, key, value = attention.qkv(image).chunk(3, dim=1)
        for head in range(attention.heads):
            own = slice(head * width, (head + 1) * width)
            for i in range(len(where)):
                logits = torch.stack(
                    [
                        query[i, own] @ key[j, own] / width**0.5 + query[i, own] @ table[:, bucket(where[i], where[j])]
                        for j in range(len(where))
                    ]
                )
                result[item, i, own] = logits.softmax(dim=0) @ value[:, own]
    projected: Tensor = attention.proj(result)
    return projected


@pytest.mark.parametrize("class_token", [True, False])
def test_the_output_is_that_of_the_formula_on_a_grid_of_5_by_4(class_token: bool) -> None:
    grid = Grid(5, 4)
    attention = random_attention()
    tokens = torch.randn(2, 20 + class_token, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = attention(tokens, attn_mask=buckets(grid, class_token=class_token))
        expected = in_loops(attention, tokens, grid, class_token=class_token)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), class_token=st.booleans())
def test_buckets_follow_the_rule_on_any_grid(rows: int, columns: int, class_token: bool) -> None:
    grid = Grid(rows, columns)
    where = places(grid, class_token=class_token)
    expected = torch.tensor([[bucket(query, key) for key in where] for query in where])
    assert torch.equal(buckets(grid, class_token=class_token), expected)


def test_row_and_column_of_the_class_token_have_a_bucket_of_their_own() -> None:
    pairs = buckets(Grid(14, 14), class_token=True)
    assert set(pairs[0].tolist()) == set(pairs[:, 0].tolist()) == {CLASS_BUCKET}
    assert CLASS_BUCKET not in pairs[1:, 1:]
    assert sorted(set(pairs.flatten().tolist())) == list(range(BUCKETS))


def test_differences_are_squeezed_as_published() -> None:
    assert [squeeze(d) for d in range(-6, 7)] == [-3, -3, -3, -2, -2, -1, 0, 1, 2, 2, 3, 3, 3]


def test_the_query_of_the_second_term_is_not_scaled() -> None:
    """A planted fault: with a scaled query the loops disagree."""
    grid, attention = Grid(2, 2), random_attention()
    tokens = torch.randn(1, 5, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        right = attention(tokens, attn_mask=buckets(grid, class_token=True))
        attention.rpe_k.lookup_table_weight.mul_((48 / 3) ** -0.5)
        wrong = attention(tokens, attn_mask=buckets(grid, class_token=True))
    assert (right - wrong).abs().max() > 1e-2


# ---- in the encoder


def attentions(encoder: PlainViT) -> list[RelativeAttention]:
    return [module for module in encoder.modules() if isinstance(module, RelativeAttention)]


def filled(architecture: Architecture) -> PlainViT:
    encoder = build_vit(architecture, image_size=32, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return encoder


def test_with_empty_tables_it_is_the_transformer_without_positions() -> None:
    relative = filled(SAR_JEPA_LIKE)
    with torch.no_grad():
        for name, parameter in relative.named_parameters():
            if name.endswith("lookup_table_weight"):
                parameter.zero_()
    absolute = filled(SAR_JEPA_LIKE.model_copy(update={"position": "none"}))
    absolute.load_state_dict({k: v for k, v in relative.state_dict().items() if "rpe_k" not in k}, strict=True)
    batch = torch.randn(2, 1, 32, 40, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        torch.testing.assert_close(relative(batch).tokens, absolute(batch).tokens, atol=1e-5, rtol=1e-5)


def test_the_grid_of_every_size_has_its_own_buckets() -> None:
    """Without them a 5 x 4 grid would be read with the neighbourhoods of a 4 x 5 one."""
    encoder = filled(SAR_JEPA_LIKE)
    batch = torch.randn(1, 1, 40, 32, generator=torch.Generator().manual_seed(7))
    seen: list[Tensor] = []
    for attention in attentions(encoder):
        attention.register_forward_pre_hook(
            lambda *call: seen.append(call[2]["attn_mask"]),
            with_kwargs=True,
        )
    with torch.no_grad():
        encoder(batch)
        encoder(batch.mT)
        encoder(torch.randn(1, 1, 32, 32))
    grids = [Grid(5, 4)] * 2 + [Grid(4, 5)] * 2 + [Grid(4, 4)] * 2
    assert all(torch.equal(pairs, buckets(grid, class_token=True)) for pairs, grid in zip(seen, grids, strict=True))


def test_names_and_shapes_are_those_of_the_published_file() -> None:
    encoder = build_vit(SAR_JEPA_LIKE.model_copy(update={"width": 192}), image_size=32, seed=0)
    state = encoder.state_dict()
    assert state["blocks.1.attn.rpe_k.lookup_table_weight"].shape == (1, 64, 50)
    assert "pos_embed" not in state
    tables = {f"blocks.{i}.attn.rpe_k.lookup_table_weight" for i in range(2)}
    assert encoder.no_weight_decay() == {"cls_token", *tables}
    assert [encoder.layer_id(name) for name in sorted(tables)] == [1, 2]


def test_gradients_reach_all_buckets() -> None:
    encoder = build_vit(SAR_JEPA_LIKE, image_size=64, seed=0).train()
    encoder(torch.randn(2, 1, 64, 64)).tokens.square().sum().backward()
    for attention in attentions(encoder):
        gradient = attention.rpe_k.lookup_table_weight.grad
        assert gradient is not None
        assert (gradient.abs().sum(dim=1) > 0).all()
