"""All rungs of one world."""

from __future__ import annotations

from pathlib import Path

from tests.bench.ladder.language import captioning, land_answers, retrieving, target_answers
from tests.bench.ladder.rungs import Rung, Twin
from tests.bench.ladder.vision import BOXES, CHIPS, classification, detecting, segmenting


def climb(world: Path, twin: Twin = "none") -> list[Rung]:
    """Every task on every data set."""
    rungs = [classification(world, dataset, twin) for dataset in CHIPS]
    rungs += [detecting(world, dataset, twin) for dataset in BOXES]
    rungs += [segmenting(world, dataset, twin) for dataset in ("fusar_map", "air_polarsar_seg")]
    rungs += [retrieving(world, twin), captioning(world, twin)]
    rungs += [target_answers(world, f"vqa_target_{name}", twin) for name in ("count", "rec", "pos")]
    rungs += [land_answers(world, f"vqa_{name}_land", twin) for name in ("main", "all", "reg")]
    return rungs
