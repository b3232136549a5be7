"""The `harness` command: a thin shell around plan, execute, report, score and doctor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foundation.commandline import run_app
from harness import cli_options as options
from harness.audit_commands import add_to
from harness.cli_options import DataRoot, Json, LabelMap, Out, WeightsRoot, World, examples

if TYPE_CHECKING:
    from harness.request import RunRequest

app = typer.Typer(
    name="harness",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Compare SAR foundation models on the eleven tasks of the FUSAR-KLIP paper.\n\n"
    "With no data and no weights everything runs on a small synthetic SAR world:\n\n"
    "\b\n  harness run --models all --tasks vision\n"
    "  harness run --models mine=ckpt.pth:vit_base_patch16_224 --tasks sar_acd\n"
    "  harness report\n",
)


def main() -> None:
    """Entry point: errors become messages and exit codes, never tracebacks."""
    run_app(app)


def _with_request(name: str, *lines: str) -> Callable[[Callable[[RunRequest, bool], int]], Callable[..., None]]:
    """Registers a command that takes a whole request; the options stand here once."""

    def register(action: Callable[[RunRequest, bool], int]) -> Callable[..., None]:
        def command(
            models: options.Models = "all",
            tasks: options.Tasks = "vision",
            profile: options.Profile = "mini",
            settings: options.Settings = None,
            seeds: options.Seeds = "0",
            data_root: DataRoot = None,
            weights_root: WeightsRoot = None,
            out: Out = Path("runs"),
            model_files: options.ModelFile = None,
            world: World = "mini",
            label_map: LabelMap = None,
            split: options.Split = None,
            split_file: options.SplitFile = None,
            group: options.Group = None,
            group_near_duplicates: options.GroupNearDuplicates = None,
            pool: options.Pool = None,
            voc_origin: options.VocOrigin = None,
            polarisation: options.Polarisation = None,
            class_order: options.ClassOrder = None,
            allow_bad: options.AllowBad = False,
            limit: options.Limit = None,
            twin: options.Twin = "none",
            load_mode: options.LoadMode = "native",
            implementation: options.Implementation = "own",
            jobs: options.Jobs = 0,
            threads: options.Threads = 0,
            device: options.Device = "auto",
            ablation: options.Ablation = None,
            work: options.Work = None,
            epochs: options.Epochs = None,
            size: options.Size = None,
            corpus: options.Corpus = None,
            as_json: Json = False,
        ) -> None:
            given = {key: value for key, value in locals().items() if key not in ("action", "name", "as_json")}
            pretraining = {key: given.pop(key) for key in ("work", "epochs", "size", "corpus")}
            chosen = given.pop("ablation")
            from harness.options import make_ablation, make_request

            wanted = make_ablation(chosen, pretraining)
            request = make_request(**given)
            if wanted is None:
                raise typer.Exit(action(request, as_json))
            from harness.ablation_commands import ACTIONS

            raise typer.Exit(ACTIONS[name](request, wanted, as_json))

        command.__doc__ = action.__doc__
        app.command(name, epilog=examples(*lines))(command)
        return command

    return register


@_with_request(
    "run",
    "harness run --models all --tasks vision",
    "harness run -m random-mini -t sar_acd --seeds 0-2",
    "harness run --ablation table8 --seeds 0-2",
)
def run(request: RunRequest, as_json: bool) -> int:
    """Compute every cell that is not done yet, then write the table."""
    from harness.commands import run as action

    return action(request, as_json)


@_with_request("resume", "harness resume --models all --tasks vision")
def resume(request: RunRequest, as_json: bool) -> int:
    """Go on with an interrupted run; the same as running again."""
    from harness.commands import run as action

    return action(request, as_json)


@_with_request("plan", "harness plan --models all --tasks all", "harness plan --profile paper --data-root /data")
def plan(request: RunRequest, as_json: bool) -> int:
    """Show which cells a run would compute, and why the others cannot be."""
    from harness.commands import plan as action

    return action(request, as_json)


@_with_request("status", "harness status", "harness status --json")
def status(request: RunRequest, as_json: bool) -> int:
    """Show how far a run is, which cells failed and what is damaged."""
    from harness.commands import status as action

    return action(request, as_json)


@app.command("list", epilog=examples("harness list", "harness list tasks", "harness list remoteclip-vit-b-32"))
def list_names(
    what: Annotated[str, typer.Argument(help="models, groups, tasks, profiles, or the id of one of them")] = "models",
    weights_root: WeightsRoot = None,
    as_json: Json = False,
) -> None:
    """List models, groups, tasks or profiles; or show one in full."""
    from harness.commands import list_names as action

    raise typer.Exit(action(what, weights_root, as_json))


@app.command(
    "report",
    epilog=examples(
        "harness report",
        "harness report --table 6 --format latex > table6.tex",
        "harness report --pages",
        "harness report --pages --data-root /data --radar mine",
    ),
)
def report(
    table: Annotated[
        int | None, typer.Option(help="table of the paper: 4, 6 or 8; by default 4, or 6 where only that has numbers")
    ] = None,
    form: Annotated[str, typer.Option("--format", "-f", help="text, markdown, csv or latex")] = "text",
    profile: Annotated[str | None, typer.Option(help="needed where records of several profiles are stored")] = None,
    pages: Annotated[bool, typer.Option("--pages", help="also a page per cell, for a browser")] = False,
    data_root: DataRoot = None,
    radar: Annotated[str | None, typer.Option(metavar="MODEL", help="model in front of the radar chart")] = None,
    out: Out = Path("runs"),
    weights_root: WeightsRoot = None,
    as_json: Json = False,
) -> None:
    """Write the paper's table with our rows in it, from the stored records; with --pages a page per cell, too."""
    from harness.commands import PageChoices
    from harness.commands import report as action

    chosen = PageChoices(pages, data_root, radar)
    raise typer.Exit(action(table, form, profile, out, weights_root, as_json, chosen))


@app.command("score", epilog=examples("harness score --check"))
def score(
    out: Out = Path("runs"),
    check: Annotated[bool, typer.Option("--check", help="change nothing; exit 5 if a number moved")] = False,
    as_json: Json = False,
) -> None:
    """Score all stored predictions again, without models or data."""
    from harness.commands import score as action

    raise typer.Exit(action(out, check, as_json))


@app.command("doctor", epilog=examples("harness doctor --data-root /data"))
def doctor(
    out: Out = Path("runs"), data_root: DataRoot = None, weights_root: WeightsRoot = None, as_json: Json = False
) -> None:
    """Check this machine: Python, libraries, GPU, folders, disk. Exit 5 if something stands in the way."""
    from harness.commands import doctor as action

    raise typer.Exit(action(out, data_root, weights_root, as_json))


data_app = typer.Typer(
    name="data", no_args_is_help=True, rich_markup_mode=None, help="Look at data sets; build the synthetic world."
)
app.add_typer(data_app)
add_to(data_app)


@data_app.command("status", epilog=examples("harness data status", "harness data status --data-root /data"))
def data_status(
    data_root: DataRoot = None,
    world: World = "mini",
    label_map: LabelMap = None,
    as_json: Json = False,
) -> None:
    """List every data set, real or synthetic, with counts, and what is missing."""
    from harness.data_commands import status as action

    raise typer.Exit(action(data_root, world, label_map or [], as_json))


@data_app.command(
    "build",
    epilog=examples(
        "harness data build sarworld --size ci --root world --workers 2",
        "harness data build sarworld --only fusar_map --only corpus",
        "harness data build sarworld --size default --only scenes --utm --root scenes",
        "harness data build language --out texts",
        "harness data build language --out texts --data-root /data --only rs_captions --n-images 805",
    ),
)
def data_build(
    what: Annotated[str, typer.Argument(help="sarworld, or language: texts and questions")] = "sarworld",
    size: Annotated[str | None, typer.Option(help="ci, mini or default; by default mini")] = None,
    root: Annotated[Path | None, typer.Option(help="folder of the world; without it: the cache")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of the world; by default 0")] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes")] = 1,
    only: Annotated[
        list[str] | None, typer.Option(help="a data set, corpus or scenes; or rs_captions, vqa_...; repeatable")
    ] = None,
    utm: Annotated[bool, typer.Option("--utm", help="scenes in UTM instead of WGS84")] = False,
    error_rate: Annotated[
        float | None, typer.Option(help="share of wrong sentences in the texts; without it: as in the paper's figure")
    ] = None,
    text_out: Annotated[Path | None, typer.Option("--out", help="folder of texts and questions")] = None,
    data_root: DataRoot = None,
    world: World = "mini",
    profile: options.Profile = "mini",
    label_map: LabelMap = None,
    split: options.Split = None,
    split_file: options.SplitFile = None,
    group: options.Group = None,
    group_near_duplicates: options.GroupNearDuplicates = None,
    pool: options.Pool = None,
    voc_origin: options.VocOrigin = None,
    allow_bad: options.AllowBad = False,
    paraphrase: Annotated[bool, typer.Option("--paraphrase", help="every question in three wordings")] = False,
    coords: Annotated[str, typer.Option(help="unit of places in questions: percent or pixel")] = "percent",
    n_images: Annotated[int | None, typer.Option(min=2, help="images with captions; without it: all")] = None,
    as_json: Json = False,
) -> None:
    """Build the synthetic world, or texts and questions (from --out on); print how answers are balanced."""
    given = {name: value for name, value in locals().items() if value not in (None, False)}
    from harness.data import BuildChoices, WorldChoice
    from harness.data_commands import LANGUAGE, build, build_texts, refuse_texts

    if what == LANGUAGE:
        raise typer.Exit(build_texts(given, as_json))
    refuse_texts(given)
    choices = BuildChoices(workers, tuple(only or ()), utm, error_rate)
    raise typer.Exit(build(what, WorldChoice(root, size, seed), choices, as_json))


@data_app.command(
    "show",
    epilog=examples(
        "harness data show sarworld fusar_air_sense/3",
        "harness data show sarworld scenes/site_000_airport/gf3 --out airport.png",
        "harness data show sarworld fusar_map/1 --root world",
    ),
)
def data_show(
    what: Annotated[str, typer.Argument(help="sarworld")],
    name: Annotated[str, typer.Argument(metavar="ID", help="data set and image, e.g. fusar_map/3")],
    out: Annotated[Path | None, typer.Option(help="the PNG; by default named after the image, here")] = None,
    size: Annotated[str | None, typer.Option(help="ci, mini or default; by default that of --root, else mini")] = None,
    seed: Annotated[int | None, typer.Option(help="seed of the world; by default that of --root, else 0")] = None,
    root: Annotated[Path | None, typer.Option(help="a built world: its size, seed and texts")] = None,
    as_json: Json = False,
) -> None:
    """Draw one image of the synthetic world as a picture: pixels, boxes, map and texts."""
    from harness.data import WorldChoice
    from harness.data_commands import show as action

    raise typer.Exit(action(what, name, out, WorldChoice(root, size, seed), as_json))


weights_app = typer.Typer(
    name="weights", no_args_is_help=True, rich_markup_mode=None, help="See, fetch and verify published weights."
)
app.add_typer(weights_app)

ModelNames = Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", help="ids or groups, e.g. table4")]
ModelFiles = Annotated[list[Path] | None, typer.Option("--model-file", help="TOML file with further model cards")]


@weights_app.command("status", epilog=examples("harness weights status", "harness weights status table4 --json"))
def weights_status(
    models: ModelNames = None, weights_root: WeightsRoot = None, model_file: ModelFiles = None, as_json: Json = False
) -> None:
    """List the weight files of models: where published, whether here, checksum, licence."""
    from harness.weights_commands import Choice
    from harness.weights_commands import status as action

    raise typer.Exit(action(Choice(models or [], model_file or [], weights_root), as_json))


@weights_app.command(
    "fetch", epilog=examples("harness weights fetch mae-vit-b-16", "harness weights fetch table4 --yes")
)
def weights_fetch(
    models: ModelNames = None,
    weights_root: Annotated[
        Path | None, typer.Option("--weights-root", help="folder to write to; made where it is missing")
    ] = None,
    model_file: ModelFiles = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="download without asking")] = False,
    as_json: Json = False,
) -> None:
    """Download weight files, going on where an earlier attempt stopped; print steps for those to fetch by hand."""
    from harness.weights_commands import Choice, fetch_models

    raise typer.Exit(fetch_models(Choice(models or [], model_file or [], weights_root), yes, as_json))


@weights_app.command("verify", epilog=examples("harness weights verify", "harness weights verify clip-vit-b-16"))
def weights_verify(
    models: ModelNames = None, weights_root: WeightsRoot = None, model_file: ModelFiles = None, as_json: Json = False
) -> None:
    """Check the files that are here: SHA-256, and whether they are the model that their place says."""
    from harness.weights_commands import Choice, verify_models

    raise typer.Exit(verify_models(Choice(models or [], model_file or [], weights_root), as_json))


models_app = typer.Typer(
    name="models", no_args_is_help=True, rich_markup_mode=None, help="Check a model; start a package for a new one."
)
app.add_typer(models_app)


@models_app.command(
    "check",
    epilog=examples(
        "harness models check random-mini --quick",
        "harness models check mine=ckpt.pth:vit_base_patch16_224",
        "harness models check my-sar-model --json",
    ),
)
def models_check(
    models: Annotated[str, typer.Argument(metavar="MODEL", help="what --models of `harness run` takes")],
    quick: Annotated[bool, typer.Option("--quick", help="small images, a short trial, nothing measured")] = False,
    weights_root: WeightsRoot = None,
    model_file: ModelFiles = None,
    as_json: Json = False,
) -> None:
    """Check that a model keeps what the tasks rely on: shapes, sizes, gradients, seeds, ... Exit 5 if it does not."""
    from harness.models_commands import check as action

    raise typer.Exit(action(models, model_file or [], weights_root, quick, as_json))


@models_app.command("new", epilog=examples("harness models new radar-net --out radar-net"))
def models_new(
    name: Annotated[str, typer.Argument(help="of the model and its package, e.g. radar-net")],
    out: Annotated[Path | None, typer.Option("--out", help="folder to write to; by default the name, here")] = None,
    as_json: Json = False,
) -> None:
    """Write a small installable package with an encoder of its own, to be replaced by yours."""
    from harness.models_commands import new as action

    raise typer.Exit(action(name, out or Path(name), as_json))


if __name__ == "__main__":
    main()
