"""What `harness models` prints; each function returns its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from adapters.card import ModelCard
from adapters.conformance.report import Report
from adapters.registry import catalog_problems, load_model_file, select, weight_state
from foundation.errors import BenchError, CheckError, MissingError
from harness.display import show_progress
from harness.printing import print_json
from tasks.catalog import TASKS


def check(models: str, model_files: Sequence[Path], weights_root: Path | None, quick: bool, as_json: bool) -> int:
    """Checks models one by one; exit code 5 when any of them fails a check."""
    for problem in catalog_problems():
        print(problem, file=sys.stderr)
    extra = [card for file in model_files for card in load_model_file(file)]
    reports = []
    for card in _ready(select(models, extra), weights_root):
        report = _check_one(card, weights_root, quick=quick, quiet=as_json)
        reports.append(report)
        if not as_json:
            print("\n".join(report.lines()), flush=True)
    if as_json:
        print_json([report.as_dict() for report in reports])
    return CheckError.exit_code if any(report.failed for report in reports) else 0


def new(name: str, out: Path, as_json: bool) -> int:
    """Writes a package for a model of one's own and says how to go on."""
    from adapters.plugin_package import write_plugin

    files = write_plugin(name, out)
    if as_json:
        print_json({"name": name, "files": [str(file) for file in files]})
        return 0
    for file in files:
        print(file)
    print(f"\nnext: pip install -e {out} && harness models check {name} --quick")
    return 0


def _ready(cards: Sequence[ModelCard], weights_root: Path | None) -> list[ModelCard]:
    """The models that can be loaded; the others are named, and it is an error if there are only such."""
    ready = []
    reason: BenchError | None = None
    for card in cards:
        state = weight_state(card, weights_root)
        if state.state == "ready":
            ready.append(card)
            continue
        error = MissingError(
            f"{card.id} cannot be checked: {state.reason}", where=state.path or card.id, way_out=state.way_out
        )
        reason = reason or error
        if len(cards) > 1:
            print(error.what, file=sys.stderr)
    if not ready and reason is not None:
        raise reason
    return ready


def _check_one(card: ModelCard, weights_root: Path | None, *, quick: bool, quiet: bool) -> Report:
    from adapters.conformance import check_model
    from adapters.conformance.suite import Check, run_check
    from harness.model_trials import TRIALS, Trial

    # Without a terminal every check would be a line of its own, right before the report says the same.
    with show_progress(quiet=quiet or not sys.stderr.isatty()) as progress:
        report = check_model(card, weights_root=weights_root, quick=quick, progress=progress)
        if report.findings[0].state == "failed":
            return report
        for task, attempt in TRIALS.items():
            progress(0, 1, f"trial of {task}")
            trial = Check(f"trial: {TASKS[task].title}", attempt)
            report.findings.append(run_check(trial, Trial(card, weights_root, quick)))
        progress(1, 1)
    return report
