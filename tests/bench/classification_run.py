"""A whole short fine-tuning, from image files to scores: ours, and the script that a user would otherwise write."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from foundation.cache import VARIABLE
from tasks.classification.data import Chip, ClassificationData
from tasks.protocol import ClassificationSettings, task_settings
from tests.bench.interleave import Timing, interleaved

EPOCHS = 5
CLASSES = ("Cargo", "Dredger", "Fishing", "Tanker")
PER_CLASS = 40
SIDE = 512
"""Of the chips of FUSAR-SHIP, in pixels (section 3.2)."""


def classification_run(turns: int) -> dict[str, Timing]:
    """Five epochs of the mini ViT on 160 chips in the layout and size of FUSAR-SHIP, from the files to Top-1."""
    torch.set_num_threads(1)
    settings = task_settings("mini", "classification", "mini")
    assert isinstance(settings, ClassificationSettings)
    schedule = settings.training.schedule.model_copy(update={"warmup_epochs": 1.0})
    training = settings.training.model_copy(update={"epochs": EPOCHS, "schedule": schedule})
    settings = settings.model_copy(update={"training": training})
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "fusar_ship"
        write_chips(root)
        works = {
            "ours": lambda: our_run(root, settings),
            "a script with timm": lambda: their_run(root, settings, workers=0),
            "the same, 1 loading process": lambda: their_run(root, settings, workers=1),
        }
        return interleaved(works, turns=max(3, turns // 3))


def write_chips(root: Path) -> None:
    """Speckle with a bright bar."""
    import tifffile

    rng = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        folder = root / "ShipCategory" / name / "All"
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            chip = rng.gamma(2.0, 20.0, (SIDE, SIDE))
            chip[:, 100 * label + 20 : 100 * label + 80] += 90
            file = folder / f"Ship_C{label:02d}S01N{number:04d}.tiff"
            tifffile.imwrite(file, np.clip(chip, 0, 255).astype(np.uint8))


def our_run(root: Path, settings: ClassificationSettings) -> float:
    """With an empty cache: indexing, splitting, decoding, training, predicting, scoring."""
    from adapters.load import load
    from adapters.registry import catalog
    from tasks.classification.data import build, truth_of
    from tasks.classification.fit import fit_and_predict
    from tasks.classification.score import score
    from tasks.datasets import DataSource, read_index

    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as cache:
        os.environ[VARIABLE] = cache
        try:
            data = build(read_index(DataSource("fusar_ship", root)))
            loaded = load(catalog()["random-mini"], image_size=settings.image_size, seed=0)
            outcome = fit_and_predict(loaded, data, settings, seed=0)
        finally:
            os.environ.pop(VARIABLE) if before is None else os.environ.__setitem__(VARIABLE, before)
            shutil.rmtree(cache, ignore_errors=True)
            Path(cache).mkdir()
    return float(score(outcome.predictions, truth_of(data))["metrics"]["top1"].value or 0.0)


class Chips(Dataset[tuple[Tensor, int]]):
    """Decodes and augments an image whenever it is asked for, as tutorials do."""

    def __init__(self, chips: tuple[Chip, ...], transform: Any) -> None:
        self.chips = chips
        self.transform = transform

    def __len__(self) -> int:
        return len(self.chips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        chip = self.chips[index]
        with Image.open(chip.path) as image:
            return self.transform(image.convert("RGB")), chip.label


def their_run(root: Path, settings: ClassificationSettings, *, workers: int) -> float:
    """Torchvision's transforms, timm's model, one loop; the split is given."""
    import timm
    from torchvision import transforms

    data = _parts(root)
    size, statistics = settings.image_size, ([0.5] * 3, [0.5] * 3)
    training = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, settings.crop.scale, settings.crop.ratio, antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(*statistics),
        ]
    )
    testing = transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(*statistics),
        ]
    )
    batch, epochs = settings.training.batch, settings.training.epochs
    loader = DataLoader(Chips(data.train, training), batch_size=batch, shuffle=True, num_workers=workers)
    model = timm.create_model(
        "vit_base_patch16_224",
        img_size=size,
        patch_size=8,
        embed_dim=128,
        depth=4,
        num_heads=4,
        num_classes=len(CLASSES),
    )
    assert isinstance(model, nn.Module)
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.training.optimiser.rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * len(loader))
    for _ in range(epochs):
        model.train()
        for images, labels in loader:
            optimiser.zero_grad()
            loss = cross_entropy(model(images), labels, label_smoothing=settings.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    model.eval()
    right = 0
    with torch.no_grad():
        for images, labels in DataLoader(Chips(data.test, testing), batch_size=batch, num_workers=workers):
            right += int((model(images).argmax(1) == labels).sum())
    return 100.0 * right / len(data.test)


_KNOWN: dict[Path, ClassificationData] = {}


def _parts(root: Path) -> ClassificationData:
    """The peer is given its file lists for nothing."""
    from tasks.classification.data import build
    from tasks.datasets import DataSource, read_index

    if root not in _KNOWN:
        _KNOWN[root] = build(read_index(DataSource("fusar_ship", root)))
    return _KNOWN[root]
