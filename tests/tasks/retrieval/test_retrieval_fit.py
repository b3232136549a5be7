"""From pictures to rankings: it learns what is there to learn, nothing else, and the same every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import CellError
from tasks.builders.captions import Caption
from tasks.datasets.records import DatasetIndex
from tasks.input_path import input_path
from tasks.language.network import language_network
from tasks.language.start import text_start
from tasks.language.texts import CaptionedData
from tasks.protocol.settings import RetrievalSettings
from tasks.retrieval.data import build, truth_of
from tasks.retrieval.fit import PairTuning, fit_and_predict
from tasks.retrieval.score import score
from tasks.task import Outcome, Twin
from tests.tasks.captioned_pictures import SIZE, simple_model, tiny_language, tiny_model

CPU = torch.device("cpu")


def _settings(epochs: int, **changes: Any) -> RetrievalSettings:
    settings = tiny_language("retrieval", epochs, **{"captions_per_epoch": 1, "rerank": 16, **changes})
    assert isinstance(settings, RetrievalSettings)
    return settings


def _fit(data: CaptionedData, epochs: int, seed: int = 0, **options: Any) -> Outcome:
    settings = _settings(epochs, **options.pop("settings", {}))
    return fit_and_predict(
        tiny_model(seed, drop_path=options.pop("drop_path", 0.0)), data, settings, seed=seed, **options
    )


def _mean(data: CaptionedData, outcome: Outcome) -> tuple[float, float]:
    """Mean recall with equal texts taken as right, and its chance."""
    scored = score(json.loads(json.dumps(outcome.predictions)), truth_of(data))
    value, chance = scored["metrics"]["r_mean_eq"].value, scored["baselines"].chance["r_mean_eq"]
    assert value is not None and chance is not None
    return value, chance


@pytest.fixture(scope="module")
def fitted(data: CaptionedData) -> Outcome:
    """One run that several tests look at."""
    return _fit(data, 30)


def test_the_loss_falls_and_the_mean_recall_is_far_above_chance(data: CaptionedData, fitted: Outcome) -> None:
    assert len(fitted.losses) == 30 and fitted.losses[-1] < fitted.losses[0] - 0.3
    value, chance = _mean(data, fitted)
    assert value > chance + 15


def test_every_image_and_every_caption_asks_once(data: CaptionedData, fitted: Outcome) -> None:
    images = [item.image.image_id for item in data.test]
    captions = [caption.caption_id for item in data.test for caption in item.captions]
    asked = [(row["way"], row["query"]) for row in fitted.predictions]
    assert asked == [*(("i2t", name) for name in images), *(("t2i", name) for name in captions)]
    for row in fitted.predictions:
        assert len(row["candidates"]) == len(row["scores"])
        # Copies of one text may go beyond the sixteen; images do not.
        assert len(row["candidates"]) == 16 or row["way"] == "i2t"
        assert set(row["candidates"]) <= set(captions if row["way"] == "i2t" else images)
        assert row["scores"] == sorted(row["scores"], reverse=True)


def test_stored_scores_are_every_bit_of_what_was_computed(fitted: Outcome) -> None:
    for row in json.loads(json.dumps(fitted.predictions)):
        single = np.array(row["scores"], dtype=np.float32)
        assert [float(f"{value:.9g}") for value in single] == row["scores"]


def test_the_run_says_how_it_went(fitted: Outcome) -> None:
    assert fitted.precision == "fp32" and fitted.resumed_from_epoch is None
    assert fitted.parameters > 0 and fitted.warnings == []


@pytest.mark.parametrize("twin", ["shuffled_labels", "noise_images"])
def test_without_a_tie_between_image_and_text_nothing_is_above_chance(data: CaptionedData, twin: Twin) -> None:
    settings = _settings(8)
    for loaded in (tiny_model(), simple_model()):
        value, chance = _mean(data, fit_and_predict(loaded, data, settings, seed=0, twin=twin))
        assert value < chance + 8


def test_fixed_features_rank_by_the_captions_of_their_neighbours(data: CaptionedData) -> None:
    outcome = fit_and_predict(simple_model(), data, _settings(1), seed=0)
    value, chance = _mean(data, outcome)
    assert value > chance + 30
    assert "nothing is re-ranked" in outcome.warnings[0] and outcome.losses == []
    assert {len(row["candidates"]) for row in outcome.predictions} == {24, 120}


def test_the_same_seed_gives_the_same_answers_and_another_one_others(data: CaptionedData) -> None:
    torch.manual_seed(1)
    first = _fit(data, 2, drop_path=0.1)
    torch.manual_seed(2)
    second = _fit(data, 2, drop_path=0.1)
    assert (first.predictions, first.losses) == (second.predictions, second.losses)
    assert _fit(data, 2, seed=1).losses != first.losses


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_was_stopped_gives_the_same_answers(data: CaptionedData, tmp_path: Path, epoch: int) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith(f"epoch {epoch + 1}/"):
            raise StoppedError

    checkpoint, queue = tmp_path / "checkpoint", {"comparing": {"queue": 48}}
    with pytest.raises(StoppedError):
        _fit(data, 3, settings=queue, drop_path=0.1, checkpoint=checkpoint, key="k", progress=stop)
    resumed = _fit(data, 3, settings=queue, drop_path=0.1, checkpoint=checkpoint, key="k")
    whole = _fit(data, 3, settings=queue, drop_path=0.1)
    assert resumed.resumed_from_epoch == epoch
    assert (resumed.predictions, resumed.losses) == (whole.predictions, whole.losses)


def test_without_the_matching_loss_there_is_one_stage_and_it_is_said(data: CaptionedData) -> None:
    outcome = _fit(data, 1, settings={"losses": ("itc",)})
    assert {len(row["candidates"]) for row in outcome.predictions} == {24, 120}
    assert outcome.warnings == ["the matching head is not trained: one stage, nothing is re-ranked"]
    assert _fit(data, 1, settings={"rerank": 0}).warnings == []


def test_texts_that_are_cut_are_remarked_on(data: CaptionedData) -> None:
    outcome = _fit(data, 1, settings={"max_tokens": 12})
    assert "% of the training captions are longer than 12 tokens" in outcome.warnings[0]
    assert "% of the test captions are longer than 12 tokens" in outcome.warnings[1]


def test_a_single_training_image_is_refused(lit: DatasetIndex) -> None:
    with pytest.raises(CellError, match="1 images; matching needs another one"):
        _fit(build(lit, _settings(1), limit=1), 1)


def test_two_training_images_will_do(lit: DatasetIndex) -> None:
    outcome = _fit(build(lit, _settings(1), limit=2), 1)
    assert len(outcome.predictions) == 2 + 10


def test_a_line_break_in_a_caption_is_a_space(data: CaptionedData) -> None:
    def spoilt(caption: Caption) -> Caption:
        return caption._replace(text=caption.text.replace(" ", "\n", 2))

    broken = replace(
        data,
        train=tuple(item._replace(captions=tuple(map(spoilt, item.captions))) for item in data.train),
        test=tuple(item._replace(captions=tuple(map(spoilt, item.captions))) for item in data.test),
    )
    assert _fit(broken, 1).predictions == _fit(data, 1).predictions


def _tuning(data: CaptionedData, **changes: Any) -> PairTuning:
    settings, loaded = _settings(3, **changes), tiny_model()
    captions = [item.texts for item in data.train]
    start = text_start(loaded, settings, lambda: [text for own in captions for text in own])
    network = language_network(loaded, settings, start, pairs=len(captions) * 5, seed=0)
    to_input = input_path(loaded, settings.normalisation)
    images = np.stack([np.full((SIZE, SIZE), number, dtype=np.uint8) for number in range(len(captions))])
    return PairTuning(network, to_input, settings, images, captions, seed=0, device=CPU)


def _seen(tuning: PairTuning, epoch: int) -> list[tuple[int, tuple[int, ...]]]:
    """Image and pieces of every item of an epoch."""
    return [
        (int(image[0, 0]), tuple(row[mask].tolist()))
        for micros in tuning.batches(epoch)
        for batch in micros
        for image, row, mask in zip(batch.images, batch.texts.compared.ids, batch.texts.compared.mask, strict=True)
    ]


def test_five_captions_per_epoch_are_every_pair_once(data: CaptionedData) -> None:
    tuning = _tuning(data, captions_per_epoch=5, intensity_jitter=0.0)
    marks = tuning.model.vocabulary.specials
    pairs = [(image, (marks.cls, *pieces, marks.sep)) for image, own in enumerate(tuning.pieces) for pieces in own]
    assert sorted(_seen(tuning, 0)) == sorted(_seen(tuning, 1)) == sorted(pairs)
    assert _seen(tuning, 0) != _seen(tuning, 1)


def test_fewer_captions_are_different_ones_and_change_from_epoch_to_epoch(data: CaptionedData) -> None:
    tuning = _tuning(data, captions_per_epoch=2, intensity_jitter=0.0)
    drawn = []
    for epoch in range(12):
        seen = _seen(tuning, epoch)
        assert len(seen) == len(set(seen)) == 2 * len(data.train)  # no caption of an image comes twice
        drawn.append({pieces for image, pieces in seen if image == 0})
    assert len(set.union(*drawn)) == 5 and drawn[0] == {p for i, p in _seen(tuning, 0) if i == 0}


def test_an_image_and_its_text_come_together(data: CaptionedData) -> None:
    tuning = _tuning(data, intensity_jitter=0.0)
    marks = tuning.model.vocabulary.specials
    for image, pieces in _seen(tuning, 0):
        assert pieces in [(marks.cls, *own, marks.sep) for own in tuning.pieces[image]]


def test_the_weight_of_soft_targets_rises_step_by_step_over_the_first_epoch(data: CaptionedData) -> None:
    tuning = _tuning(data, comparing={"alpha": 0.4, "rise_epochs": 1})
    steps = tuning.steps_per_epoch
    risen = [tuning.alpha for _ in tuning.batches(0)]
    assert risen == pytest.approx([0.4 * step / steps for step in range(steps)]) and steps > 1
    assert {tuning.alpha for _ in tuning.batches(1)} == {0.4}
    assert _tuning(data, comparing={"alpha": 0.4, "rise_epochs": 0}).alpha == 0.4
