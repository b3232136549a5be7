"""MoCo v3: the query of one view finds the momentum key of the other among the keys of the whole global batch.

There is no queue. The patch projection stays as it starts; it is a random one, without which training is unstable.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from klip.model.gather import gathered, rank, world
from klip.unimodal.baseline import Baseline, InputStatistics
from klip.unimodal.settings import BaselineSettings
from klip.unimodal.tower import drawn_start


class MomentumContrast(Baseline):
    """The encoder with projector and predictor, and slow copies of the first two."""

    views_taken = 2

    def __init__(self, settings: BaselineSettings, statistics: InputStatistics) -> None:
        super().__init__(settings, statistics)
        moco, width = settings.moco, settings.tower.width
        self.projector = _perceptron([width, moco.hidden, moco.hidden, moco.out])
        self.predictor = _perceptron([moco.out, moco.hidden, moco.out])
        for name, part in (("moco-projector", self.projector), ("moco-predictor", self.predictor)):
            drawn_start(part, settings.seed, name)
        if moco.freeze_patches:
            self.encoder.patch_embed.requires_grad_(False)
        self.slow_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.slow_projector = copy.deepcopy(self.projector).requires_grad_(False)
        if several_gpus():
            # Otherwise a process could tell its own images by the statistics of its batch.
            for part in (self.projector, self.predictor, self.slow_projector):
                nn.SyncBatchNorm.convert_sync_batchnorm(part)  # type: ignore[no-untyped-call]

    def forward(self, views: Sequence[Tensor], generator: torch.Generator) -> dict[str, Tensor]:  # noqa: ARG002  # nothing is masked
        """Contrast of both views with each other, averaged over images and summed over the two directions."""
        inputs = [self.input_of(grey) for grey in views]
        queries = [self.predictor(self.projector(self.encoder(each).pooled)) for each in inputs]
        with torch.no_grad():
            keys = [self.slow_projector(self.slow_encoder(each).pooled) for each in inputs]
        temperature = self.settings.moco.temperature
        first, right = contrast(queries[0], keys[1], temperature)
        second, _ = contrast(queries[1], keys[0], temperature)
        spread = F.normalize(queries[0].detach().float(), dim=1).std(dim=0).mean()
        return {"loss": first + second, "accuracy": right, "spread": spread}

    @torch.no_grad()
    def follow(self, step: int, total_steps: int) -> None:
        """The slow copies take a step towards the others; `step` is the number of those done, 1 after the first."""
        momentum = momentum_at(step - 1, total_steps, self.settings.moco.momentum)
        for slow, online in ((self.slow_encoder, self.encoder), (self.slow_projector, self.projector)):
            own = [parameter.data for parameter in slow.parameters()]
            torch._foreach_lerp_(own, [parameter.data for parameter in online.parameters()], 1 - momentum)


def several_gpus() -> bool:
    """Whether batch norms can and must share their statistics; on CPUs they cannot, which small tests live with."""
    return world() > 1 and str(torch.distributed.get_backend()) == "nccl"


def momentum_at(step: int, total_steps: int, start: float) -> float:
    """From `start` to 1 along half a cosine."""
    return 1 - (1 - start) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, total_steps))))


def contrast(queries: Tensor, keys: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Cross entropy of each query against the keys of all processes, times 2 T, and the share that hits its own."""
    q = F.normalize(queries.float(), dim=1)
    k = gathered(F.normalize(keys.detach().float(), dim=1))
    logits = q @ k.T / temperature
    own = torch.arange(len(q), device=q.device) + rank() * len(q)
    hits = (logits.detach().argmax(dim=1) == own).float().mean()
    return 2 * temperature * F.cross_entropy(logits, own), hits


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers without bias, a batch norm after each, ReLU between; the last norm has no weights of its own."""
    layers: list[nn.Module] = []
    last = len(widths) - 2
    for i, (before, after) in enumerate(pairwise(widths)):
        layers.append(nn.Linear(before, after, bias=False))
        layers.append(nn.BatchNorm1d(after, affine=i < last))
        if i < last:
            layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
