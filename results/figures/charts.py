"""Charts as SVG text: curves and bars. Written by hand because a page has many and a store has hundreds of pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from results.figures.colours import Colour, class_colours, web
from results.figures.figure import Figure, csv_text

_FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4", "10 4")
_WIDTH = 640
_INK = "#1c2733"
_GRID = "#d7dde4"


class Line(NamedTuple):
    """One curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Range(NamedTuple):
    """An axis from end to end."""

    low: float
    high: float
    title: str


def line_chart(name: str, alt: str, lines: Sequence[Line], across: Range, up: Range) -> Figure:
    """Curves with a legend below; each has a colour and a dash pattern of its own."""
    left, right, top, height = 58, 14, 14, 260
    columns = 2
    legend = 20 * math.ceil(len(lines) / columns) if len(lines) > 1 else 0
    whole = top + height + 48 + legend
    wide = _WIDTH - left - right

    def place(x: float, y: float) -> str:
        over = (x - across.low) / ((across.high - across.low) or 1.0)
        above = (y - up.low) / ((up.high - up.low) or 1.0)
        return f"{left + wide * over:.1f},{top + height * (1 - above):.1f}"

    parts = [*_grid(across, up, left, top, wide, height)]
    colours = class_colours(tuple(f"{number}" for number in range(len(lines))))
    for number, (line, colour) in enumerate(zip(lines, colours, strict=True)):
        dash = f" stroke-dasharray='{_DASHES[number % len(_DASHES)]}'" if number % len(_DASHES) else ""
        points = [place(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
        parts.append(
            f"<polyline fill='none' stroke='{web(_dark(colour))}' stroke-width='2'{dash} points='{' '.join(points)}'/>"
        )
        if len(points) == 1:
            x, y = points[0].split(",")
            parts.append(f"<circle cx='{x}' cy='{y}' r='3' fill='{web(_dark(colour))}'/>")
        if len(lines) > 1:
            x_key = left + (number % columns) * wide // columns
            y_key = top + height + 56 + 20 * (number // columns)
            parts.append(
                f"<path d='M{x_key} {y_key - 4}h28' stroke='{web(_dark(colour))}' stroke-width='3'{dash}/>"
                + _text(x_key + 34, y_key, _cut(line.name, 32))
            )
    rows = [(line.name, x, y) for line in lines for x, y in zip(line.x, line.y, strict=True)]
    table = csv_text(("series", across.title, up.title), rows)
    return Figure(name, "svg", _svg(whole, alt, parts), table, alt, (_WIDTH, whole))


def bar_chart(
    name: str, alt: str, bars: Sequence[tuple[str, float | None]], title: str, colours: Sequence[Colour] = ()
) -> Figure:
    """Horizontal bars from 0 to 100 with their numbers; a place without a value says so."""
    left, right, top, step = 170, 64, 8, 26
    wide, whole = _WIDTH - left - right, 8 + 26 * len(bars) + 40
    foot = top + step * len(bars)
    parts = []
    for share in range(0, 101, 20):
        x = left + wide * share / 100
        parts.append(f"<path d='M{x:.1f} {top}V{foot}' stroke='{_GRID}'/>")
        parts.append(_text(x, foot + 16, str(share), anchor="middle"))
    for number, (label, value) in enumerate(bars):
        y = top + step * number
        parts.append(_text(left - 8, y + 17, _cut(label, 22), anchor="end"))
        if value is None:
            parts.append(_text(left + 6, y + 17, "no value"))
            continue
        length = wide * min(100.0, max(0.0, value)) / 100
        colour = web(colours[number] if number < len(colours) else (0, 114, 178))
        parts.append(f"<rect x='{left}' y='{y + 4}' width='{length:.1f}' height='{step - 8}' fill='{colour}'/>")
        parts.append(_text(left + length + 6, y + 17, f"{value:.2f}"))
    parts.append(_text(left + wide / 2, foot + 34, title, anchor="middle"))
    return Figure(name, "svg", _svg(whole, alt, parts), csv_text(("name", title), bars), alt, (_WIDTH, whole))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within a range, about `count` of them."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _grid(across: Range, up: Range, left: int, top: int, wide: int, height: int) -> list[str]:
    parts = []
    for value in ticks(up.low, up.high):
        y = top + height * (1 - (value - up.low) / ((up.high - up.low) or 1.0))
        parts.append(f"<path d='M{left} {y:.1f}h{wide}' stroke='{_GRID}'/>")
        parts.append(_text(left - 6, y + 4, f"{value:g}", anchor="end"))
    for value in ticks(across.low, across.high):
        x = left + wide * (value - across.low) / ((across.high - across.low) or 1.0)
        parts.append(f"<path d='M{x:.1f} {top + height}v4' stroke='{_INK}'/>")
        parts.append(_text(x, top + height + 18, f"{value:g}", anchor="middle"))
    parts.append(f"<path d='M{left} {top}v{height}h{wide}' fill='none' stroke='{_INK}'/>")
    parts.append(_text(left + wide / 2, top + height + 36, across.title, anchor="middle"))
    middle = top + height / 2
    parts.append(
        f"<text x='14' y='{middle:.0f}' text-anchor='middle' transform='rotate(-90 14 {middle:.0f})'>"
        f"{escape(up.title)}</text>"
    )
    return parts


def _svg(height: int, alt: str, parts: Sequence[str]) -> bytes:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' width='{_WIDTH}' height='{height}' "
        f"role='img' {_FONT} font-size='12' fill='{_INK}'>\n<title>{escape(alt)}</title>\n"
        f"<rect width='{_WIDTH}' height='{height}' fill='#ffffff'/>\n" + "\n".join(parts) + "\n</svg>\n"
    ).encode()


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    side = "" if anchor == "start" else f" text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y:.1f}'{side}>{escape(words)}</text>"


def _cut(words: str, letters: int) -> str:
    return words if len(words) <= letters else words[: letters - 1] + "…"


def _dark(colour: Colour) -> Colour:
    """The colour, darkened where it would be pale on white."""
    red, green, blue = colour
    if 0.299 * red + 0.587 * green + 0.114 * blue < 150:
        return colour
    return round(red * 0.7), round(green * 0.7), round(blue * 0.7)
