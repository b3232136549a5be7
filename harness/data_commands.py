"""What `harness data` prints; each function returns its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import UsageError
from foundation.names import unknown_name
from harness.data import WORLD_SIZES, BuildChoices, WorldChoice, build_world, overview
from harness.display import show_progress
from harness.printing import print_json, print_rows
from harness.request import RunRequest, check_profile, parse_choices
from tasks.datasets.options import TEXT_OPTIONS
from tasks.sarworld.balance import fewest_images

if TYPE_CHECKING:
    from harness.language_data import Written

WORLDS = ("sarworld",)
LANGUAGE = "language"
ANSWERS_SHOWN = 6
_OF_A_WORLD = ("size", "root", "seed", "utm", "error_rate")
_OF_TEXTS = {
    "text_out": "--out",
    "data_root": "--data-root",
    "world": "--world",
    "profile": "--profile",
    **{name: f"--{name.replace('_', '-')}" for name in TEXT_OPTIONS},
    "allow_bad": "--allow-bad",
    "paraphrase": "--paraphrase",
    "coords": "--coords",
    "n_images": "--n-images",
}
_USUAL = {"world": "mini", "profile": "mini", "coords": "percent"}


def status(data_root: Path | None, world: str, label_maps: list[str], as_json: bool) -> int:
    """Prints every data set with its counts."""
    if world not in WORLD_SIZES:
        raise unknown_name("size", world, WORLD_SIZES, see="harness data status --help")
    with show_progress(quiet=as_json) as progress:
        found = overview(data_root, world, parse_choices("label-map", label_maps), progress)
    if as_json:
        print_json([state._asdict() for state in found])
        return 0
    rows = [
        tuple("-" if value is None or value == "" else str(value) for value in (*state[:6], state.note))
        for state in found
    ]
    print_rows(("data set", "title", "state", "images", "classes", "bad", "note"), rows)
    return 0


def build(what: str, world: WorldChoice, choices: BuildChoices, as_json: bool) -> int:
    """Builds the synthetic world and prints what was written and how balanced it is."""
    _require_world(what)
    with show_progress(quiet=as_json) as progress:
        info = build_world(world, choices, progress)
    if as_json:
        print_json({**info.__dict__, "root": str(info.root)})
        return 0
    print(f"sarworld v{info.version} {info.size} seed {info.seed} at {info.root}")
    print_rows(("data set", "images"), [(name, str(count)) for name, count in info.datasets.items()])
    for line in balance_lines(info.balance):
        print(line)
    print(f"{info.written} images written in {info.seconds:.1f} s" if info.written else "already complete")
    return 0


def build_texts(given: dict[str, Any], as_json: bool) -> int:
    """Writes captions and questions with the histograms of their answers, and prints those.

    Args:
        given: options of the command that were given, by the names of its parameters.
        as_json: print data instead of lines.
    """
    from harness.language_data import TextChoices, build_language

    if misplaced := [f"--{name.replace('_', '-')}" for name in _OF_A_WORLD if name in given]:
        raise UsageError(
            f"{', '.join(misplaced)} says how a synthetic world is built, not texts and questions",
            way_out="leave it out; `harness data build sarworld` knows it, and --world says which size is read",
        )
    if "text_out" not in given:
        raise UsageError("texts and questions need a folder", way_out="name one with --out FOLDER")
    if given["world"] not in WORLD_SIZES:
        raise unknown_name("size", given["world"], WORLD_SIZES, see="harness data build --help")
    read_as = {name: parse_choices(name.replace("_", "-"), given.get(name, [])) for name in TEXT_OPTIONS}
    request = RunRequest(
        data_root=given.get("data_root"),
        world=given["world"],
        profile=check_profile(given["profile"]),
        data_choices={name: values for name, values in read_as.items() if values},
        allow_bad=given.get("allow_bad", False),
        jobs=given["workers"],
    )
    choices = TextChoices(
        only=tuple(given.get("only", ())),
        paraphrases=given.get("paraphrase", False),
        coords=given["coords"],
        images=given.get("n_images"),
    )
    out = given["text_out"]
    with show_progress(quiet=as_json) as progress:
        written, missing = build_language(request, out, choices, progress)
    if as_json:
        print_json(
            {
                "out": str(out),
                "datasets": [found._asdict() for found in written],
                "missing": [lack._asdict() for lack in missing],
            }
        )
        return 0
    for found in written:
        for line in text_lines(found):
            print(line)
    for lack in missing:
        print(f"{lack.dataset}: not made: {lack.reason}")
    print(f"{sum(len(found.files) for found in written)} files in {out}")
    return 0


def refuse_texts(given: dict[str, Any]) -> None:
    """A world is not built from what texts and questions are."""
    wrong = [flag for name, flag in _OF_TEXTS.items() if name in given and given[name] != _USUAL.get(name)]
    if wrong:
        raise UsageError(
            f"{', '.join(wrong)} belongs to texts and questions, not to a synthetic world",
            way_out="leave it out, or write `harness data build language`",
        )


def show(what: str, name: str, out: Path | None, world: WorldChoice, as_json: bool) -> int:
    """Draws one image and says where the picture is."""
    from tasks.sarworld.show import show as draw

    _require_world(what)
    shown = draw(name, out, size=world.known_size, seed=world.seed, root=world.root)
    if as_json:
        planted = list(shown.planted)
        print_json(
            {"picture": str(shown.picture), "truth": shown.truth.to_json(), "texts": shown.texts, "planted": planted}
        )
        return 0
    print(f"{shown.item.dataset}/{shown.item.name}: {shown.picture}")
    for row in shown.planted:
        print(f"planted in {row['field']}: {row['kind']}")
    return 0


def text_lines(found: Written) -> list[str]:
    """What was written of one data set, and how its answers are distributed."""
    numbers = f"{sum(found.images.values())} images, {found.records['train']} {found.kind} to train"
    world = f" ({found.world})" if found.world else ""
    lines = [f"{found.dataset}{world}: {numbers}, {found.records['test']} to test"]
    for task, told in found.histogram.get("tasks", {}).items():
        answers = told["answers"]["test"]
        share = told["most_common_share"]["test"]
        shown = "; ".join(f"{answer} ({count})" for answer, count in list(answers.items())[:ANSWERS_SHOWN])
        more = f" and {len(answers) - ANSWERS_SHOWN} more" if len(answers) > ANSWERS_SHOWN else ""
        common = "" if share is None else f"; the most common {share:.0f} %"
        lines.append(f"  {task}, test answers: {shown or 'none'}{more}{common}")
    for part in ("train", "test") if found.kind == "captions" else ():
        told = found.histogram[part]
        distinct = ", ".join(f"{name} {facts['distinct']}" for name, facts in told["templates"].items())
        lines.append(f"  {part}: images of {_counts(told['images'])}; distinct captions: {distinct}")
    return lines + [f"  note: {warning}" for warning in found.warnings]


def balance_lines(balance: dict[str, dict[str, Any]]) -> list[str]:
    """The histograms of section 14.6, a few lines for each data set and domain."""
    lines = []
    for dataset, domains in balance.items():
        for domain, found in domains.items():
            few = "" if found["images"] >= fewest_images(domain) else ", too few to be held to the limits"
            lines.append(f"balance of {dataset}, {domain}, {found['images']} images{few}")
            lines += _land_lines(found) if domain == "landform" else _target_lines(found)
    return lines


def _target_lines(found: dict[str, Any]) -> list[str]:
    cells = " ".join(f"{share:.0%}" for share in found["cells"].values())
    return [
        f"  targets per image: {_counts(found['counts'])}",
        f"  the most common number: {found['most_common_count']:.0%} (at most 30 %)",
        f"  targets in cells 1-9: {cells}",
        f"  images with targets in two or more cells: {found['two_or_more_cells']:.0%} (at least 40 %)",
        f"  types: {_counts(found['types'])}",
        f"  images with a caption of their own: {found['unique_captions']:.0%} (at least 70 % in the default size)",
    ]


def _land_lines(found: dict[str, Any]) -> list[str]:
    common = sorted(found["sets"].items(), key=lambda pair: (-pair[1], pair[0]))[:3]
    sets = "; ".join(f"{name} {count}" for name, count in common)
    return [
        f"  largest cover: {_counts(found['main'])}; the most common {found['most_common_main']:.0%} (at most 40 %)",
        f"  of quarters: {_counts(found['regional'])}; as the whole {found['same_as_main']:.0%} (below 60 %)",
        f"  sets of covers: {len(found['sets'])} (at least 6), most often {sets}",
        f"  the most common set: {found['most_common_set']:.0%} (at most 35 %)",
    ]


def _counts(histogram: dict[str, int]) -> str:
    numbers = all(name.isdigit() for name in histogram)
    names = sorted(histogram, key=int) if numbers else list(histogram)
    return ", ".join(f"{name} {'x ' if numbers else ''}{histogram[name]}" for name in names)


def _require_world(what: str) -> None:
    if what not in WORLDS:
        raise unknown_name("world", what, (*WORLDS, LANGUAGE), see="harness data --help")
