"""What is measured, each against the peer that a user would otherwise take."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from tests.bench.classification_run import classification_run
from tests.bench.detection_run import detection_run
from tests.bench.detection_speed import DETECTION_MEASUREMENTS
from tests.bench.encoders import ENCODER_MEASUREMENTS
from tests.bench.interleave import Timing, interleaved
from tests.bench.segmentation_speed import SEGMENTATION_MEASUREMENTS
from tests.bench.world import ci_world, scene

BATCH = 32


def training_step(turns: int) -> dict[str, Timing]:
    """One optimiser step of the mini ViT on 64 px chips: ours, and timm's own model in a bare loop."""
    import numpy as np
    import timm
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from adapters.load import load
    from adapters.registry import catalog
    from tasks.classification.fit import Batch, Classifier, FineTuning
    from tasks.optimiser import build_optimiser
    from tasks.protocol import ClassificationSettings, task_settings
    from tasks.training import _step, autocast

    torch.set_num_threads(1)
    settings = task_settings("mini", "classification", "mini")
    assert isinstance(settings, ClassificationSettings)
    card = catalog()["random-mini"]
    loaded = load(card, image_size=64, seed=0)
    model = Classifier(loaded.encoder, 7, "class_token", 0)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (BATCH, 64, 64), dtype=np.uint8))
    labels = [int(label) for label in rng.integers(0, 7, BATCH)]
    device = torch.device("cpu")
    ours = FineTuning(model, loaded, settings, images, labels, seed=0, device=device)
    optimiser = build_optimiser(model, settings.training.optimiser)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    peer = timm.create_model(
        "vit_base_patch16_224",
        img_size=64,
        patch_size=8,
        embed_dim=128,
        depth=4,
        num_heads=4,
        num_classes=7,
    )
    peer_optimiser = torch.optim.AdamW(peer.parameters(), lr=1e-3, weight_decay=0.05)
    target = torch.tensor(labels)
    grey = torch.from_numpy(np.stack(images))
    batch = Batch(grey, target)
    model.train()

    def our_step() -> None:
        _step(ours, optimiser, scaler, [batch], settings.training, autocast(device, "fp32"))

    def peer_step() -> None:
        peer_optimiser.zero_grad(set_to_none=True)
        inputs = ((grey[:, None].float() - 127.5) / 127.5).repeat(1, 3, 1, 1)
        loss: torch.Tensor = cross_entropy(peer(inputs), target, label_smoothing=0.1)
        loss.backward()  # type: ignore[no-untyped-call]
        peer_optimiser.step()

    def our_step_with_crops() -> None:
        for micros in ours.batches(0):
            _step(ours, optimiser, scaler, micros, settings.training, autocast(device, "fp32"))

    assert isinstance(peer, nn.Module)
    return interleaved(
        {"ours": our_step, "timm, bare loop": peer_step, "ours with crops": our_step_with_crops}, turns=turns
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
    "classification-run": (classification_run, "a script with timm"),
    "start-up": (start_up, "python -c pass"),
    **DETECTION_MEASUREMENTS,
    "detection-run": (detection_run, "torchvision script"),
    **SEGMENTATION_MEASUREMENTS,
    **ENCODER_MEASUREMENTS,
    "scene": (scene, "points in a loop"),
    "ci-world": (ci_world, "one process"),
}
"""Name to the measurement and the peer that the others are divided by."""
