"""The `klip` command: settings of pre-training, and the commands of the other files of this room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from foundation.commandline import run_app
from klip.baseline_commands import baseline_app, export_app
from klip.display import LOOK, Json, print_json
from klip.pretrain_commands import EXAMPLES, pretrain
from klip.scio_commands import scio_app
from klip.text_commands import text_app, tokenizer_app
from klip.zoo_commands import zoo_app

app = typer.Typer(
    name="klip",
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The method of the FUSAR-KLIP paper: texts of eight segments, pre-training, and SCIO.\n\n"
    "\b\n  klip settings --preset recommended\n"
    "  klip text check corpus.jsonl\n"
    "  klip pretrain corpus --out runs/klip --size tiny\n",
    **LOOK,
)
for group in (text_app, tokenizer_app, scio_app, baseline_app, export_app, zoo_app):
    app.add_typer(group)
app.command("pretrain", epilog=EXAMPLES)(pretrain)


def main() -> None:
    """Entry point: errors become messages and exit codes, never tracebacks."""
    run_app(app)


@app.command(
    "settings",
    epilog="Examples:\n\n\b\n  klip settings\n  klip settings --preset recommended --size tiny --json\n"
    "  klip settings --set optim.lr=1e-4 --json > mine.json",
)
def settings(
    preset: Annotated[str, typer.Option(help="paper or recommended")] = "paper",
    size: Annotated[str, typer.Option(help="tiny, base or large")] = "base",
    config: Annotated[Path | None, typer.Option("--config", help="settings file, .toml or .json")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="a setting, e.g. optim.lr=1e-4")] = None,
    as_json: Json = False,
) -> None:
    """Show every setting of pre-training, and what a preset, a file or `--set` changes."""
    from klip.configuration import pretraining_settings
    from klip.settings import as_data, flat
    from klip.settings import preset as settings_of

    chosen = pretraining_settings(preset, size, config, changes or [])
    if as_json:
        print_json(as_data(chosen))
        return
    literal = dict(flat(settings_of("paper", size)))
    values = flat(chosen)
    width = max(len(setting.key) for setting in values)
    for key, value in values:
        change = "" if value == literal[key] else f"  (paper: {json.dumps(literal[key])})"
        print(f"{key:{width}}  {json.dumps(value)}{change}")


if __name__ == "__main__":
    main()
