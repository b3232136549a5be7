"""Texts and questions of the language tasks as files (section 6 of the task specification).

The tasks make the same records in memory; these files are for reading, for models that are asked elsewhere, and for
comparing with other people's texts. They hold no path and no time: same data and choices, same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from foundation.errors import MissingError, UsageError
from foundation.files import TEMPORARY_PREFIX, pretty_json, read_json, require_writable, write_bytes, write_json
from foundation.hashing import hash_bytes
from foundation.names import unknown_name
from foundation.progress import Progress, silent
from harness.request import RunRequest
from harness.sources import data_source, read
from tasks.builders.questions import Coords, Question, Task, answer_balance
from tasks.catalog import COMPOSED, TASKS
from tasks.datasets.composed import part_of
from tasks.datasets.division import divide
from tasks.datasets.records import DatasetIndex
from tasks.language.texts import caption_items, chosen_images
from tasks.protocol import load_profile, task_settings
from tasks.protocol.settings import VqaSettings
from tasks.splits import Split
from tasks.task import Part
from tasks.vqa.asking import questions_of

MARKER = "language.json"
"""Lies in the folder that is written, names every file in it, and tells data and choices."""
SCHEMA = 1
PARTS: tuple[Part, Part] = ("train", "test")

Files = dict[str, bytes]


class TextChoices(NamedTuple):
    """What is written."""

    only: tuple[str, ...] = ()
    """Composed data sets; none: all that are there."""
    paraphrases: bool = False
    """Every question in all three wordings."""
    coords: Coords = "percent"
    images: int | None = None
    """With captions, in hash order by source (section 6.2); None: all."""


class Contents(NamedTuple):
    """What one composed data set gave."""

    files: Files
    """Below the folder of the data set."""
    histogram: dict[str, Any]
    records: dict[Part, int]
    warnings: tuple[str, ...]


class Written(NamedTuple):
    """One composed data set in the folder."""

    dataset: str
    kind: str
    """captions or questions."""
    world: str | None
    images: dict[str, int]
    records: dict[str, int]
    histogram: dict[str, Any]
    warnings: tuple[str, ...]
    files: tuple[str, ...]


class Missing(NamedTuple):
    """One that could not be made."""

    dataset: str
    reason: str
    way_out: str


def build_language(
    request: RunRequest, out: Path, choices: TextChoices, progress: Progress = silent
) -> tuple[list[Written], list[Missing]]:
    """Writes captions and questions of every composed data set that is there, and the histograms of their answers.

    Args:
        request: where the data lie and how they are read.
        out: the folder; an earlier one of this command is replaced, one with other files refused.
        choices: what is written.
        progress: told of reading and counting.
    """
    wanted = _wanted(choices)
    before = _files_before(out)
    files: Files = {}
    written: list[Written] = []
    missing: list[Missing] = []
    hashes: dict[str, str] = {}
    for dataset in wanted:
        try:
            source = data_source(request, dataset, build_world=True, progress=progress)
        except MissingError as error:
            if request.data_root is None or dataset in choices.only:
                raise
            missing.append(Missing(dataset, error.what, error.way_out))
            continue
        assert source is not None  # the world was to be rendered
        index = read(request, source, progress)
        found, contents = _made(index, request, choices, progress)
        files |= {f"{dataset}/{name}": data for name, data in contents.items()}
        written.append(found)
        hashes[dataset] = index.data_hash
    if not written:
        raise MissingError(
            "there is no data set that texts or questions could be made from",
            where=str(request.data_root),
            way_out=missing[0].way_out,
        )
    about = {
        "schema": SCHEMA,
        "choices": {**choices._asdict(), "only": [found.dataset for found in written]},
        "data": {
            found.dataset: {"data_hash": hashes[found.dataset], "world": found.world, "images": found.images}
            for found in written
        },
    }
    _write(out, files, before, about)
    return written, missing


def _wanted(choices: TextChoices) -> list[str]:
    for name in choices.only:
        if name not in COMPOSED:
            raise unknown_name("data set of texts or questions", name, COMPOSED, see="harness data build --help")
    if choices.coords not in ("percent", "pixel"):
        raise unknown_name("unit of coordinates", choices.coords, ("percent", "pixel"), see="harness data build --help")
    return [name for name in COMPOSED if not choices.only or name in choices.only]


def _made(index: DatasetIndex, request: RunRequest, choices: TextChoices, progress: Progress) -> tuple[Written, Files]:
    split = divide(index, ratio=load_profile(request.profile).split.ratio)
    if index.dataset == "rs_captions":
        split = chosen_images(index, split, choices.images)
        contents = _captions(index, split)
    else:
        contents = _questions(index, split, choices, request.profile, progress)
    histogram = {"dataset": index.dataset, "world": index.world, **contents.histogram}
    files = {**contents.files, "histogram.json": pretty_json(histogram)}
    found = Written(
        dataset=index.dataset,
        kind="captions" if index.dataset == "rs_captions" else "questions",
        world=index.world,
        images={"train": len(split.train), "test": len(split.test)},
        records={part: contents.records[part] for part in PARTS},
        histogram=contents.histogram,
        warnings=(*_of_the_data(index), *contents.warnings),
        files=tuple(f"{index.dataset}/{name}" for name in sorted(files)),
    )
    return found, files


def _of_the_data(index: DatasetIndex) -> list[str]:
    found = [f"{value} is not there and left out" for name, value in index.choices if name == "without"]
    if index.bad:
        found.append(f"{len(index.bad)} unreadable images left out")
    return found


# ---- captions


def _captions(index: DatasetIndex, split: Split) -> Contents:
    """Five captions per image, training images first, both parts in hash order."""
    images = {image.image_id: image for image in index.images}
    rows: list[dict[str, Any]] = []
    histogram: dict[str, Any] = {}
    for part in PARTS:
        items = caption_items(index, [images[name] for name in _names(split, part)])
        sources = Counter(part_of(image.image_id) for image, _ in items)
        texts = [caption for _, captions in items for caption in captions]
        rows += [{**caption._asdict(), "part": part} for caption in texts]
        distinct: dict[str, list[str]] = {}
        for caption in texts:
            distinct.setdefault(caption.template, []).append(caption.text)
        histogram[part] = {
            "images": dict(sorted(sources.items())),
            "captions": len(texts),
            # Many images share their shortest caption (section 6.2): what strict retrieval can reach hangs on it.
            "templates": {
                name: {"captions": len(all_of_it), "distinct": len(set(all_of_it)), "most_common": _most(all_of_it)}
                for name, all_of_it in sorted(distinct.items())
            },
        }
    records: dict[Part, int] = {part: histogram[part]["captions"] for part in PARTS}
    return Contents({"captions.jsonl": _lines(rows)}, histogram, records, ())


def _most(texts: Sequence[str]) -> dict[str, Any]:
    counts = Counter(texts)
    text = min(counts, key=lambda text: (-counts[text], text))
    return {"text": text, "captions": counts[text]}


# ---- questions


def _questions(index: DatasetIndex, split: Split, choices: TextChoices, profile: str, progress: Progress) -> Contents:
    """The questions of both parts, as the tasks ask them, and per task what is answered how often."""
    settings = task_settings(profile, "vqa")
    assert isinstance(settings, VqaSettings)
    settings = settings.model_copy(update={"paraphrases": choices.paraphrases, "coords": choices.coords})
    tasks = [task.id for task in TASKS.values() if index.dataset in task.datasets]
    images = {image.image_id: image for image in index.images}
    used = [images[name] for part in PARTS for name in _names(split, part)]
    by_task = {}
    for number, task in enumerate(tasks):
        progress(number, len(tasks), f"questions of {index.dataset}")
        by_task[task] = questions_of(index, used, task, settings)
    asked: dict[Part, list[Question]] = {
        part: [question for name in _names(split, part) for task in tasks for question in by_task[task].get(name, ())]
        for part in PARTS
    }
    rows = [{**question.to_json(), "part": part} for part in PARTS for question in asked[part]]
    histogram, balanced = _histogram(asked)
    files = {"questions.jsonl": _lines(rows)}
    for name, questions in balanced.items():
        files[f"balanced/{name}.txt"] = "".join(f"{question}\n" for question in questions).encode()
    warnings = tuple(found["warning"] for found in histogram["tasks"].values() if found["warning"])
    records: dict[Part, int] = {part: len(asked[part]) for part in PARTS}
    return Contents(files, histogram, records, warnings)


def _histogram(asked: Mapping[Part, Sequence[Question]]) -> tuple[dict[str, Any], dict[Task, tuple[str, ...]]]:
    """Answers of both parts by task; the balanced lists are of the test part, which is what is scored (section 6.3)."""
    balance = {part: answer_balance(asked[part]) for part in PARTS}
    tasks: dict[str, Any] = {}
    lists: dict[Task, tuple[str, ...]] = {}
    for task in dict.fromkeys(name for part in PARTS for name in balance[part]):
        answers = {part: balance[part][task].histogram if task in balance[part] else {} for part in PARTS}
        tested = balance["test"].get(task)
        tasks[task] = {
            "questions": {part: sum(answers[part].values()) for part in PARTS},
            "answers": answers,
            "most_common_share": {part: _largest_share(answers[part]) for part in PARTS},
            "warning": tested.warning if tested is not None else f"{task}: no test image is asked",
            "balanced": len(tested.balanced) if tested is not None else 0,
        }
        if tested is not None and tested.balanced:
            lists[task] = tested.balanced
    return {"tasks": tasks}, lists


def _largest_share(answers: Mapping[str, int]) -> float | None:
    """In per cent with one decimal."""
    total = sum(answers.values())
    return float(round(Fraction(100 * max(answers.values()), total), 1)) if total else None


def _names(split: Split, part: Part) -> tuple[str, ...]:
    return split.train if part == "train" else split.test


# ---- files


def _lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n" for row in rows)


def _files_before(out: Path) -> set[str]:
    """What an earlier call left in the folder; a folder that holds anything else is refused, before work is done."""
    require_writable(out)
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir()}
    there = {name for name in there if not name.rpartition("/")[2].startswith(TEMPORARY_PREFIX)}
    own: set[str] = set()
    if MARKER in there:
        about = read_json(out / MARKER)
        listed = about.get("files") if isinstance(about, dict) else None
        own = {MARKER, *(listed if isinstance(listed, dict) else ())}
    if strange := sorted(there - own):
        raise UsageError(
            f"the folder holds files that this command did not write, e.g. {strange[0]}",
            where=str(out),
            way_out="name an empty folder, or one that `harness data build language` wrote",
        )
    return own & there


def _write(out: Path, files: Files, before: set[str], about: Mapping[str, Any]) -> None:
    """All files, then what is left of an earlier call goes; the marker knows at every moment what may lie there."""
    hashes = {name: hash_bytes(data) for name, data in sorted(files.items())}
    leaving = dict.fromkeys(before - {MARKER}, "")
    write_json(out / MARKER, {**about, "files": leaving | hashes, "complete": False})
    for torn in out.rglob(f"{TEMPORARY_PREFIX}*"):  # of a call that was killed
        torn.unlink(missing_ok=True)
    for name, data in files.items():
        write_bytes(out / name, data)
    for name in sorted(before - set(files) - {MARKER}):
        (out / name).unlink(missing_ok=True)
        with suppress(OSError):  # others are still in it
            (out / name).parent.rmdir()
    write_json(out / MARKER, {**about, "files": hashes, "complete": True})
