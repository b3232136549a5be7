"""Importing this registers `SAREncoder` and what goes with it for mmdet and mmseg; their configurations name it.

    custom_imports = {"imports": ["tasks.openmmlab.registration"]}
    model = {"backbone": {"type": "SAREncoder", "model": "remoteclip-vit-b-32", ...}}

The names go into mmengine's root registries, where both find them whichever of them is installed. The operators that
mmcv-lite lacks are put in place by the same import, before `mmcv.ops` is asked for.
"""

from __future__ import annotations

from tasks.detection.channel_norm import ChannelNorm
from tasks.openmmlab.backbone import SAREncoder
from tasks.openmmlab.layer_decay import SARLayerDecay
from tasks.openmmlab.operators import install_operators


def register() -> None:
    """Makes `SAREncoder`, `SARChannelNorm` and `SARLayerDecay` known; more than once does no harm."""
    from mmengine.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS

    install_operators()
    for registry, name, thing in (
        (MODELS, "SAREncoder", SAREncoder),
        (MODELS, "SARChannelNorm", ChannelNorm),
        (OPTIM_WRAPPER_CONSTRUCTORS, "SARLayerDecay", SARLayerDecay),
    ):
        registry.register_module(name=name, module=thing, force=True)


register()
