"""Texts with common beginnings go through the decoder as one tree: each is written as it would be alone."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from klip.model.klip import KLIP
from klip.model.text_stack import Memory
from tests.klip.toy_pairs import FIRST_WORD, SPECIALS, VOCABULARY, random_texts, small_model, tokens_of

Text = tuple[int, ...]
TEXTS = st.lists(
    st.lists(st.integers(FIRST_WORD, FIRST_WORD + 3), min_size=1, max_size=5).map(tuple), min_size=1, max_size=6
)


def tree_of(texts: list[Text]) -> tuple[Tensor, Tensor, dict[Text, int]]:
    """Tokens, who stands above whom, and where each beginning is; written without thought of speed."""
    beginnings = sorted({text[:end] for text in texts for end in range(len(text) + 1)}, key=lambda own: (len(own), own))
    above = torch.tensor([[row[: len(column)] == column for column in beginnings] for row in beginnings])
    tokens = torch.tensor([own[-1] if own else SPECIALS.dec for own in beginnings])
    return tokens, above, {own: place for place, own in enumerate(beginnings)}


def memories(model: KLIP, count: int = 2) -> Memory:
    """What the decoder looks at: texts read with images, and the images."""
    images = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    read, visual = tokens_of(random_texts(count)), model.visual_memory(model.encode_image(images).memory)
    return model.decoder_memory(model.fused(read, visual), read.mask, visual)


@settings(max_examples=25, deadline=None)
@given(texts=TEXTS)
def test_every_text_has_the_states_that_it_has_alone(texts: list[Text]) -> None:
    model = small_model()
    with torch.no_grad():
        memory = memories(model)
        tokens, above, places = tree_of(texts)
        together = model.decode(tokens.expand(2, -1), memory, tree=above)
        for text in texts:
            ids = torch.tensor([SPECIALS.dec, *text]).expand(2, -1)
            alone = model.decode(ids, memory)
            own = [places[text[:end]] for end in range(len(text) + 1)]
            torch.testing.assert_close(together[:, own], alone, rtol=1e-5, atol=2e-5)


def test_a_tree_without_branches_is_a_text_from_left_to_right() -> None:
    model = small_model()
    with torch.no_grad():
        memory = memories(model)
        ids = torch.randint(FIRST_WORD, VOCABULARY - 2, (2, 7), generator=torch.Generator().manual_seed(1))
        chain = torch.ones(7, 7, dtype=torch.bool).tril()
        torch.testing.assert_close(model.decode(ids, memory, tree=chain), model.decode(ids, memory))


@pytest.mark.parametrize("fault", ["sees its sisters", "misses its parent"])
def test_another_tree_gives_other_states(fault: str) -> None:
    model = small_model()
    tokens, above, places = tree_of([(20, 21, 22), (20, 23)])
    wrong = above.clone()
    if fault == "sees its sisters":
        wrong[places[20, 23], places[20, 21]] = True
    else:
        wrong[places[20, 23], places[20,]] = False
    with torch.no_grad():
        memory = memories(model)
        right, other = (model.decode(tokens.expand(2, -1), memory, tree=seen) for seen in (above, wrong))
    changed = (right - other).abs().amax(dim=(0, 2)) > 1e-4
    assert changed.nonzero().flatten().tolist() == [places[20, 23]]


def test_positions_are_depths() -> None:
    """Two tokens at one depth hold one position, so the order of branches changes nothing."""
    model = small_model()
    texts = [(20, 21), (20, 22), (23,)]
    tokens, above, places = tree_of(texts)
    order = torch.tensor([0, 4, 2, 1, 3])  # any order, the root first
    with torch.no_grad():
        memory = memories(model)
        usual = model.decode(tokens.expand(2, -1), memory, tree=above)
        mixed = model.decode(tokens[order].expand(2, -1), memory, tree=above[order][:, order])
    assert len(places) == len(order)
    torch.testing.assert_close(mixed, usual[:, order], rtol=1e-5, atol=1e-5)


def test_gradients_go_through_a_tree() -> None:
    model = small_model()
    tokens, above, _ = tree_of([(20, 21), (20, 22)])
    model.decode(tokens.expand(2, -1), memories(model), tree=above).square().sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for name, p in model.text.named_parameters() if name.endswith("self_dec.qkv.weight")]
    assert len(gradients) == 2 and all(own is not None and own.abs().sum() > 0 for own in gradients)
