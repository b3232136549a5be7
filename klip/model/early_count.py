"""How many flags are set, asked of a device before the number is needed.

A shape that depends on a count stops the host until the device has come so far. Asked at the beginning of a step and
read after the towers were queued, the answer is there by then and the device never runs dry.
"""

from __future__ import annotations

import torch
from torch import Tensor


class EarlyCount:
    """The number of True in `flags`, under way to the host."""

    def __init__(self, flags: Tensor) -> None:
        self.total = flags.sum()
        """int64, on the device."""
        self._host, self._arrived = self.total, None
        if self.total.device.type == "cuda":
            self._host = torch.empty((), dtype=self.total.dtype, pin_memory=True)
            self._host.copy_(self.total, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def value(self) -> int:
        """The number; waits for nothing that was queued after it was asked for."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return int(self._host)


def places(flags: Tensor, count: int) -> Tensor:
    """Where the `count` flags [n] that are set stand, in order; the device is asked for nothing."""
    if flags.device.type == "cpu":
        return torch.nonzero(flags)[:, 0]
    return torch.argsort((~flags).to(torch.int8), stable=True)[:count]
