"""Command `klip zoo`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from klip.display import LOOK, Json, print_json

zoo_app = typer.Typer(
    name="zoo",
    help="The small models that are shipped with this package.\n\n"
    "\b\n  klip zoo build --corpus CORPUS --out adapters/zoo\n",
    **LOOK,
)


@zoo_app.callback()
def zoo() -> None:
    """Keeps `build` a command of its own while it is the only one."""


@zoo_app.command(
    "build",
    epilog="Examples:\n\n\b\n  klip zoo build --corpus CORPUS --out adapters/zoo\n"
    "  klip zoo build mae-mini --corpus CORPUS --out adapters/zoo --epochs 100\n"
    "  klip zoo build --corpus CORPUS --out adapters/zoo --dry-run",
)
def build(
    names: Annotated[list[str] | None, typer.Argument(help="models; all by default")] = None,
    corpus: Annotated[Path, typer.Option(help="folder with texts.jsonl, texts_template.jsonl and images")] = Path(
        "corpus"
    ),
    out: Annotated[Path, typer.Option(help="where weights and cards go")] = Path("adapters/zoo"),
    work: Annotated[Path, typer.Option(help="run folders; what lies there is gone on with")] = Path("runs/zoo"),
    epochs: Annotated[int | None, typer.Option(min=1, help="of every model; by default what its recipe says")] = None,
    seed: Annotated[int, typer.Option(min=0, help="of every model")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    limit: Annotated[int | None, typer.Option(min=1, help="only the first images")] = None,
    again: Annotated[bool, typer.Option("--again", help="also export anew what is there already")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the commands and stop")] = False,
    as_json: Json = False,
) -> None:
    """Train and export the models one after another; what is done is not done again."""
    import shlex

    from klip.zoo import RECIPES, Order, command_of
    from klip.zoo import build as build_zoo

    order = Order(corpus, out, work, epochs, seed, device, limit, again=again)
    if dry_run:
        lines = {name: f"klip {shlex.join(command_of(name, order))}" for name in names or RECIPES}
        if as_json:
            print_json(lines)
        else:
            print("\n".join(f"{name}: {line}" for name, line in lines.items()))
        return
    built = build_zoo(names or (), order, say=lambda line: print(line, file=sys.stderr, flush=True), echo=not as_json)
    if as_json:
        print_json([asdict(one) for one in built])
        return
    for one in built:
        print(f"{one.id}: {one.size_mb:.2f} MB, {one.seconds:.0f} s{'' if one.trained else ' (was there)'}")
