"""Questions about land cover with their answers, counted in label images (section 6.3 of the task specification).

Unlabelled pixels never answer: shares of a place are shares of its labelled pixels, except where the specification
asks for a part of the tile. All comparisons are made in whole numbers.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import CheckError
from tasks.builders.geometry import QUADRANTS
from tasks.builders.questions import Question, worded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAND_COVERS = ("building", "vegetation", "water", "road")
"""Names of the label ids 0 to 3 (`map4_labelled`), in the order of answers and of ties."""
UNLABELLED = 255

MIN_SHARE = 0.001
"""Of the tile that a cover must take up to be present; the paper's value is unconfirmed (section 6.3)."""
MIN_LABELLED = 0.01
"""Of a quadrant that must be labelled for it to be asked about (section 6.3)."""
SYNTHETIC_MIN_MARGIN = 0.05
"""Closer calls are not asked on synthetic data (section 6.3)."""


class CoverCounts(NamedTuple):
    """Pixels of one place."""

    covers: tuple[int, int, int, int]
    """In the order of `LAND_COVERS`."""
    total: int
    """Unlabelled ones included."""

    @property
    def labelled(self) -> int:
        """Pixels of any cover."""
        return sum(self.covers)


class TileCounts(NamedTuple):
    """Pixels of a tile and of its quadrants."""

    tile: CoverCounts
    quadrants: dict[str, CoverCounts]
    """By quadrant name."""


class Largest(NamedTuple):
    """The cover with most pixels."""

    cover: str
    ambiguous: bool
    """Another cover has as many; the earlier name was taken."""
    margin: Fraction
    """By which it leads the second, as a share of the labelled pixels."""


def count_covers(labels: NDArray[np.uint8]) -> TileCounts:
    """Counts a label image: ids 0 to 3, `UNLABELLED` elsewhere.

    A pixel belongs to the quadrant of its centre, so of an odd number of columns the middle one counts as right.
    """
    import numpy as np

    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise CheckError(
            f"labels of {labels.ndim} dimensions and type {labels.dtype}",
            way_out="give height x width in uint8",
        )
    middle_row, middle_column = labels.shape[0] // 2, labels.shape[1] // 2
    parts = [half for rows in np.split(labels, [middle_row]) for half in np.split(rows, [middle_column], axis=1)]
    counted = [_counts(np.bincount(part.ravel(), minlength=256)) for part in parts]
    quadrants = dict(zip(QUADRANTS, counted, strict=True))
    sums = [sum(counts.covers[cover] for counts in quadrants.values()) for cover in range(len(LAND_COVERS))]
    total = sum(counts.total for counts in quadrants.values())
    return TileCounts(CoverCounts((sums[0], sums[1], sums[2], sums[3]), total), quadrants)


def largest(counts: CoverCounts) -> Largest | None:
    """The cover with most pixels, ties to the earlier name; None where nothing is labelled."""
    if not counts.labelled:
        return None
    first, second = sorted(counts.covers, reverse=True)[:2]
    margin = Fraction(first - second, counts.labelled)
    return Largest(LAND_COVERS[counts.covers.index(first)], first == second, margin)


def present(counts: CoverCounts, min_share: float = MIN_SHARE) -> tuple[str, ...]:
    """Covers with at least this share of all pixels, in their fixed order."""
    needed = _exact(min_share) * counts.total
    return tuple(name for name, count in zip(LAND_COVERS, counts.covers, strict=True) if count > 0 and count >= needed)


def landform_questions(
    image_id: str,
    counts: TileCounts,
    *,
    min_margin: float = 0.0,
    min_share: float = MIN_SHARE,
    min_labelled: float = MIN_LABELLED,
    paraphrases: bool = False,
) -> list[Question]:
    """Main cover, all covers and the main cover of each quadrant; what cannot be answered is not asked.

    Args:
        image_id: of the records.
        counts: of the tile, from `count_covers` or elsewhere.
        min_margin: lead of the main cover over the second, as a share of the labelled pixels; closer calls are not
            asked. 0 asks ties too and flags them as ambiguous.
        min_share: of the tile, for a cover to be present.
        min_labelled: of a quadrant, for it to be asked about.
        paraphrases: ask everything in all three forms.
    """
    questions: list[Question] = []
    main = largest(counts.tile)
    if main is not None and main.margin >= _exact(min_margin):
        meta = {"ambiguous": main.ambiguous}
        questions += worded(image_id, "vqa_main_land", main.cover, {}, meta=meta, paraphrases=paraphrases)
    if covers := present(counts.tile, min_share):
        answer = ", ".join(covers)
        questions += worded(image_id, "vqa_all_land", answer, {}, answer_set=covers, paraphrases=paraphrases)
    for name in QUADRANTS:
        place = counts.quadrants[name]
        main = largest(place)
        if main is None or place.labelled < _exact(min_labelled) * place.total or main.margin < _exact(min_margin):
            continue
        questions += worded(
            image_id,
            "vqa_reg_land",
            main.cover,
            {"quadrant": name},
            part=f"/{name}",
            meta={"quadrant": name, "ambiguous": main.ambiguous},
            paraphrases=paraphrases,
        )
    return questions


def _counts(histogram: NDArray[np.int64]) -> CoverCounts:
    total, labelled = int(histogram.sum()), int(histogram[: len(LAND_COVERS)].sum())
    if total != labelled + int(histogram[UNLABELLED]):
        odd = next(label for label in range(len(LAND_COVERS), UNLABELLED) if histogram[label])
        raise CheckError(
            f"the label image holds the id {odd}, which is no land cover",
            way_out=f"use 0 to 3 for {', '.join(LAND_COVERS)} and {UNLABELLED} where nothing is known",
        )
    a, b, c, d = (int(value) for value in histogram[: len(LAND_COVERS)])
    return CoverCounts((a, b, c, d), total)


def _exact(share: float) -> Fraction:
    """The decimal number that was meant: 0.05 is one twentieth, not the nearest float."""
    return Fraction(repr(float(share)))
