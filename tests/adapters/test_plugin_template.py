"""The template of a package with a model: copied, built, installed, found, checked; and packages that go wrong."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from adapters.catalogue import ENTRY_POINT_GROUP
from adapters.conformance import check_model
from adapters.interface import Encoder
from adapters.load import load
from adapters.plugin_package import TEMPLATE, write_plugin
from adapters.registry import catalog, catalog_problems, load_model_file, weight_state
from foundation.errors import CellError, UsageError
from harness.models_commands import check

HOME = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package radar-net: its sources in `sources`, and what pip would put on the path in `site`."""
    folder = tmp_path_factory.mktemp("plugin")
    write_plugin("radar-net", folder / "sources")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=folder / "sources",
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder


def environment(*places: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*places, HOME]))}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path, forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def install(site: Path, name: str, code: str, value: str) -> None:
    """A package as pip would leave it: a module and a dist-info folder with an entry point."""
    (site / f"{name}.py").write_text(code, encoding="utf-8")
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (info / "RECORD").write_text(f"{name}.py,,\n{name}-1.0.dist-info/METADATA,,\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\n{name} = {value}\n", encoding="utf-8")
    importlib.invalidate_caches()


# ---- the template


def test_the_package_carries_the_name_everywhere(installed: Path) -> None:
    files = [path for path in (installed / "sources").rglob("*") if path.is_file()]
    names = {path.relative_to(installed / "sources").as_posix() for path in files}
    assert names == {
        "README.md",
        "pyproject.toml",
        "radar_net/__init__.py",
        "radar_net/encoder.py",
        "test_radar_net.py",
    }
    for path in files:
        text = path.read_text(encoding="utf-8").lower()
        assert "my-sar-model" not in text and "my_sar_model" not in text and "my sar model" not in text, path


def test_the_packages_own_test_passes_where_it_is_installed(installed: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=installed / "sources",
        env=environment(installed / "site"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_the_package_is_listed_without_importing_torch(installed: Path) -> None:
    code = (
        "import sys\n"
        "from adapters.registry import catalog, catalog_problems\n"
        "assert 'radar-net' in catalog() and not catalog_problems(), catalog_problems()\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(installed / "site"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_package_is_checked_by_its_name_with_every_built_task(
    installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(installed / "site")
    assert check("radar-net", [], None, quick=True, as_json=False) == 0
    out = capsys.readouterr().out
    assert "trial: target classification: loss" in out
    assert "0 failed" in out


def test_the_template_is_written_for_the_interface_as_it_is() -> None:
    """Its sources stand in this repository, so the checks of style and types hold them too."""
    assert (TEMPLATE / "my_sar_model" / "encoder.py").is_file()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Radar", "not a possible name"),
        ("radar_net", "not a possible name"),
        ("2net", "not a possible name"),
        ("class", "already"),
        ("json", "already"),
        ("adapters", "already"),
        ("clip-vit-b-16", "belongs to the catalogue"),
    ],
)
def test_names_that_would_stand_in_the_way_are_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        write_plugin(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_written_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        write_plugin("radar-net", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


# ---- model objects


ENCODER = """
import torch
from adapters.card import Architecture, InputContract, ModelCard, WeightSource
from adapters.interface import FeatureMap, Features, Grid

class Net(torch.nn.Module):
    width, stride, layer_count, in_channels = 8, 8, 1, 3
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 8, stride=8)
    def forward(self, images):
        values = self.conv(images)
        tokens = values.flatten(2).transpose(1, 2)
        return Features(tokens.mean(1), None, tokens, Grid(values.shape[2], values.shape[3]))
    def maps(self, images):
        return [FeatureMap(self.conv(images), 8)]
    def layer_id(self, name):
        return 1
    def no_weight_decay(self):
        return set()

def build(architecture, *, image_size, seed, dropout, drop_path):
    return Net()

def card(name="theirs", factory=None, **more):
    architecture = None
    if factory:
        architecture = Architecture(kind="object", factory=factory, image_size=64)
    return ModelCard(
        id=name, name=name, backbone="other", kind="own", architecture=architecture,
        input=InputContract(mean=(0.5,) * 3, std=(0.5,) * 3), weights=WeightSource(kind="random"), **more,
    )
"""


def test_an_entry_point_may_give_a_card_and_the_function_that_builds_it(site: Path) -> None:
    install(site, "theirs", ENCODER + "pair = (card(), build)", "theirs:pair")
    found = catalog()["theirs"]
    assert found.architecture is not None
    assert (found.architecture.kind, found.architecture.factory) == ("object", "theirs:build")
    assert catalog_problems() == []
    check_model(found, quick=True).require_passed()


def test_the_same_seed_gives_the_same_object_although_its_package_does_not_care(site: Path) -> None:
    install(site, "theirs", ENCODER + "one = card(factory='theirs:build')", "theirs:one")
    one, again, other = (load(catalog()["theirs"], image_size=64, seed=seed).encoder for seed in (1, 1, 2))
    assert isinstance(one, Encoder) and isinstance(again, Encoder) and isinstance(other, Encoder)
    weights = [dict(encoder.named_parameters())["conv.weight"] for encoder in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_sources_of_the_factory_are_part_of_the_card(site: Path) -> None:
    install(site, "theirs", ENCODER + "one = card(factory='theirs:build')", "theirs:one")

    def code() -> str:
        architecture = catalog()["theirs"].architecture
        assert architecture is not None and architecture.code is not None
        return architecture.code

    before = code()
    source = site / "theirs.py"
    source.write_text(source.read_text() + "\n# a comment changes nothing\n")
    assert code() == before
    source.write_text(source.read_text().replace("tokens.mean(1)", "tokens.amax(1)"))
    assert code() != before


def test_an_object_is_filled_from_a_file_completely_or_not_at_all(site: Path) -> None:
    install(site, "theirs", ENCODER + "one = card(factory='theirs:build')", "theirs:one")
    weights = {"conv.weight": torch.ones(8, 3, 8, 8), "conv.bias": torch.zeros(8)}
    torch.save(weights, site / "whole.pth")
    torch.save({"conv.weight": weights["conv.weight"]}, site / "part.pth")
    (site / "mine.toml").write_text(
        "".join(
            f'[[model]]\nid = "{name}"\nname = "x"\nbackbone = "other"\nkind = "own"\ninput = "half"\nlayout = "timm"\n'
            f'architecture = {{ kind = "object", factory = "theirs:build" }}\n'
            f'weights = {{ kind = "file", path = "{site / name}.pth" }}\n'
            for name in ("whole", "part")
        )
    )
    whole, part = load_model_file(site / "mine.toml")
    assert weight_state(whole, None).state == "ready"
    model = load(whole, image_size=64, seed=0)
    assert model.report.matched == ("conv.bias", "conv.weight") and model.weights_hash
    with pytest.raises(CellError, match=r"conv\.bias"):
        load(part, image_size=64, seed=0)


# ---- packages that go wrong


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def build(architecture, **more): raise RuntimeError('no licence')", "raised RuntimeError: no licence"),
        ("def build(architecture, **more): raise SystemExit(1)", "raised SystemExit"),
        ("def build(): pass", "raised TypeError"),
        (
            "import torch\ndef build(architecture, **more): return torch.nn.Linear(2, 2)",
            "is no encoder: it lacks width",
        ),
        ("def build(architecture, **more): return Net", "is no encoder: it is no nn.Module"),
        ("", "raised AttributeError"),
    ],
)
def test_a_factory_that_goes_wrong_names_its_package_and_the_way_out(site: Path, code: str, says: str) -> None:
    source = ENCODER.replace("def build(", "def other(") + code + "\none = card(factory='theirs:build')\n"
    install(site, "theirs", source, "theirs:one")
    with pytest.raises(CellError) as caught:
        load(catalog()["theirs"], image_size=64, seed=0)
    assert says in caught.value.what
    assert "theirs" in caught.value.what and caught.value.way_out
    assert caught.value.where == "theirs:build"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise SystemExit('licence expired')", "SystemExit: licence expired"),
        ("one = card(factory='nowhere_at_all:build')", "is in no installed package"),
        ("one = card(factory='no colon')", "factory"),
        ("one = (card(), 'theirs:build')", "expected a ModelCard, got str"),
        ("one = [card('twice', 'theirs:build'), card('twice', 'theirs:build')]", "'twice' is already taken"),
    ],
)
def test_a_package_that_goes_wrong_is_left_out_and_the_others_go_on(site: Path, code: str, reason: str) -> None:
    install(site, "theirs", ENCODER + code, "theirs:one")
    install(site, "good", ENCODER + "one = card('good-one', 'good:build')", "good:one")
    assert "good-one" in catalog()
    (problem,) = catalog_problems()
    assert reason in problem
    assert "models of theirs" in problem and "way out: update or uninstall theirs" in problem
