"""The log of a training: JSON lines for programs, TensorBoard for people (section 7.5).

A line stands for the steps since the line before it. After a kill the lines that lie behind the checkpoint are taken
back, so that the log of a resumed training is the log of one that was never stopped.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foundation.errors import CellError, storage_error
from foundation.files import write_bytes

FILE = "log.jsonl"
TIMES = ("images_per_second", "seconds")
"""What differs between two runs of the same training."""


class Sums:
    """Means over the micro-batches since the last line; nothing is read from the device before they are asked for."""

    def __init__(self, saved: dict[str, Any] | None = None) -> None:
        saved = saved or {"names": [], "sums": [], "count": 0}
        self._names: tuple[str, ...] = tuple(saved["names"])
        self._sums: Tensor | None = torch.tensor(saved["sums"], dtype=torch.float64) if self._names else None
        self._count = int(saved["count"])

    def add(self, values: dict[str, Tensor]) -> None:
        """Adds what one micro-batch says."""
        names = tuple(sorted(values))
        row = torch.stack([values[name].detach().float().reshape(()) for name in names]).double()
        if self._sums is None or not self._count:
            self._names, self._sums = names, row
        else:
            if names != self._names:
                raise CellError(f"an objective must always say the same: {names}, before {self._names}")
            self._sums = self._sums.to(row.device) + row
        self._count += 1

    def means(self) -> dict[str, float]:
        """The means, checked: a loss that is no number ends the training."""
        if self._sums is None or not self._count:
            return {}
        found = dict(zip(self._names, (self._sums / self._count).tolist(), strict=True))
        if not math.isfinite(found.get("loss", 0.0)):
            raise CellError(
                f"the loss is no longer finite ({found['loss']})",
                way_out="lower optim.lr, set optim.clip_norm=1.0, or look for broken images; "
                "the last checkpoint is from before",
            )
        return found

    def saved(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        self.means()
        sums = [] if self._sums is None else self._sums.tolist()
        return {"names": list(self._names), "sums": sums, "count": self._count}

    def clear(self) -> None:
        """Starts a new line."""
        self._sums, self._count, self._names = None, 0, ()


class Log:
    """Lines of one run folder; a process that is not the first has none."""

    def __init__(self, folder: Path | None, *, step: int = 0, tensorboard: bool = True) -> None:
        self._path = None if folder is None else folder / FILE
        self._board: Any = None
        if folder is None or self._path is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._take_back(self._path, step)
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    @staticmethod
    def _take_back(path: Path, step: int) -> None:
        if not path.is_file():
            return
        kept = [line for line in path.read_bytes().split(b"\n")[:-1] if _step_of(line) <= step]
        write_bytes(path, b"".join(line + b"\n" for line in kept))

    def line(self, values: dict[str, Any]) -> None:
        """One line; `step` is among the values."""
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(values, ensure_ascii=False) + "\n")
        except OSError as error:
            raise storage_error(error, self._path) from error
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float) and name != "step":
                    self._board.add_scalar(name, value, values["step"])

    def event(self, name: str, step: int, values: dict[str, Any]) -> None:
        """What happened between two steps, once: an event that is already there is not written again."""
        if self._path is None:
            return
        if not any(line.get("event") == name and line["step"] == step for line in read_log(self._path.parent)):
            self.line({"event": name, "step": step, **values})

    def close(self) -> None:
        """Ends what TensorBoard writes."""
        if self._board is not None:
            self._board.close()
            self._board = None


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run folder; a torn last one is left out."""
    path = folder / FILE
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
