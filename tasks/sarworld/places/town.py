"""Built-up ground: houses in blocks between streets, and industry with halls, yards and tanks."""

from __future__ import annotations

import numpy as np

from tasks.sarworld.ground import Building, Patch, rectangle, strip
from tasks.sarworld.places.board import Bent, Board, runs
from tasks.sarworld.places.zones import Floats
from tasks.sarworld.scatterers import Scatterers

LOT_M = (20.0, 30.0)  # section 14.2: houses on a 20-30 m grid
HOUSE_M = (8.0, 15.0)  # section 14.2
HOUSE_HEIGHT_M = (4.0, 12.0)  # our choice: one to four floors
_TERRACED_BLOCKS = (0.1, 0.3, 0.6)  # our choice, one share per town: long houses in parallel rows
_EMPTY_LOTS = 0.08
_CARS_PER_M = 0.012  # our choice: one in eighty metres of kerb stands so that it shines
_FENCE_POST_M = 5.0
HALL_M = (40.0, 120.0)  # section 14.2
HALL_HEIGHT_M = (8.0, 15.0)  # our choice
_STREET_STEP_M = 6.0
_SHORTEST_STREET_M = 24.0


def houses(
    rng: np.random.Generator, board: Board, heading: float, bent: bool
) -> tuple[list[Patch], list[Building], list[Scatterers]]:
    """Streets, houses and parked cars of the housing zones."""
    if not board.has("housing"):
        return [], [], []
    half = 0.75 * float(np.hypot(*board.extent))
    lot, depth = float(rng.uniform(*LOT_M)), float(rng.uniform(*LOT_M))
    lots, street = int(rng.integers(4, 8)), float(rng.uniform(6.0, 8.5))
    long_side, short_side = lots * lot + street, 2 * depth + street
    axes = Bent.draw(rng, heading, float(rng.uniform(7, 12)) if bent else 0.0, 260.0)
    patches = _streets(board, axes, half, (short_side, long_side), street)
    boxes, height = _homes(rng, axes, half, (lot, depth), lots, street)
    kept = board.touched_by(boxes) & (rng.random(len(boxes)) > _EMPTY_LOTS) & (boxes[:, 2] >= board.finest_m)
    boxes, height = boxes[kept], height[kept]
    kept = board.holds(boxes, "housing")
    return patches, _buildings(boxes[kept], height[kept], "housing"), _cars(rng, patches)


def _homes(
    rng: np.random.Generator, axes: Bent, half: float, lot: tuple[float, float], lots: int, street: float
) -> tuple[Floats, Floats]:
    """Ground plans (x, y, length, width, heading) and heights, one per lot; some blocks have terraces over two lots."""
    wide, deep = lot
    i, j = (a.ravel() for a in np.meshgrid(np.arange(0, 2 * half // wide), np.arange(0, 2 * half // deep)))
    block, row = np.stack([i // lots, j // 2]).astype(np.int64)
    terraced = rng.random((block.max() + 1, row.max() + 1))[block, row] < rng.choice(_TERRACED_BLOCKS)
    place = i % lots
    double = terraced & (place % 2 == 0) & (place + 1 < lots)
    kept = ~(terraced & (place % 2 == 1))
    count = len(i)
    u = -half + (i + 0.5) * wide + block * street + street / 2 + double * wide / 2
    v = -half + (j + 0.5) * deep + row * street + street / 2
    # Houses stand towards their street.
    v = v + np.where(j % 2 == 0, -1.0, 1.0) * deep * rng.uniform(0.0, 0.12, count)
    u = u + ~double * rng.normal(0, 0.05, count) * wide
    x, y = axes.ground(u, v)
    length = np.where(double, 2 * wide - 6, np.minimum(rng.uniform(*HOUSE_M, count), wide - 6))
    width = np.minimum(rng.uniform(HOUSE_M[0], 11.5, count), deep - 6)
    gable = ~double & (rng.random(count) < 0.2)
    turn = axes.along_u(u, v) + rng.normal(0, 0.02, count) + gable * np.pi / 2
    low, high = HOUSE_HEIGHT_M
    height = low + (high - low) * np.where(double, rng.uniform(0.4, 1.0, count), rng.beta(1.2, 3.0, count))
    return np.stack([x, y, length, width, turn], axis=1)[kept], height[kept]


def _streets(board: Board, axes: Bent, half: float, spacing: tuple[float, float], width: float) -> list[Patch]:
    """Streets along both axes, cut off where the town ends; on maps part of the built-up block."""
    patches = []
    steps = np.arange(-half, half, _STREET_STEP_M)
    shortest = int(_SHORTEST_STREET_M / _STREET_STEP_M)
    for place, gap in enumerate(spacing):
        for level in np.arange(-half, half, gap):
            still = np.full_like(steps, level)
            x, y = axes.ground(steps, still) if place == 0 else axes.ground(still, steps)
            inside = board.is_at(x, y, "housing") & board.on_ground(x, y, 2 * _STREET_STEP_M)
            for first, last in runs(inside, shortest):
                line = np.stack([x[first:last], y[first:last]], axis=1)
                line = line if axes.across else line[[0, -1]]
                broad = width if place == 0 else 0.85 * width
                patches.append(Patch("tarmac", strip(line, broad), role="street", label="building"))
    return patches


def _cars(rng: np.random.Generator, streets: list[Patch]) -> list[Scatterers]:
    """Cars at the kerbs."""
    if not streets:
        return []
    # A street's corners go up on one side and down on the other: neighbours along a side are a kerb.
    starts = np.concatenate([street.corners[:-1] for street in streets])
    steps = np.concatenate([np.diff(street.corners, axis=0) for street in streets])
    lengths = np.linalg.norm(steps, axis=1)
    count = rng.poisson(_CARS_PER_M * lengths * (lengths > _STREET_STEP_M / 2))
    share = rng.uniform(0, 1, (int(count.sum()), 1))
    at = np.repeat(starts, count, axis=0) + share * np.repeat(steps, count, axis=0)
    return [points(rng, np.column_stack([at, rng.uniform(-5, 8, len(at))]))]


def _buildings(boxes: Floats, heights: Floats, cover: str) -> list[Building]:
    return [
        Building(x, y, length, width, heading, height, cover)
        for (x, y, length, width, heading), height in zip(boxes.tolist(), heights.tolist(), strict=True)
    ]


def industry(
    rng: np.random.Generator, board: Board, heading: float
) -> tuple[list[Patch], list[Building], list[Scatterers]]:
    """Halls, yards and tanks of the industrial zones."""
    if not board.has("industrial"):
        return [], [], []
    half = 0.75 * float(np.hypot(*board.extent))
    smaller = min(board.extent)
    pitch = (float(rng.uniform(62, 80)), float(rng.uniform(48, 62)))
    if smaller > 400:
        pitch = (float(rng.uniform(85, 130)), float(rng.uniform(60, 85)))
    axes = Bent.draw(rng, heading, 0.0, 200.0)
    u, v = (a.ravel() for a in np.meshgrid(np.arange(-half, half, pitch[0]), np.arange(-half, half, pitch[1])))
    # Rows are shifted against each other, so halls do not stand in file.
    u = u + (np.round((v + half) / pitch[1]) % 3) * pitch[0] / 3
    count = len(u)
    kind = rng.choice(4, count, p=(0.62, 0.16, 0.12, 0.10))
    share = rng.uniform(0.5, 0.72, count)
    length = np.clip(pitch[0] * rng.uniform(0.75, 0.9, count), *HALL_M)
    width = np.clip(pitch[1] * share * 0.85, 16.0, 60.0)
    side = rng.choice([-1.0, 1.0], count)
    x, y = axes.ground(u, v + side * (pitch[1] * (1 - share) / 2))
    turn = np.full(count, heading)
    halls = np.stack([x, y, length, width, turn], axis=1)
    yard_x, yard_y = axes.ground(u, v - side * pitch[1] * share / 2)
    yards = np.stack([yard_x, yard_y, 0.95 * np.full(count, pitch[0]), pitch[1] * (1 - share) * 0.9, turn], axis=1)
    here = board.touched_by(halls)
    fits = board.holds(halls, "industrial") & here & np.isin(kind, (0, 1))
    # Where a whole hall does not fit a smaller one may.
    small = halls * (1, 1, 0.62, 0.7, 1)
    small[:, 2] = np.maximum(small[:, 2], HALL_M[0])
    smaller_fits = ~fits & board.holds(small, "industrial") & board.touched_by(small) & np.isin(kind, (0, 1))
    halls[smaller_fits] = small[smaller_fits]
    heights = rng.uniform(*HALL_HEIGHT_M, count)
    stands = fits | smaller_fits
    yard_fits = board.holds(yards, "industrial") & board.touched_by(yards)
    patches = [
        Patch("tarmac", rectangle(*row), role="yard", label="building", gain_db=gain)
        for row, gain in zip(yards[yard_fits].tolist(), rng.uniform(0, 2.5, count).tolist(), strict=False)
    ]
    tanks, shine = _tanks(rng, board, halls[kind == 2], heading)
    lots = yards[yard_fits]
    return patches + tanks, _buildings(halls[stands], heights[stands], "industrial"), [*shine, *_lorries(rng, lots)]


def _tanks(
    rng: np.random.Generator, board: Board, lots: Floats, heading: float
) -> tuple[list[Patch], list[Scatterers]]:
    """Groups of round tanks: a bright near edge and a weak far one each."""
    patches, centres = [], []
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    for x, y, length, width, _ in lots.tolist():
        radius = float(rng.uniform(7, 12))
        columns, rows = max(1, int(length // (2.8 * radius))), max(1, int(width // (2.8 * radius)))
        u, v = (
            2.7 * radius * axis.ravel()
            for axis in np.meshgrid(
                np.arange(min(columns, 4)) - (columns - 1) / 2, np.arange(min(rows, 3)) - (rows - 1) / 2
            )
        )
        a = x + u * np.cos(heading) - v * np.sin(heading)
        b = y + u * np.sin(heading) + v * np.cos(heading)
        boxes = np.stack([a, b, *(np.full_like(a, 2 * radius),) * 2, np.zeros_like(a)], axis=1)
        for p, q in boxes[board.holds(boxes, "industrial"), :2].tolist():
            patches.append(Patch("tarmac", ring * radius + (p, q), role="tank", label="building", gain_db=1.0))
            centres += [(p - radius, q, 14.0), (p + radius, q, 14.0), (p, q + radius * 0.7, 3.0)]
    return patches, [points(rng, np.array(centres))] if centres else []


def _lorries(rng: np.random.Generator, yards: Floats) -> list[Scatterers]:
    """Vehicles and stacks that stand about in yards, and the posts of a fence along one side."""
    if not len(yards):
        return []
    count = rng.integers(2, 9, len(yards))
    home = np.repeat(yards, count, axis=0)
    u, v = rng.uniform(-0.45, 0.45, (2, len(home))) * home[:, 2:4].T
    x = home[:, 0] + u * np.cos(home[:, 4]) - v * np.sin(home[:, 4])
    y = home[:, 1] + u * np.sin(home[:, 4]) + v * np.cos(home[:, 4])
    about = points(rng, np.stack([x, y, rng.uniform(2, 15, len(x))], axis=1))
    posts = np.maximum(2, yards[:, 2] // _FENCE_POST_M).astype(np.int64)
    home = np.repeat(yards, posts, axis=0)
    place = np.concatenate([np.linspace(-0.5, 0.5, count) for count in posts])
    u, v = place * home[:, 2], 0.5 * home[:, 3]
    x = home[:, 0] + u * np.cos(home[:, 4]) - v * np.sin(home[:, 4])
    y = home[:, 1] + u * np.sin(home[:, 4]) + v * np.cos(home[:, 4])
    return [about, points(rng, np.stack([x, y, rng.uniform(-5, 1, len(x))], axis=1))]


def points(rng: np.random.Generator, rows: Floats) -> Scatterers:
    """Scatterers from rows of x, y and cross-section, with random phases."""
    return Scatterers(rows[:, 0], rows[:, 1], rows[:, 2], rng.uniform(0, 2 * np.pi, len(rows)))
