"""Rates by depth and decay by kind of parameter for mmengine's runner, as our own optimiser groups them.

Their constructors know the layers of a few networks by name and none of ours; `SAREncoder` knows its own.
"""

from __future__ import annotations

from typing import Any, cast

from torch import nn

from foundation.errors import UsageError
from tasks.openmmlab.backbone import SAREncoder
from tasks.optimiser import build_optimiser, set_rate
from tasks.protocol.settings import OptimiserSettings

_BACKBONE = "backbone."


class SARLayerDecay:
    """What `optim_wrapper = {"constructor": "SARLayerDecay", "paramwise_cfg": {...}, ...}` of a configuration names.

    Args:
        optim_wrapper_cfg: With `optimizer`, whose `type` is AdamW, Adam or SGD.
        paramwise_cfg: `layer_decay`, the rate factor per layer (None: one rate), and `no_decay`, the kinds of
            parameters without decay: class_token, position, norm, bias.
    """

    def __init__(self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None) -> None:
        self.wrapper = dict(optim_wrapper_cfg)
        self.optimizer = dict(self.wrapper.pop("optimizer"))
        self.paramwise = dict(paramwise_cfg or {})

    def __call__(self, model: nn.Module) -> Any:
        """The wrapped optimiser of a detector or segmenter on a `SAREncoder`."""
        from mmengine.registry import OPTIM_WRAPPERS

        model = cast(nn.Module, getattr(model, "module", model))  # under a wrapper for several processes
        backbone = getattr(model, "backbone", None)
        if not isinstance(backbone, SAREncoder):
            raise UsageError(
                f"SARLayerDecay needs a SAREncoder as backbone, not {type(backbone).__name__}",
                where="optim_wrapper",
                way_out="leave the constructor out for other backbones",
            )
        settings = self._settings()
        optimiser = build_optimiser(
            model,
            settings,
            layer_id=lambda name: (
                backbone.layer_id(name.removeprefix(_BACKBONE))
                if name.startswith(_BACKBONE)
                else backbone.layer_count + 1
            ),
            layer_count=backbone.layer_count,
            positions={_BACKBONE + name for name in backbone.no_weight_decay()},
        )
        set_rate(optimiser, settings.rate)  # their schedules multiply what each group starts with
        return OPTIM_WRAPPERS.build({"type": "OptimWrapper", **self.wrapper}, default_args={"optimizer": optimiser})

    def _settings(self) -> OptimiserSettings:
        optimizer = dict(self.optimizer)
        renamed = {"name": str(optimizer.pop("type")).lower(), "rate": optimizer.pop("lr")}
        return OptimiserSettings.model_validate(
            {"weight_decay": 0.0, "no_decay": (), **renamed, **optimizer, **self.paramwise}
        )
