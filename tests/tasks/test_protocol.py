"""The settings against the paper's tables and the task specification, typed in a second time."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError

from foundation.errors import CheckError, UsageError
from tasks.catalog import TASKS
from tasks.protocol import (
    PROFILES,
    CaptionSettings,
    ClassificationSettings,
    DetectionSettings,
    RetrievalSettings,
    SegmentationSettings,
    TaskSettings,
    TrainingSettings,
    VqaSettings,
    common_settings,
    deviations_by_hand,
    load,
    load_profile,
    parse_by_hand,
    task_settings,
)

ROOT = Path(__file__).resolve().parents[2]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # section 2.2
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Table 3: task, optimiser, rate, epochs, shape of the schedule, warm-up.
TABLE_3 = [
    ("classification", "adamw", 0.003, 100, "cosine", True),
    ("detection", "adamw", 0.0001, 36, "multistep", True),
    ("segmentation", "adamw", 0.001, 100, "poly", False),
]
# Table 5: task, losses, tokens, epochs, rate. Its "MLM" of captions and questions is the loss of the decoder.
TABLE_5 = [
    ("retrieval", ("itc", "itm"), 35, 12, 0.00001),
    ("caption", ("itc", "itm", "lm"), 100, 12, 0.00001),
    ("vqa", ("itc", "itm", "lm"), 35, 12, 0.00002),
]
TOP_LEVEL = """
name = "planted"
version = 1
about = "for a test"
[split]
ratio = [4, 1]
official = []
"""


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value


def _dump(profile: str, task: str, backbone: str = "ViT-Base") -> dict[str, Any]:
    return task_settings(profile, task, backbone).model_dump()


@pytest.mark.parametrize(("task", "optimiser", "rate", "epochs", "shape", "warmup"), TABLE_3)
@pytest.mark.parametrize("backbone", ["ViT-Base", "ViT-Large"])
def test_table_3(task: str, optimiser: str, rate: float, epochs: int, shape: str, warmup: bool, backbone: str) -> None:
    training = task_settings("paper", task, backbone).training
    assert (training.optimiser.name, training.optimiser.rate, training.epochs) == (optimiser, rate, epochs)
    assert training.schedule.kind == shape
    assert (training.schedule.warmup_epochs > 0) == warmup


@pytest.mark.parametrize(("task", "losses", "tokens", "epochs", "rate"), TABLE_5)
def test_table_5(task: str, losses: tuple[str, ...], tokens: int, epochs: int, rate: float) -> None:
    settings = task_settings("paper", task)
    assert isinstance(settings, RetrievalSettings | CaptionSettings | VqaSettings)
    assert (settings.losses, settings.max_tokens) == (losses, tokens)
    assert (settings.training.epochs, settings.training.optimiser.rate) == (epochs, rate)
    assert settings.training.optimiser.name == "adamw"


def test_classification_is_section_3_1() -> None:
    assert _dump("paper", "classification") == {
        "training": {
            "epochs": 100,
            "batch": 224,  # 28 per process on 8 cards
            "micro_batch": 28,
            "optimiser": {
                "name": "adamw",
                "rate": 0.003,
                "betas": (0.9, 0.999),
                "momentum": 0.0,
                "weight_decay": 0.3,
                "no_decay": ("class_token", "position"),
                "layer_decay": None,
            },
            "schedule": {
                "kind": "cosine",
                "step": "iteration",
                "warmup_epochs": 30.0,
                "warmup_factor": 1e-4,
                "milestones": (),
                "gamma": 0.1,
                "power": 1.0,
                "floor": 0.0,
            },
            "gradient_clip": None,
            "precision": "auto",
        },
        "encoder": {"dropout": 0.1, "drop_path": 0.0},
        "normalisation": {"source": "task", "mean": (127.5,) * 3, "std": (127.5,) * 3},
        "image_size": 512,
        "images": "original",
        "crop": {"scale": (0.08, 1.0), "ratio": (0.75, pytest.approx(4 / 3))},
        "horizontal_flip": 0.5,
        "pooling": "class_token",
        "label_smoothing": 0.1,
    }


def test_detection_is_section_4_1() -> None:
    settings = _dump("paper", "detection")
    training = settings.pop("training")
    assert settings == {
        "encoder": {"dropout": 0.0, "drop_path": 0.1},
        "normalisation": {"source": "task", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)},
        "image_size": 800,
        "resize_range": (0.8, 1.2),
        "horizontal_flip": 0.5,
        "smallest_box": 0.01,
        "smallest_image": 32,
        "window": 14,
        "global_blocks": (2, 5, 8, 11),
        "pyramid_strides": (4, 8, 16, 32, 64),
        "pyramid_channels": 256,
        "anchor_scale": 8.0,
        "anchor_ratios": (0.5, 1.0, 2.0),
        "rpn_convolutions": 2,
        "rpn_positive_iou": 0.7,
        "rpn_negative_iou": 0.3,
        "rpn_low_quality_iou": 0.3,
        "rpn_samples": 256,
        "rpn_positive_share": 0.5,
        "rpn_proposals_train": (2000, 1000),
        "rpn_proposals_test": (1000, 1000),
        "rpn_suppression_iou": 0.7,
        "roi_size": 7,
        "roi_convolutions": 4,
        "roi_hidden": 1024,
        "roi_samples": 512,
        "roi_positive_share": 0.25,
        "roi_positive_iou": 0.5,
        "roi_delta_scale": (0.1, 0.1, 0.2, 0.2),
        "test_score": 0.05,
        "test_suppression_iou": 0.5,
        "test_detections": 100,
        "ignore_difficult": False,  # section 11.2
        "few_shot_share": 0.2,  # section 2.5
    }
    assert (training["epochs"], training["batch"], training["micro_batch"]) == (36, 32, 4)
    optimiser, schedule = training["optimiser"], training["schedule"]
    assert (optimiser["betas"], optimiser["weight_decay"], optimiser["layer_decay"]) == ((0.9, 0.999), 0.1, 0.7)
    assert {"norm", "position"} <= set(optimiser["no_decay"])
    assert "bias" not in optimiser["no_decay"]
    assert (schedule["step"], schedule["warmup_epochs"], schedule["warmup_factor"]) == ("epoch", 5, 0.001)
    assert (schedule["milestones"], schedule["gamma"]) == ((24, 33), 0.1)


def test_the_large_backbone_changes_three_settings_of_detection_and_nothing_else() -> None:
    base, large = (dict(_flat(_dump("paper", "detection", size))) for size in ("ViT-Base", "ViT-Large"))
    assert {key: large[key] for key in large if large[key] != base[key]} == {
        "encoder.drop_path": 0.4,
        "global_blocks": (5, 11, 17, 23),
        "training.optimiser.layer_decay": 0.8,
    }
    assert dict(_flat(_dump("paper", "detection", "mini"))) == base
    for task in ("classification", "segmentation", "retrieval", "caption", "vqa"):
        assert _dump("paper", task, "ViT-Large") == _dump("paper", task, "ViT-Base")


def test_segmentation_is_section_5_1() -> None:
    settings = _dump("paper", "segmentation")
    training = settings.pop("training")
    assert settings == {
        "encoder": {"dropout": 0.0, "drop_path": 0.1},
        "normalisation": {"source": "task", "mean": (127.5,) * 3, "std": (127.5,) * 3},
        "tile": 256,
        "stride": 256,
        "augment": False,
        "decoder_blocks": 2,
        "decoder_dropout": 0.0,
        "ignore_label": 255,
    }
    optimiser, schedule = training["optimiser"], training["schedule"]
    assert training["batch"] == 60
    assert optimiser["weight_decay"] == 0.0 and optimiser["layer_decay"] is None
    assert (schedule["power"], schedule["floor"], schedule["step"]) == (0.9, 1e-4, "iteration")
    assert schedule["warmup_epochs"] == 0


@pytest.mark.parametrize("task", ["retrieval", "caption", "vqa"])
def test_language_tasks_share_the_blip_recipe(task: str) -> None:
    settings = task_settings("paper", task)
    assert isinstance(settings, RetrievalSettings | CaptionSettings | VqaSettings)
    training = settings.training
    assert training.optimiser.weight_decay == 0.05
    assert (training.schedule.kind, training.schedule.step, training.schedule.floor) == ("cosine", "epoch", 0.0)
    assert training.batch == {"retrieval": 32, "caption": 32, "vqa": 16}[task]
    assert settings.normalisation.mean == pytest.approx([255 * value for value in CLIP_MEAN])
    assert settings.normalisation.std == pytest.approx([255 * value for value in CLIP_STD])
    assert settings.init_text == "bert"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("task", ["retrieval", "caption", "vqa"])
def test_nothing_that_moves_a_position_can_be_set_for_language_tasks(profile: str, task: str) -> None:
    # Decision 6: flips and crops falsify positions and coordinates.
    names = {name.rpartition(".")[2] for name, _ in _flat(_dump(profile, task))}
    assert not names & {"horizontal_flip", "crop", "scale", "ratio", "augment", "resize_range"}
    assert "intensity_jitter" in names


def test_retrieval_is_section_7() -> None:
    settings = cast(RetrievalSettings, task_settings("paper", "retrieval"))
    assert (settings.rerank, settings.image_size, settings.images) == (128, 512, 805)


@pytest.mark.parametrize("task", ["retrieval", "caption", "vqa"])
def test_texts_are_compared_as_section_7_says_in_every_language_task(task: str) -> None:
    comparing = cast(RetrievalSettings | CaptionSettings | VqaSettings, task_settings("paper", task)).comparing
    assert (comparing.momentum, comparing.embedding, comparing.queue) == (0.995, 256, 20_000)
    assert (comparing.temperature, comparing.temperature_range) == (0.07, (0.001, 0.5))
    assert (comparing.alpha, comparing.rise_epochs) == (0.4, 1)


def test_captions_are_section_8() -> None:
    settings = cast(CaptionSettings, task_settings("paper", "caption"))
    assert (settings.beams, settings.generated_tokens, settings.prompt) == (3, (5, 100), "a sar image of ")


def test_questions_are_section_9() -> None:
    settings = cast(VqaSettings, task_settings("paper", "vqa"))
    assert (settings.joint, settings.answering, settings.image_size) == (False, "rank", 256)
    assert (settings.beams, settings.generated_tokens) == (3, 24)


def test_the_split_is_four_to_one() -> None:
    for name in PROFILES:
        assert load_profile(name).split.ratio == (4, 1)
        assert set(load_profile(name).split.official) <= {"sar_aircraft_few", "air_polarsar_seg"}


def test_released_differs_exactly_where_the_configuration_contradicts_the_paper() -> None:
    differences = {}
    for task in ("classification", "detection", "segmentation", "retrieval", "caption", "vqa"):
        paper, released = dict(_flat(_dump("paper", task))), dict(_flat(_dump("released", task)))
        assert paper.keys() == released.keys()
        differences.update({f"{task}.{key}": released[key] for key in paper if paper[key] != released[key]})
    assert differences == {
        # Section 5.1: SGD with momentum 0.9 at the same rate, decay and schedule.
        "segmentation.training.optimiser.name": "sgd",
        "segmentation.training.optimiser.momentum": 0.9,
        # Section 8 and erratum E13: the language-model loss alone.
        "caption.losses": ("lm",),
        "vqa.losses": ("lm",),
    }


def test_mini_is_small_and_fits_encoders_with_patches_of_eight() -> None:
    """Sizes and epochs of the mini profile are chosen for ten minutes (its head says how), not given by a table."""
    for task in ("classification", "detection", "segmentation"):
        mini, paper = (cast(Any, task_settings(profile, task)) for profile in ("mini", "paper"))
        assert mini.input_size <= 64 < paper.input_size and mini.input_size % 8 == 0
        assert mini.training.epochs < paper.training.epochs and mini.training.batch < paper.training.batch
    detection = cast(DetectionSettings, task_settings("mini", "detection"))
    assert [detection.anchor_scale * stride for stride in detection.pyramid_strides] == [8, 16, 32]
    assert detection.window * 8 < detection.image_size, "some attention is within windows"


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_every_profile_has_settings(profile: str, task: str) -> None:
    settings = task_settings(profile, task)
    assert settings.training.epochs >= 1
    if task.startswith("vqa_"):
        assert settings == task_settings(profile, "vqa")


@pytest.mark.parametrize("profile", PROFILES)
def test_every_part_of_a_profile_is_used(profile: str) -> None:
    loaded = load_profile(profile)
    assert loaded.name == profile and loaded.version >= 1 and loaded.about
    assert set(loaded.tasks) == {"classification", "detection", "segmentation", "retrieval", "caption", "vqa"}


def test_settings_cannot_be_changed_in_passing() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        task_settings("paper", "classification").training.epochs = 1  # type: ignore[misc]


# ---- Planted faults: what a slip in a profile would do


def _planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    """Puts one more profile beside the shipped ones."""
    folder = tmp_path / "protocol"
    folder.mkdir()
    for name in PROFILES:
        folder.joinpath(f"{name}.toml").write_bytes((ROOT / f"tasks/protocol/{name}.toml").read_bytes())
    folder.joinpath("planted.toml").write_text(content, encoding="utf-8")
    monkeypatch.setattr(load, "files", lambda _: folder)
    monkeypatch.setattr(load, "PROFILES", (*PROFILES, "planted"))
    load_profile.cache_clear()
    task_settings.cache_clear()


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    yield
    load_profile.cache_clear()
    task_settings.cache_clear()


FAULTS = {
    "unknown key": ("[classification]\nimage_sise = 64", "image_sise"),
    "unknown key deep below": ("[detection.training.optimiser]\nlearning_rate = 1.0", "learning_rate"),
    "warm-up as long as the training": ("[classification.training]\nepochs = 30", "warm-up"),
    "milestone after the end": ("[detection.training.schedule]\nmilestones = [24, 36]", "milestones"),
    "falling milestones": ("[detection.training.schedule]\nmilestones = [33, 24]", "milestones must rise"),
    "repeated milestone": ("[detection.training.schedule]\nmilestones = [24, 24]", "milestones must rise"),
    "no milestones": ("[detection.training.schedule]\nmilestones = []", "milestones"),
    "milestones where none belong": ("[classification.training.schedule]\nmilestones = [50]", "milestones"),
    "negative rate": ("[vqa.training.optimiser]\nrate = -1.0", "rate"),
    "unknown optimiser": ('[caption.training.optimiser]\nname = "lion"', "name"),
    "unknown loss": ('[retrieval]\nlosses = ["itc", "itn"]', "losses"),
    "micro-batch above the batch": ("[segmentation.training]\nmicro_batch = 61", "micro_batch"),
    "a word for a number": ('[classification]\nimage_size = "large"', "image_size"),
    "only for large backbones": ("[detection.backbone.ViT-Large]\nglobal_bloks = [1]", "global_bloks"),
    "a backbone that does not exist": ("[detection.backbone.ViT-Lareg]\nwindow = 7", "ViT-Lareg"),
    "whole parts that are unknown": ("[clasification]\nimage_size = 64", "clasification"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_slip_in_a_profile_is_refused_and_named(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content, named = FAULTS[fault]
    _planted(tmp_path, monkeypatch, f'extends = "paper"\nname = "planted"\n{content}\n')
    with pytest.raises(CheckError, match=named) as caught:
        load_profile("planted")
    assert "planted.toml" in caught.value.where


def test_a_value_that_is_not_stated_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (ROOT / "tasks/protocol/paper.toml").read_text(encoding="utf-8")
    without = whole.replace("label_smoothing = 0.1", "#")
    assert without != whole
    _planted(tmp_path, monkeypatch, without)
    with pytest.raises(CheckError, match="label_smoothing"):
        load_profile("planted")


def test_a_profile_without_a_split_rule_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (ROOT / "tasks/protocol/paper.toml").read_text(encoding="utf-8")
    _planted(tmp_path, monkeypatch, whole.replace("ratio = [4, 1]", "#"))
    with pytest.raises(CheckError, match="ratio"):
        load_profile("planted")


def test_a_profile_without_a_task_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _planted(tmp_path, monkeypatch, TOP_LEVEL)
    with pytest.raises(CheckError, match="lacks settings for caption, classification, detection"):
        load_profile("planted")


def test_a_profile_says_only_what_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _planted(tmp_path, monkeypatch, 'extends = "released"\nname = "planted"\n[segmentation]\ntile = 128\n')
    below, planted = _dump("released", "segmentation"), _dump("planted", "segmentation")
    assert planted == {**below, "tile": 128}


def test_an_unknown_profile_is_answered_with_the_near_one() -> None:
    with pytest.raises(UsageError, match="papers") as caught:
        load_profile("papers")
    assert "did you mean paper" in caught.value.way_out


def test_shipped_profiles_are_read_from_the_package_and_every_value_names_its_source() -> None:
    text = (ROOT / "tasks/protocol/paper.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    for task in ("classification", "detection", "segmentation"):
        rate_line = text.split(f"[{task}.training.optimiser]")[1].split("rate =")[1].splitlines()[0]
        assert "[T3]" in rate_line
        assert table[task]["training"]["optimiser"]["rate"] == task_settings("paper", task).training.optimiser.rate


def test_loading_a_profile_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom tasks.protocol import PROFILES, load_profile\n"
        "import tasks.catalog, tasks.splits, tasks.datasets, tasks.schedule\n"
        "[load_profile(name) for name in PROFILES]\nprint(*sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert "tasks.protocol.load" in done.stdout.split()
    assert not {"torch", "numpy", "PIL", "sklearn", "pandas", "tifffile"} & set(done.stdout.split())


def test_training_settings_stand_alone() -> None:
    values = task_settings("paper", "classification").training.model_dump()
    assert TrainingSettings.model_validate(values).model_dump() == values
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate({**values, "epochs": 0})


def test_every_kind_of_settings_is_of_the_union() -> None:
    kinds = {type(task_settings("paper", task)) for task in TASKS}
    assert kinds == set(TaskSettings.__args__)


def test_a_setting_by_hand_replaces_the_profiles_and_nothing_else() -> None:
    by_hand = parse_by_hand(["segmentation.augment=true", "segmentation.training.epochs=2", "detection.window=7"])
    settings = task_settings("paper", "segmentation", by_hand=by_hand)
    usual = task_settings("paper", "segmentation")
    assert isinstance(settings, SegmentationSettings) and isinstance(usual, SegmentationSettings)
    assert settings.augment and settings.training.epochs == 2
    assert settings.model_copy(update={"augment": False, "training": usual.training}) == usual
    assert common_settings("paper", "segmentation", by_hand) == settings
    assert task_settings("paper", "classification", by_hand=by_hand) == task_settings("paper", "classification")
    assert deviations_by_hand("segmentation", by_hand) == (
        "segmentation.augment=true by hand",
        "segmentation.training.epochs=2 by hand",
    )


def test_text_by_hand_needs_no_quotes() -> None:
    settings = task_settings("mini", "classification", by_hand=parse_by_hand(["classification.pooling=mean"]))
    assert isinstance(settings, ClassificationSettings) and settings.pooling == "mean"


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("augment", "TASK.KEY=VALUE"),
        ("augment=true", "TASK.KEY=VALUE"),
        ("segmentation.augment=", "TASK.KEY=VALUE"),
        ("segmentatoin.augment=true", "segmentation"),
    ],
)
def test_what_is_no_setting_is_refused(item: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_by_hand([item])
    assert says in f"{caught.value.what} {caught.value.way_out}"


@pytest.mark.parametrize("item", ["segmentation.augmnt=true", "segmentation.tile=2", "segmentation.training.epochs=x"])
def test_a_value_that_the_settings_do_not_take_is_refused(item: str) -> None:
    with pytest.raises(UsageError, match="cannot be set so"):
        task_settings("paper", "segmentation", by_hand=parse_by_hand([item]))
