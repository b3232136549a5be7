"""The acceptance test of SCIO (section 13.4 of the KLIP specification): does it find errors that were planted?

A model is pre-trained on a toy world whose texts are wrong in one segment out of five, screens the texts that it was
trained on, and rebuilds what it takes for noise. `python -m tests.bench planted-noise` prints the table for three
seeds.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from klip.scio.audit_log import Record, pass_folder, read_kind
from klip.scio.decide import Flags, Rule, random_control
from klip.scio.decisions import PassScores, decide_from_log
from klip.scio.passes import ScreenResult, screen
from klip.scio.readiness import readiness
from klip.scio.reconstruction import reconstruct
from klip.scio.report import against_planted
from klip.scio.score import frozen
from klip.settings import PretrainingSettings
from klip.text import TARGET_FIELDS
from tests.bench.toy_world import Learner, Plan, World, make_world, toy_settings, words

PASS = "planted"


@dataclass(frozen=True)
class Experiment:
    """How large it is."""

    plan: Plan = Plan()  # noqa: RUF009  # immutable
    steps: int = 1200
    early: int = 60
    """Steps after which the model is asked whether it can judge already; it must not pass for one that can."""
    segment_dropout: float = 0.15
    rate: float = 2e-3
    batch: int = 64
    queue: int = 1024
    seed: int = 0

    @property
    def settings(self) -> PretrainingSettings:
        """Of the pre-training."""
        return toy_settings(
            text={"segment_dropout": self.segment_dropout},
            queue={"size": self.queue},
            batch_size_per_device=self.batch,
            seed=self.seed,
            audit={"full": True},
        )


@dataclass(frozen=True)
class Row:
    """How well one rule finds the planted errors."""

    rule: str
    precision: float
    recall: float
    flagged_clean: float


@dataclass(frozen=True)
class Outcome:
    """What came of one experiment."""

    seed: int
    base_rate: float
    rows: tuple[Row, ...]
    auc_d_itc: float
    auc_d_itm: float
    early_itm_auc: float
    """Of the readiness test, after a few steps."""
    itm_auc: float
    proposals: int
    accepted: int
    accepted_right: float
    """Share of accepted values that are the truth."""
    refused_right: float
    """Share of the proposals that were not accepted."""
    correct_before: float
    """Share of right segments among those that the texts have, version 0."""
    correct_after: float
    correct_random: float
    """After as many segments were removed by lot."""
    signs_hold: bool
    """Whether every accepted value has d_itc < 0 < d_itm against both bases."""
    seconds: float

    def row(self, rule: str) -> Row:
        """The row of a rule."""
        return next(row for row in self.rows if row.rule == rule)


def run_experiment(experiment: Experiment, folder: Path) -> Outcome:
    """Trains, screens, rebuilds and counts."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    settings = experiment.settings
    world = make_world(folder, replace(experiment.plan, seed=experiment.seed), settings)
    learner = Learner(world, settings, experiment.seed, experiment.steps, rate=experiment.rate)
    model = learner.pretrainer.online
    learner.train(0, experiment.early)
    with frozen(model):
        early = readiness(
            model, world.material(), share=0.0, seed=experiment.seed, batch=experiment.batch, chunk=experiment.batch
        )
    learner.train(0, experiment.steps - experiment.early)
    found = screen(model, world.material(), settings, folder, pass_id=PASS)
    rebuilt = reconstruct(model, world.material(), settings, folder, world.store, pass_id=PASS, noise=found.noise)
    scores = found.scores
    assert scores is not None
    records = read_kind(pass_folder(folder, PASS), "rebuilt")
    accepted, refused = _right(records, world)
    overall = against_planted(scores, found.noise, world.planted)
    return Outcome(
        seed=experiment.seed,
        base_rate=overall["base_rate"],
        rows=rows_of(pass_folder(folder, PASS), scores, world.planted, overall["base_rate"]),
        auc_d_itc=overall["auc_d_itc"],
        auc_d_itm=overall["auc_d_itm"],
        early_itm_auc=early.itm_auc,
        itm_auc=found.readiness.itm_auc,
        proposals=len(accepted) + len(refused),
        accepted=len(accepted),
        accepted_right=float(np.mean(accepted)) if accepted else 0.0,
        refused_right=float(np.mean(refused)) if refused else 0.0,
        correct_before=_share_correct(world, 0),
        correct_after=_share_correct(world, rebuilt.version),
        correct_random=_share_after_lots(found, world, settings),
        signs_hold=_signs_hold(records),
        seconds=time.perf_counter() - began,
    )


def rows_of(place: Path, scores: PassScores, planted: Flags, rate: float) -> tuple[Row, ...]:
    """The same log decided by each rule."""
    rules = {
        "ITC sign only": Rule(tests="itc", confirm="segment"),
        "ITM sign only": Rule(tests="itm", confirm="segment"),
        "both, segment by segment": Rule(confirm="segment"),
        "both, with the guard": Rule(),
        "z-score at the known rate": Rule(kind="zscore", noise_rate=rate, confirm="segment"),
    }
    rows = []
    for name, rule in rules.items():
        _, decisions = decide_from_log(place, rule)
        found = against_planted(scores, decisions.noise, planted)
        rows.append(Row(name, found["precision"], found["recall"], found["flagged_clean"]))
    return tuple(rows)


def _right(records: list[Record], world: World) -> tuple[list[bool], list[bool]]:
    """For accepted values and for the others, whether each is the truth."""
    accepted: list[bool] = []
    refused: list[bool] = []
    for record in records:
        for entry in record["slots"]:
            truth = words(TARGET_FIELDS[entry["slot"]])[world.truth[record["row"], entry["slot"]]]
            (accepted if entry["accepted"] else refused).append(entry["text"] == truth)
    return accepted, refused


def _signs_hold(records: list[Record]) -> bool:
    return all(
        entry[base]["d_itc"] < 0 < entry[base]["d_itm"]
        for record in records
        for entry in record["slots"]
        if entry["accepted"]
        for base in ("filtered", "original")
    )


def _share_correct(world: World, version: int) -> float:
    truth = world.store.truth(version)
    assert truth is not None and truth.share_correct is not None
    return truth.share_correct


def _share_after_lots(found: ScreenResult, world: World, settings: PretrainingSettings) -> float:
    assert found.scores is not None
    rule = Rule(min_keep=settings.scio.min_keep, max_noise_frac=settings.scio.max_noise_frac)
    removed = random_control(found.noise, found.scores.numbers, rule, seed=0)
    kept: NDArray[np.bool_] = found.scores.numbers.present & ~removed
    return float((kept & ~world.planted).sum() / kept.sum())


def print_planted_noise(seeds: Sequence[int] = (0, 1, 2), *, as_json: bool = False) -> None:
    """The experiment for several seeds, and the thresholds of section 13.4 against their means."""
    outcomes = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append(run_experiment(Experiment(seed=seed), Path(folder)))
        if not as_json:
            print(table(outcomes[-1]), flush=True)
    if as_json:
        print(json.dumps([asdict(outcome) for outcome in outcomes]))
    else:
        print(verdicts(outcomes))


def table(outcome: Outcome) -> str:
    """One seed."""
    lines = [
        f"seed {outcome.seed}: {outcome.base_rate:.1%} of the segments are wrong; {outcome.seconds:.0f} s",
        f"  {'rule':28}{'precision':>10}{'recall':>8}{'right ones flagged':>20}",
    ]
    lines += [f"  {row.rule:28}{row.precision:10.3f}{row.recall:8.3f}{row.flagged_clean:20.1%}" for row in outcome.rows]
    return "\n".join(
        [
            *lines,
            f"  AUC of -d_itc {outcome.auc_d_itc:.3f}, of d_itm {outcome.auc_d_itm:.3f}; AUC of matching after a few "
            f"steps {outcome.early_itm_auc:.2f}, at the end {outcome.itm_auc:.2f}",
            f"  rebuilt: {outcome.accepted} of {outcome.proposals} accepted, {outcome.accepted_right:.1%} of them "
            f"true, of the others {outcome.refused_right:.1%}",
            f"  right segments: {outcome.correct_before:.1%} before, {outcome.correct_after:.1%} after, "
            f"{outcome.correct_random:.1%} after removal by lot",
        ]
    )


def verdicts(outcomes: Sequence[Outcome], values: int = 6) -> str:
    """The thresholds of section 13.4, against the means over seeds."""
    lines = [f"means over {len(outcomes)} seed(s):"]
    for claim, held, numbers in claims(outcomes, values):
        lines.append(f"  {'holds' if held else 'FAILS':6} {claim} ({numbers})")
    return "\n".join(lines)


def claims(outcomes: Sequence[Outcome], values: int = 6) -> list[tuple[str, bool, str]]:
    """Each claim, whether it holds for the means, and the means."""

    def mean(name: str, rule: str | None = None) -> float:
        found = [getattr(outcome.row(rule) if rule else outcome, name) for outcome in outcomes]
        return statistics.fmean(found)

    both = "both, with the guard"
    precision, recall, base = mean("precision", both), mean("recall", both), mean("base_rate")
    alone = max(mean("precision", "ITC sign only"), mean("precision", "ITM sign only"))
    right, other = mean("accepted_right"), mean("refused_right")
    before, after, lots = mean("correct_before"), mean("correct_after"), mean("correct_random")
    return [
        ("precision >= 0.7 at recall >= 0.4", precision >= 0.7 and recall >= 0.4, f"{precision:.3f}, {recall:.3f}"),
        ("precision >= 2.5 x base rate", precision >= 2.5 * base, f"{precision / base:.2f} x {base:.3f}"),
        ("AUC of d_itm >= 0.85", mean("auc_d_itm") >= 0.85, f"{mean('auc_d_itm'):.3f}"),
        ("both tests more precise than either", precision > alone, f"{precision:.3f} > {alone:.3f}"),
        ("little training is noticed", mean("early_itm_auc") < 0.75, f"AUC {mean('early_itm_auc'):.2f} < 0.75"),
        ("accepted values >= 3/K true", right >= 3 / values, f"{right:.3f} >= {3 / values:.3f}"),
        ("accepted values truer than the others", right > other, f"{right:.3f} > {other:.3f}"),
        ("the share of right segments rises", after > before, f"{before:.4f} -> {after:.4f}"),
        ("removal by lot does not raise it", lots < before + 0.002, f"{before:.4f} -> {lots:.4f}"),
        ("accepted: d_itc < 0 < d_itm", all(outcome.signs_hold for outcome in outcomes), "every one"),
    ]
