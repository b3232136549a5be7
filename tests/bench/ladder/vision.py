"""Classification, detection and segmentation on the ladder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.baselines.cfar import CfarDetector, labelled
from tasks.baselines.features import LinearClassifier, classify
from tasks.baselines.majority import largest_class, one_class_everywhere, segmentation_chance
from tasks.baselines.patches import PatchSegmenter
from tasks.classification.score import ranks
from tasks.datasets.masks import read_mask
from tasks.metrics import detection, segmentation
from tasks.sarworld.plan import SIZES, Size, plan
from tasks.sarworld.sets.catalogue import maker_of
from tests.bench.ladder.networks import tiny_vit
from tests.bench.ladder.rungs import Parts, Rung, Twin, parts, pixels, shuffled

_SIDE = 64  # of the mini profile
CHIPS = ("fusar_air", "fusar_ship", "sar_acd")
BOXES = {"fusar_air_sense": "agnostic", "fusar_ship_sense": "agnostic", "sar_aircraft_few": "aircraft7"}


def classification(world: Path, dataset: str, twin: Twin = "none", *, network: bool = False) -> Rung:
    """Top-1 of simple features and, if asked for, of a tiny ViT; the oracle reads the type of the chip's target."""
    found = parts(world, dataset)
    classes = found.index.classes
    labels = shuffled([entry.label for entry in found.train], twin, dataset)
    truth = np.array([entry.label for entry in found.test])
    train, test = (pixels(found, entries, twin, square=_SIDE) for entries in (found.train, found.test))
    scores = classify(train, labels, test, len(classes))
    told = np.zeros((len(truth), len(classes)))
    for row, entry in enumerate(found.test):
        told[row, classes.index(found.truth[entry.path].objects[0].type)] = 1.0
    counts = np.bincount([entry.label for entry in found.train], minlength=len(classes))
    return Rung(
        "classification",
        dataset,
        "top1",
        chance=100 / int((counts > 0).sum()),
        majority=100 * float((truth == counts.argmax()).mean()),
        simple=100 * float((ranks(scores, truth) < 1).mean()),
        oracle=100 * float((ranks(told, truth) < 1).mean()),
        items=len(truth),
        network=tiny_vit(world, "classification", dataset, twin).value if network else None,
    )


def size_alone(world: Path) -> float:
    """Top-1 on `sar_acd` of a classifier that knows nothing but the height and the width of a chip.

    The published chips were cut to their aircraft, and so are ours: this much is known without seeing anything.
    """
    found = parts(world, "sar_acd")
    sizes = [
        np.array([(entry.height, entry.width) for entry in part], dtype=float) for part in (found.train, found.test)
    ]
    model = LinearClassifier(sizes[0], [entry.label for entry in found.train], len(found.index.classes))
    truth = np.array([entry.label for entry in found.test])
    return 100 * float((ranks(model.scores(sizes[1]), truth) < 1).mean())


def detecting(world: Path, dataset: str, twin: Twin = "none", *, network: bool = False) -> Rung:
    """AP50 of the threshold detector; the oracle hands in the boxes of the truth."""
    found = parts(world, dataset, BOXES[dataset])
    classes = found.index.classes
    boxes = [labelled([box[:4] for box in e.boxes], [box.label for box in e.boxes]) for e in found.train]
    if twin == "shuffled_labels":
        # The types change hands; a detector that knows bright from dark still finds what is bright.
        pool = shuffled([int(label) for item in boxes for label in item.labels], twin, dataset)
        starts = np.cumsum([0, *(len(item.labels) for item in boxes)])
        boxes = [
            item._replace(labels=np.array(pool[start : start + len(item.labels)], dtype=np.int64))
            for item, start in zip(boxes, starts, strict=False)
        ]
    detector = CfarDetector(pixels(found, found.train, twin), boxes, classes=len(classes))
    answers = detector.predict(pixels(found, found.test, twin))
    names = [entry.image_id for entry in found.test]
    truth = [detection.Box(e.image_id, box.label, *box[:4]) for e in found.test for box in e.boxes]
    given = [
        _detected(name, int(label), box, float(score))
        for name, answer in zip(names, answers, strict=True)
        for box, label, score in zip(answer.boxes, answer.labels, answer.scores, strict=True)
    ]
    told = [
        _detected(e.image_id, _label(classes, item.type), item.box, 1.0)
        for e in found.test
        for item in found.truth[_told_path(found, e.path)].objects
    ]
    ap50 = [
        detection.score(truth, answer, images=names, classes=classes, intervals=False).metrics["ap50"].value or 0.0
        for answer in (given, told)
    ]
    learnt = tiny_vit(world, "detection", dataset, twin).value if network else None
    return Rung("detection", dataset, "ap50", 0.0, 0.0, ap50[0], ap50[1], len(truth), binomial=False, network=learnt)


def _detected(name: str, label: int, box: Sequence[float], score: float) -> detection.Detection:
    x, y, width, height = (float(side) for side in box)
    return detection.Detection(name, label, x, y, width, height, score)


def _label(classes: tuple[str, ...], name: str) -> int:
    return 0 if len(classes) == 1 else [known.replace("/", "") for known in classes].index(name)


def _told_path(found: Parts, path: str) -> str:
    return path if path in found.truth else next(name for name in found.truth if Path(name).name == Path(path).name)


def segmenting(world: Path, dataset: str, twin: Twin = "none", *, network: bool = False) -> Rung:
    """OA of patch statistics; the oracle hands in the map of the ground plan."""
    found = parts(world, dataset, None, "HH")
    classes = found.index.classes
    masks = {entry.image_id: read_mask(found.index, entry) for entry in (*found.train, *found.test)}
    train = shuffled([masks[entry.image_id] for entry in found.train], twin, dataset)
    tests = [masks[entry.image_id] for entry in found.test]
    segmenter = PatchSegmenter(pixels(found, found.train, twin), train, classes=len(classes))
    simple, told = segmentation.Confusion(len(classes)), segmentation.Confusion(len(classes))
    for mask, answer in zip(tests, segmenter.predict(pixels(found, found.test, twin)), strict=True):
        simple.update(mask, answer)
    for entry, mask in zip(found.test, tests, strict=True):
        told.update(mask, _map_of(found, entry.path, mask))
    most = one_class_everywhere(
        tests, largest_class([masks[e.image_id] for e in found.train], len(classes)), len(classes)
    )
    majority, level, oracle = (
        segmentation.score(confusion, classes, intervals=False).metrics["oa"].value or 0.0
        for confusion in (most, simple, told)
    )
    chance = segmentation_chance(simple.matrix)["oa"] or 0.0
    learnt = tiny_vit(world, "segmentation", dataset, twin).value if network else None
    return Rung(
        "segmentation", dataset, "oa", chance, majority, level, oracle, len(tests), binomial=False, network=learnt
    )


def _map_of(found: Parts, path: str, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The world's own map as class ids of the data set, drawn anew from its layout."""
    from tasks.sarworld.ground import COVERS, map_labels, rasterise
    from tasks.sarworld.sets.polsar import CLASS_OF_COVER
    from tasks.sarworld.truth import LAND_COVERS

    dataset, (size, seed) = found.index.dataset, _world(found)
    item = next(item for item in plan(dataset, size) if path in item.files)
    ground = maker_of(dataset).ground(item, seed)
    pixel_m = ground.acquisition.product.pixel_m
    ids = np.zeros(256, dtype=np.uint8)
    if dataset == "fusar_map":
        for index, name in enumerate(LAND_COVERS):
            ids[index] = found.index.classes.index(name) if name in found.index.classes else 0
        labels = map_labels(ground.layout, ground.shape, pixel_m)
    else:
        for index, name in enumerate(COVERS):
            ids[index] = found.index.classes.index(CLASS_OF_COVER[name])
        labels = rasterise(ground.layout, ground.shape, pixel_m).cover
    assert labels.shape == mask.shape
    return ids[labels]


def _world(found: Parts) -> tuple[Size, int]:
    words = (found.index.world or "").split()
    size = next(known for known in SIZES if known == words[2])
    return size, int(words[4])
