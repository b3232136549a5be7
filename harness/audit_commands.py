"""`harness data verify` and `harness data audit`: the commands and what they print; each returns its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness import cli_options as options
from harness.cli_options import DataRoot, Json, LabelMap, World, examples

if TYPE_CHECKING:
    from harness.audit import Audited, Emitted, ScoreDifference, Trial
    from harness.request import RunRequest
    from tasks.datasets.audit import Audit, Link
    from tasks.datasets.verify import Verification

_SHOWN = 20
"""Pairs and files that are printed; --json has all."""


def add_to(data_app: typer.Typer) -> None:
    """Registers both commands."""
    data_app.command("verify", epilog=examples("harness data verify", "harness data verify sar_acd --data-root /data"))(
        data_verify
    )
    data_app.command(
        "audit",
        epilog=examples(
            "harness data audit sar_acd --data-root /data",
            "harness data audit sar_acd --data-root /data --emit disjoint.json",
            "harness data audit fusar_map --kinds exact,near,overlap,neighbour --emit disjoint.json",
            "harness data audit sar_acd --score-difference simple-features",
        ),
    )(data_audit)


def data_verify(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="a data set, or all")] = "all",
    data_root: DataRoot = None,
    world: World = "mini",
    label_map: LabelMap = None,
    split: options.Split = None,
    group: options.Group = None,
    as_json: Json = False,
) -> None:
    """Count, measure and check data sets. Exit 5 if a check does not hold, 3 if the data are not there."""
    request = _request(data_root, world, {"label_map": label_map, "split": split, "group": group})
    raise typer.Exit(_verify(name, request, as_json))


def data_audit(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a data set")],
    data_root: DataRoot = None,
    world: World = "mini",
    label_map: LabelMap = None,
    split: options.Split = None,
    group: options.Group = None,
    kinds: Annotated[
        str, typer.Option(help="links that the disjoint split heeds: exact, near, overlap, neighbour, scene")
    ] = "exact,near,overlap,scene",
    emit: Annotated[
        Path | None, typer.Option(help="write a disjoint split: a JSON file and two lists beside it")
    ] = None,
    score_difference: Annotated[
        str | None,
        typer.Option("--score-difference", metavar="MODELS", help="run models with both splits, below OUT/audit"),
    ] = None,
    profile: Annotated[str, typer.Option(help="of --score-difference: paper, released or mini")] = "mini",
    out: Annotated[Path, typer.Option(help="folder of the records of --score-difference")] = Path("runs"),
    jobs: options.Jobs = 0,
    limit: options.Limit = None,
    weights_root: options.WeightsRoot = None,
    as_json: Json = False,
) -> None:
    """Find images that the training part and the test part share, in one form or another."""
    from harness.audit import Trial

    request = _request(data_root, world, {"label_map": label_map, "split": split, "group": group}, profile)
    trial = None
    if score_difference:
        trial = Trial(score_difference, out / "audit" / name, jobs, limit, weights_root)
    chosen = tuple(kind.strip() for kind in kinds.split(",") if kind.strip())
    raise typer.Exit(_audit(name, request, chosen, emit, trial, as_json))


def _request(
    data_root: Path | None, world: str, choices: dict[str, list[str] | None], profile: str = "mini"
) -> RunRequest:
    """The data sets as a run would read them, but with bad files allowed: they are reported here."""
    from foundation.names import unknown_name
    from harness.data import WORLD_SIZES
    from harness.request import RunRequest, check_profile, parse_choices

    if world not in WORLD_SIZES:
        raise unknown_name("size", world, WORLD_SIZES, see="harness data --help")
    chosen = {option: parse_choices(option.replace("_", "-"), items) for option, items in choices.items() if items}
    return RunRequest(
        data_root=data_root, world=world, profile=check_profile(profile), data_choices=chosen, allow_bad=True
    )


def _verify(name: str, request: RunRequest, as_json: bool) -> int:
    from dataclasses import asdict

    from foundation.errors import CheckError, MissingError
    from harness.audit import chosen_datasets, verify_all
    from harness.display import show_progress
    from harness.printing import print_json

    with show_progress(quiet=as_json) as progress:
        found, missing = verify_all(chosen_datasets(name), request, progress)
    if as_json:
        print_json(
            {
                "data_sets": [{**asdict(one), "holds": one.holds} for one in found],
                "missing": [{"dataset": one.dataset, "reason": str(one.error)} for one in missing],
            }
        )
    else:
        for one in found:
            _print_verification(one)
        for lacking in missing:
            print(f"\n{lacking.dataset}: not there: {lacking.error.what}")
            print(f"  way out: {lacking.error.way_out}")
    if not all(one.holds for one in found):
        return CheckError.exit_code
    if missing and (name != "all" or not found):
        return MissingError.exit_code
    return 0


def _print_verification(found: Verification) -> None:
    from harness.printing import print_rows

    print(f"\n{found.dataset} at {found.root}" + (f" ({found.world}, synthetic)" if found.world else ""))
    kinds = [f"{found.images} images"]
    kinds += [f"{found.boxes} boxes"] if found.boxes else []
    kinds += [f"{found.masks} masks"] if found.masks else []
    kinds += [f"{found.units} units that are not divided", f"{found.train} to train, {found.test} to test"]
    print("  " + ", ".join(kinds))
    if found.widths and found.heights:
        sides = [f"{side.low} to {side.high} (median {side.middle})" for side in (found.widths, found.heights)]
        print(f"  width {sides[0]}, height {sides[1]}")
    print(f"  samples {_counted(found.dtypes)}; band {_counted(found.bands)}")
    print("  " + ", ".join(f"{name} {value}" for name, value in found.choices))
    print_rows(
        ("  class", "part", "images", "boxes", "pixels"), [_class_row(row) for row in found.classes if row.images]
    )
    for check in found.checks:
        print(f"  {check.verdict:8}{check.name}: {check.text}")
    for path, reason in found.bad[:_SHOWN]:
        print(f"    bad: {path}: {reason}")
    if len(found.bad) > _SHOWN:
        print(f"    ... and {len(found.bad) - _SHOWN} more; --json lists all")


def _class_row(row: Any) -> tuple[str, ...]:
    numbers = (str(number) if number else "-" for number in (row.images, row.boxes, row.pixels))
    return (f"  {row.name}", row.part, *numbers)


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} x {count}" for name, count in counts.items()) or "none"


def _audit(
    name: str, request: RunRequest, kinds: tuple[str, ...], emit: Path | None, trial: Trial | None, as_json: bool
) -> int:
    from foundation.names import unknown_name
    from harness.audit import audit_dataset, emit_split, score_differences
    from harness.display import show_progress
    from harness.printing import print_json
    from tasks.catalog import DATASETS
    from tasks.datasets.audit import require_kinds

    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS, see="harness data status")
    require_kinds(kinds)
    with show_progress(quiet=as_json) as progress:
        audited = audit_dataset(name, request, progress)
    path = emit or (trial.out / "disjoint.json" if trial else None)
    emitted = emit_split(audited, kinds, path) if path else None
    differences = score_differences(name, request, trial, path, quiet=as_json) if trial and path else []
    if as_json:
        print_json(_as_data(audited, emitted, differences))
        return 0
    _print_audit(audited.audit)
    if emitted is not None:
        _print_emitted(emitted, kinds)
    for difference in differences:
        print(_difference_line(difference))
    return 0


def _as_data(audited: Audited, emitted: Emitted | None, differences: list[ScoreDifference]) -> dict[str, Any]:
    audit = audited.audit
    return {
        "dataset": audit.dataset,
        "data_hash": audited.index.data_hash,
        "split_hash": audit.split.hash,
        "train": len(audit.split.train),
        "test": len(audit.split.test),
        "test_images_touched": audit.touched,
        "kinds": [kind._asdict() for kind in audit.counts],
        "across": [link._asdict() for link in audit.across],
        "emitted": None
        if emitted is None
        else {
            "files": [str(file) for file in emitted.files],
            "split_hash": emitted.split.hash,
            "train": len(emitted.split.train),
            "test": len(emitted.split.test),
            "usual_train": len(emitted.usual.train),
            "usual_test": len(emitted.usual.test),
            "units": emitted.units,
            "classes_of_one_part": list(emitted.lacking),
        },
        "score_differences": [difference._asdict() for difference in differences],
    }


def _print_audit(audit: Audit) -> None:
    from harness.printing import print_rows

    tests = len(audit.split.test)
    print(f"{audit.dataset}: {len(audit.split.train)} to train, {tests} to test (split {audit.split.hash[:12]})")
    rows = [
        (kind.kind, str(kind.pairs), str(kind.across), str(kind.test_images), f"{kind.share:.1f} %")
        for kind in audit.counts
    ]
    print_rows(("kind", "pairs", "across", "test images", "share of test"), rows)
    share = 100 * audit.touched / tests
    print(f"{audit.touched} of {tests} test images ({share:.1f} %) show what a training image shows")
    for link in audit.across[:_SHOWN]:
        print(f"  {_link_line(link)}")
    if len(audit.across) > _SHOWN:
        print(f"  ... and {len(audit.across) - _SHOWN} more pairs; --json lists all")


def _link_line(link: Link) -> str:
    return f"{link.kind} {link.similarity:.3f}  {link.first}  {link.second}" + (f"  ({link.note})" if link.note else "")


def _print_emitted(emitted: Emitted, kinds: tuple[str, ...]) -> None:
    parts = emitted.split
    print(
        f"disjoint by {', '.join(kinds)}: {emitted.units} units, {len(parts.train)} to train, "
        f"{len(parts.test)} to test (split {parts.hash[:12]}); "
        f"the usual split has {len(emitted.usual.train)} and {len(emitted.usual.test)}"
    )
    for lacking in emitted.lacking:
        print(f"  mind: {lacking}")
    print(f"written: {', '.join(str(file) for file in emitted.files)}")


def _difference_line(found: ScoreDifference) -> str:
    def shown(value: float, ends: tuple[float, float] | None) -> str:
        return f"{value:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")

    ends = None if found.low is None or found.high is None else (found.low, found.high)
    return (
        f"{found.model} {found.metric}: {shown(found.usual, found.usual_interval)} with the usual split, "
        f"{shown(found.disjoint, found.disjoint_interval)} with the disjoint one, "
        f"difference {shown(found.difference, ends)}"
    )
