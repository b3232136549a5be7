"""One BERT in three modes (section 2.2 of the KLIP specification).

`text` reads a text alone, `fused` reads it with an image, `decode` writes one from left to right with an image. All
modes share embeddings, cross-attention and feed-forward layers; `decode` has a self-attention of its own. Each layer is
built once with two self-attention sub-modules: nothing is aliased, so a state dict holds every weight once and the
momentum twin moves once.

Keys and values of the image for cross-attention are a `Memory`: projected once per image and layer, whatever the number
of texts that look at it. Where only the state of the first token is wanted, the last layer computes nothing else: its
queries are that one position.

With `fusion="albef"` the first half of the layers has no cross-attention and is the text encoder; the second half goes
on from its states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from klip.model.dropout import attention, dropout
from klip.settings import ModelSettings

NORM_EPS = 1e-12  # section 2.1
INITIAL_STD = 0.02  # section 2.1
DROPOUT = 0.1  # section 2.1: embeddings, attention and hidden states


@dataclass(frozen=True, slots=True)
class Memory:
    """What cross-attention looks at: keys and values of every layer that has one."""

    keys: list[Tensor]
    """Per layer [M, heads, N, width of a head]."""
    values: list[Tensor]
    mask: Tensor | None = None
    """bool [M, N]: positions that may be looked at; None for all."""

    def __len__(self) -> int:
        return len(self.keys[0])

    def rows(self, index: Tensor) -> Memory:
        """Some of the rows, which costs a copy; projections are not made again."""
        mask = None if self.mask is None else self.mask[index]
        keys = [key.index_select(0, index) for key in self.keys]
        return Memory(keys, [value.index_select(0, index) for value in self.values], mask)

    def beside(self, other: Memory) -> Memory:
        """The positions of both, row by row; a full mask where only the other has one."""
        mask = None
        if self.mask is not None or other.mask is not None:
            mask = torch.cat([_full_mask(self), _full_mask(other)], dim=1)
        keys = [torch.cat(pair, dim=2) for pair in zip(self.keys, other.keys, strict=True)]
        values = [torch.cat(pair, dim=2) for pair in zip(self.values, other.values, strict=True)]
        return Memory(keys, values, mask)


@dataclass(slots=True)
class DecoderCache:
    """Keys and values of the tokens written so far, layer by layer; grows by `decode`."""

    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Positions so far."""
        return self.keys[0].shape[2] if self.keys else 0

    def rows(self, index: Tensor) -> DecoderCache:
        """Some of the rows: how beams change places."""
        return DecoderCache([key[index] for key in self.keys], [value[index] for value in self.values])

    def extended(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values of a layer, the new ones last."""
        if layer < len(self.keys):
            key = self.keys[layer] = torch.cat([self.keys[layer], key], dim=2)
            value = self.values[layer] = torch.cat([self.values[layer], value], dim=2)
        else:
            self.keys.append(key)
            self.values.append(value)
        return key, value


class SelfAttention(nn.Module):
    """Post-norm attention of a text on itself; one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, states: Tensor, mask: Tensor | None, *, first_only: bool = False) -> Tensor:
        """States [n, L, d] after attention; with `first_only` [n, 1, d]."""
        if first_only:
            return self._first(states, mask)
        query, key, value = _heads(self.qkv(states), self.heads, 3)
        return self._closed(states, _attend(query, key, value, mask, self.dropout if self.training else 0.0))

    def _first(self, states: Tensor, mask: Tensor | None) -> Tensor:
        width = states.shape[2]
        weight, bias = self.qkv.weight, self.qkv.bias
        first = states[:, :1]
        (query,) = _heads(F.linear(first, weight[:width], bias[:width]), self.heads, 1)
        key, value = _heads(F.linear(states, weight[width:], bias[width:]), self.heads, 2)
        return self._closed(first, _attend(query, key, value, mask, self.dropout if self.training else 0.0))

    def causal(self, states: Tensor, mask: Tensor | None, cache: DecoderCache | None, layer: int) -> Tensor:
        """Attention on what stands before; `mask` [n, 1, L, L'] where padding must be left out too."""
        query, key, value = _heads(self.qkv(states), self.heads, 3)
        if cache is not None:
            key, value = cache.extended(layer, key, value)
        probability = self.dropout if self.training else 0.0
        causal = mask is None and query.shape[2] > 1
        return self._closed(states, _attend(query, key, value, mask, probability, causal=causal))

    def _closed(self, states: Tensor, attended: Tensor) -> Tensor:
        dropped = dropout(self.out(attended), self.dropout, self.training)
        return cast(Tensor, self.norm(states + dropped))


class CrossAttention(nn.Module):
    """Post-norm attention of a text on a memory."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of memory tokens [M, N, d]."""
        key, value = _heads(self.kv(tokens), self.heads, 2)
        return key, value

    def forward(self, states: Tensor, views: Sequence[_View]) -> Tensor:
        """States [n, L, d] that have looked, the first rows at the first view and so on."""
        (query,) = _heads(self.query(states), self.heads, 1)
        probability = self.dropout if self.training else 0.0
        queries = torch.split(query, [len(view.key) * view.rounds for view in views])
        parts = [view.seen_by(part, probability) for view, part in zip(views, queries, strict=True)]
        attended = parts[0] if len(parts) == 1 else torch.cat(parts)
        dropped = dropout(self.out(attended), self.dropout, self.training)
        return cast(Tensor, self.norm(states + dropped))


class FeedForward(nn.Module):
    """Post-norm feed-forward with the exact GELU."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, states: Tensor) -> Tensor:
        """States of the same shape."""
        dropped = dropout(self.down(F.gelu(self.up(states))), self.dropout, self.training)
        return cast(Tensor, self.norm(states + dropped))


class Layer(nn.Module):
    """Self-attention of two kinds, cross-attention where there is one, feed-forward."""

    def __init__(self, settings: ModelSettings, *, crosses: bool, dropout: float) -> None:
        super().__init__()
        width, heads = settings.text_width, settings.text_heads
        self.self_enc = SelfAttention(width, heads, dropout)
        self.self_dec = SelfAttention(width, heads, dropout)
        self.cross = CrossAttention(width, heads, dropout) if crosses else None
        self.ffn = FeedForward(width, settings.text_ffn, dropout)

    def encode(self, states: Tensor, mask: Tensor, views: Sequence[_View], first_only: bool) -> Tensor:
        """One bidirectional layer, with a look at the image where there is something to see."""
        return self.see(self.self_enc(states, mask, first_only=first_only), views)

    def see(self, states: Tensor, views: Sequence[_View]) -> Tensor:
        """What follows the attention of the text on itself."""
        return cast(Tensor, self.ffn(self._looked(states, views)))

    def write(
        self, states: Tensor, mask: Tensor | None, views: Sequence[_View], cache: DecoderCache | None, index: int
    ) -> Tensor:
        """One causal layer."""
        states = self.self_dec.causal(states, mask, cache, index)
        return cast(Tensor, self.ffn(self._looked(states, views)))

    def _looked(self, states: Tensor, views: Sequence[_View]) -> Tensor:
        return cast(Tensor, self.cross(states, views)) if views and self.cross is not None else states


@dataclass(frozen=True, slots=True)
class _View:
    """Keys and values of one layer; text r of `rounds` times as many texts as there are rows looks at row r % rows."""

    key: Tensor
    value: Tensor
    mask: Tensor | None
    rounds: int = 1

    def seen_by(self, query: Tensor, probability: float) -> Tensor:
        """What queries [n, heads, L, d] get out of it: [n, L, heads * d]."""
        if self.rounds == 1:
            return _attend(query, self.key, self.value, self.mask, probability)
        # Texts that look at the same row stand one behind the other as one long text: no key is copied for them.
        count, heads, length, width = query.shape
        shape = (self.rounds, count // self.rounds, heads, length, width)
        long = query.reshape(shape).permute(1, 2, 0, 3, 4).flatten(2, 3)
        found = attention(long, self.key, self.value, self.mask, probability)
        apart = found.view(count // self.rounds, heads, self.rounds, length, width)
        return apart.permute(2, 0, 3, 1, 4).reshape(count, length, heads * width)


@dataclass(frozen=True, slots=True)
class _Looks:
    """Which text looks at which row of a memory."""

    memory: Memory
    index: Tensor | None
    rounds: int = 0


class TextStack(nn.Module):
    """Embeddings and layers; heads are the model's."""

    def __init__(self, settings: ModelSettings, vocabulary_size: int, *, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.dropout = dropout
        self.recompute = 0
        """How many of the last layers keep nothing for the backward pass and are run again in it."""
        self.words = nn.Embedding(vocabulary_size, settings.text_width)
        self.positions = nn.Embedding(settings.positions, settings.text_width)
        self.norm = nn.LayerNorm(settings.text_width, eps=NORM_EPS)
        # With `albef` the first half reads text alone (section 2.2).
        self.first_cross = settings.text_layers // 2 if settings.fusion == "albef" else 0
        self.layers = nn.ModuleList(
            Layer(settings, crosses=n >= self.first_cross, dropout=dropout) for n in range(settings.text_layers)
        )

    def embed(self, ids: Tensor, positions: Tensor | None = None, *, start: int = 0) -> Tensor:
        """Embeddings of tokens [n, L] at their positions, counted from `start` where none are given."""
        if positions is None:
            positions = torch.arange(start, start + ids.shape[1], device=ids.device)
        states = self.norm(self.words(ids) + self.positions(positions))
        return dropout(states, self.dropout, self.training)

    def project(self, tokens: Tensor, mask: Tensor | None = None) -> Memory:
        """A memory [M, N, d] as keys and values of every layer that looks at it."""
        pairs = [cross.project(tokens) for cross in self._crossing()]
        return Memory([key for key, _ in pairs], [value for _, value in pairs], mask)

    def text(self, ids: Tensor, mask: Tensor, *, first_only: bool = True) -> Tensor:
        """Mode `text`: states [n, L, d], or [n, 1, d] of the first token alone."""
        last = self.first_cross or len(self.layers)
        return self._encode(self.embed(ids), mask, range(last), None, first_only)

    def fused(
        self,
        ids: Tensor,
        mask: Tensor,
        memory: Memory,
        index: Tensor | None,
        *,
        first_only: bool = False,
        rounds: int = 0,
    ) -> Tensor:
        """Mode `fusion`: states of texts that look at row `index` of the memory; None: row by row.

        The texts may begin with some `rounds` of the memory's rows, in order; `index` then speaks of the texts that
        follow. Keys and values are not copied for rounds.
        """
        layers = range(len(self.layers))
        return self._encode(self.embed(ids), mask, layers, _Looks(memory, index, rounds), first_only)

    def fused_from(
        self,
        states: Tensor,
        mask: Tensor,
        memory: Memory,
        index: Tensor | None,
        *,
        first_only: bool = False,
        rounds: int = 0,
    ) -> Tensor:
        """The second half of `albef`, from states of mode `text`."""
        layers = range(self.first_cross, len(self.layers))
        return self._encode(states, mask, layers, _Looks(memory, index, rounds), first_only)

    def read_ahead(self, ids: Tensor, mask: Tensor) -> Tensor:
        """States [n, L, d] of texts that are about to look at an image: whatever it is, they are the same."""
        states = self._encode(self.embed(ids), mask, range(self.first_cross), None, False)
        return cast(Tensor, cast(Layer, self.layers[self.first_cross]).self_enc(states, mask[:, None, None, :]))

    def fused_ahead(self, states: Tensor, mask: Tensor, memory: Memory, *, rounds: int) -> Tensor:
        """State [n, 1, d] of the first token of `fused`, from those of `read_ahead`; rounds as there."""
        looks, layer = _Looks(memory, None, rounds), cast(Layer, self.layers[self.first_cross])
        states = layer.see(states, self._views(looks, self.first_cross))
        return self._encode(states, mask, range(self.first_cross + 1, len(self.layers)), looks, True)[:, :1]

    def decode(
        self,
        ids: Tensor,
        memory: Memory,
        index: Tensor | None,
        *,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: DecoderCache | None = None,
        tree: Tensor | None = None,
    ) -> Tensor:
        """Mode `decode`: states [n, L, d].

        Args:
            ids: The tokens that are new.
            memory: What is looked at.
            index: Its row for each text; None: row by row.
            mask: bool [n, all positions so far], needed only where padding stands before tokens (prefixes of different
                lengths, padded on the left). Padding after the tokens is seen by none of them.
            positions: int64 [n, L], needed with it.
            cache: What was written before; grows.
            tree: bool [L, L], where a row is one text after another with common beginnings written once: true where the
                token of the column stands before that of the row in its text, or is it. Positions follow from it; it
                goes with neither mask, positions nor cache.
        """
        if tree is not None:
            positions = tree.sum(dim=1) - 1
        start = cache.length if cache is not None else 0
        states = self.embed(ids, positions, start=start)
        causal = None if tree is None else tree[None, None]
        if mask is not None or (start and ids.shape[1] > 1):
            causal = _causal_mask(ids.shape[1], start, ids.device)[None, None]
            causal = causal if mask is None else causal & mask[:, None, None, :]
            # A row that may look nowhere (padding) looks at itself: no NaN, and nobody looks at it.
            causal = causal | _own_position(ids.shape[1], start, ids.device)[None, None]
        for n, module in enumerate(self.layers):
            layer = cast(Layer, module)
            arguments = (states, causal, self._views(_Looks(memory, index), n), cache, n)
            if self._runs_again(n):
                states = checkpoint(layer.write, *arguments, use_reentrant=False)
            else:
                states = layer.write(*arguments)
        return states

    def _encode(
        self,
        states: Tensor,
        mask: Tensor,
        layers: Sequence[int],
        looks: _Looks | None,
        first_only: bool,
    ) -> Tensor:
        wide = mask[:, None, None, :]
        for n in layers:
            layer = cast(Layer, self.layers[n])
            views = () if looks is None else self._views(looks, n)
            only = first_only and n == layers[-1]
            if self._runs_again(n):
                states = checkpoint(layer.encode, states, wide, views, only, use_reentrant=False)
            else:
                states = layer.encode(states, wide, views, only)
        return states

    def _runs_again(self, layer: int) -> bool:
        return self.training and torch.is_grad_enabled() and layer >= len(self.layers) - self.recompute

    def _views(self, looks: _Looks, layer: int) -> tuple[_View, ...]:
        if layer < self.first_cross:
            return ()
        memory, index = looks.memory, looks.index
        key, value = memory.keys[layer - self.first_cross], memory.values[layer - self.first_cross]
        mask = None if memory.mask is None else memory.mask[:, None, None, :]
        rounds = looks.rounds if index is not None else max(looks.rounds, 1)
        views = [_View(key, value, mask, rounds)] if rounds else []
        if index is not None:
            # Its gradient is added up row by row; that of `key[index]` would be sorted first.
            chosen = key.index_select(0, index), value.index_select(0, index)
            views.append(_View(*chosen, None if mask is None else mask[index]))
        return tuple(views)

    def _crossing(self) -> list[CrossAttention]:
        return [layer.cross for layer in self.layers if isinstance(layer, Layer) and layer.cross is not None]


@torch.no_grad()
def start_as_bert(module: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of the usual spread, no bias, norms that change nothing (section 2.1)."""
    for name, parameter in module.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=INITIAL_STD, generator=generator)
        else:
            parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)


@torch.no_grad()
def spread_by_width(module: nn.Module, generator: torch.Generator) -> None:
    """Matrices that keep the size of what goes through them; embeddings and kernels stay as they are."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.weight.normal_(std=part.in_features**-0.5, generator=generator)


def _heads(projected: Tensor, heads: int, parts: int) -> tuple[Tensor, ...]:
    """[n, L, parts * d] as `parts` tensors [n, heads, L, d / heads]."""
    count, length, width = projected.shape
    divided = projected.view(count, length, parts, heads, width // (parts * heads))
    return tuple(divided.permute(2, 0, 3, 1, 4).unbind(0))


def _attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, probability: float, *, causal: bool = False
) -> Tensor:
    return _merged(attention(query, key, value, mask, probability, causal=causal))


def _merged(attended: Tensor) -> Tensor:
    return attended.transpose(1, 2).flatten(2)


def _causal_mask(new: int, before: int, device: torch.device) -> Tensor:
    every = torch.arange(before + new, device=device)
    return every[None, :] <= every[before:, None]


def _own_position(new: int, before: int, device: torch.device) -> Tensor:
    every = torch.arange(before + new, device=device)
    return every[None, :] == every[before:, None]


def _full_mask(memory: Memory) -> Tensor:
    if memory.mask is not None:
        return memory.mask
    first = memory.keys[0]
    return torch.ones(first.shape[0], first.shape[2], dtype=torch.bool, device=first.device)
