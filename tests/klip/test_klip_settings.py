"""Settings of pre-training: the two presets, the three sizes, and what cannot be set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from foundation.errors import UsageError
from klip.settings import PRESETS, SIZES, PretrainingSettings, as_data, flat, preset

DEFAULTS = """
model.size base · model.fusion blip · model.embed_dim 256 · model.decoder_memory fused+image · image.size 224 ·
image.aug safe · image.norm imagenet · text.max_len 160 · text.max_seg_len 48 · text.segment_dropout 0.0 ·
batch_size_per_device 32 · epochs 36 · loss.lambda [1,1,1] · itc.alpha 0.4 · itc.alpha_ramp_epochs 2 ·
itc.tau_init 0.07 · itc.tau_clamp [0.001,0.5] · itc.gather false · itc.group_equal_text true ·
itm.negative_all_rank false · mlm.objective infill · mlm.mode_probs [0.4,0.4,0.2] · mlm.prob 0.15 ·
mlm.label_smoothing 0 · queue.size 20000 · queue.init empty · queue.same_id mask · ema.m 0.995 · ema.dropout false ·
optim.lr 3e-4 · optim.warmup_lr 1e-6 · optim.warmup_steps 3000 · optim.decay 0.9 · optim.min_lr 1e-6 · optim.wd 0.05 ·
optim.wd_exclude standard · optim.clip_norm 0 · scio.enabled true · scio.screen true · scio.reconstruct true ·
scio.stage_epochs [12,12,12] · scio.max_iter 1 · scio.negatives bank · scio.rule sign · scio.itc_margin 0 ·
scio.itm_margin 0 · scio.confirm both · scio.min_keep 3 · scio.max_noise_frac 0.5 · scio.gate_itm true ·
scio.noise_in_mlm mask · scio.recon.context filtered · scio.recon.keep_label true · scio.recon.num_beams 3 ·
scio.recon.num_candidates 1 · scio.accept.base both · scio.fallback drop · scio.min_itm_auc 0.75 · scio.crossfit 1 ·
seed 0
"""
"""Section 14 of the KLIP specification, key and default."""


def specified() -> dict[str, Any]:
    found = {}
    for item in DEFAULTS.replace("\n", " ").split(" · "):
        key, text = item.split()
        try:
            found[key] = json.loads(text)
        except ValueError:
            found[key] = text
    return found


def test_the_paper_preset_is_section_14_key_by_key() -> None:
    values = dict(flat(preset("paper")))
    assert {key: values[key] for key in specified()} == specified()


BEYOND = """
model.vision_width model.vision_depth model.vision_heads model.drop_path model.text_width model.text_layers
model.text_heads model.text_ffn model.positions model.spread image.patch text.dropout_stages
model.init.vision model.init.text vision.grad_ckpt text.grad_ckpt image.flip data.text
optim.lr_scale optim.restart_each_stage optim.accumulate precision itm.hardness
scio.tests scio.noise_rate scio.control scio.rescreen_every scio.held_out scio.strict scio.closing_screen audit.full
log_every tensorboard save_minutes checkpoints debug.queue_check_every
"""
"""Geometry of Table 2.1; what the text of sections 2 to 9 names without listing it in section 14; logs and saving."""


def test_keys_beyond_section_14_are_those_that_the_sections_before_it_name() -> None:
    assert dict(flat(preset("paper"))).keys() - specified().keys() == set(BEYOND.split())


def test_recommended_differs_from_paper_in_segment_dropout_and_clipping_alone() -> None:
    literal, recommended = dict(flat(preset("paper"))), dict(flat(preset("recommended")))
    assert {key: recommended[key] for key in literal if recommended[key] != literal[key]} == {
        "text.segment_dropout": 0.15,
        "optim.clip_norm": 1.0,
    }


@pytest.mark.parametrize(
    ("size", "tokens", "vision", "text", "embed_dim", "queue", "drop_path"),
    [
        ("tiny", 65, (128, 4, 4), (128, 4, 4, 512), 64, 1024, 0.0),
        ("base", 197, (768, 12, 12), (768, 12, 12, 3072), 256, 20_000, 0.0),
        ("large", 197, (1024, 24, 16), (768, 12, 12, 3072), 256, 20_000, 0.1),
    ],
)
def test_sizes_are_the_columns_of_table_2_1(
    size: str,
    tokens: int,
    vision: tuple[int, ...],
    text: tuple[int, ...],
    embed_dim: int,
    queue: int,
    drop_path: float,
) -> None:
    settings = preset("paper", size)
    model = settings.model
    assert model.size == size
    assert settings.image.tokens == tokens
    assert (model.vision_width, model.vision_depth, model.vision_heads) == vision
    assert (model.text_width, model.text_layers, model.text_heads, model.text_ffn) == text
    assert (model.embed_dim, settings.queue.size, model.drop_path) == (embed_dim, queue, drop_path)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_in_every_size_survives_json(name: str, size: str) -> None:
    settings = preset(name, size)
    assert PretrainingSettings.model_validate(json.loads(json.dumps(as_data(settings)))) == settings


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"epochs": 35}, "the stages of SCIO take 36"),
        ({"scio": {"max_iter": 2}}, "the stages of SCIO take 72"),
        ({"scio": {"screen": False}}, "reconstruction needs screening"),
        ({"scio": {"stage_epochs": [0, 18, 18]}}, "every stage needs an epoch"),
        ({"scio": {"min_keep": 9}}, "min_keep"),
        ({"mlm": {"mode_probs": [0.4, 0.4, 0.4]}}, "must sum to 1"),
        ({"itc": {"tau_init": 0.6}}, "tau starts at 0.6"),
        ({"image": {"size": 225}}, "not a multiple of the patch"),
        ({"model": {"vision_heads": 7}}, "not a multiple of its 7 heads"),
        ({"text": {"max_len": 40}}, "does not fit a text of 40"),
        ({"text": {"max_len": 600}}, "more than 512 positions"),
        ({"optim": {"lr": 1e-7}}, "must not lie above it"),
        ({"optim": {"warmup_steps": -1}}, "must not be negative"),
        ({"loss": {"lambda": [0, 0, 0]}}, "one of them not 0"),
        ({"loss": {"lambda": [1, -1, 1]}}, "must not be negative"),
        ({"batch_size_per_device": 1}, "batch_size_per_device"),
        ({"optim": {"lr": float("nan")}}, "lr"),
        ({"optim": {"learning_rate": 1e-4}}, "learning_rate"),
        ({"precision": "int8"}, "precision"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint.replace("(", r"\(")):
        PretrainingSettings.model_validate(changes)


def test_without_scio_any_number_of_epochs_is_possible() -> None:
    assert PretrainingSettings.model_validate({"epochs": 5, "scio": {"enabled": False}}).epochs == 5


def test_settings_are_not_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        preset().epochs = 1  # type: ignore[misc]  # what is tested


@pytest.mark.parametrize(("name", "size", "hint"), [("papr", "base", "paper"), ("paper", "bas", "base")])
def test_a_mistyped_name_is_answered_with_the_nearest_one(name: str, size: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        preset(name, size)
    assert f"did you mean {hint}?" in caught.value.way_out
