"""Segmentation: a training step, its loss alone, and a whole short run, against what a user would otherwise write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torch.utils.data import DataLoader, Dataset

from foundation.cache import VARIABLE
from tasks.protocol import SegmentationSettings, task_settings
from tests.bench.interleave import Timing, interleaved

CLASSES = 4
BATCH = 16
TILE = 64
EPOCHS = 2
IMAGES = 5
SIDE = 512
"""Of the images of a whole run; those of FUSAR-Map have twice that (section 5.2)."""
PEER = "timm, bare loop"
SCRIPT = "a script, decoding per tile"
KEEN_SCRIPT = "a script, decoding per image"


class PlainSegmenter(nn.Module):
    """The mask transformer over timm's own ViT, as short as it can be written."""

    def __init__(self, tile: int, width: int = 128, depth: int = 4, heads: int = 4, patch: int = 8) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block, VisionTransformer

        self.side = tile // patch
        self.encoder = VisionTransformer(
            img_size=tile, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads, num_classes=0
        )
        self.embed = nn.Linear(width, width)
        self.classes = nn.Parameter(0.02 * torch.randn(1, CLASSES, width))
        self.blocks = nn.Sequential(*(Block(width, max(1, width // 64), qkv_bias=True) for _ in range(2)))
        self.norm = nn.LayerNorm(width)
        self.of_patches = nn.Linear(width, width, bias=False)
        self.of_classes = nn.Linear(width, width, bias=False)
        self.class_norm = nn.LayerNorm(CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, K, H, W]."""
        tokens = self.embed(self.encoder.forward_features(images)[:, 1:])
        tokens = self.norm(self.blocks(torch.cat([tokens, self.classes.expand(len(tokens), -1, -1)], dim=1)))
        patches, classes = self.of_patches(tokens[:, :-CLASSES]), self.of_classes(tokens[:, -CLASSES:])
        patches = patches / patches.norm(dim=-1, keepdim=True)
        classes = classes / classes.norm(dim=-1, keepdim=True)
        masks = self.class_norm(patches @ classes.transpose(1, 2)).transpose(1, 2)
        masks = masks.reshape(len(images), CLASSES, self.side, self.side)
        return interpolate(masks, size=images.shape[2:], mode="bilinear", align_corners=False)


def segmentation_step(turns: int) -> dict[str, Timing]:
    """One optimiser step of the mini ViT under the mask transformer, 16 tiles of 64 px."""
    from tasks.optimiser import build_optimiser
    from tasks.training import _step, autocast

    torch.set_num_threads(1)
    settings, device = _settings(EPOCHS), torch.device("cpu")
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (BATCH, TILE, TILE), dtype=np.uint8)
    masks = rng.integers(0, CLASSES, (BATCH, TILE, TILE), dtype=np.uint8)
    ours = _training(settings, tiles, masks)
    optimiser = build_optimiser(ours.model, settings.training.optimiser)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    peer = PlainSegmenter(TILE).train()
    peer_optimiser = torch.optim.AdamW(peer.parameters(), lr=1e-3, weight_decay=0.0)
    grey, target = torch.from_numpy(tiles), torch.from_numpy(masks)
    ours.model.train()

    def our_step() -> None:
        for micros in ours.batches(0):
            _step(ours, optimiser, scaler, micros, settings.training, autocast(device, "fp32"))

    def peer_step() -> None:
        _peer_step(peer, peer_optimiser, ((grey[:, None].float() - 127.5) / 127.5).repeat(1, 3, 1, 1), target.long())

    return interleaved({"ours": our_step, PEER: peer_step}, turns=turns)


def segmentation_loss(turns: int) -> dict[str, Timing]:
    """Loss and gradient of class maps alone: 16 tiles of 64 px, and 8 of the paper's 256 px."""
    from adapters.interface import Grid
    from tasks.segmentation.loss import class_shares, mask_cross_entropy

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    works: dict[str, Callable[[], object]] = {}
    for batch, tile, cells in ((BATCH, TILE, 8), (8, 256, 16)):
        masks = rng.integers(0, CLASSES, (batch, tile, tile), dtype=np.uint8)
        logits = torch.randn(batch, cells, cells, CLASSES, requires_grad=True)
        shares = class_shares(masks, CLASSES, Grid(cells, cells), torch.device("cpu"))
        target = torch.from_numpy(masks)

        def ours(logits: Tensor = logits, shares: Tensor = shares, tile: int = tile) -> object:
            return torch.autograd.grad(mask_cross_entropy(logits, shares, None, tile), logits)

        def usual(logits: Tensor = logits, target: Tensor = target, tile: int = tile) -> object:
            fine = interpolate(logits.permute(0, 3, 1, 2), size=(tile, tile), mode="bilinear", align_corners=False)
            return torch.autograd.grad(cross_entropy(fine, target.long(), ignore_index=255), logits)

        works |= {f"ours, {tile} px": ours, f"interpolated, {tile} px": usual}
    return interleaved(works, turns=turns)


def segmentation_run(turns: int) -> dict[str, Timing]:
    """Two epochs of the mini ViT on images of 512 px in the layout of FUSAR-Map, from the files to mIoU."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "fusar_map"
        write_map(root)
        works = {
            "ours": lambda: our_run(root),
            SCRIPT: lambda: their_run(root, per_image=False),
            KEEN_SCRIPT: lambda: their_run(root, per_image=True),
        }
        return interleaved(works, turns=max(3, turns // 5), warm_up=0)


SEGMENTATION_MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "segmentation-step": (segmentation_step, PEER),
    "segmentation-loss": (segmentation_loss, f"interpolated, {TILE} px"),
    "segmentation-run": (segmentation_run, SCRIPT),
}
"""Name to the measurement and the peer that the others are divided by."""


def write_map(root: Path) -> None:
    """Blocks of four kinds of ground, in whole multiples of a patch."""
    import tifffile

    rng = np.random.default_rng(0)
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 0)], dtype=np.uint8)
    for name in ("sar_512", "lab_512"):
        (root / name).mkdir(parents=True)
    for number in range(1, IMAGES + 1):
        ids = rng.integers(0, CLASSES, (SIDE // 32, SIDE // 32)).repeat(32, axis=0).repeat(32, axis=1)
        image = rng.gamma(2.0, np.array([10.0, 60.0, 30.0, 20.0])[ids]).clip(0, 255).astype(np.uint8)
        place = f"City_01_01_01_{number:02d}"
        tifffile.imwrite(root / "sar_512" / f"{place}_SAR_{number:03d}.tif", image)
        tifffile.imwrite(root / "lab_512" / f"{place}_Label_{number:03d}.tif", colours[ids])


def our_run(root: Path) -> float:
    """With an empty cache: indexing, splitting, cutting, training, predicting, scoring."""
    from adapters.load import load
    from adapters.registry import catalog
    from tasks.datasets import DataSource, read_index
    from tasks.segmentation.data import build, truth_of
    from tasks.segmentation.fit import fit_and_predict
    from tasks.segmentation.score import score

    before = os.environ.get(VARIABLE)
    with tempfile.TemporaryDirectory() as cache:
        os.environ[VARIABLE] = cache
        try:
            settings = _settings(EPOCHS)
            data = build(read_index(DataSource("fusar_map", root)), settings)
            loaded = load(catalog()["random-mini"], image_size=TILE, seed=0)
            outcome = fit_and_predict(loaded, data, settings, seed=0)
        finally:
            os.environ.pop(VARIABLE) if before is None else os.environ.__setitem__(VARIABLE, before)
    return float(score(outcome.predictions, truth_of(data))["metrics"]["miou"].value or 0.0)


class Tiles(Dataset[tuple[Tensor, Tensor]]):
    """Decodes an image and its mask whenever something of them is asked for, as tutorials do."""

    def __init__(self, files: list[tuple[Path, Path]], *, per_image: bool) -> None:
        self.files = files
        self.per_image = per_image
        self.per_side = SIDE // TILE

    def __len__(self) -> int:
        """Images, or tiles."""
        return len(self.files) * (1 if self.per_image else self.per_side**2)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Input [3, side, side] and mask of one tile, or [N, 3, side, side] and masks of one image's."""
        tiles = self.per_side**2
        image, mask = self._decoded(number if self.per_image else number // tiles)
        places = range(tiles) if self.per_image else [number % tiles]
        cut = []
        for place in places:
            y, x = place // self.per_side * TILE, place % self.per_side * TILE
            tile = (torch.from_numpy(image[y : y + TILE, x : x + TILE]).float() - 127.5) / 127.5
            cut.append((tile[None].repeat(3, 1, 1), torch.from_numpy(mask[y : y + TILE, x : x + TILE])))
        if not self.per_image:
            return cut[0]
        return torch.stack([tile for tile, _ in cut]), torch.stack([labels for _, labels in cut])

    def _decoded(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        import tifffile

        image, label = (tifffile.imread(path) for path in self.files[number])
        mask = np.zeros(label.shape[:2], dtype=np.int64)
        for index, colour in enumerate([(0, 0, 0), (255, 0, 0), (0, 255, 0), (255, 255, 0)]):
            mask[(label == colour).all(axis=-1)] = index
        return image, mask


def their_run(root: Path, *, per_image: bool) -> float:
    """The same number of images, tiles and epochs, in the usual shape of a script."""
    images, labels = sorted((root / "sar_512").iterdir()), sorted((root / "lab_512").iterdir())
    files = list(zip(images, labels, strict=True))
    model = PlainSegmenter(TILE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.0)
    model.train()
    for _ in range(EPOCHS):
        for inputs, target in _batches(Tiles(files[IMAGES // 5 :], per_image=per_image), shuffle=True):
            _peer_step(model, optimiser, inputs, target)
    model.eval()
    confusion = torch.zeros(CLASSES, CLASSES, dtype=torch.long)
    with torch.no_grad():
        for inputs, target in _batches(Tiles(files[: IMAGES // 5], per_image=per_image), shuffle=False):
            said = model(inputs).argmax(dim=1)
            confusion += torch.bincount((target * CLASSES + said).ravel(), minlength=CLASSES**2).view(CLASSES, CLASSES)
    hits = confusion.diag()
    return float(100 * (hits / (confusion.sum(0) + confusion.sum(1) - hits)).mean())


def _batches(tiles: Tiles, *, shuffle: bool) -> Any:
    if not tiles.per_image:
        yield from DataLoader(tiles, batch_size=BATCH, shuffle=shuffle)
        return
    for inputs, target in DataLoader(tiles, batch_size=1, shuffle=shuffle):
        yield from zip(inputs[0].split(BATCH), target[0].split(BATCH), strict=True)


def _peer_step(model: nn.Module, optimiser: torch.optim.Optimizer, inputs: Tensor, target: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss: Tensor = cross_entropy(model(inputs), target, ignore_index=255)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _settings(epochs: int) -> SegmentationSettings:
    settings = task_settings("mini", "segmentation", "mini")
    assert isinstance(settings, SegmentationSettings)
    values = settings.model_dump()
    values.update(tile=TILE, stride=TILE)
    values["training"].update(epochs=epochs, batch=BATCH, micro_batch=BATCH)
    values["training"]["optimiser"]["rate"] = 3e-4
    values["training"]["schedule"].update(warmup_epochs=0.5, warmup_factor=0.01)
    return SegmentationSettings.model_validate(values)


def _training(settings: SegmentationSettings, tiles: NDArray[np.uint8], masks: NDArray[np.uint8]) -> Any:
    from adapters.load import load
    from adapters.registry import catalog
    from tasks.input_path import input_path
    from tasks.segmentation.fit import TileTraining
    from tasks.segmentation.network import Segmenter
    from tasks.segmentation.tiling import MaskTiles

    loaded = load(catalog()["random-mini"], image_size=TILE, seed=0)
    model = Segmenter(loaded.encoder, CLASSES, blocks=2, dropout=0.0, seed=0)  # type: ignore[arg-type]
    rows = np.arange(len(tiles))
    return TileTraining(
        model,
        input_path(loaded, settings.normalisation),
        settings,
        tiles,
        MaskTiles(masks, rows),
        seed=0,
        device=torch.device("cpu"),
    )
