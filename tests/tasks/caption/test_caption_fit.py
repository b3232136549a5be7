"""From scenes to captions: it learns what is there to learn, nothing else, and the same every time."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from foundation.errors import UsageError
from klip.generate import forbidden_tokens
from tasks.builders.captions import mean_tuple_f1
from tasks.caption import score as scoring
from tasks.caption.data import truth_of
from tasks.caption.fit import Captioner, CaptionTraining, fit_and_predict
from tasks.caption.score import score
from tasks.input_path import input_path
from tasks.language.images import squares
from tasks.language.network import language_network
from tasks.language.start import text_start
from tasks.language.texts import CaptionedData, CaptionedImage
from tasks.language.tokens import unread
from tasks.protocol import CaptionSettings
from tasks.task import Outcome, Scored

MakeSettings = Callable[..., CaptionSettings]
MakeModel = Callable[..., LoadedModel]
CPU = torch.device("cpu")
LEARNING = 16
"""Epochs that are enough for these scenes."""


@pytest.fixture(autouse=True)
def without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is looked at here, not the programs behind the metrics, which take seconds to start."""
    monkeypatch.setattr(scoring, "find_java", lambda: None)


def scored(outcome: Outcome, data: CaptionedData) -> Scored:
    return score(outcome.predictions, truth_of(data))


def value(found: Scored, name: str) -> float:
    metric = found["metrics"][name].value
    assert metric is not None
    return metric


def majority(found: Scored, name: str) -> float:
    metric = found["baselines"].majority[name]
    assert metric is not None
    return metric


class Trained(NamedTuple):
    """A captioner after its training, and what it is asked about."""

    captioner: Captioner
    task: CaptionTraining
    inputs: Tensor
    items: tuple[CaptionedImage, ...]


@pytest.fixture(scope="module")
def one_each(data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel) -> Trained:
    """A network that knows one caption of each image, which begins with the very words of the prompt."""
    items = tuple(item._replace(captions=item.captions[:1]) for item in data.train if item.image.boxes)
    settings = make_settings(10, captions_per_epoch=1, prompt="this scene holds ", losses=("lm",))
    return trained(data, items, settings, make_model())


def trained(
    data: CaptionedData, items: tuple[CaptionedImage, ...], settings: CaptionSettings, loaded: LoadedModel
) -> Trained:
    captions = [item.texts for item in items]
    start = text_start(loaded, settings, lambda: [text for own in captions for text in own])
    network = language_network(loaded, settings, start, pairs=len(captions), seed=0)
    to_input = input_path(loaded, settings.normalisation)
    images = squares(data.index, [item.image for item in items], settings.image_size)
    task = CaptionTraining(network, to_input, settings, images, captions, seed=0, device=CPU)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.training.optimiser.rate)
    for epoch in range(settings.training.epochs):
        for micros in task.batches(epoch):
            optimiser.zero_grad()
            for micro in micros:
                task.loss(micro).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    network.eval()
    return Trained(Captioner(network, settings, to_input), task, to_input(torch.from_numpy(images.copy())), items)


@pytest.fixture(scope="module")
def learnt(data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel) -> Outcome:
    """One run that several tests look at."""
    return fit_and_predict(make_model(), data, make_settings(LEARNING), seed=0)


def test_the_captions_of_new_scenes_say_what_is_there(data: CaptionedData, learnt: Outcome) -> None:
    found = scored(learnt, data)
    assert learnt.losses[-1] < 0.5 * learnt.losses[0]
    assert value(found, "tuple_f1") > majority(found, "tuple_f1") + 20
    assert found["details"]["readable"] == len(data.test)
    assert learnt.warnings == [] and learnt.precision == "fp32"


def test_there_is_one_caption_per_test_image_in_order(data: CaptionedData, learnt: Outcome) -> None:
    assert [row["image_id"] for row in learnt.predictions] == [item.image.image_id for item in data.test]
    captions = [row["caption"] for row in learnt.predictions]
    assert all(caption == caption.lower() and caption == " ".join(caption.split()) for caption in captions)


@pytest.mark.slow
@pytest.mark.parametrize("twin", ["noise_images", "shuffled_labels"])
def test_without_signal_the_captions_are_worth_no_more_than_one_for_all_images(
    data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel, learnt: Outcome, twin: Any
) -> None:
    found = value(
        scored(fit_and_predict(make_model(), data, make_settings(LEARNING), seed=0, twin=twin), data), "tuple_f1"
    )
    references = {item.image.image_id: item.texts for item in data.test}
    known = {text for item in data.train for text in item.texts}
    one_for_all = max(mean_tuple_f1(dict.fromkeys(references, text), references).value or 0.0 for text in known)
    assert found < one_for_all + 5
    assert value(scored(learnt, data), "tuple_f1") > found + 20


@pytest.mark.slow
def test_sixteen_images_are_learnt_by_heart(
    data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel
) -> None:
    few = replace(data, train=data.train[::3], test=data.train[::3])
    assert len(few.train) == 16
    found = scored(fit_and_predict(make_model(), few, make_settings(60), seed=0), few)
    assert value(found, "bleu_4") > 95
    assert value(found, "tuple_f1") > 95


def test_the_prompt_is_cut_by_its_tokens_and_not_by_its_words(one_each: Trained) -> None:
    written = one_each.captioner.texts(one_each.inputs)
    assert all(text.startswith("this scene holds ") for text in written)


def test_the_prompt_is_given_and_so_carries_no_loss(one_each: Trained) -> None:
    question = one_each.task.texts(0, np.arange(3)).question
    assert question is not None
    specials, prompt = one_each.captioner.vocabulary.specials, one_each.captioner.prompt
    assert len(prompt) >= 3
    for row, item in enumerate(range(3)):
        pieces = one_each.task.told(0, item).pieces
        wanted = (specials.dec, *prompt, *pieces, specials.sep)
        assert tuple(question.decoder.ids[row, : len(wanted)].tolist()) == wanted
        asked = question.gold[row][question.targets[row]].tolist()
        assert asked == [*pieces, specials.sep]
        assert question.encoder.ids[row].tolist() == [specials.cls, specials.mask, specials.sep]


def test_with_one_beam_it_writes_what_is_most_likely_at_each_step(one_each: Trained) -> None:
    captioner = one_each.captioner
    model, specials, vocabulary = captioner.model, captioner.vocabulary.specials, captioner.vocabulary
    inputs = one_each.inputs[:6]
    greedy = replace_beams(captioner, 1)
    never = forbidden_tokens(specials, vocabulary.size, stop=specials.sep)
    with torch.inference_mode():
        memory = model.visual_memory(model.encode_image(inputs).memory)
        question = unread(len(inputs), specials)
        seen = model.decoder_memory(model.fused(question, memory), question.mask, memory)
        for row in range(len(inputs)):
            own = seen.rows(torch.tensor([row]))
            ids = [specials.dec, *captioner.prompt]
            begin = len(ids)
            while len(ids) - begin < captioner.how.most:
                logits = model.lm_logits(model.decode(torch.tensor([ids]), own)[0, -1]).masked_fill(never, -torch.inf)
                if len(ids) - begin < captioner.how.fewest:
                    logits[specials.sep] = -torch.inf
                if int(logits.argmax()) == specials.sep:
                    break
                ids.append(int(logits.argmax()))
            assert greedy.pieces(inputs)[row] == tuple(ids[begin:])


def replace_beams(captioner: Captioner, beams: int) -> Captioner:
    """The same network, written with so many beams."""
    other = copy.copy(captioner)
    other.how = replace(captioner.how, beams=beams)
    return other


def test_what_is_written_of_an_image_hangs_on_no_other(one_each: Trained) -> None:
    together = one_each.captioner.pieces(one_each.inputs[:7])
    assert together == [one_each.captioner.pieces(one_each.inputs[row : row + 1])[0] for row in range(7)]


def test_each_epoch_visits_so_many_different_captions_of_every_image(
    data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel
) -> None:
    def visited(captions_per_epoch: int, epoch: int) -> list[set[str]]:
        task = trained(data, data.train[:3], make_settings(1, captions_per_epoch=captions_per_epoch), loaded).task
        items = range(task.items)
        return [{task.told(epoch, item).text for item in items if task.image_of[item] == image} for image in range(3)]

    loaded = make_model()
    every = [set(item.texts) for item in data.train[:3]]
    assert visited(5, 0) == visited(5, 1) == every
    assert [len(own) for own in visited(2, 0)] == [2, 2, 2]
    assert len({tuple(map(frozenset, visited(2, epoch))) for epoch in range(4)}) > 1


@pytest.mark.parametrize("losses", [("lm",), ("itc", "itm", "lm")])
def test_a_run_that_was_stopped_gives_the_same_captions(
    data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel, tmp_path: Path, losses: tuple[str, ...]
) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith("epoch 2/"):
            raise StoppedError

    few = replace(data, train=data.train[:16], test=data.test[:4])
    settings = make_settings(3, losses=losses, text={"dropout": 0.1}, comparing={"queue": 24})

    def run(**options: Any) -> Outcome:
        return fit_and_predict(make_model(dropout=0.1), few, settings, seed=1, **options)

    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        run(checkpoint=checkpoint, key="k", progress=stop)
    torch.manual_seed(5)
    resumed = run(checkpoint=checkpoint, key="k")
    whole = run()
    assert resumed.resumed_from_epoch == 1
    assert (resumed.predictions, resumed.losses) == (whole.predictions, whole.losses)


def test_simple_features_say_what_is_said_of_the_image_that_looks_most_alike(
    data: CaptionedData, make_settings: MakeSettings
) -> None:
    loaded = load(catalog()["simple-features"], image_size=64, seed=0)
    assert not loaded.trainable
    outcome = fit_and_predict(loaded, data, make_settings(), seed=0)
    found = scored(outcome, data)
    assert value(found, "tuple_f1") > majority(found, "tuple_f1") + 20
    known = {text for item in data.train for text in item.texts}
    assert {row["caption"] for row in outcome.predictions} <= known
    for twin in ("noise_images", "shuffled_labels"):
        destroyed = scored(fit_and_predict(loaded, data, make_settings(), seed=0, twin=twin), data)
        assert value(destroyed, "tuple_f1") < value(found, "tuple_f1") - 20


def test_long_captions_are_cut_and_the_share_is_told(
    data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel
) -> None:
    few = replace(data, train=data.train[:8], test=data.test[:2])
    outcome = fit_and_predict(make_model(), few, make_settings(1, max_tokens=16), seed=0)
    assert any("of the training captions are longer than" in warning for warning in outcome.warnings)
    task = trained(few, few.train, make_settings(1, max_tokens=16), make_model()).task
    question = task.texts(0, np.arange(task.items)).question
    assert question is not None and question.decoder.ids.shape[1] == 16


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"max_tokens": 5}, "no room for a caption"), ({"generated_tokens": (5, 100)}, "positions for 96")],
)
def test_captions_without_room_are_refused(
    data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel, changes: dict[str, Any], what: str
) -> None:
    with pytest.raises(UsageError, match=what):
        fit_and_predict(make_model(), data, make_settings(1, **changes), seed=0)


def test_line_breaks_in_a_caption_are_spaces(
    data: CaptionedData, make_settings: MakeSettings, make_model: MakeModel
) -> None:
    def broken(item: CaptionedImage) -> CaptionedImage:
        return item._replace(
            captions=tuple(caption._replace(text=caption.text.replace(" ", "\n\n")) for caption in item.captions)
        )

    few = data.train[:4]
    usual = trained(data, few, make_settings(1), make_model()).task
    task = trained(data, tuple(broken(item) for item in few), make_settings(1), make_model()).task
    assert [caption.pieces for own in task.captions for caption in own] == [
        caption.pieces for own in usual.captions for caption in own
    ]
