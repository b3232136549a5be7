"""The mini profile made smaller still: a step takes a few hundredths of a second."""

from __future__ import annotations

from typing import Any

from tasks.protocol import DetectionSettings, task_settings

SIDE = 48


def tiny_detection(epochs: int = 3, **changes: Any) -> DetectionSettings:
    """Two pyramid levels under small heads, at one rate throughout."""
    values = task_settings("mini", "detection", "mini").model_dump()
    values.update(
        image_size=SIDE,
        smallest_image=16,
        window=3,
        global_blocks=(1,),
        pyramid_strides=(4, 8),
        pyramid_channels=16,
        anchor_scale=2.0,
        rpn_convolutions=1,
        roi_hidden=32,
        roi_convolutions=1,
        roi_samples=32,
        rpn_samples=64,
        rpn_proposals_train=(100, 50),
        rpn_proposals_test=(100, 50),
    )
    values["training"].update(epochs=epochs, batch=8, micro_batch=8)
    values["training"]["optimiser"].update(rate=0.003)
    values["training"]["schedule"].update(warmup_epochs=0, milestones=(), kind="constant")
    return DetectionSettings.model_validate({**values, **changes})
