"""Pictures of a report: flag rates, differences and reconstruction, as PNG (section 6.9 of the KLIP specification)."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foundation.files import write_bytes
from klip.scio.decide import Flags, Rule
from klip.scio.decisions import decide_from_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLAG_RATES, DIFFERENCES, RECONSTRUCTION = "flag_rates.png", "differences.png", "reconstruction.png"

_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#999999"  # told apart by all kinds of colour vision
_BINS = 60
_EDGE = 99.5  # per cent of the values that a histogram shows


def draw(report: dict[str, Any], place: Path, folder: Path, planted: Flags | None = None) -> list[Path]:
    """Writes the pictures of a report and gives their paths.

    Args:
        report: Of `report_of`.
        place: The folder of the pass.
        folder: Where they go.
        planted: bool [N, 8], errors that are known; else what was flagged is shown in their place.
    """
    made = [
        _saved(_flag_rates(report), folder / FLAG_RATES),
        _saved(_differences(report, place, planted), folder / DIFFERENCES),
    ]
    if "reconstruction" in report:
        made.append(_saved(_reconstruction(report["reconstruction"]), folder / RECONSTRUCTION))
    return made


def _flag_rates(report: dict[str, Any]) -> Figure:
    names = list(report["fields"])
    figure, (axes,) = _figure(1, width=7, height=1.2 + 0.28 * len(names))
    axes.barh(names, [100 * report["fields"][name]["flag_rate"] for name in names], color=_BLUE)
    axes.axvline(100 * report["flag_rate"], color=_GREY, linestyle="--", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("segments taken for noise, % (dashed: all fields)")
    axes.set_title(f"pass {report['pass']}, texts of version {report['version']}")
    return figure


def _differences(report: dict[str, Any], place: Path, planted: Flags | None) -> Figure:
    scores, decisions = decide_from_log(place, Rule(**report["rule"]))
    numbers = scores.numbers
    apart = decisions.noise if planted is None else planted[scores.rows] & numbers.present
    names = ("flagged", "not flagged") if planted is None else ("planted errors", "right segments")
    figure, both = _figure(2, width=9, height=3.6)
    for axes, values, name in zip(both, (numbers.d_itc, numbers.d_itm), ("d_itc", "d_itm"), strict=True):
        finite = np.isfinite(values) & numbers.present
        reach = float(np.percentile(np.abs(values[finite]), _EDGE)) if finite.any() else 1.0
        edges = np.linspace(-reach or -1.0, reach or 1.0, _BINS + 1)
        for flags, label, colour in ((apart, names[0], _ORANGE), (~apart, names[1], _BLUE)):
            axes.hist(values[finite & flags], bins=edges.tolist(), density=True, alpha=0.6, label=label, color=colour)
        axes.axvline(0, color=_GREY, linewidth=1)
        axes.set_xlabel(f"{name}: without the segment less with it")
        axes.set_yticks([])
    both[0].legend()
    return figure


def _reconstruction(rebuilt: dict[str, Any]) -> Figure:
    names = list(rebuilt["fields"])
    figure, (left, right) = _figure(2, width=10, height=max(3.0, 1.2 + 0.28 * len(names)))
    start = np.zeros(len(names))
    for key, label, colour in (("replaced", "replaced", _BLUE), ("refused", "refused unscored", _GREY)):
        counts = np.array([rebuilt["fields"][name][key] for name in names])
        left.barh(names, counts, left=start, label=label, color=colour)
        start = start + counts
    gaps = np.array([rebuilt["fields"][name]["gaps"] for name in names])
    left.barh(names, gaps - start, left=start, label="not better", color=_ORANGE)
    left.invert_yaxis()
    left.set_xlabel("gaps")
    left.legend()
    stages = ("full", "without_noise", "final")
    values = [rebuilt[stage]["itm"] or 0.0 for stage in stages]
    right.bar([stage.replace("_", " ") for stage in stages], values, color=[_GREY, _ORANGE, _BLUE])
    for n, stage in enumerate(stages):
        loss = rebuilt[stage]["itc"]
        right.annotate(f"ITC {loss:.3f}" if loss is not None else "", (n, values[n]), ha="center", va="bottom")
    right.set_ylabel("mean matching score")
    return figure


def _figure(panels: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # never the user's own style
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, [figure.add_subplot(1, panels, n + 1) for n in range(panels)]


def _saved(figure: Figure, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    data = BytesIO()
    figure.savefig(data, format="png", dpi=120, metadata={"Software": None})
    write_bytes(path, data.getvalue())
    return path
