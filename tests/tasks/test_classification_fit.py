"""From chips to predictions: it learns what is there to learn, nothing else, and the same every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from tasks.classification.data import ClassificationData, build
from tasks.classification.fit import ChipTraining, Classifier, fit_and_predict, predict
from tasks.classification.score import score
from tasks.datasets import DatasetIndex
from tasks.input_path import input_path
from tasks.protocol import ClassificationSettings, task_settings
from tasks.task import Outcome

SIZE = 24
TINY = Architecture(kind="vit", width=32, depth=2, heads=2, patch=8, activation="gelu", image_size=SIZE)
CHANCE = 100 / 3
THREE_ERRORS = 3 * 100 * (1 / 3 * 2 / 3 / 12) ** 0.5
"""Three standard errors of guessing among three classes on twelve test images, in percent."""


@pytest.fixture(scope="module")
def data(shape_index: DatasetIndex) -> ClassificationData:
    """Forty-eight chips to learn from, twelve to be asked about."""
    return build(shape_index)


def _settings(epochs: int = 12, **changes: Any) -> ClassificationSettings:
    values = task_settings("mini", "classification").model_dump()
    values["image_size"] = SIZE
    values["normalisation"] = {"source": "task", "mean": [127.5] * 3, "std": [127.5] * 3}
    values["horizontal_flip"] = 0.0
    values["crop"] = {"scale": (0.9, 1.0), "ratio": (0.9, 1.1)}
    values["training"].update(epochs=epochs, batch=16, micro_batch=16)
    values["training"]["schedule"]["warmup_epochs"] = min(2, epochs - 1)
    values["training"]["optimiser"]["rate"] = 0.003
    return ClassificationSettings.model_validate({**values, **changes})


def _model(seed: int = 0, dropout: float = 0.0) -> LoadedModel:
    card = catalog()["random-mini"]
    encoder = build_vit(TINY, image_size=SIZE, seed=seed, dropout=dropout)
    return LoadedModel(card, encoder, load(card, image_size=64, seed=0).contract)


def _fit(data: ClassificationData, seed: int = 0, *, epochs: int = 12, **options: Any) -> Outcome:
    settings = options.pop("settings", None) or _settings(epochs)
    return fit_and_predict(_model(seed, options.pop("dropout", 0.0)), data, settings, seed=seed, **options)


def _top1(data: ClassificationData, outcome: Outcome) -> float:
    truth = {
        "classes": list(data.classes),
        "train_counts": list(data.counts("train")),
        "test": [{"image_id": chip.image_id, "label": chip.label} for chip in data.test],
    }
    top1 = score(outcome.predictions, truth)["metrics"]["top1"].value
    assert top1 is not None
    return top1


@pytest.fixture(scope="module")
def fitted(data: ClassificationData) -> Outcome:
    """One run that several tests look at."""
    return _fit(data)


def test_the_loss_falls_and_the_score_is_above_chance(data: ClassificationData, fitted: Outcome) -> None:
    assert len(fitted.losses) == 12
    assert fitted.losses[-1] < 0.8 * fitted.losses[0]
    assert _top1(data, fitted) > CHANCE + THREE_ERRORS


def test_every_test_image_is_answered_once_in_order(data: ClassificationData, fitted: Outcome) -> None:
    assert [row["image_id"] for row in fitted.predictions] == [chip.image_id for chip in data.test]
    assert {len(row["scores"]) for row in fitted.predictions} == {3}


def test_stored_scores_are_every_bit_of_what_was_computed(fitted: Outcome) -> None:
    stored = json.loads(json.dumps(fitted.predictions))
    for row in stored:
        scores = np.array(row["scores"], dtype=np.float32)
        assert [float(f"{value:.9g}") for value in scores] == row["scores"]


def test_the_run_says_how_it_went(fitted: Outcome) -> None:
    assert fitted.precision == "fp32" and fitted.resumed_from_epoch is None and fitted.warnings == []
    assert fitted.earlier_seconds == 0
    encoder = build_vit(TINY, image_size=SIZE, seed=0)
    head = 32 * 3 + 3
    assert fitted.parameters == sum(parameter.numel() for parameter in encoder.parameters()) + head


def test_the_same_seed_gives_the_same_answers(data: ClassificationData) -> None:
    torch.manual_seed(1)
    first = _fit(data, 5, epochs=2, dropout=0.1)
    torch.manual_seed(2)
    second = _fit(data, 5, epochs=2, dropout=0.1)
    assert first.predictions == second.predictions and first.losses == second.losses


def test_another_seed_gives_other_answers(data: ClassificationData) -> None:
    seeds = [_fit(data, seed, epochs=2) for seed in (0, 1)]
    assert seeds[0].predictions != seeds[1].predictions
    # The same encoder with another seed: head, order and crops differ, too.
    other = fit_and_predict(_model(0), data, _settings(2), seed=1)
    assert other.predictions != seeds[0].predictions


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_was_stopped_gives_the_same_answers(data: ClassificationData, tmp_path: Path, epoch: int) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith(f"epoch {epoch + 1}/"):
            raise StoppedError

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        _fit(data, epochs=3, dropout=0.1, checkpoint=checkpoint, key="k", progress=stop)
    resumed = _fit(data, epochs=3, dropout=0.1, checkpoint=checkpoint, key="k")
    whole = _fit(data, epochs=3, dropout=0.1)
    assert resumed.resumed_from_epoch == epoch
    assert (resumed.predictions, resumed.losses) == (whole.predictions, whole.losses)


def test_crops_from_the_file_or_from_the_square_are_two_protocols(data: ClassificationData) -> None:
    # The chips have the size of the input, so both cut from the same pixels and must agree.
    settings = _settings(2)
    resized, original = (
        _fit(data, settings=settings.model_copy(update={"images": images})) for images in ("resized", "original")
    )
    assert resized.predictions == original.predictions


@pytest.mark.parametrize("pooling", ["class_token", "mean"])
def test_the_head_sits_on_the_feature_of_the_settings(pooling: str) -> None:
    encoder = build_vit(TINY, image_size=SIZE, seed=0)
    model = Classifier(encoder, 3, pooling, 0).eval()
    images = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = encoder.eval()(images)
        pooled = features.class_token if pooling == "class_token" else features.tokens.mean(dim=1)
        assert torch.allclose(model(images), model.head(pooled), atol=1e-6)
        assert not torch.allclose(model(images), model.head(torch.zeros_like(pooled)))


def test_without_a_class_token_the_mean_is_used() -> None:
    plain = TINY.model_copy(update={"class_token": False})
    encoder = build_vit(plain, image_size=SIZE, seed=0).eval()
    model = Classifier(encoder, 3, "class_token", 0).eval()
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(model(images), model.head(encoder(images).tokens.mean(dim=1)), atol=1e-6)


def test_a_new_head_hangs_on_the_seed_alone() -> None:
    heads = []
    for seed, global_seed in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(global_seed)
        heads.append(Classifier(build_vit(TINY, image_size=SIZE, seed=0), 3, "mean", seed).head)
    assert torch.equal(heads[0].weight, heads[1].weight)
    assert not torch.equal(heads[0].weight, heads[2].weight)
    assert not heads[0].bias.any()


def _fine_tuning(labels: list[int], **changes: Any) -> ChipTraining:
    images = [np.full((SIZE, SIZE), number, dtype=np.uint8) for number in range(len(labels))]
    settings = _settings(3, **changes)
    model = Classifier(build_vit(TINY, image_size=SIZE, seed=0), 3, "mean", 0)
    return ChipTraining(
        model,
        input_path(_model(), settings.normalisation),
        settings,
        images,
        labels,
        seed=0,
        device=torch.device("cpu"),
    )


def test_an_epoch_shows_every_image_once_with_its_own_label() -> None:
    labels = [number % 3 for number in range(35)]
    task = _fine_tuning(labels)
    seen = []
    for micros in task.batches(0):
        for micro in micros:
            assert len(micro) == len(micro.labels) <= 16
            for image, label in zip(micro.images, micro.labels.tolist(), strict=True):
                number = int(image[0, 0])  # the chips are of one grey value, so crops keep it
                assert label == labels[number]
                seen.append(number)
    assert sorted(seen) == list(range(35)) and seen != sorted(seen)
    assert task.steps_per_epoch == 3


def test_epochs_have_orders_of_their_own_and_repeat_exactly() -> None:
    task = _fine_tuning([0] * 35)

    def order(epoch: int) -> list[int]:
        return [int(image[0, 0]) for micros in task.batches(epoch) for micro in micros for image in micro.images]

    assert order(0) == order(0) != order(1)


def test_crops_hang_on_seed_and_epoch() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 60), dtype=np.uint8)
    settings = _settings(3, crop={"scale": (0.2, 0.5), "ratio": (0.75, 1.3)})
    model = Classifier(build_vit(TINY, image_size=SIZE, seed=0), 3, "mean", 0)

    def crop(seed: int, epoch: int) -> torch.Tensor:
        task = ChipTraining(
            model,
            input_path(_model(), settings.normalisation),
            settings,
            [image],
            [0],
            seed=seed,
            device=torch.device("cpu"),
        )
        ((micro,),) = task.batches(epoch)
        return micro.images

    assert torch.equal(crop(0, 0), crop(0, 0))
    assert not torch.equal(crop(0, 0), crop(1, 0)) and not torch.equal(crop(0, 0), crop(0, 1))


def test_the_loss_is_smoothed_cross_entropy() -> None:
    task = _fine_tuning([0, 1, 2, 0], label_smoothing=0.1)
    ((micro,),) = task.batches(0)
    with torch.no_grad():
        task.model.eval()
        log_shares = task.model(task.to_input(micro.images)).log_softmax(dim=1)
        wanted = torch.full((4, 3), 0.1 / 3)
        wanted[torch.arange(4), micro.labels] += 0.9
        assert task.loss(micro).item() == pytest.approx(-(wanted * log_shares).sum(dim=1).mean().item(), rel=1e-5)


def test_pixels_are_normalised_as_the_protocol_says() -> None:
    task = _fine_tuning([0])
    grey = torch.tensor([[[0, 127, 255]]], dtype=torch.uint8)
    assert task.to_input(grey)[0, :, 0].tolist() == [pytest.approx([-1.0, -0.5 / 127.5, 1.0])] * 3


def test_nothing_is_dropped_while_predicting() -> None:
    loaded = _model(dropout=0.5)
    model = Classifier(loaded.encoder, 3, "class_token", 0).train()  # type: ignore[arg-type]
    task = ChipTraining(
        model, input_path(loaded, _settings(1).normalisation), _settings(1), [], [], seed=0, device=torch.device("cpu")
    )
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE), dtype=np.uint8)
    first, second = (predict(model, task.to_input, images, torch.device("cpu"), "fp32") for _ in range(2))
    assert (first == second).all()


def test_predicting_in_batches_changes_nothing() -> None:
    task = _fine_tuning([0])
    images = np.random.default_rng(0).integers(0, 256, (70, SIZE, SIZE), dtype=np.uint8)  # more than one batch
    scores = predict(task.model, task.to_input, images, torch.device("cpu"), "fp32")
    single = predict(task.model, task.to_input, images[66:67], torch.device("cpu"), "fp32")
    assert scores.shape == (70, 3) and scores.dtype == np.float32
    assert np.allclose(scores[66], single[0], atol=1e-5)
    assert predict(task.model, task.to_input, images[:0], torch.device("cpu"), "fp32").shape == (0, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_answers_that_are_no_numbers_are_stored_as_null(
    data: ClassificationData, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.full((len(data.test), 3), 0.5, dtype=np.float32)
    scores[1, 2] = value
    monkeypatch.setattr("tasks.classification.fit.predict", lambda *_: scores)
    rows = json.loads(json.dumps(_fit(data, epochs=1).predictions, allow_nan=False))
    assert rows[0]["scores"] == [0.5, 0.5, 0.5] and rows[1]["scores"] == [0.5, 0.5, None]


# ---- Sanity twins (section 14.8): what is destroyed on purpose must not be learnt


@pytest.mark.parametrize("twin", ["shuffled_labels", "noise_images"])
def test_twins_score_at_chance(data: ClassificationData, twin: Any) -> None:
    outcome = _fit(data, twin=twin)
    assert abs(_top1(data, outcome) - CHANCE) < THREE_ERRORS
    assert [row["image_id"] for row in outcome.predictions] == [chip.image_id for chip in data.test]


def test_twins_differ_from_the_real_thing_and_repeat(data: ClassificationData, fitted: Outcome) -> None:
    for twin in ("shuffled_labels", "noise_images"):
        first, second = (_fit(data, epochs=2, twin=twin) for _ in range(2))
        assert first.predictions == second.predictions != fitted.predictions


def test_noise_is_noise_at_every_size(data: ClassificationData) -> None:
    settings = _settings(1)
    for images in ("resized", "original"):
        outcome = _fit(data, settings=settings.model_copy(update={"images": images}), twin="noise_images")
        assert len(outcome.predictions) == len(data.test)


# ---- Hand-made features


def _features() -> LoadedModel:
    return load(catalog()["simple-features"], image_size=64, seed=0)


def test_hand_made_features_take_the_linear_path(data: ClassificationData) -> None:
    outcome = fit_and_predict(_features(), data, _settings(), seed=0)
    assert outcome.losses == [] and outcome.precision == "fp32"
    assert [row["image_id"] for row in outcome.predictions] == [chip.image_id for chip in data.test]
    assert _top1(data, outcome) > CHANCE + THREE_ERRORS
    again = fit_and_predict(_features(), data, _settings(), seed=0)
    assert again.predictions == outcome.predictions
    for row in outcome.predictions:
        assert np.exp(row["scores"]).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("twin", ["shuffled_labels", "noise_images"])
def test_twins_of_hand_made_features_score_at_chance(data: ClassificationData, twin: Any) -> None:
    outcome = fit_and_predict(_features(), data, _settings(), seed=1, twin=twin)
    assert abs(_top1(data, outcome) - CHANCE) < THREE_ERRORS


def test_a_class_without_training_images_is_never_the_answer(data: ClassificationData) -> None:
    limited = replace(data, train=tuple(chip for chip in data.train if chip.label != 2))
    outcome = fit_and_predict(_features(), limited, _settings(), seed=0)
    for row in outcome.predictions:
        assert row["scores"][2] == min(row["scores"]) < -1e8
    json.dumps(outcome.predictions, allow_nan=False)
