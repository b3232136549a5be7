"""Several processes through accelerate and torchrun (section 5.3).

No launcher of our own: `torchrun --nproc-per-node 8 -m klip.cli pretrain ...` starts the processes, accelerate finds
the device and joins them. Everything here also works in a single process, where it does nothing.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed
from torch import Tensor, nn

from foundation.errors import CellError, UsageError

if TYPE_CHECKING:
    from accelerate import Accelerator


_PATIENCE = timedelta(hours=6)
"""How long processes wait for the first one, which decodes a corpus alone."""


@dataclass(frozen=True)
class World:
    """The processes of a training, as one of them sees it."""

    device: torch.device
    rank: int = 0
    size: int = 1
    accelerator: Accelerator | None = None

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module on its device, its gradients averaged over the processes."""
        module.to(self.device)
        if self.accelerator is None or self.size == 1:
            return module
        with warnings.catch_warnings():
            # The new name of the option exists in the newest torch alone, and accelerate does not know it.
            warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
            return cast("nn.Module", self.accelerator.prepare_model(module))

    def unsynchronised(self, wrapped: nn.Module) -> AbstractContextManager[Any]:
        """Gradients are not averaged inside: for all micro-batches of a step but the last."""
        if self.size == 1:
            return nullcontext()
        return cast("AbstractContextManager[Any]", cast("Any", wrapped).no_sync())

    def barrier(self) -> None:
        """Waits for all processes."""
        if self.accelerator is not None and self.size > 1:
            self.accelerator.wait_for_everyone()

    def leave(self) -> None:
        """Parts from the other processes, at the end of the program: threads that still wait would abort it."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.size == 1:
            return flag
        said = torch.tensor([float(flag)], device=self.device)
        torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MAX)
        return bool(said.item())


def device_called(name: str) -> torch.device:
    """What `--device` means: auto, cpu or cuda."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device: {name!r}", way_out="use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU is visible to torch", way_out="use --device cpu, or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def join_world(device: str = "auto") -> World:
    """The processes that torchrun or `accelerate launch` started, or this one alone; `device` is auto, cpu or cuda."""
    found = device_called(device)
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs

    # Broadcast buffers would send the queues around at every step, and every loss is on, so no parameter is unused.
    joined = DistributedDataParallelKwargs(broadcast_buffers=False, find_unused_parameters=False)
    # Precision is the engine's: accelerate refuses fp16 on a CPU, where it is tested.
    accelerator = Accelerator(
        cpu=found.type == "cpu",
        mixed_precision="no",
        kwargs_handlers=[joined, InitProcessGroupKwargs(timeout=_PATIENCE)],
    )
    return World(accelerator.device, accelerator.process_index, accelerator.num_processes, accelerator)


def single(device: str | torch.device = "cpu") -> World:
    """This process alone."""
    return World(torch.device(device))


def require_equal(tensors: dict[str, Tensor], what: str) -> None:
    """Refuses to go on when the processes hold different bits, which would go unnoticed until the end."""
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    if processes == 1 or not tensors:
        return
    sums = torch.stack([_checksum(tensor) for tensor in tensors.values()])
    parts = [torch.empty_like(sums) for _ in range(processes)]
    torch.distributed.all_gather(parts, sums)
    everywhere = torch.stack(parts)
    if bool((everywhere != everywhere[:1]).any()):
        different = [name for name, column in zip(tensors, everywhere.T, strict=True) if len(set(column.tolist())) > 1]
        raise CellError(
            f"the processes hold different values of the {what}: {', '.join(different)}",
            where=f"{processes} processes",
            way_out="this is a fault of the program; go on from the last checkpoint, and report it",
        )


def _checksum(tensor: Tensor) -> Tensor:
    """An integer that changes with every bit and with the order of the values, up to chance."""
    flat = tensor.detach().contiguous().reshape(-1)
    words = flat.view(torch.int32) if flat.element_size() == 4 else flat
    values = words.to(torch.int64)
    weights = torch.arange(1, len(values) + 1, device=values.device, dtype=torch.int64) * 2654435761
    return (values * weights).sum()
