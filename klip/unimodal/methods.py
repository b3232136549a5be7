"""The names of the baselines, for command lines that load nothing else."""

from __future__ import annotations

from typing import Literal

Method = Literal["mae", "moco-v3", "sar-jepa", "clip"]
METHODS: tuple[Method, ...] = ("mae", "moco-v3", "sar-jepa", "clip")
PAPER_NAMES: dict[Method, str] = {"mae": "MAE", "moco-v3": "MoCo v3", "sar-jepa": "SAR-JEPA", "clip": "CLIP"}
