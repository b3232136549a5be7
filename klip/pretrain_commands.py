"""`klip pretrain`: KLIP from a corpus folder, with SCIO, resumable."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from klip.display import Json, duration, print_json, show_progress

EXAMPLES = (
    "Examples:\n\n\b\n"
    "  klip pretrain corpus --out runs/klip --size tiny\n"
    "  klip pretrain corpus --out runs/klip --preset recommended --vocabulary bert/vocab.txt\n"
    "  klip pretrain corpus --out runs/plain --size tiny --set scio.enabled=false --set epochs=12\n"
    "  torchrun --nproc-per-node 8 -m klip.cli pretrain corpus --out runs/klip"
)


def pretrain(
    corpus: Annotated[Path, typer.Argument(help="folder with texts.jsonl and the images that its ids name")],
    out: Annotated[Path, typer.Option("--out", help="run folder; one that is there goes on where it was stopped")],
    size: Annotated[str, typer.Option(help="tiny, base or large")] = "base",
    preset: Annotated[str, typer.Option(help="paper or recommended")] = "paper",
    config: Annotated[Path | None, typer.Option("--config", help="settings file, .toml or .json")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="a setting, e.g. optim.lr=1e-4")] = None,
    texts: Annotated[Path | None, typer.Option("--texts", help="other texts about the same images")] = None,
    vocabulary: Annotated[
        Path | None, typer.Option("--vocabulary", help="vocab.txt of an uncased BERT; without it one is trained")
    ] = None,
    vocabulary_size: Annotated[int | None, typer.Option(help="pieces of a trained vocabulary, by default 2000")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="only the first records of the corpus")] = None,
    as_json: Json = False,
) -> None:
    """Train KLIP on a corpus, and its texts by SCIO.

    Says what it will do, then does it. SIGTERM and Ctrl-C save at the next step; the same command goes on from there,
    bit for bit on a CPU. A folder that holds a training with other settings is refused.
    """
    from klip.configuration import pretraining_settings

    settings = pretraining_settings(preset, size, config, changes or [])
    from klip.pretrain.prepare import Source
    from klip.pretrain.run import Request
    from klip.pretrain.run import pretrain as run
    from klip.training.distributed import join_world

    world = join_world(device)
    quiet = as_json or not world.first
    with show_progress(quiet=quiet) as progress:
        summary = run(
            Request(
                source=Source(corpus, texts, vocabulary, vocabulary_size, limit),
                settings=settings,
                out=out,
                world=world,
                say=_silent if quiet else _say,
                progress=progress,
            )
        )
    world.leave()
    if as_json and world.first:
        print_json(summary)
    elif world.first:
        _print_summary(out, summary)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _silent(_line: str) -> None:
    """Several processes, one voice."""


def _print_summary(out: Path, summary: dict[str, Any]) -> None:
    last = summary["last"]
    print(f"{out}: {summary['epochs']} epochs, {summary['steps']} steps in {duration(summary['seconds'])}")
    shown = ("loss", "itc", "itm", "mlm", "r1_i2t", "r1_t2i", "itm_match", "itm_mismatch", "tau")
    print("  at the end: " + ", ".join(f"{name} {last[name]:.3f}" for name in shown if name in last))
    for entry in summary["versions"]:
        counts = ", ".join(f"{count} {status}" for status, count in entry["segments"].items())
        right = entry.get("share_correct")
        known = "" if right is None else f"; {right:.1%} of the segments are right"
        print(f"  texts of version {entry['version']}: {counts}{known}")
    print(f"  checkpoint: {summary['checkpoint_file']}")
