"""One image of the world as a picture for a person: pixels, boxes, map, texts and what was planted in them.

Items are pure functions of the world's version, seed and size, so a picture needs no built world; where one is named,
its texts are the ones shown.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.errors import MissingError, UsageError
from foundation.files import write_atomic
from foundation.names import unknown_name
from klip.corpus import PLANTED, TEXTS
from tasks.sarworld.plan import DATASETS, SIZES, TEXT_SETS, Item, Size, chosen, folder_of, plan

if TYPE_CHECKING:
    from tasks.sarworld.sets.maker import Ground
    from tasks.sarworld.truth import Truth

_LARGEST_SIDE = 1600
"""Larger images are shown reduced: a picture for a screen."""
_DOTS_PER_INCH = 110


class Shown(NamedTuple):
    """What was drawn, and where the picture lies."""

    item: Item
    picture: Path
    truth: Truth
    texts: dict[str, str]
    planted: tuple[dict[str, Any], ...]


def find_item(name: str, size: Size) -> Item:
    """The item that a person means: `fusar_map/3`, `fusar_air_sense/fuas_0004`, or the whole path of an image.

    Raises:
        UsageError: Nothing, or more than one thing, has that name.
    """
    if size not in SIZES:
        raise unknown_name("world size", size, SIZES, see="harness data show --help")
    dataset, _, rest = name.partition("/")
    dataset = next((known for known in DATASETS if dataset in (known, folder_of(known))), dataset)
    items = plan(chosen([dataset])[0], size)
    if rest.isdigit() and not any(item.name == rest for item in items):
        if 1 <= int(rest) <= len(items):
            return items[int(rest) - 1]
        raise UsageError(
            f"{dataset} has {len(items)} images in size {size}, there is no number {rest}",
            way_out=f"choose 1 to {len(items)}",
        )
    found = [item for item in items if rest and (rest == item.name or rest in item.files)]
    found = found or [item for item in items if rest and any(rest in path for path in (item.name, *item.files))]
    if len(found) != 1:
        some = ", ".join(item.name for item in (found or items)[:4])
        raise UsageError(
            f"{len(found)} images of {dataset} are called {rest!r} in size {size}",
            where="harness data show",
            way_out=f"name one of them in full, e.g. {some}, or by number, {dataset}/1 to {dataset}/{len(items)}",
        )
    return found[0]


def show(
    name: str,
    picture: Path | None,
    *,
    size: Size | None = None,
    seed: int | None = None,
    root: Path | None = None,
) -> Shown:
    """Draws one item as a PNG.

    Args:
        name: See `find_item`.
        picture: Where to; by default named after the item, in the current folder.
        size: Of the world; by default that of `root`, else mini.
        seed: Of the world; by default that of `root`, else 0.
        root: A built world, whose texts are shown.
    """
    from threadpoolctl import threadpool_limits

    from tasks.sarworld.sets.catalogue import maker_of
    from tasks.sarworld.sets.maker import truth

    if root is not None:
        stated = _world_of(root)
        if (size or stated[0], stated[1] if seed is None else seed) != stated:
            raise UsageError(
                f"the world is of size {stated[0]} and seed {stated[1]}",
                where=str(root),
                way_out="leave --size and --seed out, or leave --root out",
            )
        size, seed = stated
    size, seed = size or "mini", seed or 0
    item = find_item(name, size)
    maker = maker_of(item.dataset)
    ground = maker.ground(item, seed)
    row = truth(item, seed, ground)
    texts, planted = _texts(item, row, seed, root) if item.dataset in TEXT_SETS else ({}, ())
    path = picture or Path(f"{item.dataset}_{Path(item.name).stem}.png".replace("/", "_"))
    shown = Shown(item, path, row, texts, planted)
    with threadpool_limits(1):  # as the build draws
        _draw(shown, ground, seed)
    return shown


def _world_of(root: Path) -> tuple[Size, int]:
    from tasks.sarworld.build import BUILDING, MARKER, read_marker

    if not (root / MARKER).is_file():
        begun = (root / BUILDING).is_file()
        raise MissingError(
            "the synthetic world is not finished" if begun else "no synthetic world here",
            where=str(root),
            way_out="build it with: harness data build sarworld --root ..., or leave --root out",
        )
    facts = read_marker(root / MARKER)
    if facts.get("world_version") != _version():
        raise UsageError(
            f"the world is of version {facts.get('world_version')}, this program draws version {_version()}",
            where=str(root),
            way_out="build it anew in another folder",
        )
    return facts["size"], facts["seed"]


def _version() -> int:
    from tasks.sarworld.draws import WORLD_VERSION

    return WORLD_VERSION


def _texts(item: Item, row: Truth, seed: int, root: Path | None) -> tuple[dict[str, str], tuple[dict[str, Any], ...]]:
    """From the world's files if there are any, else the clean ones."""
    from tasks.sarworld.texts import plant

    if root is not None and (root / folder_of(item.dataset) / TEXTS).is_file():
        folder = root / folder_of(item.dataset)
        mine = [line for line in _rows(folder / TEXTS) if line["id"] == row.image_id]
        planted = tuple(line for line in _rows(folder / PLANTED) if line["image_id"] == row.image_id)
        return _fields(mine[0]), planted
    return _fields(plant([row], seed=seed, rates=0.0).clean[0]), ()


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _fields(row: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in row.items() if name[0].isupper()}


def _draw(shown: Shown, ground: Ground, seed: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = 2 if shown.texts else 1
    figure = Figure(figsize=(13, 6.4 + 4.2 * (rows - 1)), dpi=_DOTS_PER_INCH, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(rows, 2, height_ratios=[6.2, 4.2][:rows], hspace=0.06, wspace=0.04)
    figure.subplots_adjust(left=0.03, right=0.97, top=0.91, bottom=0.01)
    _image_panel(figure.add_subplot(grid[0, 0]), shown, ground, seed)
    _map_panel(figure.add_subplot(grid[0, 1]), shown, ground)
    if shown.texts:
        _text_panel(figure.add_subplot(grid[1, :]), shown)
    title = (
        f"{shown.item.dataset}/{shown.item.name}   (synthetic: sarworld v{_version()}, {shown.item.size}, seed {seed})"
    )
    figure.suptitle(title, fontsize=11, y=0.97)
    # No time and no version in the file: the same item gives the same bytes.
    write_atomic(shown.picture, lambda stream: figure.savefig(stream, format="png", metadata={"Software": None}))


def _image_panel(axes: Any, shown: Shown, ground: Ground, seed: int) -> None:
    from adapters.mean_clip import mean_clip_uint8
    from tasks.sarworld.sets.maker import drawn

    row = shown.truth
    grey = mean_clip_uint8(drawn(seed, ground))
    step = max(1, -(-max(grey.shape) // _LARGEST_SIDE))
    axes.imshow(
        grey[::step, ::step],
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, row.width, row.height, 0),
        interpolation="nearest",
    )
    for found in row.objects:
        x, y, width, height = found.box
        axes.plot([x, x + width, x + width, x, x], [y, y, y + height, y + height, y], color="#ff4040", linewidth=1.2)
        axes.text(x, y - 1, found.type, color="#ffd040", fontsize=8, va="bottom", clip_on=True)
    looks_from = "left" if row.look > 0 else "right"
    axes.set_title(
        f"{row.width} x {row.height} px of {row.pixel_m:g} m, {row.sensor}, seen from the {looks_from} "
        f"at {row.incidence_deg:.0f} deg; {len(row.objects)} targets",
        fontsize=9,
    )
    axes.set_axis_off()


_MAP_COLOURS = {"building": "#c03028", "vegetation": "#3c8c3c", "water": "#3060c0", "road": "#e0c030", "": "#202020"}


def _map_panel(axes: Any, shown: Shown, ground: Ground) -> None:
    import numpy as np
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    from tasks.sarworld.ground import map_labels
    from tasks.sarworld.truth import LAND_COVERS

    row = shown.truth
    step = max(1, -(-max(row.width, row.height) // _LARGEST_SIDE))
    labels = map_labels(ground.layout, ground.shape, row.pixel_m)[::step, ::step]
    palette = np.array([to_rgb(_MAP_COLOURS[name]) for name in (*LAND_COVERS, "")])
    axes.imshow(
        palette[np.minimum(labels, len(LAND_COVERS))], extent=(0, row.width, row.height, 0), interpolation="nearest"
    )
    for found in row.objects:
        corners = [*found.corners, found.corners[0]]
        axes.plot([x for x, _ in corners], [y for _, y in corners], color="white", linewidth=1.0)
    shares = row.shares.tile
    entries = [Patch(color=_MAP_COLOURS[name], label=f"{name} {shares[name]:.0%}") for name in LAND_COVERS]
    entries.append(Patch(color=_MAP_COLOURS[""], label=f"not on the map {1 - sum(shares.values()):.0%}"))
    axes.legend(handles=entries, loc="lower right", fontsize=7, framealpha=0.9)
    axes.set_title(f"map of the ground plan; {row.facts.function}, {row.facts.landform} ({row.site})", fontsize=9)
    axes.set_axis_off()


def _text_panel(axes: Any, shown: Shown) -> None:
    axes.set_axis_off()
    wrong = {row["field"]: row for row in shown.planted}
    y = 0.97
    for name, value in shown.texts.items():
        colour = "#b02020" if name in wrong else "black"
        lines = _wrapped(value)
        axes.text(0.0, y, name, fontsize=8.5, weight="bold", va="top", color=colour, transform=axes.transAxes)
        note = f"   [planted: {wrong[name]['kind']}]" if name in wrong else ""
        axes.text(0.1, y, "\n".join(lines) + note, fontsize=8.5, va="top", color=colour, transform=axes.transAxes)
        y -= 0.055 + 0.058 * len(lines)


def _wrapped(value: str) -> Sequence[str]:
    return textwrap.wrap(value, 165) or [""]
