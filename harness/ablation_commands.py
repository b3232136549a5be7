"""What `--ablation` prints; each function returns its exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

from harness.ablation import Choices, prepare, prepare_data
from harness.ablation import run as run_ablation
from harness.commands import print_left_out
from harness.display import show_progress
from harness.plan import make_plan, plan_as_data
from harness.printing import print_json, print_rows
from harness.request import RunRequest


def run(request: RunRequest, choices: Choices, as_json: bool) -> int:
    """Runs the ablation and prints its table."""
    from results.render import to_text

    with show_progress(quiet=as_json) as progress:
        prepare_data(request, choices, progress)
    done = run_ablation(request, choices, quiet=as_json)
    outcome, written = done.outcome, done.written
    if as_json:
        print_json(
            {
                **plan_as_data(outcome.plan),
                "trained": list(done.trained),
                "computed": outcome.computed,
                "failures": [failure.model_dump(mode="json") for failure in outcome.failures],
                "files": [str(file) for file in written.files],
                "exit_code": outcome.exit_code,
            }
        )
        return outcome.exit_code
    print(to_text(written.table), end="")
    print(f"\nwritten: {', '.join(str(file) for file in written.files)}")
    for failure in outcome.failures:
        print(f"FAILED {failure.cell}: {failure.what}", file=sys.stderr)
        if failure.way_out:
            print(f"  way out: {failure.way_out}", file=sys.stderr)
    print_left_out(outcome.plan)
    return outcome.exit_code


def plan(request: RunRequest, choices: Choices, as_json: bool) -> int:
    """Prints which models are there, which trainings are left, and how far the cells are."""
    found, asked = prepare(request, choices)
    made = None
    if asked is not None:
        with show_progress(quiet=as_json) as progress:
            made = make_plan(asked, build_world=False, progress=progress)
    if as_json:
        models = [one._asdict() for one in found]
        print_json({"models": models, "cells": plan_as_data(made) if made is not None else None})
        return 0
    print_rows(("model", "texts", "state"), [(o.id, o.name, "ready" if o.ready else "to train") for o in found])
    for one in found:
        if not one.ready:
            print(f"{one.id}: {one.command}")
    if made is None:
        print("the cells of all models can be planned once these are trained")
    else:
        counts = ", ".join(f"{number} {state}" for state, number in made.counts().items())
        print(f"{len(made.cells)} cells (profile {made.request.profile}): {counts or 'none'}")
    return 0


ACTIONS: dict[str, Callable[[RunRequest, Choices, bool], int]] = {
    "run": run,
    "resume": run,
    "plan": plan,
    "status": plan,
}
"""By the command that `--ablation` was given to."""
