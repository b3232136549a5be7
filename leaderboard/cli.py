"""The `leaderboard` command: pack a submission, verify it, rank those that hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.commandline import run_app
from foundation.errors import CheckError

if TYPE_CHECKING:
    from leaderboard.rank import Ranking
    from leaderboard.verify import Verdict

app = typer.Typer(
    name="leaderboard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Submissions: packed from a run, verified by scoring their predictions again, ranked.\n\n"
    "\b\n  leaderboard pack runs --model mine --to mine.zip --submitter 'A. Author'\n"
    "  leaderboard verify mine.zip --truth runs\n"
    "  leaderboard rank mine.zip other.zip\n",
)

Json = Annotated[bool, typer.Option("--json", help="machine-readable output on standard output")]
Truth = Annotated[
    Path | None, typer.Option("--truth", help="runs folder whose truth counts; without it: the submission's own")
]


def main() -> None:
    """Entry point: errors become messages and exit codes, never tracebacks."""
    run_app(app)


@app.command(
    "pack",
    epilog="Examples:\n\n\b\n  leaderboard pack runs --model mine --to mine.zip --submitter 'A. Author'\n"
    "  leaderboard pack runs --model mine --to mine.zip --submitter Me --profile paper",
)
def pack(
    runs: Annotated[Path, typer.Argument(help="the --out folder of harness run")],
    model: Annotated[str, typer.Option("--model", "-m", help="model id")],
    to: Annotated[Path, typer.Option("--to", help="file to write; an older one is replaced")],
    submitter: Annotated[str, typer.Option("--submitter", help="who hands it in")],
    profile: Annotated[str | None, typer.Option(help="needed where records of several profiles are stored")] = None,
    note: Annotated[str, typer.Option(help="anything a reader should know, in one line")] = "",
    as_json: Json = False,
) -> None:
    """Pack the newest whole records of one model, with predictions and truth."""
    from leaderboard.bundle import pack as pack_model

    packed = pack_model(runs, model, to, submitter, profile=profile, note=note)
    submission = packed.submission
    cells = [str(entry.cell) for entry in submission.cells]
    if as_json:
        about = {"file": str(to), "sha256": packed.sha256, "bytes": packed.size, "seal": submission.seal}
        _print_json({**about, "cells": cells})
        return
    for cell in cells:
        print(cell)
    print(f"\nwritten: {to} ({len(cells)} cells, {packed.size} bytes, SHA-256 {packed.sha256})")
    print(f"check it as a leaderboard will: leaderboard verify {to}")


@app.command(
    "verify",
    epilog="Examples:\n\n\b\n  leaderboard verify mine.zip\n  leaderboard verify mine.zip --truth runs --json",
)
def verify(
    file: Annotated[Path, typer.Argument(help="the submission")], truth: Truth = None, as_json: Json = False
) -> None:
    """Score a submission again and compare; exit 5 if it does not hold."""
    from leaderboard.verify import verify as verify_bundle

    verdict = verify_bundle(file, truth)
    if as_json:
        _print_json(_verdict_as_data(verdict))
    else:
        _print_verdict(verdict)
    if not verdict.holds:
        raise CheckError(
            f"the submission does not hold: {len(verdict.findings)} findings",
            where=str(file),
            way_out="run `harness score --check`, then pack again; never edit what a run wrote",
        )


@app.command(
    "rank",
    epilog="Examples:\n\n\b\n  leaderboard rank mine.zip other.zip\n  leaderboard rank *.zip --truth runs --json",
)
def rank(
    files: Annotated[list[Path], typer.Argument(help="submissions")], truth: Truth = None, as_json: Json = False
) -> None:
    """Rank submissions in every column of Table 4; those that do not hold are refused."""
    from leaderboard.rank import rank as rank_verdicts
    from leaderboard.verify import verify as verify_bundle

    ranking = rank_verdicts([verify_bundle(file, truth) for file in files])
    if as_json:
        _print_json(_ranking_as_data(ranking))
    else:
        _print_ranking(ranking)


def _print_verdict(verdict: Verdict) -> None:
    submission = verdict.submission
    if submission is not None:
        _say(f"{submission.model}, handed in by {submission.submitter}: {len(submission.cells)} cells")
        _say(f"note: {submission.note}" if submission.note else "")
    _say(f"truth: {_truth_text(verdict.own_truth)}")
    for finding in verdict.findings:
        _say(f"{finding.kind:10}{finding.where}: {finding.what}")
    synthetic = sum(record.data.synthetic for record in verdict.records)
    _say(f"{synthetic} cells are of synthetic data" if synthetic else "")
    if verdict.holds:
        metrics = sum(len(record.metrics) for record in verdict.records)
        _say(f"holds: {metrics} metrics made again from the predictions, all the same")


def _verdict_as_data(verdict: Verdict) -> dict[str, Any]:
    submission = verdict.submission
    return {
        "file": str(verdict.bundle),
        "sha256": verdict.sha256,
        "holds": verdict.holds,
        "own_truth": verdict.own_truth,
        "model": submission.model if submission else None,
        "submitter": submission.submitter if submission else None,
        "note": submission.note if submission else None,
        "cells": [str(entry.cell) for entry in submission.cells] if submission else [],
        "cells_that_hold": [str(record.cell) for record in verdict.records],
        "findings": [finding._asdict() for finding in verdict.findings],
    }


def _print_ranking(ranking: Ranking) -> None:
    from results.rows import rounded

    synthetic = any(column.synthetic for column in ranking.columns)
    _say("SYNTHETIC DATA (†): not comparable with the paper" if synthetic else "")
    _say(f"Table 4, profile {ranking.profile}; rank in brackets, equal numbers share the mean of their places\n")
    heads = [f"{c.column.column}{' †' if c.synthetic else ''}" for c in ranking.columns]
    rows = [["", "mean rank", *heads]]
    for standing in ranking.standings:
        row = [standing.label, "-" if standing.mean_rank is None else f"{standing.mean_rank:.2f}"]
        for column in ranking.columns:
            place = next((place for place in column.places if place.label == standing.label), None)
            value = place.summary.value if place else None
            row.append("-" if place is None or value is None else f"{rounded(value)} ({place.rank:g})")
        rows.append(row)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        _say("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    shared = ", ".join(ranking.shared) or "none"
    _say(f"\nThe mean rank is over the columns that every submission fills: {shared}.")
    own = all(standing.own_truth for standing in ranking.standings)
    _say(f"Scored against {_truth_text(own)}.")
    for standing in ranking.standings:
        if standing.notes:
            _say(f"{standing.label}: {', '.join(standing.notes)}")


def _ranking_as_data(ranking: Ranking) -> dict[str, Any]:
    return {
        "profile": ranking.profile,
        "shared": list(ranking.shared),
        "standings": [{**standing._asdict(), "notes": list(standing.notes)} for standing in ranking.standings],
        "columns": [
            {
                "column": column.column.column,
                "synthetic": column.synthetic,
                "places": [
                    {"label": place.label, "rank": place.rank, **place.summary._asdict()} for place in column.places
                ],
            }
            for column in ranking.columns
        ],
    }


def _truth_text(own: bool) -> str:
    return "the leaderboard's truth" if own else "the submission's own truth; --truth brings the leaderboard's"


def _say(text: str) -> None:
    """Prints what may come from a stranger: control characters would reach the terminal."""
    if text:
        print("".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text))


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=True))


if __name__ == "__main__":
    main()
