"""Writing text token by token with a beam search of our own (section 8.5 of the KLIP specification).

The search knows a `Writer` and no model: something that takes prefixes, says how likely each next token is, and goes on
from rows of the step before. So a key-value cache, a model without one and a table made up in a test are all searched
by the same code. Every text is searched by itself: what its neighbours in the batch are changes nothing.

What is searched for is the written text with the best sum of log-probabilities divided by length ** `length_power`, the
stop token counted on both sides. As in every beam search with a length norm, a text that the beams leave too early is
lost; with as many beams as there are texts it is the exact best (that is tested).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from foundation.errors import UsageError

if TYPE_CHECKING:
    from klip.model.klip import KLIP
    from klip.model.text_stack import DecoderCache, Memory
    from klip.tokens.vocabulary import Specials

_NEVER = float("-inf")


class Writer(Protocol):
    """What is searched: the probabilities of a next token, and a state of its own behind them."""

    def begin(self, prefix: Tensor, mask: Tensor) -> Tensor:
        """Logits [n, V] after each of n prefixes: int64 [n, P], right-padded, `mask` bool [n, P] true where a token is.

        Prefixes of a batch may be of different lengths; none is empty.
        """

    def go_on(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """Logits [m, V] after rows of the step before, each with one token more; both int64 [m].

        A row may be taken several times, or never again.
        """


@dataclass(frozen=True, slots=True)
class Writing:
    """How is written (defaults of sections 6.6 and 8.5)."""

    most: int
    """Tokens that may be written, the stop token included."""
    beams: int = 3
    fewest: int = 1
    """Tokens before the stop token."""
    length_power: float = 1.0
    no_repeat: int = 3
    """No run of so many tokens is written twice; 0 allows all. The prefix does not count: other segments of a text say
    things alike."""
    patience: Literal["present", "exact"] = "present"
    """When a text has all its beams finished and the search for it ends: when no live beam, at its present length, is
    better than the worst finished one, or when none can become better by growing to the longest length without any
    further loss, which hardly ever comes true before the end."""

    def __post_init__(self) -> None:
        if min(self.beams, self.most) < 1 or not 0 <= self.fewest < self.most or self.no_repeat < 0:
            raise UsageError(
                f"cannot write {self.fewest} to {self.most} tokens with {self.beams} beams and no repetition of "
                f"{self.no_repeat}",
                way_out="give at least one beam and room for the stop token after the shortest text",
            )


class Written(NamedTuple):
    """One text."""

    ids: tuple[int, ...]
    """Without prefix and stop token."""
    score: float
    """Sum of log-probabilities / length ** power."""
    ended: bool
    """False where the longest length came before the stop token."""


def forbidden_tokens(specials: Specials, vocabulary_size: int, *, stop: int) -> Tensor:
    """The special tokens that no text holds (section 8.5), bool [V]; the one that ends it is excepted."""
    banned = torch.zeros(vocabulary_size, dtype=torch.bool)
    banned[[specials.pad, specials.unk, specials.cls, specials.mask, specials.dec, specials.enc]] = True
    banned[[specials.sep, specials.seg]] = True
    banned[stop] = False
    return banned


@torch.inference_mode()
def write(
    writer: Writer, prefix: Tensor, mask: Tensor, *, stop: int, how: Writing, banned: Tensor | None = None
) -> list[list[Written]]:
    """The best texts after each prefix, at most `how.beams` of them: ended ones first, then by score.

    Args:
        writer: What is searched.
        prefix: int64 [n, P], right-padded.
        mask: bool [n, P], true where a token is.
        stop: The token that ends a text.
        how: Beams, lengths and so on.
        banned: bool [V] or [n, V], tokens that are never written; one that forbids all but a few is a list of allowed
            ones.
    """
    if not len(prefix):
        return []
    search = _Search(len(prefix), stop, how, banned, prefix.device)
    step = search.extend(writer.begin(prefix, mask))
    while step is not None:
        step = search.extend(writer.go_on(*step))
    return search.found()


class KlipWriter:
    """The decoder of KLIP with a key-value cache; the memory is projected once and copied only when texts drop out.

    Prefixes stay right-padded in the cache, where a mask hides their padding; positions count real tokens only. So the
    rows of a batch are what each would be alone.
    """

    def __init__(self, model: KLIP, memory: Memory, index: Tensor | None = None) -> None:
        """`index` names the row of `memory` for each prefix; None: row by row."""
        from klip.model.text_stack import DecoderCache

        self.model, self.memory, self.index = model, memory, index
        self.cache: DecoderCache = DecoderCache()
        self._seen: tuple[Tensor, Memory] | None = None

    def begin(self, prefix: Tensor, mask: Tensor) -> Tensor:
        """All prefixes in one pass; nothing looks at the padding after a prefix."""
        if self.index is None:
            self.index = torch.arange(len(prefix), device=prefix.device)
        hidden = self.model.decode(prefix, self.memory, self.index, cache=self.cache)
        self.mask, self.lengths = mask, mask.sum(dim=1)
        self.ragged = not bool(mask.all())
        last = hidden[torch.arange(len(prefix), device=prefix.device), self.lengths - 1]
        return self.model.lm_logits(last)

    def go_on(self, rows: Tensor, tokens: Tensor) -> Tensor:
        """One more token for each of the rows."""
        assert self.index is not None
        self.cache, self.index = self.cache.rows(rows), self.index[rows]
        one = torch.ones(len(rows), 1, dtype=torch.bool, device=rows.device)
        self.mask = torch.cat([self.mask[rows], one], dim=1)
        position, self.lengths = self.lengths[rows], self.lengths[rows] + 1
        hidden: Tensor = self.model.decode(
            tokens[:, None],
            self._expanded(self.index),
            mask=self.mask if self.ragged else None,
            positions=position[:, None],
            cache=self.cache,
        )
        return self.model.lm_logits(hidden[:, 0])

    def _expanded(self, index: Tensor) -> Memory:
        """One row of memory for each beam; beams of a text change places without changing it."""
        if self._seen is None or not torch.equal(self._seen[0], index):
            self._seen = (index, self.memory.rows(index))
        return self._seen[1]


class _Step(NamedTuple):
    rows: Tensor
    tokens: Tensor


class _Search:
    """The beams of the texts that are still searched for, and the finished ones of all."""

    def __init__(self, count: int, stop: int, how: Writing, banned: Tensor | None, device: torch.device) -> None:
        self.how, self.stop = how, stop
        self.banned = None if banned is None else banned.to(device)
        self.finished: list[list[Written]] = [[] for _ in range(count)]
        self.texts = torch.arange(count, device=device)  # which text each group of beams belongs to
        # One beam at first: equal beams would find equal texts.
        self.sums = torch.zeros(count, 1, device=device)
        self.written = torch.zeros(count, 1, 0, dtype=torch.int64, device=device)

    def extend(self, logits: Tensor) -> _Step | None:
        """Takes the logits of all live beams; gives what to ask next, or None when everything is found."""
        count, beams, length = self.written.shape
        gains = logits.float().log_softmax(dim=-1).view(count, beams, -1)
        totals = self.sums[..., None] + gains.masked_fill(self._refused(gains), _NEVER)
        vocabulary = totals.shape[-1]
        # Twice as many candidates as beams: even if all beams could stop, as many go on.
        best, index = totals.flatten(1).topk(min(2 * self.how.beams, beams * vocabulary), dim=1)
        origin, token = index // vocabulary, index % vocabulary
        stops = token == self.stop
        self._finish(best[:, : self.how.beams], origin, stops)
        if length + 1 == self.how.most:
            self._give_up(best.masked_fill(stops, _NEVER), origin, token)
            return None
        return self._go_on(best, origin, token, stops)

    def found(self) -> list[list[Written]]:
        """All texts, the best first."""
        return [sorted(texts, key=_rank)[: self.how.beams] for texts in self.finished]

    def _refused(self, gains: Tensor) -> Tensor:
        refused = torch.zeros_like(gains, dtype=torch.bool)
        if self.banned is not None:
            refused |= self.banned if self.banned.ndim == 1 else self.banned[self.texts, None]
        if self.written.shape[2] < self.how.fewest:
            refused[..., self.stop] = True
        if self.how.no_repeat:
            refused |= _repetitions(self.written, self.how.no_repeat, gains.shape[-1])
        return refused

    def _score(self, sums: Tensor, length: int) -> Tensor:
        scores: Tensor = sums / length**self.how.length_power
        return scores

    def _finish(self, best: Tensor, origin: Tensor, stops: Tensor) -> None:
        """Keeps candidates that end, if they are among the best `beams`: with one beam this is greedy writing."""
        ending = stops[:, : best.shape[1]] & (best > _NEVER)
        if not bool(ending.any()):
            return
        scores = self._score(best, self.written.shape[2] + 1)
        for group, rank in ending.nonzero().tolist():
            ids = tuple(self.written[group, origin[group, rank]].tolist())
            texts = self.finished[int(self.texts[group])]
            texts.append(Written(ids, float(scores[group, rank]), True))
            texts.sort(key=_rank)
            del texts[self.how.beams :]

    def _give_up(self, best: Tensor, origin: Tensor, token: Tensor) -> None:
        """The length is used up: what is still being written counts behind everything that ended."""
        scores = self._score(best, self.how.most)
        for group, text in enumerate(self.texts.tolist()):
            for rank in range(best.shape[1]):
                if best[group, rank] > _NEVER and len(self.finished[text]) < self.how.beams:
                    ids = [*self.written[group, origin[group, rank]].tolist(), int(token[group, rank])]
                    self.finished[text].append(Written(tuple(ids), float(scores[group, rank]), False))

    def _go_on(self, best: Tensor, origin: Tensor, token: Tensor, stops: Tensor) -> _Step | None:
        """The best `beams` candidates that do not end, for texts that can still gain."""
        beams = min(self.how.beams, best.shape[1])
        old_beams, length = self.written.shape[1:]
        order = torch.argsort(stops.to(torch.int8), dim=1, stable=True)[:, :beams]
        sums = best.masked_fill(stops, _NEVER).gather(1, order)
        origin, token = origin.gather(1, order), token.gather(1, order)
        alive = self._can_gain(sums, length + 1)
        groups = alive.nonzero().flatten()
        if not len(groups):
            return None
        origin, token, sums = origin[groups], token[groups], sums[groups]
        before = self.written[groups].gather(1, origin[..., None].expand(-1, -1, length))
        self.written = torch.cat([before, token[..., None]], dim=2)
        self.sums, self.texts = sums, self.texts[groups]
        return _Step((groups[:, None] * old_beams + origin).flatten(), token.flatten())

    def _can_gain(self, sums: Tensor, length: int) -> Tensor:
        """Texts whose best live beam may still displace a finished one, bool [n]."""
        reach = length if self.how.patience == "present" else self.how.most
        hope = self._score(sums[:, 0], reach).tolist()
        alive = []
        for text, best in zip(self.texts.tolist(), hope, strict=True):
            done = [written.score for written in self.finished[text]]
            alive.append(best > _NEVER and (len(done) < self.how.beams or best > min(done)))
        return torch.tensor(alive, device=sums.device)


def _rank(written: Written) -> tuple[bool, float]:
    return (not written.ended, -written.score)


def _repetitions(written: Tensor, run: int, vocabulary: int) -> Tensor:
    """Tokens that would repeat a run of `run` tokens, bool [n, k, V]."""
    count, beams, length = written.shape
    refused = torch.zeros(count, beams, vocabulary, dtype=torch.uint8, device=written.device)
    if length < run:
        return refused.bool()
    runs = written.unfold(2, run, 1)  # [n, k, length - run + 1, run]
    last = written[:, :, length - run + 1 :]
    same = (runs[..., :-1] == last[:, :, None]).all(dim=-1)
    return refused.scatter_reduce(2, runs[..., -1], same.to(torch.uint8), "amax", include_self=True).bool()
