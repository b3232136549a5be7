"""What a data set on disk holds, and whether it is what it should be: counts, histograms, checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from foundation.errors import BenchError
from tasks.datasets.index import ALLOWED_BAD_SHARE
from tasks.datasets.records import NO_LABEL, DatasetIndex
from tasks.splits import Split

Verdict = Literal["ok", "note", "failed"]
ODD_PIXELS = 0.01
"""Share of mask pixels of unknown colours above which the masks cannot be meant (our choice)."""


class Published(NamedTuple):
    """What is known of the size of a public data set."""

    images: int
    source: str
    boxes: int | None = None
    per_class: tuple[int, ...] = ()


PUBLISHED = {
    "sar_acd": Published(3032, "section 3.4", per_class=(464, 510, 512, 514, 528, 504)),
    "sar_aircraft_few": Published(4368, "section 4.3", boxes=16463),
    "fusar_map": Published(610, "section 5.2"),
    "air_polarsar_seg": Published(2000, "section 5.3"),
}
"""The other four are not public, or their sizes contradict each other (sections 3.2, 3.3 and 4.2)."""


class Check(NamedTuple):
    """One thing that should hold."""

    name: str
    verdict: Verdict
    text: str


class ClassCount(NamedTuple):
    """How often a class occurs in a part."""

    name: str
    part: str
    images: int
    """Images with the class, as label, box or pixel."""
    boxes: int
    pixels: int


class Range(NamedTuple):
    """Smallest, median and largest."""

    low: int
    middle: int
    high: int


@dataclass(frozen=True)
class Verification:
    """What was found in a data set."""

    dataset: str
    root: str
    world: str | None
    label_map: str
    choices: tuple[tuple[str, str], ...]
    images: int
    boxes: int
    masks: int
    units: int
    train: int
    test: int
    data_hash: str
    split_hash: str
    widths: Range | None
    heights: Range | None
    dtypes: dict[str, int]
    bands: dict[str, int]
    classes: tuple[ClassCount, ...]
    mended: dict[str, int]
    bad: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """No check failed."""
        return not any(check.verdict == "failed" for check in self.checks)


def verify(index: DatasetIndex, split: Split | BenchError) -> Verification:
    """Examines an index, read with bad files allowed.

    Args:
        index: Of the data set.
        split: Its parts, or why there are none.
    """
    parts = Split((), ()) if isinstance(split, BenchError) else split
    return Verification(
        dataset=index.dataset,
        root=str(index.root),
        world=index.world,
        label_map=index.label_map,
        choices=index.choices,
        images=len(index.images),
        boxes=index.boxes,
        masks=index.masks,
        units=len({image.unit for image in index.images}),
        train=len(parts.train),
        test=len(parts.test),
        data_hash=index.data_hash,
        split_hash="" if isinstance(split, BenchError) else parts.hash,
        widths=_range([image.width for image in index.images]),
        heights=_range([image.height for image in index.images]),
        dtypes=dict(sorted(Counter(image.dtype for image in index.images).items())),
        bands=dict(sorted(Counter(image.band or "not stated" for image in index.images).items())),
        classes=tuple(_class_counts(index, parts)),
        mended=index.remarks._asdict(),
        bad=tuple((bad.path, bad.reason) for bad in index.bad),
        checks=tuple(_checks(index, split)),
    )


def _range(values: Sequence[int]) -> Range | None:
    if not values:
        return None
    ordered = sorted(values)
    return Range(ordered[0], ordered[len(ordered) // 2], ordered[-1])


def _class_counts(index: DatasetIndex, split: Split) -> list[ClassCount]:
    part_of = dict.fromkeys(split.train, "train") | dict.fromkeys(split.test, "test")
    images: Counter[tuple[int, str]] = Counter()
    boxes: Counter[tuple[int, str]] = Counter()
    pixels: Counter[tuple[int, str]] = Counter()
    for image in index.images:
        part = part_of.get(image.image_id, "neither")
        images.update((label, part) for label in image.labels)
        boxes.update((box.label, part) for box in image.boxes)
        for label, count in enumerate(image.class_pixels):
            pixels[label, part] += count
    return [
        ClassCount(name, part, images[label, part], boxes[label, part], pixels[label, part])
        for label, name in enumerate(index.classes)
        for part in ("train", "test", "neither")
        if part != "neither" or images[label, part]
    ]


def _checks(index: DatasetIndex, split: Split | BenchError) -> list[Check]:
    found = [_readable(index), *_parts(index, split), *_mended(index), *_masks(index), *_published(index)]
    if isinstance(split, Split):
        found += [_whole_units(index, split), _copies(index, split)]
    return found


def _readable(index: DatasetIndex) -> Check:
    total = len(index.images) + len(index.bad)
    text = f"{len(index.bad)} of {total} files cannot be used"
    if not index.bad:
        return Check("files", "ok", f"all {total} can be used")
    many = len(index.bad) > ALLOWED_BAD_SHARE * total
    return Check("files", "failed" if many else "note", text + (", more than 1 %" if many else ""))


def _parts(index: DatasetIndex, split: Split | BenchError) -> list[Check]:
    if isinstance(split, BenchError):
        return [Check("parts", "failed", split.what)]
    found = [Check("parts", "ok", f"{len(split.train)} to train, {len(split.test)} to test")]
    if split.dropped:
        names = ", ".join(index.classes[label] for label in split.dropped)
        found.append(Check("small classes", "note", f"fewer than five images, left out: {names}"))
    present = {part: _present(index, getattr(split, part)) for part in ("train", "test")}
    absent = [name for label, name in enumerate(index.classes) if label not in present["train"] | present["test"]]
    lacking = [
        f"{name} in {part}"
        for label, name in enumerate(index.classes)
        for part, other in (("train", "test"), ("test", "train"))
        if label not in present[part] and label in present[other]
    ]
    if lacking:
        # Parts of chips are made per class; those of scenes come as they come.
        labelled = any(image.label != NO_LABEL for image in index.images)
        found.append(Check("classes", "failed" if labelled else "note", f"no image of {', '.join(lacking)}"))
    if absent:
        found.append(Check("classes", "note", f"in neither part: {', '.join(absent)}"))
    if not lacking and not absent:
        found.append(Check("classes", "ok", f"all {len(index.classes)} in both parts"))
    return found


def _present(index: DatasetIndex, names: Sequence[str]) -> set[int]:
    chosen = set(names)
    return {label for image in index.images if image.image_id in chosen for label in image.labels}


def _mended(index: DatasetIndex) -> list[Check]:
    remarks = index.remarks
    texts = {
        "clipped boxes": (remarks.clipped_boxes, "boxes passed the border by up to two pixels"),
        "dropped boxes": (remarks.dropped_boxes, "boxes were below one pixel in a side"),
        "stated sizes": (remarks.other_sizes, "annotations state another size than the file has"),
    }
    return [Check(name, "note", f"{count} {text}") for name, (count, text) in texts.items() if count]


def _masks(index: DatasetIndex) -> list[Check]:
    if not index.masks:
        return []
    pixels = sum(image.width * image.height for image in index.images if image.mask)
    share = index.remarks.unknown_pixels / pixels
    text = f"{index.remarks.unknown_pixels} mask pixels ({share:.2%}) of a colour that means nothing, ignored"
    if not index.remarks.unknown_pixels:
        return [Check("colours", "ok", "every mask pixel has a known colour")]
    return [Check("colours", "failed" if share > ODD_PIXELS else "note", text)]


def _published(index: DatasetIndex) -> list[Check]:
    known = PUBLISHED.get(index.dataset)
    if known is None or index.synthetic:
        return []
    options = dict(index.choices)
    if options.get("polarisation", "each") != "each":
        return []
    found: list[tuple[str, int, int]] = [("images", len(index.images) + len(index.bad), known.images)]
    if known.boxes is not None:
        found.append(("boxes", index.boxes + index.remarks.dropped_boxes, known.boxes))
    if known.per_class:
        counts = Counter(image.label for image in index.images)
        found += [
            (index.classes[label], counts[label], number)
            for label, number in enumerate(known.per_class)
            if not index.bad
        ]
    wrong = [f"{count} {name} instead of {number}" for name, count, number in found if count != number]
    if wrong:
        return [Check("published size", "failed", f"{'; '.join(wrong)} ({known.source})")]
    return [Check("published size", "ok", f"{known.images} images, as {known.source} says")]


def _whole_units(index: DatasetIndex, split: Split) -> Check:
    unit_of = {image.image_id: image.unit for image in index.images}
    both = {unit_of[name] for name in split.train} & {unit_of[name] for name in split.test}
    if both:
        return Check("groups", "failed", f"{len(both)} groups stand in both parts, e.g. {min(both)}")
    return Check("groups", "ok", f"{len(set(unit_of.values()))} units, none in both parts")


def _copies(index: DatasetIndex, split: Split) -> Check:
    hashes = {image.image_id: image.pixel_hash for image in index.images}
    trained = {hashes[name] for name in split.train}
    copies = sum(hashes[name] in trained for name in split.test)
    if copies:
        text = f"{copies} test images are in the training part as well; see harness data audit"
        return Check("identical images", "note", text)
    return Check("identical images", "ok", "none in both parts")
