"""Ranking 500 questions against 100 candidate answers: ours, and every candidate written out for every question."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from klip.model.klip import KLIP
from klip.model.text_stack import Memory
from klip.settings import PretrainingSettings, preset
from klip.tokens.vocabulary import Vocabulary
from tasks.language.tokens import Pieces, encode, reading
from tasks.vqa.answering import AnswerTree, answer_tree, likelihoods
from tests.bench.interleave import Timing, interleaved

QUESTIONS, IMAGES, CANDIDATES, IMAGE_TOKENS = 500, 161, 100, 65
"""As many images as the paper's test part; tokens of 64 px at a patch of 8."""
LOOP = "answers written out"
QUESTION = "number a 3x3 grid 1 to 9 row by row which cells hold ships?"
AT_ONCE = 16


class Setting(NamedTuple):
    """A network with random weights and what it is asked."""

    klip: KLIP
    visual: Memory
    questions: list[Pieces]
    images: Tensor
    candidates: list[Pieces]
    tree: AnswerTree


def setting(questions: int = QUESTIONS, candidates: int = CANDIDATES) -> Setting:
    """Lists of the cells of one to twelve targets as candidates, under a text side of the mini profile's size."""
    random = Random(0)
    cells: dict[str, None] = {}
    while len(cells) < candidates:
        held = sorted({random.choice("123456789") for _ in range(random.randint(1, 12))})
        cells[",".join(held)] = None
    vocabulary = Vocabulary.train([QUESTION, *cells], size=2000)
    sides = {"text_width": 128, "text_layers": 4, "text_heads": 4, "text_ffn": 512, "positions": 192}
    base = preset("paper", "tiny")
    values = {**base.model_dump(by_alias=True), "model": {**base.model.model_dump(), **sides}}
    klip = KLIP(PretrainingSettings.model_validate(values), 2000, vocabulary.specials).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        visual = klip.visual_memory(torch.randn(IMAGES, IMAGE_TOKENS, 128, generator=generator))
    images = torch.randint(0, IMAGES, (questions,), generator=generator)
    chosen = encode(list(cells), vocabulary, 30)
    tree = answer_tree(chosen, vocabulary.specials)
    return Setting(klip, visual, encode([QUESTION] * questions, vocabulary, 35), images, chosen, tree)


@torch.inference_mode()
def ranked(asked: Setting) -> Tensor:
    """Log-likelihoods [questions, candidates] over the prefix tree."""
    found = []
    for low in range(0, len(asked.questions), AT_ONCE):
        memory, count = _memory(asked, slice(low, low + AT_ONCE))
        found.append(likelihoods(asked.klip, memory, asked.tree, count))
    return torch.cat(found)


@torch.inference_mode()
def written_out(asked: Setting) -> Tensor:
    """The same as scripts do it: the states of a question repeated for each candidate, all candidates padded."""
    klip = asked.klip
    specials = klip.specials
    width = max(map(len, asked.candidates)) + 1
    ids = torch.full((len(asked.candidates), width), specials.pad)
    targets = torch.full((len(asked.candidates), width), -100)
    for row, pieces in enumerate(asked.candidates):
        ids[row, : len(pieces) + 1] = torch.tensor([specials.dec, *pieces])
        targets[row, : len(pieces) + 1] = torch.tensor([*pieces, specials.sep])
    found = []
    for number in range(len(asked.questions)):
        memory, _ = _memory(asked, slice(number, number + 1))
        logits = klip.lm_logits(klip.decode(ids, memory.rows(torch.zeros(len(ids), dtype=torch.int64))))
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none", ignore_index=-100)
        found.append(-losses.double().sum(dim=1))
    return torch.stack(found)


def vqa_ranking(turns: int) -> dict[str, Timing]:
    """500 questions x 100 candidates under a text side of the mini profile's size, image states given."""
    torch.set_num_threads(1)
    asked = setting()
    few = asked._replace(questions=asked.questions[:AT_ONCE], images=asked.images[:AT_ONCE])
    torch.testing.assert_close(ranked(few), written_out(few), rtol=1e-5, atol=1e-4)
    works = {"ours": lambda: ranked(asked), LOOP: lambda: written_out(asked)}
    return interleaved(works, turns=max(2, turns // 5), warm_up=0)


VQA_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {"vqa-ranking": (vqa_ranking, LOOP)}
"""Name to the measurement and the peer that the others are divided by."""


def _memory(asked: Setting, chosen: slice) -> tuple[Memory, int]:
    texts = reading(asked.questions[chosen], asked.klip.specials)
    index = asked.images[chosen]
    return asked.klip.decoder_memory(asked.klip.fused(texts, asked.visual, index), None, asked.visual, index), len(
        index
    )
