"""The compiled operators of mmcv, or what stands in for them.

mmcv-lite has no `mmcv._ext`, and mmcv's compiled wheels end with torch 2.4; but the heads that are used here need no
more of it than non-maximum suppression and RoIAlign, which torchvision compiles for every torch. So a module of that
name is put in place before `mmcv.ops` asks for it. It answers for these two, and every other operator raises an error
that names it. Where the compiled module can be imported, it is used and nothing is put in its place.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from foundation.errors import MissingError

OperatorBackend = Literal["mmcv", "torchvision"]
"""Who computes: mmcv's compiled operators, or torchvision's in their place."""

EXTENSION = "mmcv._ext"


def install_operators() -> OperatorBackend:
    """Sees to it that `mmcv.ops` can be imported, and says who computes its operators."""
    present = sys.modules.get(EXTENSION)
    if isinstance(present, TorchvisionOperators):
        return "torchvision"
    try:
        importlib.import_module(EXTENSION)
    except ImportError:  # not there at all, or compiled for another torch
        sys.modules[EXTENSION] = TorchvisionOperators(EXTENSION)
        return "torchvision"
    return "mmcv"


class TorchvisionOperators(ModuleType):
    """What `mmcv.ops` takes for its compiled module."""

    def __init__(self, name: str) -> None:
        super().__init__(name, doc="torchvision's operators under mmcv's names")
        import torchvision  # registers the operators that are called below

        self.__spec__ = ModuleSpec(name, loader=None)  # mmengine looks for a loader, and without one calls mmcv light
        self.backend = f"torchvision {torchvision.__version__}"
        self.nms = _nms
        self.roi_align_forward = _roi_align_forward
        self.roi_align_backward = _roi_align_backward

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Mmcv asks at import time for all of its operators; what is not here fails only when it is called."""
        if name.startswith("__"):  # Python's own questions to a module
            raise AttributeError(name)
        return _missing(name)


def _missing(name: str) -> Callable[..., Any]:
    def refuse(*_args: Any, **_kwargs: Any) -> Any:
        raise MissingError(
            f"the compiled operator {name} of mmcv is not installed; torchvision stands in for nms and roi_align only",
            where=EXTENSION,
            way_out="choose a head that does without it, or a torch for which there is a compiled mmcv >= 2.0, < 2.2",
        )

    return refuse


def _nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Indices of the boxes that stay, surest first; `offset` 1 counts the last pixel of a box as part of it."""
    if offset:
        boxes = boxes + boxes.new_tensor([0, 0, offset, offset])
    kept: Tensor = torch.ops.torchvision.nms(boxes, scores, iou_threshold)
    return kept


def _roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    _argmax_y: Tensor,
    _argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills `output` in place, as mmcv calls it; rois are (image, x1, y1, x2, y2)."""
    _require_mean(pool_mode)
    output.copy_(
        torch.ops.torchvision.roi_align(
            features, rois, spatial_scale, aligned_height, aligned_width, sampling_ratio, aligned
        )
    )


def _roi_align_backward(
    gradient: Tensor,
    rois: Tensor,
    _argmax_y: Tensor,
    _argmax_x: Tensor,
    result: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fills the gradient with respect to the features in place."""
    _require_mean(pool_mode)
    result.copy_(
        torch.ops.torchvision._roi_align_backward(
            gradient, rois, spatial_scale, aligned_height, aligned_width, *result.shape, sampling_ratio, aligned
        )
    )


def _require_mean(pool_mode: int) -> None:
    if pool_mode != 1:
        _missing("roi_align with pool_mode 'max'")()
