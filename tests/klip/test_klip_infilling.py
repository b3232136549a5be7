"""Texts with gaps: what is asked, what may be seen, and that training asks as reconstruction does (section 4.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from klip.losses.corrupt import (
    FULL,
    SEGMENT,
    TOKEN,
    Corrupted,
    Noise,
    caption_question,
    corrupt,
    reconstruction_input,
)
from klip.losses.infilling import language_loss, next_token_loss
from klip.model.early_count import EarlyCount, places
from klip.settings import SLOTS, InfillingSettings
from klip.tokens.batch import CLS, LABEL, SEG, SEP, VALUE, TokenBatch, collapsed
from tests.klip.toy_pairs import (
    SPECIALS,
    VOCABULARY,
    context,
    pairs,
    random_texts,
    small_model,
    small_pretrainer,
    tokens_of,
)

ALONE = {TOKEN: (1.0, 0.0, 0.0), SEGMENT: (0.0, 1.0, 0.0), FULL: (0.0, 0.0, 1.0)}
"""Mode to the probabilities that leave no other."""


def no_noise(tokens: TokenBatch) -> Tensor:
    return torch.zeros(len(tokens), SLOTS, dtype=torch.bool)


def some_noise(tokens: TokenBatch, seed: int = 0, share: float = 0.4) -> Tensor:
    return torch.rand(len(tokens), SLOTS, generator=torch.Generator().manual_seed(seed)) < share


def asked(
    tokens: TokenBatch,
    noise: Tensor | None = None,
    mode: int | None = None,
    *,
    seed: int = 0,
    hidden: bool = True,
    **options: Any,
) -> Corrupted:
    probabilities = {} if mode is None else {"mode_probs": ALONE[mode]}
    return corrupt(
        tokens,
        Noise(no_noise(tokens) if noise is None else noise, hidden),
        InfillingSettings(**probabilities),
        SPECIALS,
        VOCABULARY,
        torch.Generator().manual_seed(seed),
        **options,
    )


def same(first: TokenBatch, second: TokenBatch) -> bool:
    width = max(first.width, second.width)
    first, second = first.padded(width, SPECIALS.pad), second.padded(width, SPECIALS.pad)
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in ("ids", "slot", "kind"))


def chosen_segment(question: Corrupted) -> Tensor:
    """The one segment that the targets of each row lie in."""
    inside = question.decoder.slot.masked_fill(~question.targets, -1)
    found = inside.max(dim=1).values
    assert ((inside == found[:, None]) | (inside == -1)).all()
    return found.long()


def test_modes_are_drawn_as_often_as_the_settings_say() -> None:
    tokens = tokens_of(random_texts(1, missing=0) * 6000)
    share = torch.bincount(asked(tokens).mode, minlength=3) / 6000
    assert share.tolist() == pytest.approx([0.4, 0.4, 0.2], abs=0.025)


def test_single_tokens_are_masked_replaced_or_kept_in_their_shares() -> None:
    tokens = tokens_of(random_texts(3000, missing=0))
    question = asked(tokens, mode=TOKEN)
    word = (tokens.kind == LABEL) | (tokens.kind == VALUE)
    assert not (question.targets & ~word).any()
    assert question.targets.any(dim=1).all()
    assert question.targets.sum() / word.sum() == pytest.approx(0.15, abs=0.005)
    now, before = question.encoder.ids[question.targets], tokens.ids[question.targets]
    masked = (now == SPECIALS.mask).float().mean()
    kept = (now == before).float().mean()
    assert float(masked) == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.01)
    assert float(kept) == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.01)
    assert torch.equal(question.encoder.ids[~question.targets], tokens.ids[~question.targets])


def test_a_segment_is_asked_for_with_its_end_and_each_as_often() -> None:
    tokens = tokens_of(random_texts(1, missing=0) * 4000)
    question = asked(tokens, mode=SEGMENT)
    segment = chosen_segment(question)
    wanted = tokens.of(F.one_hot(segment, SLOTS).bool()) & (tokens.kind != LABEL)
    assert torch.equal(question.targets, wanted)
    assert (torch.bincount(segment, minlength=SLOTS) / 4000).tolist() == pytest.approx([1 / 8] * 8, abs=0.02)


def test_a_whole_text_is_asked_for_with_the_question_of_a_caption() -> None:
    tokens = tokens_of(random_texts(5))
    question = asked(tokens, mode=FULL)
    assert same(question.encoder.trimmed(), caption_question(5, SPECIALS))
    assert torch.equal(question.targets, tokens.mask & (tokens.kind != CLS))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from([TOKEN, SEGMENT, FULL]), st.booleans(), st.booleans())
def test_noise_is_never_asked_for_nor_seen(seed: int, share: float, mode: int, keep_label: bool, hidden: bool) -> None:
    tokens = tokens_of(random_texts(6, seed))
    noise = some_noise(tokens, seed, share) & tokens.present
    question = asked(tokens, noise, mode, seed=seed, hidden=hidden, keep_label=keep_label)
    assert not (question.targets & question.decoder.of(noise)).any()
    assert not question.targets[:, 0].any()
    assert not (question.targets & ~question.decoder.mask).any()
    clean = tokens.present & ~noise
    assert torch.equal(question.targets.any(dim=1), clean.any(dim=1))
    assert torch.equal(question.gold, question.decoder.ids.masked_fill(question.decoder.kind == CLS, SPECIALS.cls))
    for stream in (question.encoder, question.decoder):
        left = stream.of(noise)
        if hidden:
            assert set(stream.ids[left].tolist()) <= {SPECIALS.mask, SPECIALS.seg}
        elif mode != FULL:
            assert torch.equal(stream.ids[left], tokens.ids[tokens.of(noise)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.7), st.booleans())
def test_training_asks_for_a_segment_as_reconstruction_does(seed: int, share: float, keep_label: bool) -> None:
    tokens = tokens_of(random_texts(6, seed))
    noise = some_noise(tokens, seed, share)
    question = asked(tokens, noise, SEGMENT, seed=seed, keep_label=keep_label)
    rows = torch.nonzero(question.targets.any(dim=1))[:, 0]
    if not len(rows):
        return
    segment = chosen_segment(question)[rows]
    encoder, prefix = reconstruction_input(tokens.rows(rows), segment, noise[rows], SPECIALS, keep_label=keep_label)
    assert same(encoder, question.encoder.rows(rows))
    # The prefix is what the decoder of training has read before its first target.
    first = question.targets[rows].int().argmax(dim=1)
    assert prefix.lengths.tolist() == first.tolist()
    for row, length in enumerate(first.tolist()):
        assert torch.equal(prefix.ids[row, :length], question.decoder.ids[rows][row, :length])
    assert (prefix.ids[:, 0] == SPECIALS.dec).all()


def test_the_gap_of_reconstruction_shows_one_mask_after_its_label() -> None:
    text = tokens_of(random_texts(1, missing=0))
    none = no_noise(text)
    for keep_label in (True, False):
        encoder, prefix = reconstruction_input(text, torch.tensor([3]), none, SPECIALS, keep_label=keep_label)
        inside = encoder.ids[encoder.slot == 3].tolist()
        label = text.ids[(text.slot == 3) & (text.kind == LABEL)].tolist()
        assert inside == [*(label if keep_label else []), SPECIALS.mask, SPECIALS.seg]
        assert prefix.ids[prefix.slot == 3].tolist() == label
        assert prefix.slot.max() == 3


def test_the_encoder_learns_nothing_of_what_it_is_asked_for() -> None:
    model = small_model()
    tokens = tokens_of(random_texts(6))
    memory = model.visual_memory(model.encode_image(torch.randn(6, 3, 16, 16)).memory)
    for mode, seed in ((TOKEN, 0), (SEGMENT, 1), (FULL, 2)):
        question = asked(tokens, mode=mode, seed=seed)
        if mode == TOKEN:  # one in ten stays as it was, on purpose
            hidden = question.targets & (question.encoder.ids == SPECIALS.mask)
        else:
            hidden = question.targets & (tokens.kind != SEG) & (tokens.kind != SEP)
        assert hidden.any()
        other = TokenBatch(torch.where(hidden, 40, tokens.ids), tokens.slot, tokens.kind)
        again = asked(other, mode=mode, seed=seed)
        assert torch.equal(again.targets, question.targets)
        assert torch.equal(model.fused(again.encoder, memory), model.fused(question.encoder, memory))
        assert not torch.equal(again.gold, question.gold)


def test_loss_at_chosen_positions_equals_the_full_head() -> None:
    model = small_model().double()
    tokens = tokens_of(random_texts(5))
    hidden = torch.randn(5, tokens.width, 16, dtype=torch.float64, requires_grad=True)
    targets = asked(tokens, some_noise(tokens)).targets
    found = next_token_loss(model, hidden, tokens.ids, targets)
    logits = model.lm_logits(hidden)
    nll = -logits[:, :-1].log_softmax(-1).gather(2, tokens.ids[:, 1:, None])[..., 0]
    expected = (nll * targets[:, 1:]).sum() / targets[:, 1:].sum()
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    for ours, theirs in zip(
        *(torch.autograd.grad(loss, hidden, retain_graph=True) for loss in (found, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)


def test_nothing_to_ask_is_a_loss_of_zero_with_a_graph() -> None:
    model = small_model()
    hidden = torch.randn(2, 7, 16, requires_grad=True)
    none = torch.zeros(2, 7, dtype=torch.bool)
    loss = language_loss(model, hidden, torch.zeros(2, 7, dtype=torch.int64), none)
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None and hidden.grad.eq(0).all()
    head = {name for name, parameter in model.language_head.named_parameters() if parameter.grad is None}
    assert not head  # every rank has the same gradients
    pretrainer = small_pretrainer()
    report = pretrainer(replace(pairs(4), noise=torch.ones(4, SLOTS, dtype=torch.bool)), context())
    assert report["mlm"].item() == 0
    assert report["targets"].item() == 0


def test_places_without_asking_a_device_are_those_of_nonzero() -> None:
    flags = torch.rand(300, generator=torch.Generator().manual_seed(0)) < 0.3
    count = EarlyCount(flags)
    expected = torch.nonzero(flags)[:, 0]
    assert count.value() == len(expected) == int(count.total)
    assert torch.equal(places(flags, count.value()), expected)
    # As on a device that computes nothing: what it would give has the right size without its being asked.
    assert places(flags.to("meta"), 7).shape == (7,)
    order = torch.argsort((~flags).to(torch.int8), stable=True)[: count.value()]
    assert torch.equal(order, expected)


def of_one_loss(noise: Tensor, tokens: TokenBatch, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Infilling alone, with its gradients; the same draws whatever the texts."""
    pretrainer = small_pretrainer(loss={"lambda": (0.0, 0.0, 1.0)})
    report = pretrainer(replace(pairs(6), tokens=tokens, noise=noise), context(seed=seed))
    report["loss"].backward()
    return report["mlm"], {name: p.grad for name, p in pretrainer.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("seed", range(4))
def test_noise_has_no_influence_on_loss_and_gradients(seed: int) -> None:
    tokens = tokens_of(random_texts(6))
    noise = some_noise(tokens, seed) & tokens.present
    inside = tokens.of(noise) & (tokens.kind != SEG)
    scribbled = TokenBatch(torch.where(inside, 33, tokens.ids), tokens.slot, tokens.kind)
    assert not torch.equal(scribbled.ids, tokens.ids)
    assert same(
        collapsed(scribbled, noise, SPECIALS, keep_label=False), collapsed(tokens, noise, SPECIALS, keep_label=False)
    )
    loss, gradients = of_one_loss(noise, tokens, seed)
    other, others = of_one_loss(noise, scribbled, seed)
    assert torch.equal(loss, other)
    words = "online.text.words.weight"
    # The text tower reads complete texts for contrast, whose weight is 0 here: of the words it leaves zeros.
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)
    assert gradients[words].abs().sum() > 0
    visible, _ = of_one_loss(no_noise(tokens), scribbled, seed)
    assert visible != loss


def test_longer_noise_has_no_influence_either() -> None:
    texts = random_texts(6, missing=0)
    longer = [(*text[:2], replace_value(text[2], 9), *text[3:]) for text in texts]
    noise = torch.zeros(6, SLOTS, dtype=torch.bool)
    noise[:, 2] = True
    found = [collapsed(tokens_of(each), noise, SPECIALS, keep_label=False).trimmed() for each in (texts, longer)]
    assert same(*found)


def replace_value(segment: Any, count: int) -> Any:
    return segment._replace(value=(50,) * count)


def test_a_caption_is_asked_for_from_the_image_alone() -> None:
    model = small_model()
    tokens, others = tokens_of(random_texts(4, 1)), tokens_of(random_texts(4, 2))
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    keys = model.visual_memory(model.encode_image(images).memory)
    states = []
    for text in (tokens, others):
        question = asked(text, mode=FULL).encoder.trimmed()
        states.append(model.fused(question, keys))
    assert torch.equal(*states)
    other = model.visual_memory(model.encode_image(images.flip(0)).memory)
    assert not torch.allclose(model.fused(asked(tokens, mode=FULL).encoder.trimmed(), other), states[0])


def test_kinds_of_a_gap_stay_those_of_a_text() -> None:
    tokens = tokens_of(random_texts(6))
    question = asked(tokens, some_noise(tokens))
    encoder = question.encoder
    assert (encoder.kind[:, 0] == CLS).all()
    assert ((encoder.kind == SEP).sum(dim=1) == 1).all()
    assert (encoder.kind[encoder.ids == SPECIALS.mask] != SEG).all()
    assert (question.mode >= TOKEN).all() and (question.mode <= FULL).all()
    assert (encoder.kind[question.mode == FULL][:, 1] == VALUE).all()
