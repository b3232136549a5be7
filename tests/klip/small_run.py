"""Run folders with one checkpoint of every kind, for the tests of what is taken out of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from klip.model.pretrainer import Pretrainer
from klip.settings import PretrainingSettings, as_data, preset
from klip.tokens.vocabulary import Specials
from klip.training.checkpoint import Checkpoint, Place, write
from klip.unimodal.baseline import InputStatistics
from klip.unimodal.contrastive import ContrastivePretraining
from klip.unimodal.run import IMAGE_METHODS
from klip.unimodal.settings import as_data as baseline_data
from tests.klip.structured_images import seeded, small_settings

SPECIALS = Specials(0, 1, 2, 3, 4, 5, 18, 19)
VOCABULARY = 20


def small_klip() -> PretrainingSettings:
    settings = preset("paper", "tiny")
    narrow = {"vision_width": 32, "vision_depth": 2, "vision_heads": 2, "text_width": 32, "text_layers": 1}
    model = settings.model.model_copy(update=narrow | {"text_heads": 2, "text_ffn": 32, "embed_dim": 8})
    return settings.model_copy(update={"model": model})


def checkpoint_of(kind: str, folder: Path) -> tuple[Path, nn.Module]:
    """A run folder with one checkpoint, and the tower that is in it."""
    about: dict[str, Any]
    module: nn.Module
    if kind == "klip":
        settings = small_klip()
        pretrainer = Pretrainer(settings, VOCABULARY, SPECIALS, queue_size=8)
        online = cast(nn.Module, pretrainer.online.vision)
        with torch.no_grad():  # the twin must not be taken for the tower
            for parameter in online.parameters():
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=seeded()))
        module, tower = pretrainer, online
        about = {"kind": "klip", "settings": as_data(settings), "mean": [0.3] * 3, "std": [0.2] * 3}
    else:
        chosen = small_settings(kind)
        channels = chosen.tower.channels
        found = InputStatistics((0.3,) * channels, (0.2,) * channels)
        baseline: Any = (
            ContrastivePretraining(chosen, found, VOCABULARY, SPECIALS)
            if kind == "clip"
            else IMAGE_METHODS[kind](chosen, found)
        )
        module, tower = baseline, baseline.encoder
        about = {"kind": "baseline", "method": kind, "settings": baseline_data(chosen)}
        about |= {"mean": list(found.mean), "std": list(found.std)}
    state = copy.deepcopy(module.state_dict())
    place = Place(epoch=3, step=30)
    write(folder, Checkpoint(folder, place, {}, about, state, {}, {}, {}, {}))
    return folder, tower.eval()
