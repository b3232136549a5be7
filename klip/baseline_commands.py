"""Commands `klip baseline` and `klip export`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from foundation.errors import UsageError
from klip.display import LOOK, Json, print_json, show_progress
from klip.unimodal.methods import METHODS, PAPER_NAMES, Method

baseline_app = typer.Typer(
    name="baseline",
    help="Pre-train a baseline on the images of a corpus: MAE, MoCo v3, SAR-JEPA, or CLIP with template texts.\n\n"
    "\b\n  klip baseline mae CORPUS --out runs/mae --size tiny\n  klip baseline settings mae\n",
    **LOOK,
)
export_app = typer.Typer(
    name="export",
    help="Take out of a run what the benchmark uses.\n\n"
    "\b\n  klip export vision runs/mae --out vision_encoder.safetensors\n"
    "  klip export text runs/klip --out text_side.safetensors\n",
    **LOOK,
)


CorpusFolder = Annotated[Path, typer.Argument(help="folder with texts.jsonl and its images")]
Out = Annotated[Path, typer.Option("--out", help="run folder; the same command again goes on in it")]
Size = Annotated[str, typer.Option(help="tiny or base")]
Config = Annotated[Path | None, typer.Option("--config", help="settings file (TOML, or JSON of a run)")]
Changes = Annotated[list[str] | None, typer.Option("--set", help="key=value; see `klip baseline settings`")]
Epochs = Annotated[int | None, typer.Option("--epochs", min=1, help="by default 36, as KLIP")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="only the first images")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda")]
Format = Annotated[str, typer.Option("--format", help="fp32 or fp16")]


@baseline_app.command(
    "settings", epilog="Examples:\n\n\b\n  klip baseline settings mae\n  klip baseline settings sar-jepa --size tiny"
)
def show_settings(
    method: Annotated[str, typer.Argument(help=", ".join(METHODS))],
    size: Size = "base",
    config: Config = None,
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Show every setting of a baseline; groups of other methods are there and unused."""
    from klip.unimodal.settings import as_data, flat, settings_of

    chosen = settings_of(method, size, config, changes or ())
    if as_json:
        print_json(as_data(chosen))
        return
    values = flat(chosen)
    width = max(map(len, values))
    for key, value in values.items():
        print(f"{key:{width}}  {json.dumps(value)}")


def _command(method: Method) -> Callable[..., None]:
    def pretrain(
        corpus: CorpusFolder,
        out: Out,
        size: Size = "base",
        config: Config = None,
        changes: Changes = None,
        epochs: Epochs = None,
        limit: Limit = None,
        device: Device = "auto",
        as_json: Json = False,
    ) -> None:
        from klip.training.distributed import join_world
        from klip.unimodal.run import pretrain_baseline
        from klip.unimodal.settings import settings_of

        every = [*(changes or ()), *([f"epochs={epochs}"] if epochs else [])]
        settings = settings_of(method, size, config, every)
        first = os.environ.get("RANK", "0") == "0"
        with show_progress(quiet=as_json or not first) as progress:
            done = pretrain_baseline(corpus, out, settings, join_world(device), limit=limit, progress=progress)
        if as_json and first:
            print_json(done)
        elif first:
            _print_summary(done, out)

    pretrain.__doc__ = f"Pre-train {PAPER_NAMES[method]}{_TEXTS if method == 'clip' else ''}, from where it stands."
    return pretrain


_TEXTS = " on template texts"
for _method in METHODS:
    baseline_app.command(
        _method,
        epilog=f"Examples:\n\n\b\n  klip baseline {_method} CORPUS --out runs/{_method} --size tiny\n"
        f"  klip baseline {_method} CORPUS --out runs/{_method} --epochs 100 --set optim.rate=5e-4",
    )(_command(_method))


@export_app.command(
    "vision",
    epilog="Examples:\n\n\b\n  klip export vision runs/klip --out vision_encoder.safetensors\n"
    "  klip export vision runs/mae --out mae.safetensors --format fp16 --id mae-own\n"
    "  klip export vision runs/klip --out klip-own.safetensors --with-text",
)
def export(
    run: Annotated[Path, typer.Argument(help="run folder of `klip pretrain` or `klip baseline`, or a checkpoint")],
    out: Annotated[Path, typer.Option("--out", help="weight file (.safetensors); its card is written beside it")],
    identifier: Annotated[str | None, typer.Option("--id", help="model id; by default the name of the file")] = None,
    name: Annotated[str | None, typer.Option("--name", help="as tables print it")] = None,
    number_format: Format = "fp32",
    with_text: Annotated[
        bool, typer.Option("--with-text", help="of `klip pretrain`: also the text side, named in the card")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the image tower and its card, and check the file by loading it as the benchmark does."""
    from klip.export import export_vision

    done = export_vision(
        run,
        out,
        identifier=identifier,
        name=name,
        number_format=number_format,  # type: ignore[arg-type]  # checked there
        with_text=with_text,
    )
    data: dict[str, Any] = {key: str(value) if isinstance(value, Path) else value for key, value in vars(done).items()}
    if as_json:
        print_json(data)
        return
    print(f"{done.weights}: {done.size_mb:.2f} MB, SHA-256 {done.sha256}")
    print(f"{done.card}: run it with `harness run --model-file {done.card} --models {identifier_of(done.card)}`")
    print(f"features of the file and of the model differ by {done.difference:.1e} at most")


@export_app.command(
    "text",
    epilog="Examples:\n\n\b\n  klip export text runs/klip --out klip-own-text.safetensors\n"
    "  klip export text runs/klip --out klip-own-text.safetensors --format fp16",
)
def export_text(
    run: Annotated[Path, typer.Argument(help="run folder of `klip pretrain`, or a checkpoint")],
    out: Annotated[Path, typer.Option("--out", help="file (.safetensors), beside the weights of the image tower")],
    number_format: Format = "fp32",
    as_json: Json = False,
) -> None:
    """Write everything but the image tower: what tasks with init_text = "model" start from."""
    from klip.text_file import export_text_side

    if number_format not in ("fp32", "fp16"):
        raise UsageError(f"unknown format: {number_format!r}", way_out="use fp32 or fp16")
    checksum = export_text_side(run, out, half=number_format == "fp16")
    size = round(out.stat().st_size / 1e6, 2)
    if as_json:
        print_json({"text": str(out), "sha256": checksum, "size_mb": size})
        return
    print(f"{out}: {size:.2f} MB, SHA-256 {checksum}")
    print("the card of the image tower names it, in its table [[model]]:")
    print(f'text = {{ filename = "{out.name}", sha256 = "{checksum}" }}')


def identifier_of(card: Path) -> str:
    """The id of the one model in a card file."""
    from adapters.registry import load_model_file

    return load_model_file(card)[0].id


def _print_summary(done: dict[str, Any], out: Path) -> None:
    for note in done["notes"]:
        print(f"note: {note}", file=sys.stderr)
    print(
        f"{PAPER_NAMES[done['method']]}: {done['steps']} steps, {done['presentations']} images presented, "
        f"{done['seconds']:.0f} s"
    )
    print(f"export it with `klip export vision {out} --out vision_encoder.safetensors`")
