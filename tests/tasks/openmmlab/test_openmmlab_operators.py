"""The stand-in for mmcv's compiled operators computes what they compute, and owns up to what it lacks."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from foundation.errors import MissingError
from tasks.openmmlab.operators import EXTENSION, TorchvisionOperators, install_operators


@pytest.fixture
def operators() -> TorchvisionOperators:
    """The module, in nobody's way."""
    return TorchvisionOperators(EXTENSION)


def _boxes(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = 40 * torch.rand(count, 2, generator=generator)
    sides = 1 + 30 * torch.rand(count, 2, generator=generator)
    return torch.cat([corners, corners + sides], dim=1), torch.rand(count, generator=generator)


def _kept_one_by_one(boxes: Tensor, scores: Tensor, threshold: float, offset: int) -> list[int]:
    """Non-maximum suppression as it is defined, with mmcv's way to count the last pixel."""
    kept: list[int] = []
    for index in scores.argsort(descending=True).tolist():
        x1, y1, x2, y2 = boxes[index].tolist()
        clear = True
        for other in kept:
            a1, b1, a2, b2 = boxes[other].tolist()
            width = max(min(x2, a2) - max(x1, a1) + offset, 0)
            height = max(min(y2, b2) - max(y1, b1) + offset, 0)
            union = (x2 - x1 + offset) * (y2 - y1 + offset) + (a2 - a1 + offset) * (b2 - b1 + offset) - width * height
            clear = clear and width * height / union <= threshold
        if clear:
            kept.append(index)
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_suppression_keeps_what_its_definition_keeps(operators: TorchvisionOperators, offset: int, seed: int) -> None:
    boxes, scores = _boxes(40, seed)
    found = operators.nms(boxes, scores, iou_threshold=0.4, offset=offset)
    assert found.tolist() == _kept_one_by_one(boxes, scores, 0.4, offset)


def test_counting_the_last_pixel_can_change_what_is_kept(operators: TorchvisionOperators) -> None:
    boxes, scores = torch.tensor([[0.0, 0.0, 3.0, 3.0], [0.0, 1.0, 3.0, 4.0]]), torch.tensor([0.9, 0.8])
    assert len(operators.nms(boxes, scores, iou_threshold=0.55, offset=0)) == 2  # 6 / 12
    assert len(operators.nms(boxes, scores, iou_threshold=0.55, offset=1)) == 1  # 12 / 20


def _aligned(operators: TorchvisionOperators, features: Tensor, rois: Tensor, mode: int = 1) -> Tensor:
    output = features.new_zeros(len(rois), features.shape[1], 2, 2)
    nothing = features.new_zeros(0)
    operators.roi_align_forward(
        features,
        rois,
        output,
        nothing,
        nothing,
        aligned_height=2,
        aligned_width=2,
        spatial_scale=0.5,
        sampling_ratio=1,
        pool_mode=mode,
        aligned=True,
    )
    return output


def test_regions_of_a_plane_have_the_values_at_the_centres_of_their_bins(operators: TorchvisionOperators) -> None:
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    features = (10 * rows + columns)[None, None]
    found = _aligned(operators, features, torch.tensor([[0.0, 4.0, 2.0, 12.0, 6.0]]))
    # Cells 2..6 across and 1..3 down; cells count from their centres, hence the half.
    expected = [[10 * y + x for x in (2.5, 4.5)] for y in (1.0, 2.0)]
    np.testing.assert_allclose(found[0, 0].numpy(), expected, rtol=1e-6)


def test_the_gradient_of_aligned_regions_is_that_of_finite_differences(operators: TorchvisionOperators) -> None:
    features = torch.rand(1, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0.0, 1.0, 2.0, 9.0, 7.0]], dtype=torch.float64)
    upstream = torch.rand(1, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gradient = torch.zeros_like(features)
    nothing = features.new_zeros(0)
    operators.roi_align_backward(
        upstream,
        rois,
        nothing,
        nothing,
        gradient,
        aligned_height=2,
        aligned_width=2,
        spatial_scale=0.5,
        sampling_ratio=1,
        pool_mode=1,
        aligned=True,
    )
    for place in [(1, 1), (2, 3), (5, 5)]:
        moved = features.clone()
        moved[0, 0, place[0], place[1]] += 1e-4
        change = ((_aligned(operators, moved, rois) - _aligned(operators, features, rois)) * upstream).sum() / 1e-4
        assert float(gradient[0, 0, place[0], place[1]]) == pytest.approx(float(change), abs=1e-8)


def test_any_other_operator_fails_when_it_is_called_and_by_its_name(operators: TorchvisionOperators) -> None:
    assert hasattr(operators, "deform_conv_forward")  # which is all that mmcv asks for while it is imported
    with pytest.raises(MissingError, match="deform_conv_forward"):
        operators.deform_conv_forward(torch.zeros(1))
    with pytest.raises(MissingError, match="max"):
        _aligned(operators, torch.zeros(1, 1, 4, 4), torch.zeros(1, 5), mode=0)


def test_it_passes_for_a_module_but_not_for_a_compiled_one(operators: TorchvisionOperators) -> None:
    assert not hasattr(operators, "__path__")
    assert operators.__spec__ is not None and operators.__spec__.loader is None


def test_a_compiled_mmcv_stays_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = ModuleType(EXTENSION)
    monkeypatch.setitem(sys.modules, EXTENSION, compiled)
    monkeypatch.setitem(sys.modules, "mmcv", ModuleType("mmcv"))
    assert install_operators() == "mmcv"
    assert sys.modules[EXTENSION] is compiled


def test_without_a_compiled_mmcv_the_stand_in_is_put_there_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.delitem(sys.modules, EXTENSION, raising=False)
    monkeypatch.setattr(importlib, "import_module", absent)
    assert install_operators() == "torchvision"
    first = sys.modules[EXTENSION]
    assert isinstance(first, TorchvisionOperators)
    assert install_operators() == "torchvision" and sys.modules[EXTENSION] is first
    monkeypatch.delitem(sys.modules, EXTENSION)


@pytest.mark.usefixtures("openmmlab")
def test_their_own_layers_run_on_it() -> None:
    install_operators()
    from mmcv.ops import RoIAlign, batched_nms

    features = torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1.0, 1.0, 9.0, 9.0], [1, 0.0, 3.0, 15.0, 10.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: RoIAlign((2, 2), 0.5, 2)(values, rois), (features,))
    boxes, scores = _boxes(20)
    labels = torch.arange(20) % 2
    _, kept = batched_nms(boxes, scores, labels, {"type": "nms", "iou_threshold": 0.4})
    expected = [
        index
        for label in (0, 1)
        for index in (labels == label)
        .nonzero()[:, 0][_kept_one_by_one(boxes[labels == label], scores[labels == label], 0.4, 0)]
        .tolist()
    ]
    assert sorted(kept.tolist()) == sorted(expected)
