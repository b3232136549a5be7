"""Colours with a meaning, the same in every figure; told apart by people with a colour vision deficiency, too."""

from __future__ import annotations

import colorsys

Colour = tuple[int, int, int]

MATCHED: Colour = (70, 150, 255)
"""A detection that found a target: blue (section 13, Fig. 12)."""
UNMATCHED: Colour = (255, 70, 60)
"""A detection of nothing: red (section 13, Fig. 12)."""
MISSED: Colour = (255, 225, 40)
"""A target that nobody found: yellow (section 13, Fig. 12)."""
TRUTH: Colour = (90, 220, 120)
"""The boxes of the ground truth in their own column."""
IGNORED: Colour = (0, 0, 0)
"""Pixels that are neither learnt nor scored."""
WRONG: Colour = (214, 39, 40)
"""A pixel with the wrong class in an error map."""
RIGHT: Colour = (222, 226, 232)
"""A pixel with the right class in an error map."""

# Okabe and Ito's eight colours that stay different under every common deficiency; the last stands for background.
_CLASSES: tuple[Colour, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
    (128, 128, 128),
)
_BACKGROUND_NAMES = frozenset({"background", "other", "unlabelled"})
_GOLDEN = 0.61803398875
"""Steps of the golden ratio spread hues evenly however many there are."""


def class_colours(names: tuple[str, ...]) -> tuple[Colour, ...]:
    """One colour per class, in the order of the classes; what is no land cover of its own is grey."""
    colours: list[Colour] = []
    used = 0
    for name in names:
        if name.lower() in _BACKGROUND_NAMES and _CLASSES[-1] not in colours:
            colours.append(_CLASSES[-1])
            continue
        colours.append(_CLASSES[used] if used < len(_CLASSES) - 1 else _further(used))
        used += 1
    return tuple(colours)


def web(colour: Colour) -> str:
    """As HTML and SVG write it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def shade(share: float) -> Colour:
    """White to blue for 0 to 1; dark text on it has a contrast of at least 5 to 1."""
    share = min(1.0, max(0.0, share))
    low, high = (255, 255, 255), (90, 155, 213)
    red, green, blue = (round(start + (end - start) * share) for start, end in zip(low, high, strict=True))
    return red, green, blue


def _further(place: int) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(place * _GOLDEN % 1.0, 0.75 if place % 2 else 0.45, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)
