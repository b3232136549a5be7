"""From questions to answers: it learns what the image tells, nothing else, and the same every time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from foundation.errors import UsageError
from tasks.datasets.records import DatasetIndex
from tasks.input_path import input_path
from tasks.language.network import klip_settings, language_network
from tasks.language.start import text_start
from tasks.task import Outcome
from tasks.vqa.data import VqaData, build, truth_of
from tasks.vqa.fit import QuestionTuning, as_read, fit_and_predict
from tasks.vqa.score import score
from tests.tasks.vqa.toy_questions import SIDE, counted, model, small, without_tests

WriteImage = Callable[[Path, Any], Path]
CHANCE = 25.0
THREE_ERRORS = 3 * 100 * (0.25 * 0.75 / 12) ** 0.5
"""Three standard errors of guessing among four counts on twelve test images, in percent."""
EPOCHS = 25


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, write_image: WriteImage) -> DatasetIndex:
    return counted(tmp_path_factory.mktemp("counted"), write_image)


@pytest.fixture(scope="module")
def data(index: DatasetIndex) -> VqaData:
    """Forty-eight questions to learn from, twelve to be answered."""
    return build(index, small(), task="vqa_target_count")


def fit(data: VqaData, epochs: int = 2, **options: Any) -> Outcome:
    settings = options.pop("settings", None) or small(epochs)
    return fit_and_predict(options.pop("loaded", None) or model(), data, settings, seed=0, **options)


def accuracies(data: VqaData, outcome: Outcome) -> dict[str, float]:
    found = score(outcome.predictions, truth_of(data))["metrics"]
    return {name: metric.value for name, metric in found.items() if metric.value is not None}


@pytest.fixture(scope="module")
def fitted(data: VqaData) -> Outcome:
    """One run that several tests look at."""
    return fit(data, EPOCHS)


def test_it_learns_from_the_image_what_the_question_cannot_tell(data: VqaData, fitted: Outcome) -> None:
    found = accuracies(data, fitted)
    assert fitted.losses[-1] < 0.3 * fitted.losses[0]
    assert found["accuracy"] > 90
    assert found["accuracy"] >= found["accuracy_question_only"] + 50
    assert found["accuracy_other_image"] < found["accuracy"] - 40


def test_every_question_is_answered_once_in_order(data: VqaData, fitted: Outcome) -> None:
    assert [row["question_id"] for row in fitted.predictions] == [question.question_id for question in data.test]
    assert {row["answer"] for row in fitted.predictions} <= set(data.classes)
    assert json.loads(json.dumps(fitted.predictions)) == fitted.predictions


def test_the_run_says_how_it_went(fitted: Outcome) -> None:
    assert fitted.warnings == [] and fitted.precision == "fp32" and fitted.resumed_from_epoch is None
    assert fitted.parameters > 0


@pytest.mark.parametrize("twin", ["shuffled_labels", "noise_images"])
def test_destroyed_data_bring_it_down_to_chance(data: VqaData, twin: Any) -> None:
    assert abs(accuracies(data, fit(data, 12, twin=twin))["accuracy"] - CHANCE) <= THREE_ERRORS


def test_the_same_seed_gives_the_same_answers(data: VqaData) -> None:
    torch.manual_seed(1)
    first = fit(data, settings=small(2, intensity_jitter=0.2))
    torch.manual_seed(2)
    second = fit(data, settings=small(2, intensity_jitter=0.2))
    assert (first.predictions, first.losses) == (second.predictions, second.losses)


@pytest.mark.parametrize("losses", [("lm",), ("itc", "itm", "lm")])
def test_a_run_that_was_stopped_gives_the_same_answers(data: VqaData, tmp_path: Path, losses: tuple[str, ...]) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith("epoch 2/"):
            raise StoppedError

    values = small(3).text.model_dump() | {"dropout": 0.1}
    settings = small(3, losses=losses, text=values, intensity_jitter=0.2)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        fit(data, settings=settings, checkpoint=checkpoint, key="k", progress=stop)
    resumed = fit(data, settings=settings, checkpoint=checkpoint, key="k")
    whole = fit(data, settings=settings)
    assert resumed.resumed_from_epoch == 1
    assert (resumed.predictions, resumed.losses) == (whole.predictions, whole.losses)


def test_written_answers_are_scored_as_ranked_ones_are(data: VqaData, fitted: Outcome) -> None:
    written = fit(data, settings=small(EPOCHS, answering="generate", generated_tokens=4))
    assert written.losses == fitted.losses
    assert [row["answer"] for row in written.predictions] == [row["answer"] for row in fitted.predictions]


def test_one_test_image_has_no_control(index: DatasetIndex) -> None:
    alone = build(without_tests(index, 1), small(), task="vqa_target_count")
    outcome = fit(alone, 1)
    assert [row["answer_other_image"] for row in outcome.predictions] == [None]
    metric = score(outcome.predictions, truth_of(alone))["metrics"]["accuracy_other_image"]
    assert metric.value is None and metric.reason


def test_one_model_for_all_tasks_is_refused(data: VqaData) -> None:
    with pytest.raises(UsageError, match="one model for all six tasks") as caught:
        fit(data, settings=small(joint=True))
    assert "false" in caught.value.way_out


def tuning(data: VqaData, **changes: Any) -> QuestionTuning:
    """The training of a network, not begun, on images with a bright pixel each."""
    settings, loaded = small(**changes), model()
    questions, answers = [as_read(q.question) for q in data.train], [q.answer for q in data.train]
    start = text_start(loaded, settings, lambda: [*questions, *answers])
    network = language_network(loaded, settings, start, pairs=len(questions), seed=0)
    images = np.full((len(questions), SIDE, SIDE), 20, dtype=np.uint8)
    for number, image in enumerate(images):
        image[number % SIDE, 5 * number % SIDE] = 200
    to_input = input_path(loaded, settings.normalisation)
    rows = range(len(questions))
    return QuestionTuning(
        network, to_input, settings, images, rows, questions, answers, seed=0, device=torch.device("cpu")
    )


def test_no_pixel_changes_its_place(data: VqaData) -> None:
    task = tuning(data, intensity_jitter=0.4)
    greys, seen = set(), []
    for micros in task.batches(0):
        for micro in micros:
            for image, row in zip(micro.images, micro.image_id.tolist(), strict=True):
                place = int(image.flatten().argmax())
                assert divmod(place, SIDE) == (row % SIDE, 5 * row % SIDE)
                greys.add(int(image.max()))
                seen.append(row)
    assert sorted(seen) == list(range(len(data.train))) and len(greys) > 3


def test_the_question_is_read_and_the_answer_written(data: VqaData) -> None:
    task = tuning(data)
    texts = task.texts(0, np.array([3, 0]))
    vocabulary = task.model.vocabulary
    assert texts.question is not None
    read, written = (
        [vocabulary.decode(row) for row in batch.ids.tolist()]
        for batch in (texts.question.encoder, texts.question.decoder)
    )
    assert read == [as_read(data.train[number].question) for number in (3, 0)]
    assert written == [data.train[number].answer for number in (3, 0)]
    assert texts.question.targets[:, 0].sum() == 0 and texts.question.targets[:, 1:].all()
    statements = [vocabulary.decode(row) for row in texts.compared.ids.tolist()]
    assert statements == [f"{asked} {said}" for asked, said in zip(read, written, strict=True)]


def test_equal_statements_have_equal_hashes(data: VqaData) -> None:
    hashes = tuning(data).hashes.tolist()
    by_answer: dict[str, set[int]] = {}
    for question, own in zip(data.train, hashes, strict=True):
        by_answer.setdefault(question.answer, set()).add(own)
    assert all(len(own) == 1 for own in by_answer.values()) and len(set(hashes)) == 4


def test_a_question_is_cut_at_its_limit_and_an_answer_is_not(data: VqaData) -> None:
    task = tuning(data, max_tokens=6)
    texts = task.texts(0, np.array([0, 1]))
    assert texts.question is not None and texts.question.encoder.width == 6
    assert texts.compared.width == 6 + len(task.answers[0])
    outcome = fit(data, settings=small(1, max_tokens=6))
    assert outcome.warnings == ["100.0% of the questions are longer than 6 tokens and are cut"]


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("How many ships does this SAR image contain?", "how many ships does this sar image contain?"),
        ("Name the type of the ship centred at [30.0, 60.5].", "name the type of the ship centred at [300, 605]"),
        ('A "quote" (and) *more*: #1; ~2!', "a quote and more 1 2"),
        ("two\nlines,  kept", "two lines, kept"),
    ],
)
def test_questions_are_read_as_the_specification_says(asked: str, read: str) -> None:
    assert as_read(asked) == read


def test_the_decoder_always_hears_the_question() -> None:
    """A text side that wrote from the image alone would answer any question alike."""
    start = text_start(model(), small(), lambda: ["how many", "two"])
    from klip.settings import preset

    blind = preset("paper", "tiny").model.model_copy(update={"decoder_memory": "image"})
    chosen = klip_settings(small(), start._replace(model=blind), seed=0)
    assert chosen.model.decoder_memory == "fused"


def test_fixed_features_are_read_by_linear_classifiers(data: VqaData) -> None:
    outcome = fit(data, loaded=model(name="simple-features"))
    found = accuracies(data, outcome)
    assert found["accuracy"] > 90 and found["accuracy_other_image"] < 50
    assert outcome.losses == [] and outcome.parameters > 0
    noise = accuracies(data, fit(data, loaded=model(name="simple-features"), twin="noise_images"))
    assert abs(noise["accuracy"] - CHANCE) <= THREE_ERRORS
