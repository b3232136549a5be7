"""The `klip` command: settings of pre-training, and a look at a corpus before anything is trained on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.commandline import run_app
from foundation.errors import CheckError

if TYPE_CHECKING:
    from klip.corpus_check import CorpusReport

_LOOK: dict[str, Any] = {
    "no_args_is_help": True,
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
_SHOWN = 20
"""Damaged records and groups of equal texts that are printed; `--json` gives all."""

app = typer.Typer(
    name="klip",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The method of the FUSAR-KLIP paper: texts of eight segments and the settings of its pre-training.\n\n"
    "\b\n  klip settings --preset recommended\n"
    "  klip text check corpus.jsonl\n",
    **_LOOK,
)
text_app = typer.Typer(name="text", help="Look at a corpus of eight-segment texts.", **_LOOK)
app.add_typer(text_app)

Json = Annotated[bool, typer.Option("--json", help="machine-readable output on standard output")]


def main() -> None:
    """Entry point: errors become messages and exit codes, never tracebacks."""
    run_app(app)


@app.command(
    "settings",
    epilog="Examples:\n\n\b\n  klip settings\n  klip settings --preset recommended --size tiny --json",
)
def settings(
    preset: Annotated[str, typer.Option(help="paper or recommended")] = "paper",
    size: Annotated[str, typer.Option(help="tiny, base or large")] = "base",
    as_json: Json = False,
) -> None:
    """Show every setting of pre-training, and what a preset changes."""
    from klip.settings import as_data, flat
    from klip.settings import preset as settings_of

    chosen = settings_of(preset, size)
    if as_json:
        _print_json(as_data(chosen))
        return
    literal = dict(flat(settings_of("paper", size)))
    values = flat(chosen)
    width = max(len(setting.key) for setting in values)
    for key, value in values:
        change = "" if value == literal[key] else f"  (paper: {json.dumps(literal[key])})"
        print(f"{key:{width}}  {json.dumps(value)}{change}")


@text_app.command(
    "check",
    epilog="Examples:\n\n\b\n  klip text check corpus.jsonl\n  klip text check corpus.jsonl --json > report.json",
)
def check(
    file: Annotated[Path, typer.Argument(help="JSON lines: an id and the eight fields")], as_json: Json = False
) -> None:
    """Count what is in a corpus.

    Records, gaps, lengths and equal texts, per domain; damaged records are listed, and the exit code is then 5.
    """
    from klip.corpus_check import check_corpus

    report = check_corpus(file)
    if as_json:
        _print_json(_report_as_data(report))
    else:
        _print_report(report)
    if report.damaged:
        raise CheckError(
            f"{len(report.damaged)} damaged records", where=str(file), way_out="mend or remove the lines listed above"
        )
    if not report.records:
        raise CheckError("the corpus has no records", where=str(file), way_out="write one JSON object a line")


def _report_as_data(report: CorpusReport) -> dict[str, Any]:
    return {
        "records": report.records,
        "missing": report.missing,
        "words": {domain: lengths._asdict() for domain, lengths in report.lengths.items()},
        "duplicates": [list(ids) for ids in report.duplicates],
        "damaged": [{"where": error.where, "what": error.what, "way_out": error.way_out} for error in report.damaged],
    }


def _print_report(report: CorpusReport) -> None:
    for domain, number in report.records.items():
        lengths = report.lengths[domain]
        print(f"{domain}: {number} records")
        print(f"  words: p50 {lengths.p50}, p95 {lengths.p95}, p99 {lengths.p99}, max {lengths.longest}")
        print("  missing: " + ", ".join(f"{field} {share:.1%}" for field, share in report.missing[domain].items()))
    repeated = sum(len(ids) - 1 for ids in report.duplicates)
    print(f"repeated texts: {repeated} (groups of equal ones: {len(report.duplicates)})")
    for ids in report.duplicates[:_SHOWN]:
        print(f"  {', '.join(ids[:5])}{f' and {len(ids) - 5} more' if len(ids) > 5 else ''}")
    if report.damaged:
        print(f"damaged records: {len(report.damaged)}")
        for error in report.damaged[:_SHOWN]:
            print(f"  {error.where}: {error.what}\n    way out: {error.way_out}")
        if len(report.damaged) > _SHOWN:
            print(f"  and {len(report.damaged) - _SHOWN} more; --json lists all")


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
