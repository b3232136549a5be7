"""Screening a corpus: what is found, that it can be killed anywhere, shared, repeated and decided again."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import CheckError, UsageError
from klip.model.klip import KLIP
from klip.scio.audit_log import pass_folder, read_kind
from klip.scio.decide import Rule
from klip.scio.decisions import DECISIONS, decide_from_log, decision_records, read_noise
from klip.scio.material import Material
from klip.scio.passes import ScreenResult, screen
from klip.scio.score import Bank
from klip.settings import PretrainingSettings
from klip.training.distributed import World as Processes
from tests.bench.toy_oracle import Oracle, pictures_of
from tests.bench.toy_world import Plan, World, make_world, toy_settings, untrained
from tests.klip.killing import files, killed_after

FREE = {"min_keep": 1, "max_noise_frac": 1.0}
SETTINGS = toy_settings(batch_size_per_device=5, queue={"size": 16}, seed=3, scio=FREE)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("toy"), Plan(pairs=32, seed=2, wrong=0.25), SETTINGS)


@pytest.fixture(scope="module")
def model(world: World) -> KLIP:
    return untrained(world, SETTINGS)


@pytest.fixture(scope="module")
def seen_by_oracle(world: World) -> Material:
    """Images in which the oracle reads the truth."""
    return replace(world.material(), pixels=pictures_of(world, 24), mean=(0.5,) * 3, std=(0.5,) * 3)


def oracle(world: World, settings: PretrainingSettings = SETTINGS, sign: int = 1) -> Any:
    return Oracle(settings, world.store.vocabulary, sign=sign)


def test_a_segment_that_the_image_speaks_against_is_noise_and_no_other(
    world: World, seen_by_oracle: Material, tmp_path: Path
) -> None:
    found = screen(oracle(world), seen_by_oracle, SETTINGS, tmp_path, pass_id="p1")
    some_right = (~world.planted).any(axis=1)
    assert some_right.sum() > 25
    assert np.array_equal(found.noise[some_right], world.planted[some_right])
    assert found.summary["noise"] == found.noise.sum()
    assert found.readiness.itm_auc > 0.9 and found.readiness.recall_at_1 > 0.8


def test_with_both_signs_turned_no_planted_segment_is_noise(
    world: World, seen_by_oracle: Material, tmp_path: Path
) -> None:
    found = screen(oracle(world, sign=-1), seen_by_oracle, SETTINGS, tmp_path, pass_id="p1")
    assert not (found.noise & world.planted).any()


def test_images_are_looked_at_once_for_all_versions(world: World, seen_by_oracle: Material, tmp_path: Path) -> None:
    judge = oracle(world)
    found = screen(judge, seen_by_oracle, SETTINGS, tmp_path, pass_id="p1")
    several = int((found.decisions.flagged.sum(axis=1) > 1).sum()) if found.decisions is not None else 0
    asked_before = 2 * found.readiness.pairs + 16  # held-out pairs twice, the bank once
    guard_rounds = len(read_kind(tmp_path / "audit" / "p1", "guard"))
    assert several <= guard_rounds
    assert judge.looked <= asked_before + len(world.truth) + guard_rounds


def test_screening_again_changes_nothing_and_asks_the_model_for_nothing(
    world: World, seen_by_oracle: Material, tmp_path: Path
) -> None:
    judge = oracle(world)
    first = screen(judge, seen_by_oracle, SETTINGS, tmp_path, pass_id="p1")
    before, looked = files(tmp_path), judge.looked
    again = screen(judge, seen_by_oracle, SETTINGS, tmp_path, pass_id="p1")
    assert files(tmp_path) == before and judge.looked == looked
    assert np.array_equal(first.noise, again.noise) and first.summary == again.summary


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_pass_killed_anywhere_and_resumed_leaves_the_same_bytes(
    world: World, model: KLIP, tmp_path: Path, steps: int
) -> None:
    material = world.material()
    # Matching alone flags much, so that sets are tested too.
    settings = toy_settings(batch_size_per_device=5, queue={"size": 16}, seed=3, scio={"tests": "itm"})
    whole = screen(model, material, settings, tmp_path / "whole", pass_id="p1")
    assert read_kind(tmp_path / "whole" / "audit" / "p1", "guard")
    killed_after(
        steps,
        lambda progress: screen(model, material, settings, tmp_path / "cut", pass_id="p1", progress=progress),
    )
    (log,) = (tmp_path / "cut" / "audit" / "p1").glob("scores.*")
    log.write_bytes(log.read_bytes()[:-20])  # and the last line torn
    resumed = screen(model, material, settings, tmp_path / "cut", pass_id="p1")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert np.array_equal(whole.noise, resumed.noise) and whole.noise.any()


@dataclass(frozen=True)
class Thread(Processes):
    """One of several processes, as a thread."""

    wall: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))

    def barrier(self) -> None:
        self.wall.wait(timeout=60)


def test_the_result_does_not_hang_on_how_many_processes_share_the_work(
    world: World, model: KLIP, tmp_path: Path
) -> None:
    material = world.material()
    settings = toy_settings(batch_size_per_device=5, queue={"size": 16}, seed=3, scio={"tests": "itm"})
    alone = screen(model, material, settings, tmp_path / "one", pass_id="p1")
    wall = threading.Barrier(3)
    found: dict[int, ScreenResult] = {}

    def work(rank: int) -> None:
        place = Thread(torch.device("cpu"), rank, 3, None, wall)
        found[rank] = screen(model, material, settings, tmp_path / "three", pass_id="p1", world=place)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list((tmp_path / "three" / "audit" / "p1").glob("scores.rank*.jsonl"))) == 3
    assert alone.scores is not None
    for result in found.values():
        assert result.scores is not None
        assert np.array_equal(result.noise, alone.noise)
        assert np.array_equal(result.scores.itc, alone.scores.itc)
        assert np.array_equal(result.scores.itm, alone.scores.itm, equal_nan=True)


def test_other_margins_are_decided_from_the_log_as_a_pass_would_decide_them(
    world: World, model: KLIP, tmp_path: Path
) -> None:
    material = world.material()
    screen(model, material, SETTINGS, tmp_path, pass_id="p1")
    wider = toy_settings(
        batch_size_per_device=5, queue={"size": 16}, seed=3, scio=FREE | {"itc_margin": 0.02, "itm_margin": 0.3}
    )
    fresh = screen(model, material, wider, tmp_path, pass_id="p2")
    rule = Rule(itc_margin=0.02, itm_margin=0.3, min_keep=1, max_noise_frac=1.0)
    _, decisions = decide_from_log(pass_folder(tmp_path, "p1"), rule)
    sure = ~decisions.guarded.undecided
    assert sure.sum() > 20 and fresh.noise.sum() > 0
    assert np.array_equal(decisions.noise[sure], fresh.noise[sure])
    assert (decisions.noise[~sure] >= fresh.noise[~sure]).all()


def test_the_same_rule_decided_from_the_log_is_what_the_pass_decided(world: World, model: KLIP, tmp_path: Path) -> None:
    found = screen(model, world.material(), SETTINGS, tmp_path, pass_id="p1")
    place = pass_folder(tmp_path, "p1")
    header = json.loads((place / "scores.rank0.jsonl").read_text().splitlines()[0])["header"]
    scores, decisions = decide_from_log(place, Rule(**header["rule"]))
    assert np.array_equal(decisions.noise, found.noise) and not decisions.guarded.undecided.any()
    written = [json.loads(line) for line in (place / DECISIONS).read_text().splitlines()][1:]
    assert written == decision_records(scores, decisions)
    assert np.array_equal(read_noise(place, len(world.truth)), found.noise)


def test_a_pass_is_refused_under_another_model_bank_or_rule(world: World, model: KLIP, tmp_path: Path) -> None:
    material = world.material()
    screen(model, material, SETTINGS, tmp_path, pass_id="p1")
    before = files(tmp_path)
    changed: dict[str, dict[str, Any]] = {
        "rule": {"scio": FREE | {"itc_margin": 0.1}},
        "bank": {"queue": {"size": 15}},
        "chunk": {"batch_size_per_device": 6},
    }
    for name, change in changed.items():
        other = toy_settings(**({"batch_size_per_device": 5, "queue": {"size": 16}, "seed": 3, "scio": FREE} | change))
        with pytest.raises(CheckError, match=name):
            screen(model, material, other, tmp_path, pass_id="p1")
    with pytest.raises(CheckError, match="checkpoint"):
        screen(untrained(world, SETTINGS, spread=0.2), material, SETTINGS, tmp_path, pass_id="p1")
    assert files(tmp_path) == before


def test_the_bank_can_be_the_queue_of_the_training_but_not_without_one(
    world: World, model: KLIP, tmp_path: Path
) -> None:
    settings = toy_settings(batch_size_per_device=5, seed=3, scio=FREE | {"negatives": "queue"})
    material = world.material()
    with pytest.raises(UsageError, match="needs the queue"):
        screen(model, material, settings, tmp_path / "a", pass_id="p1")
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(2, 9, 32, generator=generator), dim=-1)
    queue = Bank(rows[0], rows[1], torch.full((9,), -5), torch.full((9,), -5))
    assert screen(model, material, settings, tmp_path / "b", pass_id="p1", queue=queue).scores is not None


def test_negatives_of_the_batch_hang_on_the_batch(world: World, model: KLIP, tmp_path: Path) -> None:
    def scores(batch: int) -> Any:
        settings = toy_settings(batch_size_per_device=batch, seed=3, scio=FREE | {"negatives": "batch"})
        found = screen(model, world.material(), settings, tmp_path / str(batch), pass_id="p1").scores
        assert found is not None
        return found.itc

    assert np.abs(scores(4) - scores(16)).max() > 0.1


@pytest.fixture(scope="module")
def weak(world: World, model: KLIP, tmp_path_factory: pytest.TempPathFactory) -> ScreenResult:
    return screen(model, world.material(), SETTINGS, tmp_path_factory.mktemp("weak"), pass_id="p1")


def test_a_model_that_learned_nothing_is_warned_of(weak: ScreenResult) -> None:
    assert weak.readiness.itm_auc < 0.75
    assert any("AUC" in warning for warning in weak.warnings)
    assert not weak.skipped and weak.noise.any()


def test_with_strict_a_model_that_learned_nothing_screens_nothing(world: World, model: KLIP, tmp_path: Path) -> None:
    settings = toy_settings(batch_size_per_device=5, queue={"size": 16}, seed=3, scio={"strict": True})
    found = screen(model, world.material(), settings, tmp_path, pass_id="p1")
    assert found.skipped and not found.noise.any() and found.scores is None
    assert found.summary["skipped"] and found.summary["noise"] == 0


def test_the_random_control_flags_as_much_of_every_field_as_the_pass_would(
    world: World, seen_by_oracle: Material, tmp_path: Path
) -> None:
    limits = {"min_keep": 3, "max_noise_frac": 0.5}
    real = toy_settings(batch_size_per_device=5, seed=3, scio=limits)
    lots = toy_settings(batch_size_per_device=5, seed=3, scio=limits | {"control": "random"})
    found = screen(oracle(world, real), seen_by_oracle, real, tmp_path, pass_id="p1")
    drawn = screen(oracle(world, lots), seen_by_oracle, lots, tmp_path, pass_id="p2")
    assert np.array_equal(drawn.noise.sum(axis=0), found.noise.sum(axis=0))
    assert not np.array_equal(drawn.noise, found.noise)
    assert np.array_equal(read_noise(pass_folder(tmp_path, "p2"), len(world.truth)), drawn.noise)


def test_the_same_image_twice_is_no_negative_of_itself(world: World, seen_by_oracle: Material, tmp_path: Path) -> None:
    doubled = replace(seen_by_oracle, image_id=np.array([0, 0, *range(2, 32)]))
    one = screen(oracle(world), seen_by_oracle, SETTINGS, tmp_path / "a", pass_id="p1").scores
    two = screen(oracle(world), doubled, SETTINGS, tmp_path / "b", pass_id="p1").scores
    assert one is not None and two is not None
    assert np.array_equal(one.itc[2:], two.itc[2:])


@pytest.fixture(autouse=True)
def _clean_up(tmp_path: Path) -> Any:
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
