"""Reports and the commands `klip scio`: figures against counts by hand, decisions taken again, pictures, errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from foundation.errors import BenchError, CheckError, MissingError, UsageError
from foundation.files import write_json
from klip.model.pretrainer import Pretrainer
from klip.scio.audit_log import pass_folder, read_kind
from klip.scio.decide import Rule
from klip.scio.passes import ScreenResult, screen
from klip.scio.ranking import area_under_curve
from klip.scio.reconstruction import reconstruct
from klip.scio.report import as_text, report_of
from klip.scio_commands import scio_app
from klip.settings import as_data
from klip.training import checkpoint as checkpoints
from tests.bench.toy_oracle import Oracle, pictures_of
from tests.bench.toy_world import MEAN, STD, Plan, World, make_world, toy_settings, untrained

LIMITS = {"min_keep": 1, "max_noise_frac": 1.0}
SETTINGS = toy_settings(batch_size_per_device=5, queue={"size": 16}, seed=3, scio=LIMITS)
BY_MATCHING = toy_settings(batch_size_per_device=5, queue={"size": 16}, seed=3, scio={"tests": "itm"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("toy"), Plan(pairs=32, seed=2, wrong=0.25), SETTINGS)


@pytest.fixture(scope="module")
def screened(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ScreenResult]:
    """A pass by a judge that cannot err."""
    folder = tmp_path_factory.mktemp("run")
    material = replace(world.material(), pixels=pictures_of(world, 24), mean=(0.5,) * 3, std=(0.5,) * 3)
    judge: Any = Oracle(SETTINGS, world.store.vocabulary)
    return folder, screen(judge, material, SETTINGS, folder, pass_id="p1")


def test_the_report_counts_what_was_found(world: World, screened: tuple[Path, ScreenResult]) -> None:
    folder, found = screened
    report = report_of(pass_folder(folder, "p1"), world.store)
    assert report["noise"] == found.noise.sum() and report["segments"] == 8 * 32
    assert report["flag_rate"] == found.noise.mean()
    for n, row in enumerate(report["fields"].values()):
        assert (row["segments"], row["noise"]) == (32, int(found.noise[:, n].sum()))
    planted = report["planted"]
    hits = (found.noise & world.planted).sum()
    assert planted["precision"] == pytest.approx(hits / found.noise.sum())
    assert planted["recall"] == pytest.approx(hits / world.planted.sum())
    assert planted["base_rate"] == pytest.approx(world.planted.mean())
    assert planted["auc_d_itc"] > 0.95
    assert planted["kinds"]["wrong"]["planted"] == world.planted.sum()
    assert report["versions"][0]["share_correct"] == pytest.approx(1 - world.planted.mean())


def test_the_report_reads_well(world: World, screened: tuple[Path, ScreenResult]) -> None:
    text = as_text(report_of(pass_folder(screened[0], "p1"), world.store))
    assert "segments are noise" in text and "precision" in text and "target.Count" in text
    assert max(map(len, text.splitlines())) < 200


def test_other_margins_in_a_report_are_other_decisions(screened: tuple[Path, ScreenResult]) -> None:
    place = pass_folder(screened[0], "p1")
    wide = report_of(place, None, Rule(itm_margin=1e6, min_keep=1, max_noise_frac=1.0))
    assert wide["noise"] == 0 and wide["segments"] == 8 * 32
    assert report_of(place)["noise"] > 0


def test_a_random_control_is_reported_as_it_was_drawn(world: World, tmp_path: Path) -> None:
    settings = toy_settings(batch_size_per_device=5, queue={"size": 16}, seed=3, scio=LIMITS | {"control": "random"})
    material = replace(world.material(), pixels=pictures_of(world, 24), mean=(0.5,) * 3, std=(0.5,) * 3)
    judge: Any = Oracle(settings, world.store.vocabulary)
    drawn = screen(judge, material, settings, tmp_path, pass_id="p1")
    report = report_of(pass_folder(tmp_path, "p1"), world.store)
    assert report["noise"] == drawn.noise.sum()
    hits = (drawn.noise & world.planted).sum()
    assert report["planted"]["precision"] == pytest.approx(hits / drawn.noise.sum())


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(0, 6, 40).astype(float), rng.integers(0, 5, 30).astype(float)
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert area_under_curve(positives, negatives) == pytest.approx(np.mean(pairs))
    assert np.isnan(area_under_curve(positives, np.array([])))


@pytest.fixture
def run(tmp_path: Path) -> tuple[Path, World]:
    """A run folder as a pre-training leaves it, with a model that was never trained."""
    world = make_world(tmp_path, Plan(pairs=32, seed=2, wrong=0.25), BY_MATCHING)
    book = world.store.vocabulary
    module = Pretrainer(BY_MATCHING, book.size, book.specials)
    module.online.load_state_dict(untrained(world, BY_MATCHING).state_dict())
    about = {
        "kind": "klip",
        "settings": as_data(BY_MATCHING),
        "pieces": list(book.pieces),
        "mean": list(MEAN),
        "std": list(STD),
    }
    checkpoints.write(
        tmp_path,
        checkpoints.Checkpoint(Path(), checkpoints.Place(epoch=12), {}, about, module.state_dict(), {}, {}, {}, {}),
    )
    write_json(tmp_path / "run.json", {"corpus": str(world.corpus.folder)})
    return tmp_path, world


def call(*words: str) -> Any:
    """The output of a command; its error where it fails."""
    result = CliRunner().invoke(scio_app, list(words))
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout) if "--json" in words else result.stdout


def test_screen_reconstruct_and_report_from_the_command_line(run: tuple[Path, World]) -> None:
    folder, world = run
    before = (world.store.folder / "base.jsonl").read_bytes()
    summary = call("screen", str(folder), "--pass", "p1", "--json")
    assert summary["noise"] > 0 and summary["warnings"]
    assert int(world.store.load_pool("p1").sum()) == summary["noise"]
    done = call("reconstruct", str(folder), "--pass", "p1", "--json")
    assert done["version"] == 1 and done["gaps"] == summary["noise"]
    report = call("report", str(folder), "--pass", "p1", "--plots", str(folder / "plots"), "--json")
    rebuilt = report["reconstruction"]
    assert rebuilt["replaced"] + rebuilt["dropped"] + rebuilt["restored"] == rebuilt["gaps"]
    assert rebuilt["accepted"] >= rebuilt["replaced"]
    assert [row["version"] for row in report["versions"]] == [0, 1]
    assert [Image.open(path).format for path in report["plots"]] == ["PNG"] * 3
    assert "rebuilt:" in call("report", str(folder), "--pass", "p1")
    assert call("report", str(folder)).split() == ["p1"]
    assert (world.store.folder / "base.jsonl").read_bytes() == before


def test_the_command_screens_as_the_library_does(run: tuple[Path, World], tmp_path: Path) -> None:
    folder, world = run
    call("screen", str(folder), "--pass", "p1")
    model = untrained(world, BY_MATCHING)
    found = screen(model, world.material(), BY_MATCHING, tmp_path / "other", pass_id="p1")
    assert np.array_equal(world.store.load_pool("p1"), found.noise)
    assert read_kind(pass_folder(folder, "p1"), "scores") == read_kind(pass_folder(tmp_path / "other", "p1"), "scores")
    done = reconstruct(model, world.material(), BY_MATCHING, folder, world.store, pass_id="p1", noise=found.noise)
    assert call("reconstruct", str(folder), "--pass", "p1", "--json") == done.summary


def test_decisions_with_other_margins_become_a_pool_without_the_model(run: tuple[Path, World]) -> None:
    folder, world = run
    call("screen", str(folder), "--pass", "p1")
    (file,) = (folder / "checkpoints").glob("*.pt")
    file.unlink()
    wide = call(
        "report", str(folder), "--pass", "p1", "--set", "scio.itm_margin=0.3", "--save-pool", "p1-wide", "--json"
    )
    assert 0 < wide["noise"] < world.store.load_pool("p1").sum()
    assert world.store.load_pool("p1-wide").sum() == wide["noise"]
    assert wide["rule"]["itm_margin"] == 0.3 and wide["rule"]["tests"] == "itm"


def test_what_is_not_there_is_told_with_the_way_out(run: tuple[Path, World], tmp_path: Path) -> None:
    folder, _ = run
    with pytest.raises(MissingError, match="no pass 'p9'"):
        call("report", str(folder), "--pass", "p9")
    with pytest.raises(MissingError, match="no pass here"):
        call("report", str(folder))
    with pytest.raises(MissingError, match="no noise pool"):
        call("reconstruct", str(folder), "--pass", "p9")
    with pytest.raises(MissingError, match="no checkpoint"):
        call("screen", str(tmp_path / "corpus"), "--pass", "p1")
    with pytest.raises(MissingError, match="not where it was"):
        call("screen", str(folder), "--pass", "p1", "--corpus", str(folder / "nowhere"))
    call("screen", str(folder), "--pass", "p1")
    with pytest.raises(UsageError, match="not a setting of decisions"):
        call("report", str(folder), "--pass", "p1", "--set", "queue.size=5")
    with pytest.raises(CheckError, match="begun with something else"):
        call("screen", str(folder), "--pass", "p1", "--set", "scio.itm_margin=0.5")


def test_a_model_of_another_shape_or_kind_is_refused(run: tuple[Path, World]) -> None:
    folder, _ = run
    with pytest.raises(CheckError, match="does not fit"):
        call("screen", str(folder), "--pass", "p1", "--set", "model.embed_dim=16")
    (file,) = (folder / "checkpoints").glob("*.pt")
    data = torch.load(file, weights_only=True)
    data["about"]["kind"] = "mae"
    torch.save(data, file)
    with pytest.raises(CheckError, match="cannot judge texts"):
        call("screen", str(folder), "--pass", "p1")


def test_a_store_with_another_vocabulary_is_refused(run: tuple[Path, World], tmp_path: Path) -> None:
    from klip.store.text_store import TextStore
    from klip.tokens.vocabulary import Vocabulary

    folder, world = run
    pieces = [*world.store.vocabulary.pieces[:-2], "more"]
    TextStore.create(tmp_path / "other", world.corpus, Vocabulary(pieces), BY_MATCHING.text)
    with pytest.raises(CheckError, match="another vocabulary"):
        call("screen", str(folder), "--pass", "p1", "--store", str(tmp_path / "other"))


def test_a_device_that_is_not_there_is_refused_before_anything_is_read(run: tuple[Path, World]) -> None:
    folder, _ = run
    for command in ("screen", "reconstruct"):
        with pytest.raises(UsageError, match="unknown device: 'foo'"):
            call(command, str(folder), "--pass", "p1", "--device", "foo")
        if not torch.cuda.is_available():
            with pytest.raises(UsageError, match="no GPU is visible"):
                call(command, str(folder), "--pass", "p1", "--device", "cuda")
    assert not (folder / "audit").exists()


def test_a_pool_of_other_margins_is_rebuilt_and_reported_by_its_summary(run: tuple[Path, World]) -> None:
    folder, world = run
    call("screen", str(folder), "--pass", "p1")
    call("report", str(folder), "--pass", "p1", "--set", "scio.itm_margin=0.3", "--save-pool", "p1-strict")
    said = call("reconstruct", str(folder), "--pass", "p1-strict")
    assert world.store.versions() == [0, 1]
    gaps = int(world.store.load_pool("p1-strict").sum())
    assert "pass p1-strict: version 1 of the texts" in said and f"of {gaps} gaps replaced" in said
    assert call("reconstruct", str(folder), "--pass", "p1-strict") == said
    report = call("report", str(folder), "--pass", "p1-strict", "--json")
    assert report["reconstruction"]["gaps"] == gaps and [row["version"] for row in report["versions"]] == [0, 1]
    assert "rebuilt:" in call("report", str(folder), "--pass", "p1-strict")


def test_a_pool_whose_noise_is_only_dropped_needs_no_scores_either(run: tuple[Path, World]) -> None:
    folder, world = run
    call("screen", str(folder), "--pass", "p1")
    call("report", str(folder), "--pass", "p1", "--set", "scio.itm_margin=0.3", "--save-pool", "p1-strict")
    said = call("reconstruct", str(folder), "--pass", "p1-strict", "--set", "scio.reconstruct=false")
    assert f"{world.store.load_pool('p1-strict').sum()} segments dropped, none rebuilt" in said


STRICT = ("--set", "scio.strict=true", "--set", "scio.min_itm_auc=1.0")


def test_a_skipped_pass_says_so_and_is_not_rebuilt(run: tuple[Path, World]) -> None:
    folder, world = run
    assert "was skipped" in call("screen", str(folder), "--pass", "p1", *STRICT)
    # A pre-training leaves an empty pool of such a pass; it is no corpus without noise.
    world.store.save_pool("p1", np.zeros((32, 8), dtype=np.bool_), version=0)
    with pytest.raises(CheckError, match=r"was skipped.*AUC.*less than scio\.min_itm_auc = 1\.0"):
        call("reconstruct", str(folder), "--pass", "p1")
    assert world.store.versions() == [0]
    text = call("report", str(folder), "--pass", "p1")
    assert "pass p1 was skipped" in text and "scio.strict" in text
    assert call("report", str(folder), "--pass", "p1", "--json")["skipped"]["min_itm_auc"] == 1.0
    with pytest.raises(CheckError, match="was skipped"):
        call("report", str(folder), "--pass", "p1", "--save-pool", "p1-strict")


def test_a_skipped_pass_can_be_made_after_all(run: tuple[Path, World]) -> None:
    folder, _ = run
    call("screen", str(folder), "--pass", "p1", *STRICT)
    found = call("screen", str(folder), "--pass", "p1", "--json")
    assert found["noise"] > 0 and not (pass_folder(folder, "p1") / "skipped.json").exists()
    assert call("reconstruct", str(folder), "--pass", "p1", "--json")["version"] == 1


def test_the_pool_of_a_random_control_is_what_was_drawn(run: tuple[Path, World]) -> None:
    folder, world = run
    call("screen", str(folder), "--pass", "lots", "--set", "scio.control=random")
    saved = call("report", str(folder), "--pass", "lots", "--save-pool", "copy", "--json")
    drawn = world.store.load_pool("lots")
    assert drawn.any() and np.array_equal(world.store.load_pool("copy"), drawn) and saved["noise"] == drawn.sum()
    call("report", str(folder), "--pass", "lots", "--set", "scio.itm_margin=0.0", "--save-pool", "rule")
    assert not np.array_equal(world.store.load_pool("rule"), drawn)


def test_settings_can_come_from_a_file(run: tuple[Path, World], tmp_path: Path) -> None:
    folder, world = run
    file = tmp_path / "strict.toml"
    file.write_text("log_every = 7\n[scio]\nitm_margin = 0.3\n")
    call("screen", str(folder), "--pass", "p1", "--config", str(file))
    with pytest.raises(CheckError, match="begun with something else"):
        call("screen", str(folder), "--pass", "p1")
    assert call("reconstruct", str(folder), "--pass", "p1", "--config", str(file), "--json")["version"] == 1
    (entry,) = json.loads((pass_folder(folder, "p1") / "record.json").read_text())[1:]
    assert entry["settings"]["log_every"] == 7
    call("screen", str(folder), "--pass", "p2", "--version", "0")
    wide = call("report", str(folder), "--pass", "p2", "--config", str(file), "--json")
    assert wide["rule"]["itm_margin"] == 0.3 and wide["noise"] < world.store.load_pool("p2").sum()
    both = call("report", str(folder), "--pass", "p2", "--config", str(file), "--set", "scio.itm_margin=0.2", "--json")
    assert both["rule"]["itm_margin"] == 0.2
    file.write_text("log_every = 7\n")
    with pytest.raises(UsageError, match="no setting of decisions"):
        call("report", str(folder), "--pass", "p2", "--config", str(file))
    file.write_text("[scio]\nitm_margn = 0.3\n")
    with pytest.raises(UsageError, match="itm_margn"):
        call("report", str(folder), "--pass", "p2", "--config", str(file))


def test_what_was_done_by_hand_is_recorded_beside_the_audit(run: tuple[Path, World]) -> None:
    folder, _ = run
    before = (folder / "run.json").read_bytes()
    call("screen", str(folder), "--pass", "p1", "--set", "log_every=7")
    with pytest.raises(CheckError):  # what is refused was not done
        call("screen", str(folder), "--pass", "p1", "--set", "scio.itm_margin=0.5")
    done = call("reconstruct", str(folder), "--pass", "p1", "--json")
    call("report", str(folder), "--pass", "p1", "--set", "scio.itm_margin=0.3", "--save-pool", "p1-strict")
    entries = json.loads((pass_folder(folder, "p1") / "record.json").read_text())
    assert [entry["did"] for entry in entries] == ["screen", "reconstruct", "save pool"]
    assert entries[0]["settings"]["log_every"] == 7 and entries[0]["code"]["libraries"]["torch"]
    assert entries[1]["summary"] == done and entries[1]["checkpoint"].endswith(".pt")
    assert entries[2]["pool"] == "p1-strict" and entries[2]["rule"]["itm_margin"] == 0.3
    assert (folder / "run.json").read_bytes() == before, "the record of the training stays that of the training"
