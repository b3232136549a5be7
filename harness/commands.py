"""What the commands print; each returns its exit code. Logic lives elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from adapters.registry import catalog, catalog_problems, groups, weight_state
from foundation.errors import CheckError, MissingError, UsageError
from foundation.names import unknown_name
from harness.display import show_progress
from harness.plan import Plan, PlannedCell, State, make_plan, plan_as_data
from harness.printing import print_json, print_rows
from harness.request import RunRequest
from tasks.catalog import DATASETS, TASKS, task_groups
from tasks.protocol import PROFILES, load_profile

if TYPE_CHECKING:
    from harness.report import Written
    from results.pages.site import Drawn
    from results.store import Store
    from results.tables import Table

OLD_LIBRARIES = "records made with other library versions"


def run(request: RunRequest, as_json: bool) -> int:
    """Executes a request and prints where the result is."""
    from harness.execute import execute
    from results.render import to_text

    outcome = execute(request, quiet=as_json)
    if not any(cell.state is State.DONE for cell in outcome.plan.cells) and not outcome.failures:
        broken = next((state.broken for state in outcome.plan.data.values() if state.broken is not None), None)
        if broken is not None:
            raise broken
        first = next((cell for cell in outcome.plan.cells if cell.reason), None)
        raise MissingError(
            "nothing of this request can be computed here" + (f": {first.reason}" if first else ""),
            way_out=(first.way_out if first and first.way_out else "see harness plan"),
        )
    if as_json:
        print_json(
            {
                **plan_as_data(outcome.plan),
                "computed": outcome.computed,
                "failures": [failure.model_dump(mode="json") for failure in outcome.failures],
                "files": [str(file) for written in outcome.tables for file in written.files],
                "exit_code": outcome.exit_code,
            }
        )
        return outcome.exit_code
    for written in outcome.tables:
        print(to_text(written.table), end="")
        print(f"\nwritten: {', '.join(str(file) for file in written.files)}")
    print_left_out(outcome.plan)
    for failure in outcome.failures:
        print(f"FAILED {failure.cell}: {failure.what}", file=sys.stderr)
        _say_if("  where: ", failure.where)
        _say_if("  way out: ", failure.way_out)
        _say_if("", failure.traceback)
    return outcome.exit_code


def plan(request: RunRequest, as_json: bool) -> int:
    """Prints a plan."""
    with show_progress(quiet=as_json) as progress:
        made = make_plan(request, build_world=False, progress=progress)
    if as_json:
        print_json(plan_as_data(made))
        return 0
    _print_cells([cell for cell in made.cells if cell.state in (State.TODO, State.RETRY, State.RESCORE, State.DONE)])
    if any(state.will_be_built for state in made.data.values()):
        print("the synthetic world will be built first, once, into the cache")
    _print_counts(made)
    print_left_out(made)
    return 0


def status(request: RunRequest, as_json: bool) -> int:
    """Prints how far a request is, and what is wrong with the store."""
    from harness.provenance import LIBRARIES, installed_version
    from results.store import Store

    with show_progress(quiet=as_json) as progress:
        made = make_plan(request, build_world=False, progress=progress)
    store = Store(request.out)
    problems = store.problems()
    now = {name: installed_version(name) for name in LIBRARIES}
    others = sum(stored.record.code.dependencies != now for stored in store.records() if not stored.superseded)
    if as_json:
        print_json({**plan_as_data(made), "problems": [str(problem) for problem in problems], OLD_LIBRARIES: others})
    else:
        _print_counts(made)
        for cell in made.cells:
            if cell.state in (State.RETRY, State.DATA):
                print(f"{cell.cell}: {cell.state.value}: {cell.reason}")
                if cell.way_out:
                    print(f"  way out: {cell.way_out}")
        for problem in problems:
            print(f"damaged: {problem}")
        if others:
            print(f"{OLD_LIBRARIES} than the installed ones: {others}")
    return CheckError.exit_code if problems else 0


def list_names(what: str, weights_root: Path | None, as_json: bool) -> int:
    """Prints names, or one thing in full."""
    data: Any
    rows: list[tuple[str, ...]]
    if what == "models":
        cards = [(card, weight_state(card, weights_root)) for card in catalog().values()]
        data = [{**card.model_dump(mode="json"), "state": state.model_dump()} for card, state in cards]
        rows = [(c.id, c.name, c.backbone, ",".join(map(str, c.tables)) or "-", s.state) for c, s in cards]
        heads = ("model", "name", "group", "tables", "weights")
    elif what == "groups":
        data = {"models": groups(), "tasks": task_groups()}
        rows = [
            (name, kind, str(len(ids)), ", ".join(ids[:4]) + (", ..." if len(ids) > 4 else ""), "")
            for kind, found in data.items()
            for name, ids in found.items()
        ]
        heads = ("group", "of", "size", "members", "")
    elif what == "tasks":
        data = [task._asdict() for task in TASKS.values()]
        rows = [
            (t.id, t.group, ", ".join(t.datasets), ", ".join(t.metrics), "ready" if t.built else "not built yet")
            for t in TASKS.values()
        ]
        heads = ("task", "group", "data sets", "metrics", "state")
    elif what == "profiles":
        data = [load_profile(name).model_dump(mode="json") for name in PROFILES]
        rows = [(name, f"version {load_profile(name).version}", load_profile(name).about, "", "") for name in PROFILES]
        heads = ("profile", "", "about", "", "")
    else:
        return _show_one(what, weights_root)
    if as_json:
        print_json(data)
        return 0
    print_rows(heads, rows)
    if what == "models":
        missing = sum(row[-1] == "missing" for row in rows)
        print(f"\n{missing} models lack their weights; `harness list <model>` says how to get them")
    for problem in catalog_problems():
        print(f"problem: {problem}", file=sys.stderr)
    return 0


class PageChoices(NamedTuple):
    """Whether pages are written beside a table, and of what."""

    wanted: bool = False
    data_root: Path | None = None
    radar: str | None = None


def report(
    table: int | None,
    form: str,
    profile: str | None,
    out: Path,
    weights_root: Path | None,
    as_json: bool,
    pages: PageChoices = PageChoices(),  # noqa: B008, immutable
) -> int:
    """Prints a stored table in one form and writes all forms, with pages if they are wanted."""
    from harness.report import REPORTED, default_table, stored_tables, write_table
    from results.render import to_csv, to_latex, to_markdown, to_text
    from results.store import Store

    forms = {"text": to_text, "markdown": to_markdown, "csv": to_csv, "latex": to_latex}
    if form not in forms:
        raise unknown_name("format", form, forms, see="harness report --help")
    if table is not None and table not in REPORTED:
        raise unknown_name("table", str(table), [str(number) for number in REPORTED], see="harness report --help")
    store = Store(out)
    number, further = (table, []) if table is not None else default_table(store, profile)
    first, *others = stored_tables(store, number, profile=profile, weights_root=weights_root)
    used = next((name for name, *_ in first.table.provenance if name), "none")
    written = [write_table(made.table, store, made.name) for made in (first, *others)]
    drawn = _drawn(store, first.table, first.name, used, pages, quiet=as_json)
    if as_json:
        shown = [_table_as_json(found) for found in written]
        pages_of = drawn._asdict() if drawn else None
        print_json({**shown[0], "others": shown[1:], "pages": pages_of, "table": number, "further_tables": further})
        return 0
    print("\n".join(forms[form](found.table) for found in written), end="")
    if form == "text":
        print(f"\nwritten: {', '.join(str(file) for found in written for file in found.files)}")
        if drawn:
            print(f"pages: {drawn.front} ({drawn.written} written, {drawn.kept} as they were)")
        for other in further:
            print(f"there are numbers for Table {other} as well: harness report --table {other}")
    return 0


def _table_as_json(written: Written) -> dict[str, Any]:
    table = written.table
    return {
        "title": table.title,
        "banner": table.banner,
        "columns": [list(column.headers) for column in table.columns],
        "rows": [
            {
                "model": line.row.model,
                "group": line.row.backbone,
                "cells": [_plain(cell._asdict()) for cell in line.cells],
            }
            for line in table.lines
        ],
        "footnotes": list(table.footnotes),
        "remarks": list(table.remarks),
        "files": [str(file) for file in written.files],
    }


def _drawn(store: Store, table: Table, name: str, profile: str, pages: PageChoices, *, quiet: bool) -> Drawn | None:
    """Writes the pages that are wanted and says what they lack."""
    if not pages.wanted:
        if pages.radar is not None or pages.data_root is not None:
            raise UsageError("--data-root and --radar are for pages", way_out="add --pages")
        return None
    from harness.pages import write_pages

    with show_progress(quiet=quiet) as progress:
        drawn = write_pages(
            store, table, name, profile, data_root=pages.data_root, chosen=pages.radar, progress=progress
        )
    for problem in drawn.problems:
        print(f"not shown: {problem}", file=sys.stderr)
    return drawn


def score(out: Path, check: bool, as_json: bool) -> int:
    """Scores stored predictions again and prints what moved."""
    from harness.score import score_again
    from results.store import Store

    found = score_again(Store(out), write=not check)
    moved = [item for item in found if not item.same]
    if as_json:
        print_json({"metrics": len(found), "moved": [{**item._asdict(), "cell": str(item.cell)} for item in moved]})
    else:
        for item in moved:
            print(f"{item.cell} {item.metric}: {item.before} -> {item.after}")
        print(f"{len(found)} metrics scored again, {len(moved)} moved")
    if check and moved:
        raise CheckError(
            f"{len(moved)} of {len(found)} metrics moved", where=str(out), way_out="harness score replaces them"
        )
    return 0


def doctor(out: Path, data_root: Path | None, weights_root: Path | None, as_json: bool) -> int:
    """Prints what stands in the way of a run."""
    from harness.doctor import examine

    findings = examine(out, data_root, weights_root)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.verdict:8}{finding.name:15}{finding.text}")
            if finding.way_out:
                print(f"{'':23}way out: {finding.way_out}")
    return CheckError.exit_code if any(finding.verdict == "problem" for finding in findings) else 0


def _show_one(name: str, weights_root: Path | None) -> int:
    cards = catalog()
    if name in cards:
        state = weight_state(cards[name], weights_root)
        print_json({**cards[name].model_dump(mode="json"), "state": state.model_dump()})
        return 0
    if name in TASKS:
        print_json(
            {**TASKS[name]._asdict(), "sources": [DATASETS[d].source for d in TASKS[name].datasets if d in DATASETS]}
        )
        return 0
    if name in DATASETS:
        print_json(DATASETS[name]._asdict())
        return 0
    if name in PROFILES:
        print_json(load_profile(name).model_dump(mode="json"))
        return 0
    known = ["models", "groups", "tasks", "profiles", *cards, *TASKS, *DATASETS, *PROFILES]
    raise unknown_name("name", name, known, see="harness list models")


def _print_cells(cells: Sequence[PlannedCell]) -> None:
    rows = [(c.cell.task, c.cell.dataset, c.cell.model, str(c.cell.seed), c.state.value) for c in cells]
    if rows:
        print_rows(("task", "data set", "model", "seed", "state"), rows)


def _print_counts(plan: Plan) -> None:
    counts = ", ".join(f"{number} {state}" for state, number in plan.counts().items())
    print(f"\n{len(plan.cells)} cells (profile {plan.request.profile}): {counts or 'none'}")


def print_left_out(plan: Plan) -> None:
    """One line per reason for which cells are left out."""
    waiting = [cell for cell in plan.cells if cell.state is State.WEIGHTS]
    weights = {cell.card.id for cell in waiting if plan.weights[cell.card.id].state != "ready"}
    if weights:
        print(f"{len(weights)} models without weights; `harness list <model>` says how to get them")
    starts = Counter((cell.reason, cell.way_out) for cell in waiting if cell.card.id not in weights)
    for (reason, way_out), number in starts.items():
        print(f"{number} cells wait: {reason}; {way_out}")
    other = {cell.card.id for cell in plan.cells if cell.state is State.UNSUPPORTED}
    if other:
        print(f"{len(other)} models not supported yet: {', '.join(sorted(other)[:6])}")
    tasks = dict.fromkeys(cell.cell.task for cell in plan.cells if cell.state is State.NOT_BUILT)
    if tasks:
        print(f"tasks not built yet: {', '.join(tasks)}")
    for (_, dataset), state in plan.data.items():
        if state.data is None and not state.will_be_built:
            print(f"{dataset}: {state.broken or state.reason}", file=sys.stderr)
            if state.broken is None and state.way_out:
                print(f"  way out: {state.way_out}", file=sys.stderr)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: float(v) if type(v).__name__ == "Decimal" else v for name, v in values.items()}


def _say_if(lead: str, text: str) -> None:
    if text:
        print(f"{lead}{text}", file=sys.stderr)
