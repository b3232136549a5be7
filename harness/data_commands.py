"""What `harness data` prints; each function returns its exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from foundation.names import unknown_name
from harness.data import WORLD_SIZES, BuildChoices, WorldChoice, build_world, overview
from harness.display import show_progress
from harness.printing import print_json, print_rows
from harness.request import parse_choices
from tasks.sarworld.balance import fewest_images

WORLDS = ("sarworld",)


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
        raise unknown_name("world", what, WORLDS, see="harness data --help")
