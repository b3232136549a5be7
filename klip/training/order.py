"""Which images a step takes: a pure function of seed and epoch, so that a training can go on anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from foundation.errors import UsageError
from foundation.seeds import derive_seed


def batches_per_epoch(items: int, batch_size: int, processes: int = 1) -> int:
    """Whole batches of an epoch; the rest is left out, for every process alike (section 5.3).

    Unequal last batches would let processes wait for each other for ever.
    """
    count = items // (batch_size * processes)
    if not count:
        raise UsageError(
            f"{items} images do not fill one batch of {batch_size} in {processes} process(es)",
            way_out="take a smaller batch_size_per_device, or more images",
        )
    return count


def epoch_order(items: int, seed: int, epoch: int) -> Tensor:
    """All rows in the order of one epoch."""
    generator = torch.Generator().manual_seed(derive_seed("order", seed, epoch))
    return torch.randperm(items, generator=generator)


def epoch_batches(
    items: int, batch_size: int, *, seed: int, epoch: int, first: int = 0, rank: int = 0, processes: int = 1
) -> Iterator[Tensor]:
    """Rows of each batch of this process, from batch `first` on.

    The processes divide consecutive stretches of one order, so p processes with b images see together what one process
    with p x b images sees.
    """
    order = epoch_order(items, seed, epoch)
    for index in range(first, batches_per_epoch(items, batch_size, processes)):
        start = (index * processes + rank) * batch_size
        yield order[start : start + batch_size]
