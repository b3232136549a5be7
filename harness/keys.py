"""The key of a cell: a hash over an explicit allow-list of what can change its numbers, and nothing else.

What is not listed here (jobs, threads, device, output folder, the version of this package, comments in the code)
never causes a cell to run again; what is listed always does. Library versions are recorded, not keyed: a patch release
of a library should not cost a cluster its results, and `harness status` shows when records were made with others.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from adapters.card import ModelCard
from foundation.hashing import hash_sources, hash_value
from results.record import CellId
from tasks.catalog import TASKS
from tasks.protocol import TaskSettings

KEY_SCHEMA = 1
HOME = Path(__file__).resolve().parent.parent

ENCODER_SOURCES = (
    "adapters/checkpoint.py",
    "adapters/checkpoint_files.py",
    "adapters/containers/*.py",
    "adapters/encoder.py",
    "adapters/hivit.py",
    "adapters/image_batch.py",
    "adapters/initial_values.py",
    "adapters/input_rules.py",
    "adapters/layouts/*.py",
    "adapters/load.py",
    "adapters/load_modes.py",
    "adapters/objects.py",
    "adapters/patch_kernel.py",
    "adapters/positions.py",
    "adapters/relative_positions.py",
    "adapters/sar_input.py",
    "adapters/simple_features.py",
    "adapters/timm_encoder.py",
)
"""Sources that turn a card and an image into features."""

TRAINING_SOURCES = (
    "adapters/decode.py",
    "adapters/mean_clip.py",
    "adapters/pixel_cache.py",
    "foundation/seeds.py",
    "tasks/augment.py",
    "tasks/fine_tuning.py",
    "tasks/images.py",
    "tasks/input_path.py",
    "tasks/optimiser.py",
    "tasks/schedule.py",
    "tasks/training.py",
    "tasks/under_heads.py",
)
"""Sources that every task trains with."""

LANGUAGE_SOURCES = (
    "klip/losses/*.py",
    "klip/model/*.py",
    "klip/settings.py",
    "klip/text_file.py",
    "klip/tokens/*.py",
    "tasks/baselines/features.py",
    "tasks/builders/captions.py",
    "tasks/builders/geometry.py",
    "tasks/datasets/composed.py",
    *(f"tasks/language/{name}.py" for name in ("images", "network", "start", "targets", "tokens", "tuning")),
)
"""Sources that retrieval, captioning and questions share."""

CAPTION_SOURCES = ("tasks/baselines/neighbours.py", "tasks/language/texts.py")
"""Sources that retrieval and captioning share besides."""

QUESTIONS = tuple(task for task in TASKS if task.startswith("vqa_"))

TASK_SOURCES: dict[str, tuple[str, ...]] = {
    "classification": ("tasks/classification/fit.py", "tasks/baselines/features.py"),
    "detection": (
        "adapters/windows.py",
        "tasks/baselines/cfar.py",
        "tasks/baselines/features.py",
        "tasks/datasets/images.py",
        "tasks/metrics/precision_recall.py",
        *(
            f"tasks/detection/{name}.py"
            for name in (
                *("anchors", "assignment", "backbone", "box_head", "boxes", "channel_norm", "detector"),
                *("initial_values", "proposals", "pyramid", "regions", "suppression"),
                *("answers", "augment", "control", "data", "fit", "squares"),
            )
        ),
    ),
    "segmentation": (
        "tasks/baselines/features.py",
        "tasks/baselines/patches.py",
        "tasks/datasets/images.py",
        "tasks/datasets/masks.py",
        *(
            f"tasks/segmentation/{name}.py"
            for name in ("data", "fit", "loss", "mask_text", "network", "predict", "tiling")
        ),
    ),
    "retrieval": (
        *LANGUAGE_SOURCES,
        *CAPTION_SOURCES,
        *(f"tasks/retrieval/{name}.py" for name in ("data", "fit", "ranking")),
    ),
    "caption": (
        *LANGUAGE_SOURCES,
        *CAPTION_SOURCES,
        "klip/generate.py",
        "tasks/baselines/majority.py",
        "tasks/caption/data.py",
        "tasks/caption/fit.py",
    ),
    **dict.fromkeys(
        QUESTIONS,
        (
            *LANGUAGE_SOURCES,
            "klip/generate.py",
            "tasks/baselines/majority.py",
            "tasks/builders/landform.py",
            "tasks/builders/questions.py",
            "tasks/datasets/masks.py",
            *(f"tasks/vqa/{name}.py" for name in ("answering", "asking", "blind", "data", "fit")),
        ),
    ),
}
"""Sources that only one task's predictions hang on. Which images are in which part is keyed by the split's hash."""

SCORING_SOURCES: dict[str, tuple[str, ...]] = {
    "classification": (
        "tasks/answer_rows.py",
        "tasks/classification/score.py",
        "tasks/scoring.py",
        "results/statistics.py",
    ),
    "detection": (
        "tasks/answer_rows.py",
        "tasks/detection/score.py",
        "tasks/metrics/detection.py",
        "tasks/scoring.py",
        "results/statistics.py",
    ),
    "segmentation": (
        "tasks/answer_rows.py",
        "tasks/baselines/majority.py",
        "tasks/metrics/segmentation.py",
        "tasks/segmentation/score.py",
        "tasks/scoring.py",
        "results/statistics.py",
    ),
    "retrieval": (
        "tasks/answer_rows.py",
        "tasks/metrics/retrieval.py",
        "tasks/retrieval/score.py",
        "tasks/scoring.py",
        "results/statistics.py",
    ),
    "caption": (
        "tasks/answer_rows.py",
        "tasks/caption/score.py",
        "tasks/metrics/captions.py",
        "tasks/metrics/java_scorers.py",
        "tasks/scoring.py",
        "results/statistics.py",
    ),
    **dict.fromkeys(
        QUESTIONS,
        (
            "tasks/answer_rows.py",
            "tasks/metrics/answers.py",
            "tasks/scoring.py",
            "tasks/vqa/score.py",
            "results/statistics.py",
        ),
    ),
}
"""Sources that turn predictions into metrics: when they change, stored predictions are scored again.

What predictions or truth files hang on as well is not among them.
"""


OTHER_SOURCES: dict[str, tuple[str, ...]] = {"own": (), "openmmlab": ("tasks/openmmlab/*.py",)}
"""Sources that another implementation of a task brings along."""


@cache
def numerics_hash(task: str, implementation: str = "own") -> str:
    """Hash of the sources that can change the predictions of a task."""
    own = (*ENCODER_SOURCES, *TRAINING_SOURCES, *TASK_SOURCES[task])
    return hash_sources(_expand((*own, *OTHER_SOURCES[implementation])))


@cache
def scoring_hash(task: str) -> str:
    """Hash of the sources that can change the metrics of given predictions."""
    return hash_sources(_expand(SCORING_SOURCES[task]))


def settings_hash(settings: TaskSettings) -> str:
    """Hash of a task's settings."""
    return hash_value(settings.model_dump(mode="json"))


def key_parts(
    cell: CellId,
    card: ModelCard,
    settings: TaskSettings,
    *,
    weights_hash: str | None,
    load_mode: str,
    made_by: str,
    data_hash: str,
    split_hash: str,
    twin: str,
    world: str | None,
    text_start: str | None = None,
) -> dict[str, Any]:
    """The allow-list. Label maps, limits and unreadable files act through the hashes of data and split.

    `text_start` is the hash of what the text side of a language task starts from; None for a vision task.
    """
    parts = {
        "schema": KEY_SCHEMA,
        "task": cell.task,
        "dataset": cell.dataset,
        "model": cell.model,
        "profile": cell.profile,
        "seed": cell.seed,
        "architecture": card.architecture.model_dump(mode="json") if card.architecture else None,
        "input": card.input.model_dump(mode="json") if card.input else None,
        "weights_kind": card.weights.kind,
        "weights_hash": weights_hash,
        "layout": card.layout,
        "load_mode": load_mode,
        "implementation": made_by,
        "settings": settings_hash(settings),
        "data": data_hash,
        "split": split_hash,
        "twin": twin,
        "world": world,
        "numerics": numerics_hash(cell.task, made_by.partition(" ")[0]),
    }
    return parts if text_start is None else {**parts, "text_start": text_start}


def _expand(patterns: tuple[str, ...]) -> list[Path]:
    found: list[Path] = []
    for pattern in patterns:
        matches = sorted(HOME.glob(pattern))
        if not matches:
            raise FileNotFoundError(f"no source matches {pattern}; mend the list in harness/keys.py")
        found += matches
    return found
