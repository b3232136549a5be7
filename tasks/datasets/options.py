"""Choices of the user that change what is read; each data set says which of them it knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from foundation.errors import UsageError

OFFICIAL = "official"
"""Value of `split`: the parts that the data set ships."""


class DataOptions(NamedTuple):
    """Choices that change what is read; a reader names in `OPTIONS` those that it knows and passes over the others."""

    label_map: str | None = None
    allow_bad: bool = False
    split: str | None = None
    """`official`, a ratio like `4:1`, or None for the data set's default (sections 4.3 and 5.3)."""
    group: str | None = None
    """What a split may not divide: `image`, `tile` or `scene`; None for the data set's default (sections 4.2, 5.2)."""
    pool: str = "train"
    """Official parts that AIR-F trains with: `train` or `trainval` (section 4.3)."""
    voc_origin: int = 1
    """Index of the first pixel in VOC boxes, 0 or 1; unconfirmed for SAR-AIRcraft-1.0 (section 4.1)."""
    polarisation: str = "each"
    """AIR-PolSAR-Seg: `each`, `pseudo` or `HH` (section 5.3)."""
    class_order: tuple[str, ...] = ()
    """AIR-PolSAR-Seg: the classes in another order than the default of section 5.3."""
    split_file: Path | None = None
    """The two parts as `harness data audit --emit` wrote them; comes before every other choice of a split."""
    group_near_duplicates: bool = False
    """A split does not divide images that show the same ground (section 3.4)."""


TEXT_OPTIONS = (
    *("label_map", "split", "group", "pool", "voc_origin", "polarisation", "class_order"),
    *("split_file", "group_near_duplicates"),
)
"""Options that a user gives as text, by their names here."""
YES_OR_NO = {"yes": True, "no": False}


def data_options(chosen: Mapping[str, str], *, allow_bad: bool = False) -> DataOptions:
    """The options from what a user wrote; what was not written keeps its default."""
    values: dict[str, Any] = dict(chosen)
    if "voc_origin" in values:
        if values["voc_origin"] not in ("0", "1"):
            raise UsageError(f"not an origin of boxes: {values['voc_origin']!r}", way_out="choose --voc-origin 0 or 1")
        values["voc_origin"] = int(values["voc_origin"])
    if "class_order" in values:
        values["class_order"] = tuple(name.strip() for name in values["class_order"].split(","))
    if "split_file" in values:
        values["split_file"] = Path(values["split_file"])
    if "group_near_duplicates" in values:
        if values["group_near_duplicates"] not in YES_OR_NO:
            raise UsageError(
                f"not yes or no: {values['group_near_duplicates']!r}", way_out="write --group-near-duplicates yes"
            )
        values["group_near_duplicates"] = YES_OR_NO[values["group_near_duplicates"]]
    return DataOptions(allow_bad=allow_bad, **values)


def recorded_options(choices: Mapping[str, str], label_map: str) -> DataOptions:
    """The options that read a data set as a record says it was read, bad files allowed.

    A split file is not among them: where it lay is not recorded, and images are the same under every split.
    """
    chosen = {name: value for name, value in choices.items() if name in TEXT_OPTIONS}
    return data_options(chosen | ({"label_map": label_map} if label_map else {}), allow_bad=True)


def flag(option: str) -> str:
    """The option as it is written on the command line."""
    return f"--{option.replace('_', '-')}"


def require_choice(option: str, value: object, known: Collection[object], dataset: str) -> None:
    """Refuses a value that the data set does not know."""
    if value not in known:
        shown = ", ".join(str(name) for name in known)
        raise UsageError(f"{dataset} has no {option} {value!r}", way_out=f"choose --{option} from {shown}")


def split_ratio(text: str) -> tuple[int, int]:
    """`4:1` as two numbers: training part, test part."""
    train, colon, test = text.partition(":")
    if not (colon and train.isdecimal() and test.isdecimal() and int(train) and int(test)):
        raise UsageError(f"not a split: {text!r}", way_out=f"write --split {OFFICIAL} or a ratio such as --split 4:1")
    return int(train), int(test)


def asked_ratio(dataset: str, options: DataOptions) -> tuple[int, int] | None:
    """The ratio that the user asked for, of a data set without official parts; None: that of the protocol."""
    if options.split == OFFICIAL:
        raise UsageError(f"{dataset} has no official split", way_out="leave --split out, or name a ratio such as 4:1")
    return split_ratio(options.split) if options.split else None


def effective_choices(label_map: str, *more: tuple[str, str | None]) -> tuple[tuple[str, str], ...]:
    """What the record states: values that can be given as options again; what was left to the protocol is left out."""
    return (("label_map", label_map), *((name, value) for name, value in more if value is not None))


def is_divided_by_ratio(choices: Iterable[tuple[str, str]]) -> bool:
    """Whether recorded choices name a ratio such as `--split 7:3`, for the data set or one that it is composed of."""
    return any(name.rpartition(".")[2] == "split" and value != OFFICIAL for name, value in choices)


def wants_official(options: DataOptions, *, default: bool) -> bool:
    """Do the parts of the data set count? A ratio is checked on the way."""
    if options.split is None:
        return default
    if options.split == OFFICIAL:
        return True
    split_ratio(options.split)
    return False
