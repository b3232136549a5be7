"""Momentum features of earlier batches (section 5.1): a ring buffer for batches of any size.

The counters are plain numbers, equal on every rank, so asking them never waits for a device.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foundation.errors import CheckError
from foundation.seeds import derive_seed

EMPTY = -1
"""Id of a row that no image has filled."""


class FeatureQueue(nn.Module):
    """The last `size` pairs of features with the ids of their images and the hashes of their texts."""

    vision: Tensor
    text: Tensor
    image_id: Tensor
    text_hash: Tensor

    def __init__(self, size: int, width: int, *, start: str = "empty", seed: int = 0) -> None:
        super().__init__()
        self.size = size
        self.pointer = 0
        self.filled = 0
        self.register_buffer("vision", torch.zeros(size, width))
        self.register_buffer("text", torch.zeros(size, width))
        self.register_buffer("image_id", torch.full((size,), EMPTY, dtype=torch.int64))
        self.register_buffer("text_hash", torch.full((size,), EMPTY, dtype=torch.int64))
        if start == "random":  # BLIP's start: directions that belong to no image
            generator = torch.Generator().manual_seed(derive_seed("queue", seed))
            for buffer in (self.vision, self.text):
                buffer.copy_(F.normalize(torch.randn(size, width, generator=generator), dim=-1))
            self.filled = size

    @torch.no_grad()
    def enqueue(self, vision: Tensor, text: Tensor, image_id: Tensor, text_hash: Tensor) -> None:
        """Adds rows; the oldest make room. Of more rows than fit, the last stay."""
        if not self.size:
            return
        rows = [part[-self.size :] for part in (vision, text, image_id, text_hash)]
        count = len(rows[0])
        first = min(count, self.size - self.pointer)
        for buffer, new in zip((self.vision, self.text, self.image_id, self.text_hash), rows, strict=True):
            buffer[self.pointer : self.pointer + first] = new[:first].to(buffer.dtype)
            buffer[: count - first] = new[first:].to(buffer.dtype)
        self.pointer = (self.pointer + count) % self.size
        self.filled = min(self.size, self.filled + count)

    def rows(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The filled rows; views, so a caller that keeps them over an `enqueue` must copy."""
        end = self.filled
        return self.vision[:end], self.text[:end], self.image_id[:end], self.text_hash[:end]

    def get_extra_state(self) -> dict[str, int]:
        """The counters belong to a checkpoint."""
        return {"pointer": self.pointer, "filled": self.filled, "size": self.size}

    def set_extra_state(self, state: Any) -> None:
        """Takes the counters of a checkpoint."""
        if state["size"] != self.size:
            raise CheckError(
                f"the checkpoint's queue has {state['size']} rows, this one {self.size}",
                way_out="resume with the same queue.size, or start anew",
            )
        self.pointer, self.filled = int(state["pointer"]), int(state["filled"])

    def checksum(self) -> float:
        """A number that differs when two ranks' queues differ."""
        weights = torch.arange(1, self.size + 1, device=self.vision.device, dtype=torch.float64)[:, None]
        total = (self.vision.double() * weights).sum() + (self.text.double() * weights).sum()
        return float(total + (self.image_id.double() * weights[:, 0]).sum())


def effective_size(size: int, images: int, batch: int) -> int:
    """Rows that a queue may hold so that no image stands in it twice (section 5.1)."""
    return max(0, min(size, images - batch))
