"""The synthetic world: drawing one scene, and building the smallest world."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.interleave import Timing, interleaved


def scene(turns: int) -> dict[str, Timing]:
    """A scene of 256 x 256 m under Gaofen-3 (256 x 256 px): layout and image; the budget is 200 ms."""
    import numpy as np

    from tasks.sarworld.render import amplitude, scene_of
    from tasks.sarworld.scatterers import pixel_centres, point_spread
    from tasks.sarworld.scenes import scene_acquisition, scene_layout
    from tasks.sarworld.sites import sites_of

    places = {kind: sites_of(kind)[0] for kind in ("airport", "port", "urban", "industrial")}

    def draw(kind: str) -> None:
        layout = scene_layout(places[kind], 256, 0)
        acquisition, shape = scene_acquisition(layout, "gf3", 0)
        assert shape == (256, 256)
        amplitude(layout, shape, acquisition, 0)

    def one_point_after_the_other() -> None:
        layout = scene_layout(places["urban"], 256, 0)
        acquisition, shape = scene_acquisition(layout, "gf3", 0)
        points = scene_of(layout, shape, acquisition, 0).points
        image = np.zeros(shape, dtype=np.complex64)
        centres = pixel_centres(256, 1.0)
        for x, y, rcs, phase in zip(points.x, points.y, points.rcs_db, points.phase, strict=True):
            column = point_spread(centres - x, -13.0)
            row = point_spread(centres - y, -13.0)
            image += np.outer(row, column) * (10 ** (rcs / 20) * np.exp(1j * phase))

    works = {kind: (lambda kind=kind: draw(kind)) for kind in places}
    return interleaved({**works, "points in a loop": one_point_after_the_other}, turns=turns)


def ci_world(turns: int) -> dict[str, Timing]:
    """All data sets in the size ci, from nothing, with one and with two processes; the budget is 60 s."""
    from tasks.sarworld.build import build

    def made(workers: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder) / "world", "ci", workers=workers)

    return interleaved({"two processes": lambda: made(2), "one process": lambda: made(1)}, turns=min(turns, 3))
