"""`make bench`, or `python -m tests.bench training-step --turns 20`; `ladder` is scores, not seconds."""

from __future__ import annotations

import argparse
import json
import sys

from tests.bench.interleave import Timing
from tests.bench.ladder.climb import print_ladder
from tests.bench.measurements import MEASUREMENTS

LADDER = "ladder"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MEASUREMENTS, LADDER, []], help="which; default: all")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = {}
    for name in arguments.names or [*MEASUREMENTS, LADDER]:
        if name == LADDER:
            print_ladder("mini", seeds=(0,), networks=True, as_json=arguments.json)
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
    return {**timing._asdict(), "ratio_to_peer": timing.median / peer.median}


def _print(timings: dict[str, Timing], peer: str) -> None:
    for work, timing in timings.items():
        ratio = timing.median / timings[peer].median
        spread = f"({timing.low * 1e3:.1f} to {timing.high * 1e3:.1f}, {timing.turns} turns)"
        print(f"  {work:20} {timing.median * 1e3:9.1f} ms {spread:36} {ratio:6.2f} x {peer}")


if __name__ == "__main__":
    main()
