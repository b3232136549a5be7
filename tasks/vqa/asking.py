"""Which questions are asked of the images of a data set, from their boxes or masks (section 6.3)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from foundation.cache import cache_root
from foundation.errors import BenchError, MissingError
from foundation.files import read_json, write_json
from foundation.hashing import hash_sources, hash_value
from tasks.builders.landform import (
    LAND_COVERS,
    SYNTHETIC_MIN_MARGIN,
    CoverCounts,
    TileCounts,
    count_covers,
    landform_questions,
)
from tasks.builders.questions import Question, target_questions
from tasks.datasets.composed import DOMAINS, part_of
from tasks.datasets.records import DatasetIndex, ImageEntry
from tasks.language.targets import scene_of
from tasks.metrics.answers import KINDS
from tasks.protocol.settings import VqaSettings

_OF_COVERS = ("cover", "covers")


def questions_of(
    index: DatasetIndex, images: Iterable[ImageEntry], task: str, settings: VqaSettings
) -> dict[str, list[Question]]:
    """The questions of one task by image, for the images that have any."""
    if KINDS[task] in _OF_COVERS:
        asked = _about_covers(index, images, settings)
    else:
        asked = _about_targets(index, images, settings)
    own = {name: [question for question in found if question.task == task] for name, found in asked.items()}
    return {name: found for name, found in own.items() if found}


def kind_of(question: Question) -> str:
    """What tells questions of one task apart without the image: the noun asked about, or the quadrant."""
    if KINDS[question.task] in _OF_COVERS:
        return str(question.meta.get("quadrant", ""))
    return DOMAINS[part_of(question.image_id)]


def _about_targets(
    index: DatasetIndex, images: Iterable[ImageEntry], settings: VqaSettings
) -> dict[str, list[Question]]:
    found = {}
    for image in images:
        targets, size, domain = scene_of(index, image)
        found[image.image_id] = target_questions(
            image.image_id, targets, size, domain, coords=settings.coords, paraphrases=settings.paraphrases
        )
    return found


def _about_covers(
    index: DatasetIndex, images: Iterable[ImageEntry], settings: VqaSettings
) -> dict[str, list[Question]]:
    usual = SYNTHETIC_MIN_MARGIN if index.synthetic else 0.0
    counts = cover_counts(index)
    return {
        image.image_id: landform_questions(
            image.image_id,
            counts[image.image_id],
            min_margin=usual if settings.min_margin is None else settings.min_margin,
            min_share=settings.min_share,
            min_labelled=settings.min_labelled,
            paraphrases=settings.paraphrases,
        )
        for image in images
    }


def cover_counts(index: DatasetIndex) -> dict[str, TileCounts]:
    """Land covers of every tile and its quadrants; the masks are read once per content of the data set."""
    if index.classes != LAND_COVERS:
        raise MissingError(
            f"the masks of {index.dataset} name {', '.join(index.classes)}, asked is about {', '.join(LAND_COVERS)}",
            where=str(index.root),
            way_out="use the label map map4_labelled",
        )
    key = hash_value({"data": index.data_hash, "images": [image.image_id for image in index.images], "by": _sources()})
    note = cache_root() / "land_covers" / f"{key[:24]}.json"
    if note.exists():
        try:
            return {name: _from_json(row) for name, row in read_json(note).items()}
        except (BenchError, KeyError, TypeError, ValueError, AttributeError):
            note.unlink(missing_ok=True)  # damaged: it can be made again
    from tasks.datasets.masks import read_mask

    counts = {image.image_id: count_covers(read_mask(index, image)) for image in index.images}
    write_json(note, {name: _to_json(tile) for name, tile in counts.items()})
    return counts


@cache
def _sources() -> str:
    """What turns masks into counts."""
    tasks = Path(__file__).resolve().parent.parent
    return hash_sources([tasks / "builders" / "landform.py", tasks / "datasets" / "masks.py"])


def _to_json(tile: TileCounts) -> dict[str, Any]:
    quadrants = {name: [list(counts.covers), counts.total] for name, counts in tile.quadrants.items()}
    return {"tile": [list(tile.tile.covers), tile.tile.total], "quadrants": quadrants}


def _from_json(row: dict[str, Any]) -> TileCounts:
    quadrants = {name: _counts(*counts) for name, counts in row["quadrants"].items()}
    return TileCounts(_counts(*row["tile"]), quadrants)


def _counts(covers: list[int], total: int) -> CoverCounts:
    a, b, c, d = covers
    return CoverCounts((a, b, c, d), total)
