"""`klip scio`: screening, reconstruction and reports on the run folder of a pre-training."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foundation.errors import CheckError, MissingError, UsageError
from klip.display import LOOK, Json, print_json, show_progress

if TYPE_CHECKING:
    from klip.scio.decide import Rule
    from klip.store.text_store import TextStore

scio_app = typer.Typer(
    name="scio",
    help="Find the segments that the images speak against, write them anew, and see what came of it.\n\n"
    "\b\n  klip scio screen runs/klip --pass p1\n"
    "  klip scio reconstruct runs/klip --pass p1\n"
    "  klip scio report runs/klip --pass p1 --plots figures\n",
    **LOOK,
)

Run = Annotated[Path, typer.Argument(help="run folder of `klip pretrain`")]
PassName = Annotated[str, typer.Option("--pass", help="name of the pass; the same name goes on with it")]
Checkpoint = Annotated[
    Path | None, typer.Option("--checkpoint", help="a file of the run's checkpoints; without it the newest")
]
Store = Annotated[Path | None, typer.Option("--store", help="text store; without it the run's own")]
Corpus = Annotated[Path | None, typer.Option("--corpus", help="corpus folder; without it where the run found it")]
Version = Annotated[int | None, typer.Option("--version", help="version of the texts; without it the newest")]
Config = Annotated[
    Path | None, typer.Option("--config", help="settings file, .toml or .json, over the settings of the run")
]
Changes = Annotated[list[str] | None, typer.Option("--set", help="a setting, e.g. scio.itc_margin=0.1")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]


@scio_app.command(
    "screen",
    epilog="Examples:\n\n\b\n  klip scio screen runs/klip --pass p1\n"
    "  klip scio screen runs/klip --pass p2 --version 0 --set scio.rule=zscore --set scio.noise_rate=0.2",
)
def screen(
    run: Run,
    pass_id: PassName,
    checkpoint: Checkpoint = None,
    store: Store = None,
    corpus: Corpus = None,
    version: Version = None,
    config: Config = None,
    changes: Changes = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Judge every segment of a version of the texts; the texts stay as they are.

    The scores go to the audit log of the run, the segments taken for noise to a pool of the store. A pass that was
    stopped goes on where it was; other margins need no new pass, see `klip scio report`.
    """
    from klip.scio.audit_log import pass_folder
    from klip.scio.checkpoint_task import Chosen, load_trained
    from klip.scio.passes import screen as screen_texts
    from klip.scio.record import append_record, now, parts_of

    started = now()
    with show_progress(quiet=as_json) as progress:
        trained = load_trained(Chosen(run, checkpoint, store, corpus, config, changes or (), device), progress)
        chosen = _version(trained.store, version)
        found = screen_texts(
            trained.model,
            trained.material(chosen, progress),
            trained.settings,
            run,
            pass_id=pass_id,
            progress=progress,
        )
    if not found.skipped:
        trained.store.save_pool(pass_id, found.noise, version=chosen)
    append_record(pass_folder(run, pass_id), "screen", started, **parts_of(trained), summary=found.summary)
    for warning in found.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if as_json:
        print_json(found.summary)
        return
    _print_report(run, pass_id, None, trained.store)


@scio_app.command("reconstruct", epilog="Examples:\n\n\b\n  klip scio reconstruct runs/klip --pass p1")
def reconstruct(
    run: Run,
    pass_id: PassName,
    checkpoint: Checkpoint = None,
    store: Store = None,
    corpus: Corpus = None,
    config: Config = None,
    changes: Changes = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write the noise of a pass anew, keep what the images like better, and publish the next version of the texts.

    It takes the model and the settings of the pass; version 0 is never touched.
    """
    from klip.scio.audit_log import pass_folder, shards
    from klip.scio.checkpoint_task import Chosen, load_trained
    from klip.scio.reconstruction import reconstruct as rebuild
    from klip.scio.record import append_record, now, parts_of
    from klip.scio.report import rebuilt_text

    _require_screened(run, pass_id)
    started, place = now(), pass_folder(run, pass_id)
    with show_progress(quiet=as_json) as progress:
        trained = load_trained(Chosen(run, checkpoint, store, corpus, config, changes or (), device), progress)
        pool = trained.store.pool(pass_id)
        done = rebuild(
            trained.model,
            trained.material(pool.version, progress),
            trained.settings,
            run,
            trained.store,
            pass_id=pass_id,
            noise=pool.noise,
            progress=progress,
        )
    append_record(place, "reconstruct", started, **parts_of(trained), summary=done.summary)
    if as_json:
        print_json(done.summary)
    elif shards(place, "scores"):
        _print_report(run, pass_id, None, trained.store)
    else:  # the pool was decided from the scores of another pass
        print(rebuilt_text(done.summary))


@scio_app.command(
    "report",
    epilog="Examples:\n\n\b\n  klip scio report runs/klip\n  klip scio report runs/klip --pass p1 --plots figures\n"
    "  klip scio report runs/klip --pass p1 --set scio.itc_margin=0.1 --save-pool p1-strict",
)
def report(
    run: Run,
    pass_id: Annotated[str | None, typer.Option("--pass", help="name of the pass; without it all are named")] = None,
    store: Store = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="settings file; what decisions hang on is taken from it")
    ] = None,
    changes: Changes = None,
    plots: Annotated[Path | None, typer.Option("--plots", help="folder for pictures")] = None,
    save_pool: Annotated[
        str | None, typer.Option("--save-pool", help="keep what is noise by these settings as a pool of this name")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a pass found: rates, distributions, reconstruction, and precision where errors are known.

    With --set or --config the decisions are taken anew from the log, without the model.
    """
    from klip.scio.audit_log import pass_folder, passes
    from klip.scio.report import as_text, report_of

    if pass_id is None:
        _print_passes(run, as_json)
        return
    if pass_id not in passes(run):
        known = ", ".join(passes(run)) or "none"
        raise MissingError(f"no pass {pass_id!r}", where=str(run), way_out=f"passes of this run: {known}")
    texts = _opened(store, run)
    place = pass_folder(run, pass_id)
    if config is not None or changes or plots is not None or save_pool is not None:
        _require_screened(run, pass_id)
    rule = _rule(place, config, changes or [])
    found = report_of(place, texts, rule)
    if plots is not None:
        found["plots"] = [str(path) for path in _draw(found, run, pass_id, plots, texts)]
    if save_pool is not None:
        _save_pool(run, pass_id, save_pool, rule, texts)
    if as_json:
        print_json(found)
    else:
        print(as_text(found))
        for path in found.get("plots", ()):
            print(path)


def _print_report(run: Path, pass_id: str, rule: Rule | None, store: TextStore) -> None:
    from klip.scio.audit_log import pass_folder
    from klip.scio.report import as_text, report_of

    print(as_text(report_of(pass_folder(run, pass_id), store, rule)))


def _print_passes(run: Path, as_json: bool) -> None:
    from klip.scio.audit_log import passes

    names = passes(run)
    if as_json:
        print_json({"passes": names})
        return
    if not names:
        raise MissingError("no pass here", where=str(run), way_out="screen first: `klip scio screen RUN --pass NAME`")
    print("\n".join(names))


def _require_screened(run: Path, pass_id: str) -> None:
    """Refuses a pass that was skipped: its empty pool says nothing about the texts."""
    from klip.scio.audit_log import pass_folder, skipped
    from klip.scio.report import why_skipped

    place = pass_folder(run, pass_id)
    skip = skipped(place)
    if skip is not None:
        raise CheckError(
            why_skipped(pass_id, skip),
            where=str(place),
            way_out="train longer and screen under another name, or screen again with --set scio.strict=false",
        )


def _rule(place: Path, config: Path | None, changes: list[str]) -> Rule | None:
    """The rule of the pass with some settings changed; None where nothing is changed."""
    from klip.configuration import configured, merged
    from klip.scio.audit_log import header_of
    from klip.scio.decide import rule_of
    from klip.settings import PretrainingSettings

    if not changes and config is None:
        return None
    names = {"kind": "rule"}
    base = {"scio": {names.get(name, name): value for name, value in header_of(place, "scores")["rule"].items()}}
    if config is not None:
        base = merged(base, _decisions_in(config))
    foreign = [change for change in changes if change.partition("=")[0].strip() not in _decided_by()]
    if foreign:
        raise UsageError(
            f"not a setting of decisions: {', '.join(foreign)}",
            way_out=f"decisions hang on {', '.join(sorted(_decided_by()))}; anything else needs a new pass",
        )
    return rule_of(configured(PretrainingSettings, base, changes=changes, see="klip settings").scio)


def _decisions_in(config: Path) -> dict[str, Any]:
    """Of a settings file, e.g. a `run.json`, what decisions hang on; the rest made the scores and stays as it is."""
    from klip.configuration import read_file, require_known
    from klip.settings import PretrainingSettings

    table = read_file(config)
    require_known(PretrainingSettings, table, "klip settings")
    scio = table.get("scio", {})
    found = {name: value for name, value in scio.items() if f"scio.{name}" in _decided_by()}
    if not found:
        raise UsageError(
            "no setting of decisions in this file",
            where=str(config),
            way_out=f"decisions hang on {', '.join(sorted(_decided_by()))}; anything else needs a new pass",
        )
    return {"scio": found}


def _decided_by() -> set[str]:
    from klip.scio.decide import Rule

    return {f"scio.{'rule' if name == 'kind' else name}" for name in Rule.__slots__}


def _opened(store: Path | None, run: Path) -> TextStore | None:
    """The store that was named, or the run's own where there is one."""
    from klip.store.text_store import TextStore

    folder = store or run / "store"
    return TextStore.open(folder) if store is not None or folder.is_dir() else None


def _draw(found: dict[str, Any], run: Path, pass_id: str, folder: Path, store: TextStore | None) -> list[Path]:
    import numpy as np

    from klip.scio.audit_log import pass_folder
    from klip.scio.plots import draw

    errors = None if store is None or found["version"] else store.planted()
    planted = np.logical_or.reduce(list(errors.values())) if errors else None
    return draw(found, pass_folder(run, pass_id), folder, planted)


def _save_pool(run: Path, pass_id: str, name: str, rule: Rule | None, store: TextStore | None) -> None:
    import numpy as np

    from klip.scio.audit_log import header_of, pass_folder
    from klip.scio.decisions import decided
    from klip.scio.record import append_record, now

    if store is None:
        raise MissingError("no text store to keep the pool in", where=str(run), way_out="name it with --store")
    place = pass_folder(run, pass_id)
    header = header_of(place, "scores")
    started = now()
    scores, decisions = decided(place, rule)
    if len(scores.rows) != len(store):
        raise CheckError("the pass is not finished", where=str(place), way_out="finish it: `klip scio screen`")
    noise = np.zeros_like(decisions.noise)
    noise[scores.rows] = decisions.noise
    store.save_pool(name, noise, version=header["version"])
    used = header["rule"] if rule is None else {field: getattr(rule, field) for field in rule.__slots__}
    append_record(place, "save pool", started, pool=name, rule=used, store=str(store.folder), noise=int(noise.sum()))


def _version(store: TextStore, wanted: int | None) -> int:
    return store.versions()[-1] if wanted is None else wanted
