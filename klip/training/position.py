"""Where a training stands, and the random numbers that belong to that place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from foundation.seeds import derive_seed

if TYPE_CHECKING:
    import torch


class Position(NamedTuple):
    """The micro-batch that is being worked on.

    Random numbers hang on the place and never on what was drawn before, so nothing of them has to be saved.
    """

    epoch: int
    batch: int
    """Micro-batch within the epoch, from 0."""
    step: int
    """Steps of the optimiser that were taken before; steps that fp16 skipped do not count."""
    steps_per_epoch: int
    """Steps of the optimiser in an epoch."""
    total_steps: int
    """Steps of the optimiser in the whole training."""
    seed: int
    rank: int = 0

    def seed_for(self, purpose: str) -> int:
        """A seed for one purpose at this place, another one in every process."""
        return derive_seed("training", self.seed, self.epoch, self.batch, self.rank, purpose)

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A generator of torch for one purpose at this place."""
        import torch

        return torch.Generator(device=device).manual_seed(self.seed_for(purpose))
