"""`make bench`, or `python -m tests.bench training-step --turns 20`; tables are scores and counts, not seconds."""

from __future__ import annotations

import argparse
import json
import math
import sys

from tests.bench.interleave import Timing
from tests.bench.ladder.climb import print_ladder
from tests.bench.ladder.probes import print_probes
from tests.bench.measurements import MEASUREMENTS
from tests.bench.planted_noise import print_planted_noise
from tests.bench.scio_operations import print_operations

LADDER = "ladder"
PROBES = "probes"
PLANTED = "planted-noise"
OPERATIONS = "scio-operations"
TABLES = (LADDER, PROBES, PLANTED, OPERATIONS)
"""What is printed as a table of its own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, *TABLES, []], help="which; default: all")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3, help="of planted-noise")
    parser.add_argument("--starts", type=int, default=5, help="of the ViT from scratch in probes")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {}
    for name in arguments.names or [*MEASUREMENTS, *TABLES]:
        if name == LADDER:
            print_ladder("mini", seeds=(0,), networks=True, as_json=arguments.json)
            continue
        if name == PROBES:
            print_probes(seeds=arguments.starts, as_json=arguments.json)
            continue
        if name == PLANTED:
            print_planted_noise(tuple(range(arguments.seeds)), as_json=arguments.json)
            continue
        if name == OPERATIONS:
            print_operations(as_json=arguments.json)
            continue
        measure, peer = MEASUREMENTS[name]
        print(f"{name}: {measure.__doc__}", file=sys.stderr)
        timings = measure(arguments.turns)
        found[name] = {work: _row(timing, timings[peer]) for work, timing in timings.items()}
        if not arguments.json:
            _print(timings, peer)
    if arguments.json and found:
        print(json.dumps(found, indent=2))


def _row(timing: Timing, peer: Timing) -> dict[str, float]:
    ratios = {"ratio_to_peer": timing.median / peer.median, "cpu_ratio_to_peer": _worked_ratio(timing, peer)}
    return {**timing._asdict(), **ratios}


def _worked_ratio(timing: Timing, peer: Timing) -> float:
    return timing.cpu / peer.cpu if peer.cpu else math.nan


def _print(timings: dict[str, Timing], peer: str) -> None:
    for work, timing in timings.items():
        ratio = timing.median / timings[peer].median
        spread = f"({timing.low * 1e3:.1f} to {timing.high * 1e3:.1f}, {timing.turns} turns)"
        worked = f"processor {timing.cpu * 1e3:.1f} ms, {_worked_ratio(timing, timings[peer]):.2f} x"
        print(f"  {work:27} {timing.median * 1e3:9.1f} ms {spread:36} {ratio:6.2f} x {peer}; {worked}")


if __name__ == "__main__":
    main()
