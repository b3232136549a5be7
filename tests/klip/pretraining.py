"""Small pre-trainings on the toy corpus, and processes that are killed in the midst of them.

Run as a program it pre-trains in processes of its own, each killed where its line says, until one comes to the end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from klip.configuration import configured
from klip.pretrain.prepare import Source
from klip.pretrain.run import Request, pretrain
from klip.settings import SIZES, PretrainingSettings

SMALL: dict[str, Any] = {
    "model": {
        **SIZES["tiny"]["model"],
        "embed_dim": 16,
        "vision_width": 32,
        "vision_depth": 2,
        "vision_heads": 2,
        "text_width": 32,
        "text_layers": 2,
        "text_heads": 2,
        "text_ffn": 64,
    },
    "image": {"size": 32, "patch": 8},
    "text": {"max_len": 64, "max_seg_len": 8, "segment_dropout": 0.15},
    "queue": {"size": 20},
    "optim": {"lr": 1e-3, "warmup_steps": 4},
    # A share of the segments is always noise, so that there is always something to rebuild.
    "scio": {"stage_epochs": [1, 1, 1], "min_itm_auc": 0.0, "rule": "zscore", "noise_rate": 0.3, "confirm": "segment"},
    "epochs": 3,
    "batch_size_per_device": 8,
    "log_every": 1,
    "tensorboard": False,
}


def small_settings(*changes: str) -> PretrainingSettings:
    """Three stages of an epoch each, whatever the model thinks of it."""
    return configured(PretrainingSettings, SMALL, changes=changes, see="klip settings")


def small_pretraining(corpus: Path, out: Path, *changes: str, **options: Any) -> dict[str, Any]:
    """Pre-trains to the end on the CPU."""
    source = Source(corpus, vocabulary_size=200, **options)
    return pretrain(Request(source, small_settings(*changes), out, device="cpu"))


def kill_at_step(step: int) -> None:
    """Dies before a step of the optimiser."""
    from klip.pretrain import objective

    original = objective.KlipObjective.loss

    def loss(self: Any, module: Any, batch: Any, position: Any) -> Any:
        if position.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, module, batch, position)

    objective.KlipObjective.loss = loss  # type: ignore[method-assign]


def kill_at_record(name: str, count: int) -> None:
    """Dies in the midst of writing to an audit log: the record is torn."""
    from klip.scio import audit_log

    original = audit_log.AuditLog.append
    written = 0

    def append(self: Any, records: Any) -> None:
        nonlocal written
        original(self, records)
        written += self.kind == name
        if self.kind == name and written > count:
            with self.path.open("ab") as stream:
                stream.write(b'{"id": "torn')
            os.kill(os.getpid(), signal.SIGKILL)

    audit_log.AuditLog.append = append  # type: ignore[method-assign]


KILLS: dict[str, Callable[[str], None]] = {
    "step": lambda value: kill_at_step(int(value)),
    "scores": lambda value: kill_at_record("scores", int(value)),
    "rebuilt": lambda value: kill_at_record("rebuilt", int(value)),
}
"""Where a process dies: `step=7`, or after so many chunks of a log."""


def main(corpus: Path, out: Path, kills: list[str]) -> None:
    """One process after the other; the last one is not killed."""
    import torch._dynamo  # seconds that every process would take by itself: an optimiser imports it

    import klip.scio.passes
    import klip.scio.reconstruction

    assert torch._dynamo and klip.scio
    from tests.klip.toy_training import in_process

    for kill in kills:
        kind, _, value = kill.partition("=")

        def work(kind: str = kind, value: str = value) -> None:
            KILLS[kind](value)
            small_pretraining(corpus, out)

        assert in_process(work) == -signal.SIGKILL, kill
    assert in_process(lambda: small_pretraining(corpus, out)) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
