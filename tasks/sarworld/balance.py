"""How evenly the answers of a data set are spread, and whether that is even enough (section 14.6).

A model that has learnt the most common answer by heart must not look good. The limits are the specification's; where
it says "equally likely", three standard errors of what chance does are allowed on top of three points.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from foundation.errors import CheckError
from tasks.builders import geometry
from tasks.builders.captions import Target, captions
from tasks.sarworld.plan import Size
from tasks.sarworld.truth import LAND_COVERS, Truth

MOST_COMMON_COUNT = 0.30
TWO_CELLS = 0.40
MOST_COMMON_MAIN = 0.40
SAME_AS_MAIN = 0.60
FEWEST_SETS = 6
MOST_COMMON_SET = 0.35
UNIQUE_CAPTIONS = 0.70
"""Of the default size only: the small sizes have fewer images and less room for different ones."""
PRESENT = 0.001
"""Section 6.3: a cover is present from 0.1 % of the tile on."""
LABELLED = 0.01
"""Section 6.3: a quadrant with less on the map is not asked about."""
CELL_TOLERANCE = 0.03
TARGET_SETS = ("fusar_air_sense", "fusar_ship_sense", "sar_aircraft_few", "corpus")
LAND_SETS = ("fusar_map", "corpus")
_FEWEST = {"landform": 12}
_FEWEST_OF_TARGETS = 20


def require_balance(dataset: str, truths: Sequence[Truth], size: Size) -> dict[str, Any]:
    """Measures a data set and refuses one that is not balanced.

    Returns:
        What was measured, by name; empty for sets that no question is asked about.
    """
    report: dict[str, Any] = {}
    broken: list[str] = []
    if dataset in TARGET_SETS:
        for domain in ("aircraft", "ship"):
            chosen = [truth for truth in truths if truth.domain == domain]
            if chosen:
                report[domain] = target_balance(chosen)
                broken += _broken_targets(report[domain], size) if len(chosen) >= fewest_images(domain) else []
    tiles = [truth for truth in truths if truth.domain == "landform"]
    if dataset in LAND_SETS and tiles:
        report["landform"] = land_balance(tiles)
        broken += _broken_land(report["landform"]) if len(tiles) >= fewest_images("landform") else []
    if broken:
        raise CheckError(
            f"{dataset} is not balanced: {'; '.join(broken)}",
            where="section 14.6 of the task specification",
            way_out="this is a fault of the generator: mend the wishes or the layouts that follow them",
        )
    return report


def fewest_images(domain: str) -> int:
    """Fewer are measured and printed, but held to nothing: they prove nothing."""
    return _FEWEST.get(domain, _FEWEST_OF_TARGETS)


def target_balance(truths: Sequence[Truth]) -> dict[str, Any]:
    """Counts, cells and captions of images with targets."""
    shown = [truth for truth in truths if truth.objects]
    counts = Counter(len(truth.objects) for truth in truths)
    cells = Counter(item.cell for truth in shown for item in truth.objects)
    objects = max(1, sum(cells.values()))
    texts = Counter(_first_caption(truth) for truth in shown)
    return {
        "images": len(truths),
        "targets": sum(cells.values()),
        "counts": {str(count): counts[count] for count in sorted(counts)},
        "most_common_count": _share(max(counts.values()), len(truths)),
        "cells": {str(cell): _share(cells[cell], objects) for cell in range(1, 10)},
        "two_or_more_cells": _share(sum(len({o.cell for o in truth.objects}) > 1 for truth in shown), len(shown)),
        "types": dict(sorted(Counter(item.type for truth in shown for item in truth.objects).items())),
        "unique_captions": _share(sum(count for count in texts.values() if count == 1), len(shown)),
    }


def land_balance(truths: Sequence[Truth]) -> dict[str, Any]:
    """Main, regional and all land covers."""
    mains = [_largest(truth.shares.tile) for truth in truths]
    regional = [
        (main, _largest(shares))
        for truth, main in zip(truths, mains, strict=True)
        for shares in truth.shares.quadrants.values()
        if sum(shares.values()) >= LABELLED
    ]
    sets = Counter(
        ", ".join(name for name in LAND_COVERS if truth.shares.tile[name] >= PRESENT) or "none" for truth in truths
    )
    main_counts = Counter(mains)
    return {
        "images": len(truths),
        "main": {name: main_counts[name] for name in LAND_COVERS},
        "most_common_main": _share(max(main_counts.values()), len(truths)),
        "regional": dict(sorted(Counter(answer for _, answer in regional).items())),
        "same_as_main": _share(sum(main == answer for main, answer in regional), len(regional)),
        "sets": dict(sorted(sets.items(), key=lambda pair: (-pair[1], pair[0]))),
        "most_common_set": _share(max(sets.values()), len(truths)),
    }


def _broken_targets(report: dict[str, Any], size: Size) -> list[str]:
    broken = []
    if report["most_common_count"] > MOST_COMMON_COUNT:
        broken.append(f"one count makes {report['most_common_count']:.0%} of the images")
    if report["two_or_more_cells"] < TWO_CELLS:
        broken.append(f"only {report['two_or_more_cells']:.0%} of the images have targets in two cells")
    allowed = CELL_TOLERANCE + 3 * math.sqrt(8 / 81 / max(1, report["targets"]))
    worst = max(report["cells"].items(), key=lambda pair: abs(pair[1] - 1 / 9))
    if abs(worst[1] - 1 / 9) > allowed:
        broken.append(f"cell {worst[0]} holds {worst[1]:.1%} of the targets")
    if size == "default" and report["unique_captions"] < UNIQUE_CAPTIONS:
        broken.append(f"only {report['unique_captions']:.0%} of the images have a caption of their own")
    return broken


def _broken_land(report: dict[str, Any]) -> list[str]:
    broken = []
    if report["most_common_main"] > MOST_COMMON_MAIN:
        broken.append(f"one cover is the largest of {report['most_common_main']:.0%} of the tiles")
    if report["same_as_main"] >= SAME_AS_MAIN:
        broken.append(f"'same as main' answers {report['same_as_main']:.0%} of the regional questions")
    if len(report["sets"]) < FEWEST_SETS:
        broken.append(f"only {len(report['sets'])} different sets of covers")
    if report["most_common_set"] > MOST_COMMON_SET:
        broken.append(f"one set of covers makes {report['most_common_set']:.0%} of the tiles")
    return broken


def _largest(shares: dict[str, float]) -> str:
    """The cover with the largest area; the earlier name wins a tie (section 6.3)."""
    return max(LAND_COVERS, key=lambda name: (shares[name], -LAND_COVERS.index(name)))


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _first_caption(truth: Truth) -> str:
    targets = [Target(geometry.Box(*item.box), item.type) for item in truth.objects]
    size = geometry.Size(truth.width, truth.height)
    return captions(truth.image_id, targets, size, "ship" if truth.domain == "ship" else "aircraft")[0].text
