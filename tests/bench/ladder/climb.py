"""All rungs of one world, and how they are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.catalog import DATASETS
from tasks.sarworld.build import MARKER, read_marker
from tasks.sarworld.cache import default_world
from tasks.sarworld.plan import Size
from tests.bench.ladder.language import captioning, land_answers, retrieving, target_answers
from tests.bench.ladder.rungs import Rung, Twin, gains, steps_that_hold, table
from tests.bench.ladder.vision import BOXES, CHIPS, classification, detecting, segmenting, size_alone


def climb(world: Path, twin: Twin = "none", *, networks: bool = False) -> list[Rung]:
    """Every task on every data set."""
    rungs = [classification(world, dataset, twin, network=networks) for dataset in CHIPS]
    rungs += [detecting(world, dataset, twin, network=networks) for dataset in BOXES]
    rungs += [segmenting(world, dataset, twin, network=networks) for dataset in ("fusar_map", "air_polarsar_seg")]
    rungs += [retrieving(world, twin), captioning(world, twin)]
    rungs += [target_answers(world, f"vqa_target_{name}", twin) for name in ("count", "rec", "pos")]
    rungs += [land_answers(world, f"vqa_{name}_land", twin) for name in ("main", "all", "reg")]
    return rungs


def print_ladder(
    size: Size,
    *,
    seeds: Sequence[int] = (0,),
    twin: Twin = "none",
    networks: bool = False,
    workers: int = 2,
    root: Path | None = None,
    as_json: bool = False,
) -> None:
    """One table for every seed of the world, which is built where it is missing."""
    for seed in seeds:
        world = root or default_world(size, seed, workers=workers, datasets=tuple(DATASETS))
        rungs = climb(world, twin, networks=networks)
        if as_json:
            print(json.dumps({"seed": seed, "rungs": [asdict(rung) for rung in rungs]}))
            continue
        facts = read_marker(world / MARKER)
        held = steps_that_hold(rungs)
        print(f"sarworld v{facts['world_version']} {facts['size']} seed {facts['seed']}, twin {twin}")
        print(table(rungs))
        print(f"sar_acd by the size of the chips alone: {size_alone(world):.1f}")
        print(
            f"simple features over level 0 by enough in {len(held)} of {len(gains(rungs))} tasks: {', '.join(held)}\n"
        )
