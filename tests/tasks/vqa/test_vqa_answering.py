"""Answers of a network with random weights: the ranking is the brute-force one, and writing finds the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from klip.model.klip import ImageState
from klip.tokens.vocabulary import Vocabulary
from tasks.input_path import input_path
from tasks.language.network import LanguageNetwork, language_network
from tasks.language.start import text_start
from tasks.language.tokens import encode, reading
from tasks.vqa import answering
from tasks.vqa.answering import Ask, Generation, Ranking, answer_all, answer_tree
from tests.klip.toy_pairs import widen
from tests.tasks.vqa.toy_questions import SIDE, model, small

CPU = torch.device("cpu")
CELLS = [",".join(own) for own in chain.from_iterable(combinations("1234", size) for size in range(1, 5))]
PAIRS = [f"{a},{b}" for a in "1234" for b in "1234" if a != b]
"""Of one length: a network with random weights prefers what is short."""
QUESTIONS = ["how many ships?", "which cells hold ships?", "name the type", "how many aircraft?"]
IMAGES = np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE), dtype=np.uint8)


def network_of(candidates: Sequence[str], **changes: Any) -> LanguageNetwork:
    """Random weights, large enough that question and image matter."""
    loaded, chosen = model(), small(**changes)
    start = text_start(loaded, chosen, lambda: [*QUESTIONS, *candidates] * 2)
    network = language_network(loaded, chosen, start, pairs=40, seed=0)
    widen(network.klip.text, 8.0)
    widen(network.klip.get_submodule("vision"), 4.0)
    return network.eval()


NETWORK = network_of(CELLS)
TO_INPUT = input_path(model(), small().normalisation)


def asks(network: LanguageNetwork) -> list[Ask]:
    """Every question about every image."""
    pieces = encode(QUESTIONS, network.vocabulary, 35)
    return [Ask(question, image) for image in range(len(IMAGES)) for question in pieces]


@torch.inference_mode()
def brute_force(network: LanguageNetwork, ask: Ask, text: tuple[int, ...]) -> float:
    """The log-likelihood of one answer, token by token, in the plainest way."""
    klip = network.klip
    specials = klip.specials
    visual = klip.visual_memory(klip.encode_image(TO_INPUT(torch.from_numpy(IMAGES[ask.image][None]))).memory)
    read = reading([ask.question], specials)
    memory = klip.decoder_memory(klip.fused(read, visual), read.mask, visual)
    total, written = 0.0, [specials.dec]
    for token in (*text, specials.sep):
        logits = klip.lm_logits(klip.decode(torch.tensor([written]), memory))[0, -1].double()
        total += float(logits.log_softmax(dim=0)[token])
        written.append(token)
    return total


@torch.inference_mode()
def ranked(network: LanguageNetwork, ask: Ask, candidates: Sequence[str]) -> Tensor:
    klip = network.klip
    visual = klip.visual_memory(klip.encode_image(TO_INPUT(torch.from_numpy(IMAGES[ask.image][None]))).memory)
    read = reading([ask.question], klip.specials)
    tree = answer_tree(encode(candidates, network.vocabulary, 100), klip.specials)
    return answering.likelihoods(klip, klip.decoder_memory(klip.fused(read, visual), None, visual), tree, 1)[0]


@settings(max_examples=8, deadline=None)
@given(
    candidates=st.lists(st.sampled_from(CELLS), min_size=1, max_size=8),
    question=st.integers(0, len(QUESTIONS) - 1),
    image=st.integers(0, len(IMAGES) - 1),
)
def test_every_candidate_has_its_full_likelihood(candidates: list[str], question: int, image: int) -> None:
    ask = Ask(encode(QUESTIONS, NETWORK.vocabulary, 35)[question], image)
    wanted = [brute_force(NETWORK, ask, pieces) for pieces in encode(candidates, NETWORK.vocabulary, 100)]
    assert ranked(NETWORK, ask, candidates).tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("memory", ["fused+image", "fused"])
@pytest.mark.parametrize("fusion", ["blip", "albef"])
def test_it_holds_for_every_make_of_the_text_side(monkeypatch: pytest.MonkeyPatch, memory: str, fusion: str) -> None:
    from klip.settings import ModelSettings, preset

    base: ModelSettings = preset("paper", "tiny").model
    changed = base.model_copy(update={"decoder_memory": memory, "fusion": fusion})
    monkeypatch.setattr(
        "tasks.language.network.preset", lambda *_: preset("paper", "tiny").model_copy(update={"model": changed})
    )
    network = network_of(CELLS)
    assert network.klip.settings.model.decoder_memory == memory and network.klip.settings.model.fusion == fusion
    ask = asks(network)[5]
    wanted = [brute_force(network, ask, pieces) for pieces in encode(CELLS[4:9], network.vocabulary, 100)]
    assert ranked(network, ask, CELLS[4:9]).tolist() == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_common_beginnings_are_computed_once() -> None:
    pieces = encode(["1", "1,2", "1,2,3", "2", "1,2"], NETWORK.vocabulary, 100)
    tree = answer_tree(pieces, NETWORK.klip.specials)
    assert len(tree.tokens) == 1 + len({own[:end] for own in pieces for end in range(1, len(own) + 1)})
    assert tree.paths[1].tolist() == tree.paths[4].tolist()
    assert tree.above.sum(dim=1).max() == 1 + max(map(len, pieces))


def test_all_questions_get_the_likeliest_candidate_in_their_order() -> None:
    asked = asks(NETWORK)
    found = answer_all(NETWORK, TO_INPUT, IMAGES, asked, Ranking(NETWORK, PAIRS, CPU), device=CPU, precision="fp32")
    assert found == [PAIRS[int(ranked(NETWORK, ask, PAIRS).argmax())] for ask in asked]
    assert len(set(found)) > 2


@pytest.mark.parametrize(("name", "value"), [("IMAGES", 2), ("QUESTIONS", 1), ("STATES", 40), ("LOGITS", 500)])
def test_how_much_is_done_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    asked = asks(NETWORK)[::-1]
    before = answer_all(NETWORK, TO_INPUT, IMAGES, asked, Ranking(NETWORK, PAIRS, CPU), device=CPU, precision="fp32")
    monkeypatch.setattr(answering, name, value)
    after = answer_all(NETWORK, TO_INPUT, IMAGES, asked, Ranking(NETWORK, PAIRS, CPU), device=CPU, precision="fp32")
    assert after == before


def test_each_image_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    encode_image = NETWORK.klip.encode_image

    def counted(images: Tensor) -> ImageState:
        seen.append(len(images))
        return encode_image(images)

    monkeypatch.setattr(NETWORK.klip, "encode_image", counted)
    answer_all(NETWORK, TO_INPUT, IMAGES, asks(NETWORK)[4:], Ranking(NETWORK, PAIRS, CPU), device=CPU, precision="fp32")
    assert sum(seen) == len(IMAGES) - 1  # nobody asked about the first


def test_of_equally_likely_candidates_the_first_is_taken() -> None:
    reply = Ranking(NETWORK, ["a330", "A330", "1"], CPU)  # the vocabulary knows no capitals
    found = answer_all(NETWORK, TO_INPUT, IMAGES, asks(NETWORK), reply, device=CPU, precision="fp32")
    assert "A330" not in found


def test_writing_with_enough_beams_finds_the_likeliest_text() -> None:
    """Of all texts of at most two digits, which are the only ones that may be written."""
    candidates = [f"{a}{b}" for a in range(3) for b in ("", *range(3))]
    network = network_of(candidates)
    vocabulary = network.vocabulary
    digits = {piece for name in candidates for piece in vocabulary.encode(name)}
    reply = Generation(network, small(beams=40, generated_tokens=3), CPU)
    kept = torch.tensor([row in digits | {vocabulary.specials.sep} for row in range(vocabulary.size)])
    reply.banned = ~kept
    asked = asks(network)
    written = answer_all(network, TO_INPUT, IMAGES, asked, reply, device=CPU, precision="fp32")
    pieces = sorted(digits)
    texts = [own for size in range(1, 3) for own in _sequences(pieces, size)]
    for ask, text in list(zip(asked, written, strict=True))[::5]:
        tree = answer_tree(texts, vocabulary.specials)
        assert text == vocabulary.decode(texts[_best(network, ask, tree)])


def test_what_is_written_is_readable_and_holds_no_marks() -> None:
    reply = Generation(NETWORK, small(answering="generate", generated_tokens=5), CPU)
    found = answer_all(NETWORK, TO_INPUT, IMAGES, asks(NETWORK), reply, device=CPU, precision="fp32")
    assert all(found) and not any("[" in text and "]" in text for text in found)


def test_no_question_gives_no_answer() -> None:
    reply = Ranking(NETWORK, CELLS, CPU)
    assert answer_all(NETWORK, TO_INPUT, IMAGES, [], reply, device=CPU, precision="fp32") == []


def test_a_long_answer_is_not_cut() -> None:
    longest = ",".join("123456789")
    network = network_of([longest, longest + ",1"], max_tokens=8)
    reply = Ranking(network, [longest, longest + ",1"], CPU)
    assert len(set(map(tuple, reply.tree.paths.tolist()))) == 2
    assert isinstance(network.vocabulary, Vocabulary)


def _sequences(pieces: list[int], size: int) -> list[tuple[int, ...]]:
    if not size:
        return [()]
    return [(*own, piece) for own in _sequences(pieces, size - 1) for piece in pieces]


@torch.inference_mode()
def _best(network: LanguageNetwork, ask: Ask, tree: answering.AnswerTree) -> int:
    klip = network.klip
    visual = klip.visual_memory(klip.encode_image(TO_INPUT(torch.from_numpy(IMAGES[ask.image][None]))).memory)
    memory = klip.decoder_memory(klip.fused(reading([ask.question], klip.specials), visual), None, visual)
    return int(answering.likelihoods(klip, memory, tree, 1)[0].argmax())
