"""Fine-tuning an encoder with a linear head, or fitting a linear classifier on fixed features; raw scores out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from adapters.interface import Encoder, FeatureExtractor, Features, LoadedModel
from foundation.errors import CellError
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.augment import augment
from tasks.baselines.features import LinearClassifier
from tasks.classification.data import Chip, ClassificationData
from tasks.fine_tuning import Chosen, FineTuning, fine_tune, preparing
from tasks.images import Grey, ImageSource, load_originals, load_squares
from tasks.input_path import InputPath, input_path
from tasks.protocol.settings import ClassificationSettings
from tasks.task import Outcome, Twin
from tasks.training import autocast
from tasks.under_heads import UnderHeads

PREDICT_BATCH = 64


class Batch(NamedTuple):
    """Augmented 8-bit images and their labels."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Items, not fields."""
        return int(self.labels.shape[0])


class Classifier(UnderHeads):
    """An encoder under a linear head."""

    def __init__(self, encoder: Encoder, classes: int, pooling: str, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = nn.Linear(encoder.width, classes)
        generator = torch.Generator().manual_seed(derive_seed("head", seed))
        nn.init.trunc_normal_(self.head.weight, std=0.02, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Scores [B, classes] of the encoder's input."""
        features: Features = self.encoder(images)
        if self.pooling == "class_token" and features.class_token is not None:
            pooled = features.class_token
        elif self.pooling == "mean" and features.class_token is not None:
            pooled = features.tokens.mean(dim=1)
        else:
            pooled = features.pooled
        logits: Tensor = self.head(pooled)
        return logits


class ChipTraining(FineTuning[Classifier, ClassificationSettings, Batch]):
    """A classification as the training loop wants it: every chip with a crop of its own in every epoch."""

    def __init__(
        self,
        model: Classifier,
        to_input: InputPath,
        settings: ClassificationSettings,
        images: Sequence[Grey] | Grey,
        labels: Sequence[int],
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        super().__init__(model, to_input, settings, len(labels), seed=seed, device=device)
        self.images = images
        self.labels = torch.tensor(labels, dtype=torch.long)

    def prepared(self, epoch: int, chosen: Chosen) -> Batch:
        """Crops and labels of the chosen chips."""
        pieces = augment(
            [self.images[index] for index in chosen],
            self.settings.image_size,
            self.settings.crop,
            self.settings.horizontal_flip,
            self.generators(epoch, chosen),
        )
        return Batch(pieces, self.labels[torch.from_numpy(chosen)])

    def placed(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return Batch(batch.images.to(self.device), batch.labels.to(self.device))

    def loss(self, micro: Batch) -> Tensor:
        """Cross entropy with the protocol's label smoothing."""
        logits = self.model(self.to_input(micro.images))
        return cross_entropy(logits.float(), micro.labels, label_smoothing=self.settings.label_smoothing)


def fit_and_predict(
    loaded: LoadedModel,
    data: ClassificationData,
    settings: ClassificationSettings,
    *,
    seed: int,
    twin: Twin = "none",
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> Outcome:
    """Learns from the training part and scores every class for every test image."""
    device = device or torch.device("cpu")
    labels = _labels(data.train, twin, seed)

    told = preparing(progress)
    test = _disturbed(load_squares(_sources(data.test), settings.image_size, told), data.test, twin, seed)
    if not loaded.trainable:
        train_images = load_squares(_sources(data.train), settings.image_size, told)
        train_images = _disturbed(train_images, data.train, twin, seed)
        return _linear(loaded, train_images, labels, test, data, seed=seed, progress=progress)
    if settings.images == "resized":
        images: Sequence[Grey] | Grey = load_squares(_sources(data.train), settings.image_size, told)
    else:
        images = load_originals(_sources(data.train), told)
    images = _disturbed(images, data.train, twin, seed)
    model = Classifier(cast(Encoder, loaded.encoder), len(data.classes), settings.pooling, seed).to(device)
    to_input = input_path(loaded, settings.normalisation)
    return fine_tune(
        ChipTraining(model, to_input, settings, images, labels, seed=seed, device=device),
        lambda precision: _rows(data.test, predict(model, to_input, test, device, precision)),
        checkpoint=checkpoint,
        key=key,
        progress=progress,
    )


@torch.inference_mode()
def predict(
    model: Classifier, to_input: Any, images: Grey, device: torch.device, precision: str
) -> NDArray[np.float32]:
    """Scores [N, classes] of 8-bit squares, in batches."""
    model.eval()
    scores = []
    for low in range(0, len(images), PREDICT_BATCH):
        grey = torch.from_numpy(np.array(images[low : low + PREDICT_BATCH])).to(device)
        with autocast(device, precision):
            scores.append(model(to_input(grey)).float().cpu().numpy())
    return np.concatenate(scores) if scores else np.empty((0, model.head.out_features), dtype=np.float32)


def _linear(
    loaded: LoadedModel,
    train_images: Grey,
    labels: Sequence[int],
    test_images: Grey,
    data: ClassificationData,
    *,
    seed: int,
    progress: Progress,
) -> Outcome:
    extract = cast(FeatureExtractor, loaded.encoder).features
    progress(0, 3, "features of the training part")
    if len(set(labels)) < 2:
        raise CellError(
            "the training part holds one class only; there is nothing to tell apart",
            where=data.index.dataset,
            way_out="raise --limit, or leave it out",
        )
    train_features = extract(list(train_images))
    progress(1, 3, "linear classifier")
    classifier = LinearClassifier(train_features, labels, len(data.classes), seed=seed)
    progress(2, 3, "features of the test part")
    scores = np.zeros((0, len(data.classes)), dtype=np.float32)
    if len(test_images):
        scores = classifier.scores(extract(list(test_images))).astype(np.float32)
    progress(3, 3, "predicted")
    return Outcome(
        predictions=_rows(data.test, scores),
        losses=[],
        parameters=classifier.parameters,
        precision="fp32",
        earlier_seconds=0.0,
        resumed_from_epoch=None,
        warnings=[],
    )


def _sources(chips: Sequence[Chip]) -> list[ImageSource]:
    return [ImageSource(chip.path, chip.pixel_hash) for chip in chips]


def _labels(chips: Sequence[Chip], twin: Twin, seed: int) -> list[int]:
    labels = [chip.label for chip in chips]
    if twin == "shuffled_labels":
        order = np.random.default_rng(derive_seed("shuffled_labels", seed)).permutation(len(labels))
        return [labels[index] for index in order]
    return labels


def _disturbed(images: Any, chips: Sequence[Chip], twin: Twin, seed: int) -> Any:
    """The images themselves, or noise of the same shapes for the noise twin."""
    if twin != "noise_images":
        return images
    noise = [
        np.random.default_rng(derive_seed("noise", seed, chip.image_id)).integers(0, 256, image.shape, dtype=np.uint8)
        for chip, image in zip(chips, images, strict=True)
    ]
    return noise if isinstance(images, list) else np.stack(noise)


def _rows(chips: Sequence[Chip], scores: NDArray[np.float32]) -> list[dict[str, Any]]:
    return [
        # Nine significant digits give every float32 back exactly; what JSON lacks becomes null: no answer.
        {"image_id": chip.image_id, "scores": [float(f"{v:.9g}") if np.isfinite(v) else None for v in row]}
        for chip, row in zip(chips, scores, strict=True)
    ]
