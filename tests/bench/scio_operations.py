"""How many multiplications a screening takes, counted from the geometry (section 6.8 of the KLIP specification).

The peer is code that scores one pair after the other: the ViT, the text encoder and the fusion encoder run for every
version of every text; where contrast and matching are two calls, the ViT runs twice. Ours runs the ViT and the
projections of cross-attention once per image, and the fusion encoder only for versions that contrast prefers; the last
layer is computed for the first token alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from klip.settings import SIZES, SLOTS, PretrainingSettings

TOKENS = 120
"""Of a text with eight equal segments, as in section 6.8."""
CANDIDATES = (0.0, 1.5, 2.0, 8.0)
"""Versions per text that matching is asked for; eight is without the gate."""


@dataclass(frozen=True)
class Operations:
    """Multiplications for one image."""

    one_by_one: float
    two_calls: float
    """Pair by pair, with contrast and matching asked for separately."""
    ours: float

    @property
    def ratio(self) -> float:
        """How many times fewer."""
        return self.one_by_one / self.ours


def screening_operations(settings: PretrainingSettings, tokens: int, candidates: float) -> Operations:
    """For a text of `tokens` tokens; one of the eight versions is an eighth shorter."""
    shorter = round(tokens * (SLOTS - 1) / SLOTS)
    image, keys = _image(settings), _cross_keys(settings)
    pair = image + keys + _text(settings, tokens, first_only=False) + _fused(settings, tokens, first_only=False)
    version = image + keys + _text(settings, shorter, first_only=False) + _fused(settings, shorter, first_only=False)
    ours = image + keys
    ours += _text(settings, tokens) + SLOTS * _text(settings, shorter)
    ours += _fused(settings, tokens) + candidates * _fused(settings, shorter)
    naive = pair + SLOTS * version
    return Operations(naive, naive + (SLOTS + 1) * image, ours)


def _image(settings: PretrainingSettings) -> float:
    model, image = settings.model, settings.image
    width, count = model.vision_width, image.tokens
    block = 12 * width**2 * count + 2 * count**2 * width
    return model.vision_depth * block + (count - 1) * 3 * image.patch**2 * width


def _cross_keys(settings: PretrainingSettings) -> float:
    model = settings.model
    return model.text_layers * 2 * model.text_width**2 * settings.image.tokens


def _text(settings: PretrainingSettings, tokens: int, *, first_only: bool = True) -> float:
    whole = _layer(settings, tokens, tokens)
    last = _layer(settings, tokens, 1) if first_only else whole
    return (settings.model.text_layers - 1) * whole + last


def _fused(settings: PretrainingSettings, tokens: int, *, first_only: bool = True) -> float:
    model, seen = settings.model, settings.image.tokens

    def crossing(queries: int) -> float:
        return queries * (2 * model.text_width**2 + 2 * seen * model.text_width)

    queries = 1 if first_only else tokens
    cross = (model.text_layers - 1) * crossing(tokens) + crossing(queries)
    return _text(settings, tokens, first_only=first_only) + cross


def _layer(settings: PretrainingSettings, tokens: int, queries: int) -> float:
    """Self-attention and feed-forward of a layer of which `queries` positions are wanted."""
    model = settings.model
    width = model.text_width
    attention = 2 * width**2 * tokens + 2 * width**2 * queries + 2 * tokens * queries * width
    return attention + 2 * width * model.text_ffn * queries


def print_operations(*, as_json: bool = False) -> None:
    """The counts for tiny and base."""
    found = {
        (size, candidates): screening_operations(PretrainingSettings.model_validate(SIZES[size]), TOKENS, candidates)
        for size in ("tiny", "base")
        for candidates in CANDIDATES
    }
    if as_json:
        rows = [
            {"size": size, "candidates": candidates, **vars(counts), "ratio": counts.ratio}
            for (size, candidates), counts in found.items()
        ]
        print(json.dumps({"scio-operations": rows}, indent=2))
        return
    print(f"screening one image with a text of {TOKENS} tokens, GMAC")
    for (size, candidates), counts in found.items():
        naive, ours = counts.one_by_one / 1e9, counts.ours / 1e9
        print(
            f"  {size:6}{candidates:4} versions matched: pair by pair {naive:8.2f}, ours {ours:8.2f}: "
            f"{counts.ratio:.2f} x fewer, {counts.two_calls / counts.ours:.2f} x fewer than with two calls"
        )
