"""What is measured, each against the peer that a user would otherwise take."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tests.bench.caption_generation import CAPTION_MEASUREMENTS
from tests.bench.classification_run import classification_run
from tests.bench.detection_run import detection_run
from tests.bench.detection_speed import DETECTION_MEASUREMENTS
from tests.bench.encoders import ENCODER_MEASUREMENTS
from tests.bench.interleave import Timing, interleaved
from tests.bench.klip_step import KLIP_STEP_MEASUREMENTS
from tests.bench.retrieval_evaluation import RETRIEVAL_MEASUREMENTS
from tests.bench.scio_screening import SCIO_MEASUREMENTS
from tests.bench.segmentation_speed import SEGMENTATION_MEASUREMENTS
from tests.bench.vqa_ranking import VQA_MEASUREMENTS
from tests.bench.world import ci_world, scene

if TYPE_CHECKING:
    from tasks.protocol import ClassificationSettings


def training_step(turns: int) -> dict[str, Timing]:
    """One optimiser step of the mini profile's classification: ours, and timm's own model in a bare loop."""
    from tasks.protocol import ClassificationSettings, task_settings

    settings = task_settings("mini", "classification", "mini")
    assert isinstance(settings, ClassificationSettings)
    return _training_step(settings, turns)


def training_step_64(turns: int) -> dict[str, Timing]:
    """The same on 32 chips of 64 px."""
    from tasks.protocol import ClassificationSettings, task_settings

    values = task_settings("mini", "classification", "mini").model_dump()
    values["image_size"] = 64
    values["training"].update(batch=32, micro_batch=32)
    return _training_step(ClassificationSettings.model_validate(values), turns)


def _training_step(settings: ClassificationSettings, turns: int) -> dict[str, Timing]:
    """Both see the same pixels under the same statistics; what cuts crops trains a model of its own."""
    import numpy as np
    import timm
    import torch
    from torch.nn.functional import cross_entropy

    from adapters.load import load
    from adapters.registry import catalog
    from tasks.classification.fit import Batch, ChipTraining, Classifier
    from tasks.input_path import input_path
    from tasks.optimiser import build_optimiser
    from tasks.training import _step, autocast

    torch.set_num_threads(1)
    card, device = catalog()["random-mini"], torch.device("cpu")
    context = autocast(device, "fp32")
    side, count = settings.image_size, settings.training.batch
    geometry, classes = card.architecture, 7
    assert geometry is not None
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (count, side, side), dtype=np.uint8))
    labels = [int(label) for label in rng.integers(0, classes, count)]
    batch = Batch(torch.from_numpy(np.stack(images)), torch.tensor(labels))

    def ours() -> tuple[ChipTraining, Callable[[list[Batch]], object]]:
        loaded = load(card, image_size=side, seed=0)
        model = Classifier(loaded.encoder, classes, "class_token", 0).train()  # type: ignore[arg-type]
        task = ChipTraining(
            model, input_path(loaded, settings.normalisation), settings, images, labels, seed=0, device=device
        )
        optimiser = build_optimiser(model, settings.training.optimiser)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        return task, partial(_step, task, optimiser, scaler, settings=settings.training, context=context)

    _, our_step = ours()
    task, step_with_crops = ours()
    peer = timm.create_model(
        "vit_base_patch16_224",
        img_size=side,
        patch_size=geometry.patch,
        embed_dim=geometry.width,
        depth=geometry.depth,
        num_heads=geometry.heads,
        num_classes=classes,
    )
    rate, decay = settings.training.optimiser.rate, settings.training.optimiser.weight_decay
    peer_optimiser = torch.optim.AdamW(peer.parameters(), lr=rate, weight_decay=decay)
    mean, std = settings.normalisation.mean[0], settings.normalisation.std[0]

    def peer_step() -> None:
        peer_optimiser.zero_grad(set_to_none=True)
        inputs = ((batch.images[:, None].float() - mean) / std).repeat(1, 3, 1, 1)
        loss: torch.Tensor = cross_entropy(peer(inputs), batch.labels, label_smoothing=settings.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        peer_optimiser.step()

    def our_step_with_crops() -> None:
        for micros in task.batches(0):
            step_with_crops(micros)

    return interleaved(
        {"ours": lambda: our_step([batch]), "timm, bare loop": peer_step, "ours with crops": our_step_with_crops},
        turns=turns,
    )


def start_up(turns: int) -> dict[str, Timing]:
    """From the command to its output, in a fresh process."""

    def command(*arguments: str) -> Callable[[], object]:
        words = [sys.executable, "-m", "harness.cli", *arguments]
        return lambda: subprocess.run(words, check=True, capture_output=True)

    return interleaved(
        {
            "harness --help": command("--help"),
            "harness list": command("list"),
            "harness plan": command("plan"),
            "python -c pass": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        },
        turns=turns,
    )


MEASUREMENTS: dict[str, tuple[Callable[[int], dict[str, Timing]], str]] = {
    "training-step": (training_step, "timm, bare loop"),
    "training-step-64": (training_step_64, "timm, bare loop"),
    "classification-run": (classification_run, "a script with timm"),
    "start-up": (start_up, "python -c pass"),
    **DETECTION_MEASUREMENTS,
    "detection-run": (detection_run, "torchvision script"),
    **SEGMENTATION_MEASUREMENTS,
    **RETRIEVAL_MEASUREMENTS,
    **CAPTION_MEASUREMENTS,
    **VQA_MEASUREMENTS,
    **ENCODER_MEASUREMENTS,
    **SCIO_MEASUREMENTS,
    **KLIP_STEP_MEASUREMENTS,
    "scene": (scene, "points in a loop"),
    "ci-world": (ci_world, "one process"),
}
"""Name to the measurement and the peer that the others are divided by."""
