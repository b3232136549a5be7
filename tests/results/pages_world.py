"""Fake cells of the three vision tasks with answers, truth and images, small and the same each time."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from results.figures.selection import ImageOf
from results.pages.sources import CellSource, DatasetSource
from results.record import DataProvenance, FileReference, ModelProvenance, Record
from results.rows import TableRow

Pixels = NDArray[np.uint8]
IMAGES = tuple(f"images/{place:02d}.png" for place in range(10))
WIDTH, HEIGHT = 96, 64


def pixels_of(image_id: str) -> Pixels:
    """Noise whose strength grows with the number of the image."""
    place = IMAGES.index(image_id)
    rng = np.random.default_rng(place)
    return np.clip(rng.gamma(2.0, 5.0 + 4 * place, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)


def mask_text(mask: Pixels) -> str:
    """As predictions and truth hold a mask."""
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def truth_of(task: str, classes: Sequence[str]) -> dict[str, Any]:
    """The truth of a task on the ten images."""
    rows: list[dict[str, Any]] = []
    for place, image_id in enumerate(IMAGES):
        if task == "classification":
            rows.append({"image_id": image_id, "label": place % len(classes)})
        elif task == "detection":
            boxes = [[10.0, 8.0, 20.0, 16.0, 0, False], [WIDTH - 14.0, 30.0, 14.0, 12.0, place % len(classes), False]]
            rows.append({"image_id": image_id, "width": WIDTH, "height": HEIGHT, "boxes": boxes[: 1 + place % 2]})
        else:
            rows.append({"image_id": image_id, "mask": mask_text(_mask(place, len(classes)))})
    return {"classes": list(classes), "test": rows}


def answers_of(task: str, truth: dict[str, Any], quality: float, seed: int = 0) -> list[dict[str, Any]]:
    """Answers of which the share `quality` is right."""
    rng = np.random.default_rng(seed)
    classes = len(truth["classes"])
    rows: list[dict[str, Any]] = []
    for row in truth["test"]:
        right = bool(rng.random() < quality)
        if task == "classification":
            scores = [0.0] * classes
            scores[row["label"] if right else (row["label"] + 1) % classes] = float(1 + rng.random())
            rows.append({"image_id": row["image_id"], "scores": scores})
        elif task == "detection":
            boxes = [[*box[:4], box[4], 0.9 if right else 0.3] for box in row["boxes"]]
            rows.append({"image_id": row["image_id"], "boxes": [*boxes, [40.0, 40.0, 9.0, 9.0, 0, 0.7]]})
        else:
            said = np.full((HEIGHT, WIDTH), 0, dtype=np.uint8)
            rows.append({"image_id": row["image_id"], "mask": row["mask"] if right else mask_text(said)})
    return rows


def details_of(task: str, classes: Sequence[str]) -> dict[str, Any]:
    """What scoring keeps beside the metrics, sorted by name as a stored record has it."""
    matrix = [[5 if row == column else 1 for column in range(len(classes))] for row in range(len(classes))]
    losses = [2.0, 1.0, 0.5]
    if task == "classification":
        return {"confusion": matrix, "recall": [50.0, None, *[75.0] * (len(classes) - 2)], "losses": losses}
    if task == "detection":
        row = {"ap50": 60.0, "ap50_95": 30.0, "recall100": 55.0, "boxes": 7, "detections": 9}
        curve = [100.0 if place < 60 else 0.0 for place in range(101)]
        return {
            "per_class": dict.fromkeys(sorted(classes), row),
            "precision_at_recall": {name: None if name == classes[-1] else curve for name in sorted(classes)},
            "losses": losses,
        }
    row = {"iou": 40.0, "accuracy": 50.0, "labelled": 600, "predicted": 700}
    return {"per_class": dict.fromkeys(sorted(classes), row), "confusion": matrix, "losses": losses}


def cell(record: Record, task: str, classes: Sequence[str], *, quality: float = 0.6, name: str = "") -> CellSource:
    """A record with the details of its task and its answers."""
    data = DataProvenance.model_validate(record.data.model_dump() | {"classes": tuple(classes)})
    model = ModelProvenance.model_validate(record.model.model_dump() | {"name": name or record.model.name})
    whole = record.model_copy(
        update={
            "data": data,
            "model": model,
            "details": details_of(task, classes),
            "truth": FileReference(name=f"splits/{record.cell.dataset}-d-s/truth.json", sha256="b" * 64),
        }
    )
    row = TableRow(record.cell.model, name or record.model.name, record.model.backbone)
    truth = truth_of(task, classes)
    return CellSource(whole, row, lambda: answers_of(task, truth, quality, record.cell.seed))


def dataset(
    task: str, name: str, classes: Sequence[str], *, image_of: ImageOf = pixels_of, missing: str = ""
) -> DatasetSource:
    """The test part, with or without its images."""
    return DatasetSource(
        name, "b" * 64, lambda: truth_of(task, classes), (lambda _: None) if missing else image_of, missing
    )


def _mask(place: int, classes: int) -> Pixels:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for label in range(1 + place % classes):
        mask[:, label * 12 : (label + 1) * 12] = label
    mask[:4] = 255
    return mask
