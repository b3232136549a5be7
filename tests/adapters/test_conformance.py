"""The checks of a model find what is wrong with it, and nothing where nothing is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adapters.card import Architecture, InputContract, ModelCard
from adapters.conformance import Finding, Report, check_model
from adapters.interface import FeatureMap, Features, Grid, LoadedModel
from adapters.registry import catalog, select
from foundation.errors import CheckError, UsageError

HALF = InputContract(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
CARD = catalog()["random-mini"].model_copy(update={"id": "planted", "input": HALF})


def _map_of(features: Features, stride: int) -> list[FeatureMap]:
    batch, _, width = features.tokens.shape
    return [FeatureMap(features.tokens.transpose(1, 2).reshape(batch, width, *features.grid), stride)]


class Flat(nn.Module):
    """The smallest honest encoder: patches, two mixing layers, a norm."""

    def __init__(self, *, image_size: int, seed: int) -> None:  # noqa: ARG002 (the form of every factory)
        super().__init__()
        self.width, self.stride, self.layer_count, self.in_channels = 16, 8, 2, 3
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Conv2d(3, 16, 8, stride=8)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(2))
            self.norm = nn.LayerNorm(16)

    def forward(self, images: Tensor) -> Features:
        if images.shape[2] % 8 or images.shape[3] % 8:
            raise UsageError("sides must be multiples of 8")
        cells = self.embed(images)
        tokens = cells.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = tokens + block(tokens)
        tokens = self.norm(tokens)
        return Features(tokens.mean(dim=1), None, tokens, Grid(*map(int, cells.shape[2:])))

    def maps(self, images: Tensor) -> list[FeatureMap]:
        return _map_of(self(images), self.stride)

    def layer_id(self, parameter_name: str) -> int:
        if parameter_name.startswith("embed"):
            return 0
        return int(parameter_name.split(".")[1]) + 1 if parameter_name.startswith("blocks") else 3

    def no_weight_decay(self) -> set[str]:
        return {"norm.bias"}


def report_of(encoder: Callable[..., Any], *, card: ModelCard = CARD, quick: bool = True) -> Report:
    def build(*, image_size: int, seed: int) -> LoadedModel:
        assert card.input is not None
        return LoadedModel(card, encoder(image_size=image_size, seed=seed), card.input)

    return check_model(card, quick=quick, build=build)


def failed(report: Report) -> list[str]:
    return [finding.name for finding in report.failed]


def test_an_honest_encoder_passes_every_check() -> None:
    report = report_of(Flat)
    assert [finding for finding in report.findings if finding.state != "ok"] == []
    report.require_passed()


def test_speed_and_memory_are_measured_and_judged_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    from adapters.conformance import costs

    monkeypatch.setattr(costs, "SECONDS", 0.05)
    report = report_of(Flat, quick=False)
    measured = {finding.name: finding.seen for finding in report.findings if finding.state == "measured"}
    assert set(measured) == {"speed", "memory"}
    assert "images/s" in measured["speed"] and "64 x 64" in measured["speed"]
    assert "MiB" in measured["memory"]


# ---- planted faults


class WrongGrid(Flat):
    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        return found._replace(grid=Grid(found.grid.h * found.grid.w, 1))


class ClassTokenAmongTokens(Flat):
    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        return found._replace(tokens=torch.cat([found.pooled[:, None], found.tokens], dim=1))

    def maps(self, images: Tensor) -> list[FeatureMap]:
        return _map_of(super().forward(images), self.stride)


class Broken(Flat):
    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        return found._replace(pooled=found.pooled / 0)


class PlainTuple(Flat):
    def forward(self, images: Tensor) -> Any:
        return tuple(super().forward(images))

    def maps(self, images: Tensor) -> list[FeatureMap]:
        return _map_of(super().forward(images), self.stride)


class CoarseFirst(Flat):
    def maps(self, images: Tensor) -> list[FeatureMap]:
        (one,) = super().maps(images)
        return [FeatureMap(nn.functional.avg_pool2d(one.values, 2), 16), one]


class WrongStride(Flat):
    def maps(self, images: Tensor) -> list[FeatureMap]:
        return [one._replace(stride=4) for one in super().maps(images)]


class OneSizeOnly(Flat):
    def __init__(self, *, image_size: int, seed: int) -> None:
        if image_size != 64:
            raise ValueError("only 64")
        super().__init__(image_size=image_size, seed=seed)


class WrongWhenOblong(Flat):
    def forward(self, images: Tensor) -> Features:
        side = min(images.shape[2:])
        return super().forward(images[:, :, :side, :side])


class AnyChannels(Flat):
    def forward(self, images: Tensor) -> Features:
        return super().forward(images[:, :3])


class OneChannel(Flat):
    def __init__(self, *, image_size: int, seed: int) -> None:
        super().__init__(image_size=image_size, seed=seed)
        self.in_channels = 1


class Overwrites(Flat):
    def forward(self, images: Tensor) -> Features:
        return super().forward(images.mul_(0.5))


class Random(Flat):
    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        return found._replace(pooled=nn.functional.dropout(found.pooled, 0.5))  # whatever the mode


class Unseeded(Flat):
    def __init__(self, *, image_size: int, seed: int) -> None:
        super().__init__(image_size=image_size, seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.seed()
            nn.init.normal_(self.embed.weight)


class DrawsFromTheGlobalState(Flat):
    def __init__(self, *, image_size: int, seed: int) -> None:
        super().__init__(image_size=image_size, seed=seed)
        torch.rand(1)


class LooksAtTheBatch(Flat):
    def forward(self, images: Tensor) -> Features:
        return super().forward(images - images.mean(dim=0, keepdim=True))


class DeafPart(Flat):
    def train(self, mode: bool = True) -> DeafPart:
        super().train(mode)
        self.norm.train(True)
        return self


class Idle(Flat):
    def __init__(self, *, image_size: int, seed: int) -> None:
        super().__init__(image_size=image_size, seed=seed)
        self.unused = nn.Parameter(torch.ones(16))


class Detached(Flat):
    def forward(self, images: Tensor) -> Features:
        with torch.no_grad():
            return super().forward(images)


class HalfPrecision(Flat):
    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        return found._replace(pooled=found.pooled.half())


class LosesDigits(Flat):
    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        large = 1000 + found.pooled @ torch.eye(16)  # a product, so autocast rounds it to eight bits
        return found._replace(pooled=(large.to((found.pooled @ torch.eye(16)).dtype) - 1000).float())


class LayerTooHigh(Flat):
    def layer_id(self, parameter_name: str) -> int:
        return super().layer_id(parameter_name) * 2


class LayersWithAGap(Flat):
    def layer_id(self, parameter_name: str) -> int:
        return 3 if super().layer_id(parameter_name) == 2 else super().layer_id(parameter_name)


class UnknownName(Flat):
    def no_weight_decay(self) -> set[str]:
        return {"cls_token"}


class HiddenState(Flat):
    def __init__(self, *, image_size: int, seed: int) -> None:
        super().__init__(image_size=image_size, seed=seed)
        self.offset = torch.full((16,), float(seed + 1))  # neither parameter nor buffer

    def forward(self, images: Tensor) -> Features:
        found = super().forward(images)
        return found._replace(pooled=found.pooled + self.offset)


FAULTS: dict[type[nn.Module], set[str]] = {
    WrongGrid: {"features"},
    ClassTokenAmongTokens: {"features"},
    Broken: {"features"},
    PlainTuple: {"features"},
    CoarseFirst: {"maps"},
    WrongStride: {"maps"},
    OneSizeOnly: {"image sizes"},
    WrongWhenOblong: {"other sizes at run time"},
    AnyChannels: {"channels"},
    OneChannel: {"interface"},
    Overwrites: {"input left alone"},
    Random: {"determinism"},
    Unseeded: {"seed"},
    DrawsFromTheGlobalState: {"seed"},
    LooksAtTheBatch: {"independence"},
    DeafPart: {"modes"},
    Idle: {"gradients"},
    Detached: {"gradients"},
    HalfPrecision: {"number formats"},
    LosesDigits: {"number formats"},
    LayerTooHigh: {"layers"},
    LayersWithAGap: {"layers"},
    UnknownName: {"weight decay"},
    HiddenState: {"storage"},
}


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.__name__)
def test_a_planted_fault_fails_its_check_and_says_what_to_change(planted: type[nn.Module]) -> None:
    report = report_of(planted)
    assert FAULTS[planted] <= set(failed(report))
    for finding in report.failed:
        assert finding.expected and finding.seen and finding.change, finding
    with pytest.raises(CheckError):
        report.require_passed()


def test_every_check_but_those_of_the_input_can_be_made_to_fail() -> None:
    names = {finding.name for finding in report_of(Flat).findings}
    assert names - set().union(*FAULTS.values()) == {"loading", "input contract"}


@pytest.mark.parametrize("planted", [UnknownName, LayerTooHigh, Idle, HiddenState, DeafPart, OneSizeOnly])
def test_one_fault_is_not_taken_for_another(planted: type[nn.Module]) -> None:
    assert set(failed(report_of(planted))) == FAULTS[planted]


def test_statistics_on_the_wrong_scale_are_noticed() -> None:
    contract = InputContract(mean=(123.7, 116.3, 103.5), std=(0.2, 0.2, 0.2))
    report = report_of(Flat, card=CARD.model_copy(update={"input": contract}))
    assert failed(report) == ["input contract"]
    assert "0..255" in report.failed[0].change


def test_a_model_of_another_unit_is_not_judged_by_grey_pixels() -> None:
    decibels = InputContract(unit="db", mean=(-10.0,) * 3, std=(5.0,) * 3)
    report = report_of(Flat, card=CARD.model_copy(update={"input": decibels}))
    assert [finding.name for finding in report.findings if finding.state == "skipped"] == ["input contract"]
    assert report.failed == []


def test_what_is_no_encoder_ends_the_check_there() -> None:
    def bare(*, image_size: int, seed: int) -> nn.Module:
        return nn.Linear(2, 2)

    report = report_of(bare)
    assert failed(report) == ["interface"]
    assert "maps" in report.failed[0].seen
    assert {finding.state for finding in report.findings[2:]} == {"skipped"}


def test_a_model_that_does_not_load_is_one_finding() -> None:
    def raising(*, image_size: int, seed: int) -> nn.Module:
        raise ZeroDivisionError("no weights today")

    report = report_of(raising)
    assert [(finding.name, finding.state) for finding in report.findings] == [("loading", "failed")]
    assert "no weights today" in report.failed[0].seen
    assert "test_conformance.py, line" in report.failed[0].change


def test_a_check_that_the_model_breaks_off_names_the_line() -> None:
    class Raises(Flat):
        def no_weight_decay(self) -> set[str]:
            raise KeyError("position")

    (finding,) = report_of(Raises).failed
    assert finding.name == "weight decay"
    assert "KeyError" in finding.seen and "test_conformance.py, line" in finding.change


def test_a_model_that_takes_only_its_own_size_says_so_without_failing() -> None:
    class Fixed(Flat):
        def __init__(self, *, image_size: int, seed: int) -> None:
            super().__init__(image_size=image_size, seed=seed)
            self.side = image_size

        def forward(self, images: Tensor) -> Features:
            if tuple(images.shape[2:]) != (self.side, self.side):
                raise UsageError(f"built for {self.side} x {self.side}")
            return super().forward(images)

    report = report_of(Fixed)
    assert failed(report) == []
    (skipped,) = (finding for finding in report.findings if finding.state == "skipped")
    assert skipped.name == "other sizes at run time" and "built for 64 x 64" in skipped.seen


# ---- models that are here


@pytest.mark.parametrize("name", ["random-mini", "simple-features", "timm:resnet10t", "timm:convnext_atto"])
def test_models_that_need_no_file_pass(name: str) -> None:
    check_model(select(name)[0], quick=True).require_passed()


def geometries() -> list[ModelCard]:
    """The catalogue's vision transformers with a twelfth of their width, from scratch; one per geometry."""
    found: dict[str, ModelCard] = {}
    for card in catalog().values():
        architecture = card.architecture
        if architecture is None or architecture.kind != "vit":
            continue
        small = architecture.model_dump() | {"width": 48, "heads": 3, "depth": 2, "feature_layer": None}
        reduced = Architecture.model_validate(small)
        weights = card.weights.model_copy(update={"kind": "random"})
        key = reduced.model_copy(update={"image_size": 1}).model_dump_json()
        found.setdefault(key, card.model_copy(update={"architecture": reduced, "weights": weights}))
    return list(found.values())


@pytest.mark.parametrize("card", geometries(), ids=lambda card: card.id)
def test_every_geometry_of_the_catalogue_passes(card: ModelCard) -> None:
    check_model(card, quick=True).require_passed()


@pytest.mark.slow  # 66 million parameters, built six times
def test_the_hierarchical_vision_transformer_passes() -> None:
    card = catalog()["saratr-x-hivit-b"]
    weights = card.weights.model_copy(update={"kind": "random"})
    check_model(card.model_copy(update={"weights": weights}), quick=True).require_passed()


def test_hand_made_features_are_checked_for_what_they_promise() -> None:
    class Company:
        width = 2

        def features(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
            mean = np.array([image.mean() for image in images])
            return np.stack([mean, mean - mean.mean()], axis=1)

    card = catalog()["simple-features"]

    def build(*, image_size: int, seed: int) -> LoadedModel:
        assert card.input is not None
        return LoadedModel(card, Company(), card.input, trainable=False)

    assert failed(check_model(card, build=build)) == ["independence"]


# ---- the report


def test_a_report_is_for_people_and_for_programs() -> None:
    report = Report("mine", [Finding("maps", "failed", "one map", "none", "return one"), Finding("seed", "ok", "", "")])
    text = "\n".join(report.lines())
    for part in ("FAILED   maps", "expected: one map", "seen:     none", "change:   return one", "1 ok, 1 failed"):
        assert part in text
    data = json.loads(json.dumps(report.as_dict()))
    assert (data["passed"], data["findings"][0]["change"]) == (False, "return one")


def test_the_suite_is_imported_without_torch() -> None:
    code = "import sys, adapters.conformance; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
