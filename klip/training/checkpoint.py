"""Checkpoints of a training: whole or absent, a few kept, and refused where they are of another training (7.4).

A checkpoint holds weights, twins and queues (the state of the module), the optimiser, the loss scaler, the place, what
the objective wants to find again, and the sums of the line of the log that is not yet full. Random states are not in
it: every random number is a function of the place (`position.py`).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foundation.errors import CheckError, MissingError, UsageError
from foundation.files import TEMPORARY_PREFIX, write_atomic
from foundation.hashing import hash_bytes, hash_lines

FORMAT = 1
FOLDER = "checkpoints"
_NAME = re.compile(r"epoch_(\d+)_batch_(\d+)\.pt")
_SHOWN = 12

FREE_KEYS = ("log_every", "save_minutes", "checkpoints", "debug.", "tensorboard", "device")
"""Settings that change no weight: a training may go on with other values of them."""


@dataclass
class Place:
    """How far a training is, between two steps of the optimiser."""

    epoch: int = 0
    batch: int = 0
    """Micro-batches of the epoch that are done."""
    step: int = 0
    first_step: int = 0
    """Step at which the schedule began; 0 unless it is restarted per stage."""
    first_epoch: int = 0


@dataclass
class Checkpoint:
    """What is read back."""

    path: Path
    place: Place
    configuration: dict[str, Any]
    about: dict[str, Any]
    """Plain data that tells what was trained: kind, settings, vocabulary."""
    module: dict[str, torch.Tensor]
    optimiser: dict[str, Any]
    scaler: dict[str, Any]
    objective: dict[str, Any]
    pending: dict[str, Any]


def name_of(place: Place) -> str:
    """The file of a place; names sort as places do."""
    return f"epoch_{place.epoch:04d}_batch_{place.batch:07d}.pt"


def existing(folder: Path) -> list[Path]:
    """Checkpoints of a run folder, the oldest first."""
    return sorted(path for path in (folder / FOLDER).glob("*.pt") if _NAME.fullmatch(path.name))


def latest(folder: Path) -> Path | None:
    """The newest checkpoint of a run folder."""
    return (existing(folder) or [None])[-1]  # type: ignore[list-item]  # the one place where there is none


def find(path: Path) -> Path:
    """The checkpoint that a user means: the file itself, or the newest one of a run folder."""
    if path.is_file():
        return path
    found = latest(path) if path.is_dir() else None
    if found is None:
        raise MissingError(
            "no checkpoint here",
            where=str(path),
            way_out="give a run folder of `klip pretrain` or `klip baseline`, or one file of its checkpoints folder",
        )
    return found


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes one into a run folder, whole or not at all."""
    path = folder / FOLDER / name_of(checkpoint.place)
    data = {**vars(checkpoint), "format": FORMAT, "place": vars(checkpoint.place)}
    del data["path"]
    write_atomic(path, lambda stream: torch.save(data, stream))
    return path


def read(path: Path) -> Checkpoint:
    """Reads one to the CPU; nothing in it can run code."""
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        if data["format"] != FORMAT:
            raise CheckError(f"a checkpoint of format {data['format']}, not {FORMAT}", where=str(path))
        data = {key: value for key, value in data.items() if key != "format"}
        return Checkpoint(path=path, **{**data, "place": Place(**data["place"])})
    except FileNotFoundError as error:
        raise MissingError("no such checkpoint", where=str(path)) from error
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError, ValueError, AttributeError) as error:
        raise CheckError(
            f"not a checkpoint of this program: {str(error).splitlines()[0][:200]}",
            where=str(path),
            way_out="delete the file; the training goes on from the one before",
        ) from error


def clean(folder: Path) -> None:
    """Removes what a killed writer left."""
    for path in (folder / FOLDER).glob(f"{TEMPORARY_PREFIX}*"):
        path.unlink(missing_ok=True)


def retain(folder: Path, keep: int, whole_epochs: Collection[int]) -> None:
    """Removes all but the last `keep` and those at the end of the epochs named."""
    for path in existing(folder)[:-keep]:
        match = _NAME.fullmatch(path.name)
        if match is not None and not (int(match[2]) == 0 and int(match[1]) in whole_epochs):
            path.unlink(missing_ok=True)


def require_same(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Refuses to go on with settings that would have made another training, and names them."""
    keys = [key for key in sorted({*before, *now}) if not key.startswith(FREE_KEYS)]
    differing = [
        f"{key}: {before.get(key, 'absent')!r} -> {now.get(key, 'absent')!r}"
        for key in keys
        if _plain(before.get(key, "absent")) != _plain(now.get(key, "absent"))
    ]
    if differing:
        more = f"\n    and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
        raise UsageError(
            f"this folder holds a training with other settings ({len(differing)} differ)\n    "
            + "\n    ".join(differing[:_SHOWN])
            + more,
            where=str(where),
            way_out="give the former settings to go on, or another --out folder to start anew",
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def module_digest(module: nn.Module) -> str:
    """A hash of every value of a module: what a pass over the texts was made with."""
    return hash_lines(
        f"{name} {tensor.dtype} {tuple(tensor.shape)} {hash_bytes(_bytes(tensor))}"
        for name, tensor in sorted(module.state_dict().items())
    )


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
