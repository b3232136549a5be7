"""Commands on texts: `klip text` and `klip tokenizer`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.errors import CheckError
from klip.display import LOOK, Json, print_json, show_progress

if TYPE_CHECKING:
    from klip.corpus_check import CorpusReport
    from klip.store.text_store import TextStore

_SHOWN = 20
"""Damaged records and groups of equal texts that are printed; `--json` gives all."""

text_app = typer.Typer(
    name="text",
    help="Look at eight-segment texts and keep them in a store.\n\n"
    "\b\n  klip text check corpus/texts.jsonl\n"
    "  klip text build corpus --store runs/texts\n"
    "  klip text stats runs/texts\n",
    **LOOK,
)
tokenizer_app = typer.Typer(
    name="tokenizer",
    help="Train a WordPiece vocabulary where no BERT vocabulary is at hand.\n\n"
    "\b\n  klip tokenizer train corpus --out vocabulary.txt\n",
    **LOOK,
)

Limit = Annotated[int | None, typer.Option("--limit", min=1, help="only the first N records")]


@tokenizer_app.callback()
def _tokenizer() -> None:
    """A group, so that `train` is a word of the command line though it is alone."""


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
        print_json(_report_as_data(report))
    else:
        _print_report(report)
    if report.damaged:
        raise CheckError(
            f"{len(report.damaged)} damaged records", where=str(file), way_out="mend or remove the lines listed above"
        )
    if not report.records:
        raise CheckError("the corpus has no records", where=str(file), way_out="write one JSON object a line")


@text_app.command(
    "build",
    epilog="Examples:\n\n\b\n  klip text build corpus --store runs/texts\n"
    "  klip text build corpus --store runs/texts --size 3000 --set text.max_len=192\n"
    "  klip text build corpus --store runs/texts --vocabulary bert/vocab.txt",
)
def build(
    corpus: Annotated[Path, typer.Argument(help="folder with texts.jsonl and the images that its ids name")],
    store: Annotated[Path, typer.Option("--store", help="folder of the text store")],
    vocabulary: Annotated[
        Path | None, typer.Option("--vocabulary", help="vocab.txt of an uncased BERT; without it one is trained")
    ] = None,
    size: Annotated[int, typer.Option("--size", help="pieces of a trained vocabulary")] = 2000,
    texts: Annotated[
        Path | None, typer.Option("--texts", help="other texts about the same images than texts.jsonl")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="settings file, .toml or .json")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="a setting, e.g. text.max_len=192")] = None,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Make a text store: version 0 of the texts, every one within the budget of tokens, and the vocabulary.

    The same command again finds the store and changes nothing; a store of other texts is never overwritten.
    """
    from klip.configuration import pretraining_settings
    from klip.corpus import read_corpus_folder
    from klip.store.text_store import TextStore
    from klip.text import corpus_strings
    from klip.tokens.vocabulary import Vocabulary

    budget = pretraining_settings(file=config, changes=changes or []).text
    given = Vocabulary.read(vocabulary) if vocabulary else None
    with show_progress(quiet=as_json) as progress:
        read = read_corpus_folder(corpus, texts=texts, limit=limit, progress=progress)
        pieces = given or Vocabulary.train(corpus_strings(read.texts), size)
        made = TextStore.create(store, read, pieces, budget, progress)
    _show_store(made, 0, as_json)


@text_app.command(
    "stats",
    epilog="Examples:\n\n\b\n  klip text stats runs/texts\n  klip text stats runs/texts --version 0 --json",
)
def stats(
    store: Annotated[Path, typer.Argument(help="folder of a text store")],
    version: Annotated[int | None, typer.Option("--version", min=0, help="the latest where none is given")] = None,
    as_json: Json = False,
) -> None:
    """Show what a text store holds: versions, segments per status, lengths in tokens, planted errors."""
    from klip.store.text_store import TextStore

    opened = TextStore.open(store)
    _show_store(opened, opened.latest if version is None else version, as_json)


@tokenizer_app.command(
    "train",
    epilog="Examples:\n\n\b\n  klip tokenizer train corpus --out vocabulary.txt\n"
    "  klip tokenizer train corpus/texts.jsonl --out vocabulary.txt --size 3000",
)
def train(
    corpus: Annotated[Path, typer.Argument(help="folder with texts.jsonl, or such a file")],
    out: Annotated[Path, typer.Option("--out", help="file for the vocabulary, one piece a line")],
    size: Annotated[int, typer.Option("--size", help="pieces at most")] = 2000,
    limit: Limit = None,
    as_json: Json = False,
) -> None:
    """Train a WordPiece vocabulary on the texts of a corpus; the same texts give the same vocabulary."""
    from itertools import islice

    from klip.corpus import TEXTS
    from klip.text import corpus_strings, read_corpus
    from klip.tokens.vocabulary import Vocabulary

    file = corpus / TEXTS if corpus.is_dir() else corpus
    found = list(islice(read_corpus(file), limit))
    if not found:
        raise CheckError("the corpus has no records", where=str(file), way_out="write one JSON object a line")
    vocabulary = Vocabulary.train(corpus_strings(found), size)
    vocabulary.save(out)
    if as_json:
        print_json({"file": str(out), "pieces": vocabulary.size, "digest": vocabulary.digest, "texts": len(found)})
    else:
        print(f"{out}: {vocabulary.size} pieces from {len(found)} texts, {vocabulary.digest[:12]}")


def _show_store(store: TextStore, version: int, as_json: bool) -> None:
    data = _store_as_data(store, version)
    if as_json:
        print_json(data)
    else:
        _print_store(data)
    for warning in store.warnings:
        print(f"warning: {warning}", file=sys.stderr)


def _store_as_data(store: TextStore, version: int) -> dict[str, Any]:
    from klip.store.statistics import summary

    return {"store": str(store.folder), **summary(store, version)}


def _print_store(data: dict[str, Any]) -> None:
    print(
        f"{data['store']}: {data['texts']} texts, version {data['version']} of {', '.join(map(str, data['versions']))}"
    )
    print(f"  vocabulary: {data['vocabulary']['pieces']} pieces, {data['vocabulary']['digest'][:12]}")
    print("  segments: " + ", ".join(f"{number} {status}" for status, number in data["counts"].items()))
    for title, key in (("tokens as given", "given"), ("tokens", "tokens"), ("tokens of values", "values")):
        if lengths := data["lengths"][key]:
            print(f"  {title}: " + ", ".join(f"{name} {number}" for name, number in lengths.items()))
    budget, cuts = data["budget"], data["cuts"]
    print(f"  budget: {budget['max_len']} tokens a text, {budget['max_seg_len']} a value")
    print(f"  values cut: {cuts['values']} in {cuts['texts']} texts")
    if data["changed"]:
        print("  changed in this version: " + ", ".join(f"{field} {n}" for field, n in data["changed"].items()))
    if data["pools"]:
        print("  noise pools: " + ", ".join(f"{name} {number}" for name, number in data["pools"].items()))
    if data["planted"]:
        print("  planted errors: " + ", ".join(f"{kind} {number}" for kind, number in data["planted"].items()))
    if data["correct"]:
        print(
            f"  correct segments: {data['correct']['of_present']:.1%} of those present, "
            f"{data['correct']['of_clean']:.1%} of those of the clean texts"
        )


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
