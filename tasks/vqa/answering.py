"""Answers to questions: ranking everything that was ever answered in training, or writing freely (section 9).

Ranking gives the full likelihood of every candidate, without smoothing and without choosing some first: many
candidates begin with the same token. Candidates are a prefix tree. Its nodes go through the decoder as one sequence per
question, in which a node sees what stands before it in its answer and nothing else; so a common beginning is computed
once, each node looks at question and image once, and nothing of them is copied per candidate.

Images are encoded once and their keys and values projected once, however many questions look at them. Questions of one
length go together: there is no padding that would have to be masked, in the kernels or in anybody's mind.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from klip.generate import KlipWriter, Writing, forbidden_tokens, write
from klip.model.klip import KLIP
from klip.model.text_stack import Memory
from klip.tokens.vocabulary import Specials
from tasks.input_path import InputPath
from tasks.language.images import Squares
from tasks.language.network import LanguageNetwork
from tasks.language.tokens import Pieces, encode, reading
from tasks.protocol.settings import VqaSettings
from tasks.training import autocast

IMAGES = 32
"""Images whose states are held at a time."""
QUESTIONS = 64
"""Questions at a time, at most."""
LOGITS = 1 << 21
"""Logits at a time, about."""
STATES = 1 << 13
"""Nodes of all questions that go through the decoder at a time, about. On a CPU more is slower, not faster."""


class Ask(NamedTuple):
    """One question about one image."""

    question: Pieces
    image: int
    """Row of the images."""


Reply = Callable[[Memory, int], list[str]]
"""From what the decoder looks at, one row per question, and how many there are, to the answers."""


class AnswerTree(NamedTuple):
    """Candidate answers as a prefix tree; its root is [DEC]."""

    tokens: Tensor
    """int64 [L]: of each node; a node stands behind its parent."""
    above: Tensor
    """bool [L, L]: the column is the row itself or stands before it in its answer."""
    nodes: Tensor
    """int64 [E]: the node that each step leaves."""
    steps: Tensor
    """int64 [E]: the token that is written there; [SEP] where an answer ends."""
    paths: Tensor
    """int64 [A, D]: the steps of each answer, E where it has ended."""

    def to(self, device: torch.device) -> AnswerTree:
        """The tree on a device."""
        return AnswerTree(*(part.to(device) for part in self))


def answer_tree(candidates: Sequence[Pieces], specials: Specials) -> AnswerTree:
    """The prefix tree of candidates; equal ones share all their steps."""
    tokens, parents = [specials.dec], [-1]
    found: dict[tuple[int, int], int] = {}
    leaving: dict[tuple[int, int], int] = {}
    paths = []
    for pieces in candidates:
        node, path = 0, []
        for token in (*pieces, specials.sep):
            path.append(leaving.setdefault((node, token), len(leaving)))
            if token == specials.sep:
                break
            if (node, token) not in found:
                found[node, token] = len(tokens)
                tokens.append(token)
                parents.append(node)
            node = found[node, token]
        paths.append(path)
    above = torch.eye(len(tokens), dtype=torch.bool)
    for node, parent in enumerate(parents):
        if parent >= 0:
            above[node] |= above[parent]
    longest = max((len(path) for path in paths), default=0)
    padded = [[*path, *[len(leaving)] * (longest - len(path))] for path in paths]
    nodes, steps = torch.tensor(list(leaving), dtype=torch.int64).reshape(-1, 2).unbind(1)
    return AnswerTree(torch.tensor(tokens), above, nodes, steps, torch.tensor(padded, dtype=torch.int64))


def likelihoods(klip: KLIP, memory: Memory, tree: AnswerTree, questions: int) -> Tensor:
    """Log-likelihood of every candidate for every question: float64 [questions, A]."""
    hidden = klip.decode(tree.tokens.expand(questions, -1), memory, tree=tree.above)
    steps = torch.zeros(questions, len(tree.steps) + 1, dtype=torch.float64, device=hidden.device)
    order = torch.argsort(tree.nodes, stable=True)
    nodes, tokens = tree.nodes[order], tree.steps[order]
    length = len(tree.tokens)
    some = max(1, LOGITS // (questions * klip.vocabulary_size))
    bounds = torch.searchsorted(nodes, torch.arange(0, length + some, some, device=nodes.device)).tolist()
    for part, low in enumerate(range(0, length, some)):
        with torch.autocast(hidden.device.type, enabled=False):  # many answers differ by little
            logits = klip.lm_logits(hidden[:, low : low + some].float())
        first, last = bounds[part], bounds[part + 1]
        chosen = (
            logits[:, nodes[first:last] - low, tokens[first:last]] - logits.logsumexp(dim=2)[:, nodes[first:last] - low]
        )
        steps[:, order[first:last]] = chosen.double()
    return steps[:, tree.paths].sum(dim=2)


class Ranking:
    """The most likely of the candidates; of equally likely ones the first."""

    def __init__(self, network: LanguageNetwork, candidates: Sequence[str], device: torch.device) -> None:
        self.klip, self.candidates = network.klip, list(candidates)
        positions = self.klip.text.positions.num_embeddings
        pieces = encode(self.candidates, network.vocabulary, positions)
        self.tree = answer_tree(pieces, self.klip.specials).to(device)

    @property
    def at_once(self) -> int:
        """Questions that are worth being answered together."""
        return max(1, min(QUESTIONS, STATES // len(self.tree.tokens)))

    def __call__(self, memory: Memory, questions: int) -> list[str]:
        """An answer for each row of the memory."""
        values = likelihoods(self.klip, memory, self.tree, questions).cpu().numpy()
        return [self.candidates[best] for best in values.argmax(axis=1)]


class Generation:
    """Whatever is written with a beam search; the most likely text counts, as in ranking, so length has no weight."""

    def __init__(self, network: LanguageNetwork, settings: VqaSettings, device: torch.device) -> None:
        self.klip, self.vocabulary, self.device = network.klip, network.vocabulary, device
        specials = self.klip.specials
        self.banned = forbidden_tokens(specials, self.klip.vocabulary_size, stop=specials.sep).to(device)
        # Nothing forbids repetitions: lists and names hold them.
        self.how = Writing(settings.generated_tokens, settings.beams, length_power=0.0, no_repeat=0)

    at_once = QUESTIONS

    def __call__(self, memory: Memory, questions: int) -> list[str]:
        """An answer for each row of the memory."""
        specials = self.klip.specials
        prefix = torch.full((questions, 1), specials.dec, device=self.device)
        found = write(
            KlipWriter(self.klip, memory), prefix, prefix > 0, stop=specials.sep, how=self.how, banned=self.banned
        )
        return [self.vocabulary.decode(texts[0].ids) if texts else "" for texts in found]


@torch.inference_mode()
def answer_all(
    network: LanguageNetwork,
    to_input: InputPath,
    images: Squares,
    asked: Sequence[Ask],
    reply: Ranking | Generation,
    *,
    device: torch.device,
    precision: str,
) -> list[str]:
    """One answer per question, in their order."""
    network.eval()
    klip, answers = network.klip, [""] * len(asked)
    with autocast(device, precision):
        for rows, numbers in _blocks(asked):
            pixels = torch.from_numpy(np.ascontiguousarray(images[rows])).to(device)
            visual = klip.visual_memory(klip.encode_image(to_input(pixels)).memory)
            place = {row: n for n, row in enumerate(rows)}
            for chosen in _alike(asked, numbers, reply.at_once):
                texts = reading([asked[number].question for number in chosen], klip.specials).to(device)
                index = torch.tensor([place[asked[number].image] for number in chosen], device=device)
                fused = klip.fused(texts, visual, index)
                said = reply(klip.decoder_memory(fused, None, visual, index), len(chosen))
                for number, answer in zip(chosen, said, strict=True):
                    answers[number] = answer
    return answers


def _blocks(asked: Sequence[Ask]) -> Iterator[tuple[list[int], list[int]]]:
    """Some images at a time, and the questions about them."""
    by_image: dict[int, list[int]] = defaultdict(list)
    for number, ask in enumerate(asked):
        by_image[ask.image].append(number)
    rows = sorted(by_image)
    for low in range(0, len(rows), IMAGES):
        block = rows[low : low + IMAGES]
        yield block, [number for row in block for number in by_image[row]]


def _alike(asked: Sequence[Ask], numbers: Sequence[int], most: int) -> Iterator[list[int]]:
    """Questions of the same length, so many at a time."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for number in numbers:
        by_length[len(asked[number].question)].append(number)
    for length in sorted(by_length):
        for low in range(0, len(by_length[length]), most):
            yield by_length[length][low : low + most]
