"""`python -m tests.bench.ladder --size mini`: builds the world where it is missing and prints the ladder."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.bench.ladder.climb import print_ladder
from tests.bench.ladder.rungs import TWINS


def main() -> None:
    """Prints one table for every seed of the world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("ci", "mini", "default"), default="mini")
    parser.add_argument("--seeds", default="0", help="seeds of the world, with commas")
    parser.add_argument("--twin", choices=TWINS, default="none")
    parser.add_argument("--networks", action="store_true", help="train the tiny ViT too, where a task can be trained")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", type=Path, help="a built world; without it: the cache")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    print_ladder(
        arguments.size,
        seeds=[int(text) for text in arguments.seeds.split(",")],
        twin=arguments.twin,
        networks=arguments.networks,
        workers=arguments.workers,
        root=arguments.root,
        as_json=arguments.json,
    )


if __name__ == "__main__":
    main()
