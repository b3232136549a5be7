"""Retrieval, captioning and the six question tasks on the ladder."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.seeds import derive_seed
from tasks.baselines import neighbours
from tasks.baselines.features import LinearClassifier, simple_features
from tasks.baselines.majority import MajorityAnswers, answer_chance, same_caption
from tasks.builders import captions as building
from tasks.builders.geometry import QUADRANTS, Box, Size
from tasks.builders.landform import count_covers, landform_questions
from tasks.builders.questions import Question, target_questions
from tasks.datasets.masks import read_mask
from tasks.datasets.records import ImageEntry
from tasks.metrics import answers, retrieval
from tasks.metrics import captions as caption_metrics
from tasks.sarworld.truth import LAND_COVERS, Truth
from tests.bench.ladder.rungs import Grey, Parts, Rung, Twin, parts, pixels, shuffled

SOURCES = {"fusar_air_sense": "fine", "fusar_ship_sense": "fine", "sar_aircraft_few": "aircraft7"}
Features = NDArray[np.float64]


class Shown(NamedTuple):
    """An image with what is known about it, from its annotation and from the world's truth."""

    image_id: str
    captions: tuple[str, ...]
    told: tuple[str, ...]
    questions: tuple[Question, ...]
    truth: Truth
    types: tuple[str, ...]
    """Of the true objects, as the data set writes them."""
    pixels: Grey


def _shown(found: Parts, entry: ImageEntry, image: Grey) -> Shown:
    size = Size(entry.width, entry.height)
    row = next(row for name, row in found.truth.items() if Path(name).name == Path(entry.path).name)
    domain: building.Domain = "ship" if row.domain == "ship" else "aircraft"
    name = f"{found.index.dataset}/{entry.image_id}"
    targets = [building.Target(Box(*box[:4]), found.index.classes[box.label]) for box in entry.boxes]
    told = [building.Target(Box(*item.box), _listed(found, item.type)) for item in row.objects]
    return Shown(
        name,
        tuple(caption.text for caption in building.captions(name, targets, size, domain)),
        tuple(caption.text for caption in building.captions(name, told, size, domain)),
        tuple(target_questions(name, targets, size, domain)),
        row,
        tuple(_listed(found, item.type) for item in row.objects),
        image,
    )


def _listed(found: Parts, name: str) -> str:
    """The type as the data set writes it."""
    return next(known for known in found.index.classes if known.replace("/", "") == name)


@lru_cache(maxsize=8)
def target_images(world: Path, twin: Twin) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """Training and test images of the three sets with boxes."""
    both: list[list[Shown]] = [[], []]
    for dataset, label_map in SOURCES.items():
        found = parts(world, dataset, label_map)
        for chosen, entries in zip(both, (found.train, found.test), strict=True):
            chosen += [_shown(found, e, image) for e, image in zip(entries, pixels(found, entries, twin), strict=True)]
    return tuple(both[0]), tuple(both[1])


@lru_cache(maxsize=16)
def _features(world: Path, twin: Twin, part: int) -> Features:
    return simple_features([shown.pixels for shown in target_images(world, twin)[part]])


def retrieving(world: Path, twin: Twin = "none") -> Rung:
    """Mean recall by the captions of similar training images; the oracle knows what each image shows.

    Images that share a caption cannot be told apart by it: the ceiling counts ties against the oracle.
    """
    train, test = target_images(world, twin)
    known = shuffled([shown.captions for shown in train], twin, "retrieval")
    texts = [text for shown in test for text in shown.captions]
    owners = np.repeat(np.arange(len(test)), 5)
    scores = neighbours.retrieval_scores(_features(world, twin, 0), known, _features(world, twin, 1), texts)
    told = np.array([[float(text in shown.told) for text in texts] for shown in test])
    right = np.array([[float(text in shown.captions) for text in texts] for shown in test])
    simple, oracle, best = (
        retrieval.score(matrix, matrix.T, owners, texts, intervals=False) for matrix in (scores, told, right)
    )
    chance = simple.baselines.chance["r_mean"] or 0.0
    return Rung(
        "retrieval",
        "rs_captions",
        "r_mean",
        chance,
        chance,
        simple.metrics["r_mean"].value or 0.0,
        oracle.metrics["r_mean"].value or 0.0,
        len(test),
        ceiling=best.metrics["r_mean"].value or 0.0,
    )


def captioning(world: Path, twin: Twin = "none") -> Rung:
    """BLEU-4 of the nearest image's caption; chance is the caption of any training image.

    The oracle writes the caption of what the truth tells.
    """
    train, test = target_images(world, twin)
    known = shuffled([shown.captions for shown in train], twin, "caption")
    references = {shown.image_id: list(shown.captions) for shown in test}
    rng = np.random.default_rng(derive_seed("ladder captions"))
    given = {
        "chance": [train[index].captions[0] for index in rng.integers(0, len(train), len(test))],
        "majority": same_caption([shown.captions for shown in train], len(test)),
        "simple": neighbours.captions(_features(world, twin, 0), known, _features(world, twin, 1)),
        "oracle": [shown.told[0] for shown in test],
    }
    found = {}
    for name, texts in given.items():
        written = [caption_metrics.Hypothesis(s.image_id, text) for s, text in zip(test, texts, strict=True)]
        scored = caption_metrics.score(written, references, intervals=False).metrics["bleu_4"]
        found[name] = scored.value or 0.0
    return Rung(
        "caption", "rs_captions", "bleu_4", found["chance"], found["majority"], found["simple"], found["oracle"],
        len(test), binomial=False,
    )  # fmt: skip


def target_answers(world: Path, task: str, twin: Twin = "none") -> Rung:
    """Counting, naming and placing by linear classifiers over simple features of the image, the box, the cells."""
    train, test = target_images(world, twin)
    asked = [[(s, q) for s in part for q in s.questions if q.task == task] for part in (train, test)]
    known = [question.answer for _, question in asked[0]]
    for source in SOURCES:  # each with its own types
        mine = [place for place, (shown, _) in enumerate(asked[0]) if shown.image_id.startswith(source)]
        for place, answer in zip(mine, shuffled([known[at] for at in mine], twin, f"{task} {source}"), strict=True):
            known[place] = answer
    if task == "vqa_target_pos":
        given = _cells(asked[0], known, asked[1])
    else:
        crops = [[_view(shown, question) for shown, question in part] for part in asked]
        given = _linear(crops[0], known, crops[1])
    kinds = [[shown.image_id.partition("/")[0] if task == "vqa_target_rec" else "" for shown, _ in p] for p in asked]
    common = MajorityAnswers(kinds[0], known).predict(kinds[1])
    types = {dataset: parts(world, dataset, label_map).index.classes for dataset, label_map in SOURCES.items()}
    counts = [int(question.answer) for _, question in asked[0]] if task == "vqa_target_count" else [0]
    chance = answer_chance(task, largest_count=max(counts), types=7)
    told = [_told_answer(task, shown, question) for shown, question in asked[1]]
    most, simple, oracle = (
        _accuracy(task, [q for _, q in asked[1]], answered, kinds[1], types) for answered in (common, given, told)
    )
    constant = _best_constant([question.answer for _, question in asked[1]])
    return Rung(task, "targets", "accuracy", chance, most, simple, oracle, len(asked[1]), best_constant=constant)


def _view(shown: Shown, question: Question) -> Grey:
    """The whole image, or a window around the centre that is asked about: the question tells no size."""
    if "box" not in question.meta:
        return shown.pixels
    x, y, width, height = question.meta["box"]
    half = max(shown.pixels.shape) // 8
    around = np.pad(shown.pixels, half, mode="reflect")
    row, column = int(y + height / 2), int(x + width / 2)
    return around[row : row + 2 * half, column : column + 2 * half]


def _linear(train: Sequence[Grey], known: Sequence[str], test: Sequence[Grey]) -> list[str]:
    names = sorted(set(known))
    model = LinearClassifier(simple_features(train), [names.index(answer) for answer in known], len(names))
    return [names[index] for index in model.scores(simple_features(test)).argmax(axis=1)]


def _cells(
    train: Sequence[tuple[Shown, Question]], known: Sequence[str], test: Sequence[tuple[Shown, Question]]
) -> list[str]:
    """Each cell is asked for itself; where all say no, the likeliest is taken."""
    crops = [cell for shown, _ in train for cell in _ninths(shown.pixels)]
    filled = [int(str(cell) in answer.split(",")) for answer in known for cell in range(1, 10)]
    model = LinearClassifier(simple_features(crops), filled, 2)
    scores = model.scores(simple_features([cell for shown, _ in test for cell in _ninths(shown.pixels)]))
    sure = (scores[:, 1] - scores[:, 0]).reshape(-1, 9)
    rows = [np.flatnonzero(row > 0) if (row > 0).any() else np.array([row.argmax()]) for row in sure]
    return [",".join(str(cell + 1) for cell in row) for row in rows]


def _ninths(image: Grey) -> list[Grey]:
    height, width = image.shape
    rows, columns = np.linspace(0, height, 4).astype(int), np.linspace(0, width, 4).astype(int)
    return [image[rows[r] : rows[r + 1], columns[c] : columns[c + 1]] for r in range(3) for c in range(3)]


def _told_answer(task: str, shown: Shown, question: Question) -> str:
    objects = shown.truth.objects
    if task == "vqa_target_count":
        return str(len(objects))
    if task == "vqa_target_pos":
        return ",".join(str(cell) for cell in sorted({item.cell for item in objects}))
    x, y, width, height = question.meta["box"]
    middle = x + width / 2, y + height / 2
    places = [(item.box[0] + item.box[2] / 2, item.box[1] + item.box[3] / 2) for item in objects]
    return shown.types[min(range(len(objects)), key=lambda place: math.dist(places[place], middle))]


def land_answers(world: Path, task: str, twin: Twin = "none") -> Rung:
    """Main, regional and all covers by linear classifiers over simple features of the tile or its quadrant."""
    found = parts(world, "fusar_map", "map4_labelled")
    asked: list[list[tuple[ImageEntry, Question, Grey]]] = []
    for entries in (found.train, found.test):
        rows = []
        for entry, image in zip(entries, pixels(found, entries, twin), strict=True):
            counts = count_covers(read_mask(found.index, entry))
            for question in landform_questions(entry.image_id, counts, min_margin=0.05):
                if question.task == task:
                    rows.append((entry, question, _quarter(image, question.meta.get("quadrant"))))
        asked.append(rows)
    known = shuffled([question.answer for _, question, _ in asked[0]], twin, task)
    crops = [[view for _, _, view in part] for part in asked]
    given = _linear(crops[0], known, crops[1])
    common = MajorityAnswers([""] * len(known), known).predict([""] * len(crops[1]))
    told = [_told_cover(task, found.truth[entry.path], question) for entry, question, _ in asked[1]]
    most, simple, oracle = (
        _accuracy(task, [q for _, q, _ in asked[1]], answered) for answered in (common, given, told)
    )
    constant = _best_constant([question.answer for _, question, _ in asked[1]])
    chance = answer_chance(task)
    return Rung(task, "fusar_map", "accuracy", chance, most, simple, oracle, len(told), best_constant=constant)


def _quarter(image: Grey, name: str | None) -> Grey:
    if name is None:
        return image
    down, right = divmod(QUADRANTS.index(name), 2)
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return image[down * height : (down + 1) * height, right * width : (right + 1) * width]


def _told_cover(task: str, truth: Truth, question: Question) -> str:
    if task == "vqa_all_land":
        return ", ".join(name for name in LAND_COVERS if truth.shares.tile[name] >= 0.001)
    shares = truth.shares.tile if task == "vqa_main_land" else truth.shares.quadrants[question.meta["quadrant"]]
    return Counter(shares).most_common(1)[0][0]


def _best_constant(answers: Sequence[str]) -> float:
    return 100 * Counter(answers).most_common(1)[0][1] / len(answers) if answers else 0.0


def _accuracy(
    task: str,
    questions: Sequence[Question],
    given: Sequence[str],
    sources: Sequence[str] = (),
    types: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> float:
    """Over all data sets; each is scored with its own list of types, for there are tankers that fly and that swim."""
    right = 0.0
    for source in dict.fromkeys(sources or [""] * len(questions)):
        mine = [place for place in range(len(questions)) if not sources or sources[place] == source]
        truth = {questions[place].question_id: questions[place].answer for place in mine}
        answered = {questions[place].question_id: given[place] for place in mine}
        scored = answers.score(task, truth, dict(answered), types.get(source, ()))
        right += len(mine) * (scored.metrics["accuracy"].value or 0.0)
    return right / max(1, len(questions))
