"""`python -m tests.bench.ladder --size mini`: builds the world where it is missing and prints the ladder."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tasks.catalog import DATASETS
from tasks.sarworld.build import MARKER, read_marker
from tasks.sarworld.cache import default_world
from tests.bench.ladder.climb import climb
from tests.bench.ladder.rungs import TWINS, gains, steps_that_hold, table
from tests.bench.ladder.vision import size_alone


def main() -> None:
    """Prints one table for every seed of the world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("ci", "mini", "default"), default="mini")
    parser.add_argument("--seeds", default="0", help="seeds of the world, with commas")
    parser.add_argument("--twin", choices=TWINS, default="none")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="a built world; without it: the cache")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for seed in (int(text) for text in arguments.seeds.split(",")):
        world = arguments.root or default_world(
            arguments.size, seed, workers=arguments.workers, datasets=tuple(DATASETS)
        )
        rungs = climb(world, arguments.twin)
        if arguments.json:
            print(json.dumps({"seed": seed, "rungs": [asdict(rung) for rung in rungs]}))
            continue
        facts = read_marker(world / MARKER)
        print(f"sarworld v{facts['world_version']} {facts['size']} seed {facts['seed']}, twin {arguments.twin}")
        print(table(rungs))
        held = steps_that_hold(rungs)
        print(f"sar_acd by the size of the chips alone: {size_alone(world):.1f}")
        print(
            f"simple features over level 0 by enough in {len(held)} of {len(gains(rungs))} tasks: {', '.join(held)}\n"
        )


if __name__ == "__main__":
    main()
