"""Fig. 1: a model against the best other one of its backbone group, one axis per data set (section 13)."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from foundation.errors import CheckError
from results.figures.figure import KEY_FIELD, Figure, csv_text
from results.rows import rounded

OUTER = 1.05
"""The rim of every axis lies at this multiple of the best value on it (section 13)."""
FEWEST = 3
"""Fewer axes make no polygon."""

_OURS, _OTHERS = "#c0392b", "#2471a3"


class Axis(NamedTuple):
    """One data set with the value of every model that has one."""

    name: str
    values: Mapping[str, float]


class Spoke(NamedTuple):
    """One axis as it is drawn."""

    name: str
    chosen: float
    other: float
    other_model: str
    outer: float


def spokes(axes: Sequence[Axis], chosen: str) -> list[Spoke]:
    """The axes on which both the chosen model and some other one have a value."""
    found = []
    for axis in axes:
        others = {model: value for model, value in axis.values.items() if model != chosen}
        if chosen in axis.values and others:
            best = min(others, key=lambda model: (-others[model], model))
            top = max(axis.values[chosen], others[best])
            found.append(Spoke(axis.name, axis.values[chosen], others[best], best, OUTER * top if top > 0 else 1.0))
    return found


def radar(
    name: str,
    axes: Sequence[Axis],
    chosen: str,
    title: str,
    *,
    names: Mapping[str, str] | None = None,
    remark: str = "",
    key: str = "",
    picture: bytes | None = None,
) -> Figure:
    """Draws the polygon of one model over that of the best other model on each axis.

    Args:
        name: File name.
        axes: Data sets with values in one group of models.
        chosen: Id of the model in front.
        title: Stands above; must name the group.
        names: Printed names of models.
        remark: Stands below, e.g. that the data are synthetic.
        key: Of the numbers and the code, kept inside the file.
        picture: The same picture, if it was drawn before.
    """
    drawn = spokes(axes, chosen)
    printed = dict(names or {})
    if len(drawn) < FEWEST:
        raise CheckError(
            f"{len(drawn)} axes on which {chosen} and another model of its group have a value; {FEWEST} are needed",
            way_out="run more data sets or more models of the group",
        )
    first = printed.get(chosen, chosen)
    rows = [(*spoke[:3], printed.get(spoke.other_model, spoke.other_model), spoke.outer) for spoke in drawn]
    table = csv_text(("axis", first, "best other", "best other model", "rim"), rows)
    values = "; ".join(f"{spoke.name} {rounded(spoke.chosen)} against {rounded(spoke.other)}" for spoke in drawn)
    alt = f"{title}. {first} against the best other model per axis: {values}."
    if picture is None:
        picture = _draw(drawn, first, title, remark, key)
    return Figure(name, "png", picture, table, alt, (_INCHES[0] * _DOTS, _INCHES[1] * _DOTS))


_INCHES = (7, 7)
_DOTS = 110


def _draw(drawn: Sequence[Spoke], first: str, title: str, remark: str, key: str) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # never the user's own style
        matplotlib.rcParams.update({"font.family": "DejaVu Sans", "font.size": 9})
        figure = Canvas(figsize=_INCHES, dpi=_DOTS)
        FigureCanvasAgg(figure)  # the backend is chosen here, whatever the user's settings say
        axes = figure.add_axes((0.16, 0.16, 0.68, 0.66))
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_xlim(-1.08, 1.08)
        axes.set_ylim(-1.08, 1.08)
        corners = [_direction(place, len(drawn)) for place in range(len(drawn))]
        for ring in (0.25, 0.5, 0.75, 1.0):
            points = [(ring * x, ring * y) for x, y in [*corners, corners[0]]]
            axes.plot(*zip(*points, strict=True), color="#c6ced8", linewidth=0.8, zorder=1)
        for x, y in corners:
            axes.plot((0, x), (0, y), color="#c6ced8", linewidth=0.8, zorder=1)
        for label, colour, dashes, values in (
            ("best other of the group, per axis", _OTHERS, "--", [spoke.other / spoke.outer for spoke in drawn]),
            (first, _OURS, "-", [spoke.chosen / spoke.outer for spoke in drawn]),
        ):
            points = [(value * x, value * y) for value, (x, y) in zip(values, corners, strict=True)]
            over, above = zip(*[*points, points[0]], strict=True)
            axes.fill(over, above, color=colour, alpha=0.13, zorder=2)
            axes.plot(over, above, dashes, color=colour, linewidth=1.8, marker="o", markersize=4, label=label, zorder=3)
        for spoke, (x, y) in zip(drawn, corners, strict=True):
            side = "center" if abs(x) < 0.2 else ("left" if x > 0 else "right")
            level = "bottom" if y > 0.2 else ("top" if y < -0.2 else "center")
            numbers = f"{rounded(spoke.chosen)} / {rounded(spoke.other)}"
            axes.text(1.07 * x, 1.07 * y, f"{spoke.name}\n{numbers}", ha=side, va=level, linespacing=1.4)
        figure.text(0.5, 0.965, title, ha="center", va="top", fontsize=11, fontweight="bold", wrap=True)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(
            handles[::-1], labels[::-1], loc="lower center", bbox_to_anchor=(0.5, 0.035), ncols=2, frameon=False
        )
        if remark:
            figure.text(0.5, 0.02, remark, ha="center", va="bottom", fontsize=8, color="#922b21")
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=_DOTS, metadata={"Software": None, KEY_FIELD: key})
    return stream.getvalue()


def _direction(place: int, count: int) -> tuple[float, float]:
    """Clockwise from the top."""
    angle = math.pi / 2 - 2 * math.pi * place / count
    return math.cos(angle), math.sin(angle)
