"""A whole short detection run, files to AP50: ours against the script that a user would write with torchvision."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.bench.interleave import Timing, interleaved

EPOCHS = 2
IMAGES = 60
SIDE = 512
"""Of the scenes of the synthetic world at its default size."""


def detection_run(turns: int) -> dict[str, Timing]:
    """Two epochs of the mini profile on 48 scenes, 12 to test: ours, and torchvision with the same network.

    The peer decodes in its data set, as its tutorial does, and resizes, matches and samples image by image. Both train
    the same encoder under the same pyramid, with the same anchors, heads and numbers of samples, for as many steps.
    """
    import torch

    from foundation.cache import VARIABLE
    from tasks.datasets import DataSource

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        cache = Path(folder) / "cache"
        patch.setenv(VARIABLE, str(cache))
        source = DataSource("fusar_ship_sense", write_scenes(Path(folder) / "scenes"))
        settings = short_settings()

        def empty_cache() -> float:
            shutil.rmtree(cache / "images", ignore_errors=True)
            return our_run(source, settings)

        return interleaved(
            {
                "ours": lambda: our_run(source, settings),
                "ours, empty cache": empty_cache,
                "torchvision script": lambda: peer_run(source, settings),
            },
            turns=turns,
        )


def write_scenes(root: Path) -> Path:
    """Bright targets on noise, as a COCO folder of PNG files."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(IMAGES):
        grey = rng.integers(0, 90, (SIDE, SIDE), dtype=np.uint8)
        for w, h in rng.integers(30, 80, (4, 2)).tolist():
            x, y = (int(rng.integers(0, SIDE - side)) for side in (w, h))
            grey[y : y + h, x : x + w] |= 128
            annotations.append({"id": len(annotations), "image_id": number, "category_id": 0, "bbox": [x, y, w, h]})
        Image.fromarray(grey).save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "ship"}]}
    (root / "annotations" / "instances_all.json").write_text(json.dumps(content))
    return root


def short_settings() -> Any:
    """The mini profile with a few epochs."""
    from tasks.protocol import DetectionSettings, task_settings

    values = task_settings("mini", "detection", "mini").model_dump()
    values["training"]["epochs"] = EPOCHS
    values["training"]["schedule"].update(kind="constant", milestones=(), warmup_epochs=0)
    return DetectionSettings.model_validate(values)


def our_run(source: Any, settings: Any) -> float:
    """AP50 through the task's own path."""
    from adapters.load import load
    from adapters.registry import catalog
    from tasks.datasets import read_index
    from tasks.detection.data import build, truth_of
    from tasks.detection.fit import fit_and_predict
    from tasks.detection.score import score

    data = build(read_index(source), settings)
    loaded = load(catalog()["random-mini"], image_size=settings.image_size, seed=0)
    outcome = fit_and_predict(loaded, data, settings, seed=0)
    return score(outcome.predictions, truth_of(data))["metrics"]["ap50"].value or 0.0


def peer_run(source: Any, settings: Any) -> float:
    """AP50 of a plain script: a data set that opens its files, a loader, a loop, the library's evaluation."""
    import numpy as np
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    from tasks.datasets import read_index
    from tasks.detection.data import Scene, build

    data = build(read_index(source), settings)

    class Scenes(Dataset[Any]):
        def __init__(self, scenes: tuple[Scene, ...], *, learn: bool) -> None:
            self.scenes, self.learn = scenes, learn
            self.rng = np.random.default_rng(0)

        def __len__(self) -> int:
            return len(self.scenes)

        def __getitem__(self, position: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            scene = self.scenes[position]
            grey = torch.from_numpy(np.array(Image.open(scene.path).convert("L")))
            boxes = torch.tensor([(b.x, b.y, b.x + b.width, b.y + b.height) for b in scene.boxes]).reshape(-1, 4)
            labels = torch.tensor([1 + b.label for b in scene.boxes])
            image = (grey.float() / 255).expand(3, -1, -1)
            if self.learn and self.rng.random() < settings.horizontal_flip:
                image = image.flip(-1)
                boxes[:, [0, 2]] = scene.width - boxes[:, [2, 0]]
            return image, {"boxes": boxes, "labels": labels}

    torch.manual_seed(0)
    model = peer_detector(settings, len(data.classes))
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.training.optimiser.rate, weight_decay=0.05)
    batch = settings.training.micro_batch
    loader = DataLoader(Scenes(data.train, learn=True), batch_size=batch, shuffle=True, collate_fn=_columns)
    model.train()
    for _ in range(settings.training.epochs):
        for images, targets in loader:
            loss = sum(model(images, targets).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.eval()
    found = []
    with torch.no_grad():
        for images, _ in DataLoader(Scenes(data.test, learn=False), batch_size=batch, collate_fn=_columns):
            found += model(images)
    return _evaluated(data, found)


def peer_detector(settings: Any, classes: int) -> Any:
    """torchvision's Faster R-CNN over our encoder and pyramid, fed with images from 0 to 1 as its tutorial does."""
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    from adapters.load import load
    from adapters.registry import catalog
    from tasks.detection.detector import Detector
    from tests.bench.detection_speed import torchvision_twin

    loaded = load(catalog()["random-mini"], image_size=settings.image_size, seed=0)
    model = torchvision_twin(Detector(loaded.encoder, classes, settings, seed=0), settings)  # type: ignore[arg-type]
    side = settings.image_size
    mean, std = ([value / 255 for value in part] for part in (settings.normalisation.mean, settings.normalisation.std))
    model.transform = GeneralizedRCNNTransform(side, side, mean, std, fixed_size=(side, side))
    return model


def _columns(items: Any) -> Any:
    return tuple(zip(*items, strict=True))


def _evaluated(data: Any, found: list[Any]) -> float:
    """pycocotools, as the tutorial of torchvision does it."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = [
        {"image_id": number, "category_id": box.label + 1, "bbox": list(box[:4]), "area": box.width * box.height}
        for number, scene in enumerate(data.test)
        for box in scene.boxes
    ]
    results = [
        {"image_id": number, "category_id": int(label), "bbox": [x, y, right - x, bottom - y], "score": float(sure)}
        for number, one in enumerate(found)
        for (x, y, right, bottom), label, sure in zip(one["boxes"].tolist(), one["labels"], one["scores"], strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(len(data.test))],
            "categories": [{"id": label + 1} for label in range(len(data.classes))],
            "annotations": [{"id": number + 1, "iscrowd": 0, **one} for number, one in enumerate(annotations)],
        }
        coco.createIndex()
        if not results:
            return 0.0
        evaluation = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100.0 * float(evaluation.stats[1])
