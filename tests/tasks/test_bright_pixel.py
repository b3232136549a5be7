"""No language task moves a pixel: what a text says of a place stays true (section 15.8 of the task specification)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.caption.fit import CaptionTraining
from tasks.datasets.records import Box, DatasetIndex
from tasks.input_path import InputPath, input_path
from tasks.language.images import squares
from tasks.language.network import LanguageNetwork, language_network
from tasks.language.start import text_start
from tasks.language.texts import captioned_data
from tasks.language.tuning import LanguageTuning
from tasks.retrieval.fit import PairTuning
from tasks.vqa.data import build
from tasks.vqa.fit import QuestionTuning, as_read
from tests.tasks.captioned_pictures import SIZE, WriteImage, entry, index_of, tiny_language, tiny_model

Make = Callable[[DatasetIndex], LanguageTuning]
PLACES = [(row, column) for row in range(1, SIZE, 3) for column in range(2, SIZE, 3)]
CPU = torch.device("cpu")
STRONG = 0.3
TARGET = Box(2.0, 2.0, 3.0, 4.0, 0)


def _retrieval(index: DatasetIndex) -> LanguageTuning:
    settings = tiny_language("retrieval", 3, captions_per_epoch=2, intensity_jitter=STRONG)
    data = captioned_data(index, settings)
    captions = [item.texts for item in data.train]
    network, to_input = _network(settings, [text for own in captions for text in own])
    images = squares(index, [item.image for item in data.train], SIZE)
    return PairTuning(network, to_input, settings, images, captions, seed=0, device=CPU)


def _caption(index: DatasetIndex) -> LanguageTuning:
    settings = tiny_language("caption", 3, captions_per_epoch=2, intensity_jitter=STRONG, generated_tokens=(5, 20))
    data = captioned_data(index, settings)
    captions = [item.texts for item in data.train]
    network, to_input = _network(settings, [text for own in captions for text in own])
    images = squares(index, [item.image for item in data.train], SIZE)
    return CaptionTraining(network, to_input, settings, images, captions, seed=0, device=CPU)


def _vqa(index: DatasetIndex) -> LanguageTuning:
    settings = tiny_language("vqa", 3, intensity_jitter=STRONG)
    data = build(index, settings, task="vqa_target_pos")
    row = {image.image_id: number for number, image in enumerate(data.images("train"))}
    questions, answers = [as_read(asked.question) for asked in data.train], [asked.answer for asked in data.train]
    network, to_input = _network(settings, [*questions, *answers])
    images, image_of = squares(index, data.images("train"), SIZE), [row[asked.image_id] for asked in data.train]
    return QuestionTuning(network, to_input, settings, images, image_of, questions, answers, seed=0, device=CPU)


def _network(settings: Any, texts: list[str]) -> tuple[LanguageNetwork, InputPath]:
    loaded = tiny_model()
    start = text_start(loaded, settings, lambda: texts)
    network = language_network(loaded, settings, start, pairs=len(texts), seed=0)
    return network, input_path(loaded, settings.normalisation)


@pytest.mark.parametrize("make", [_retrieval, _caption, _vqa], ids=["retrieval", "caption", "vqa"])
def test_a_single_bright_pixel_stays_where_it_is(make: Make, tmp_path: Path, write_image: WriteImage) -> None:
    images = []
    for number, (down, right) in enumerate(PLACES):
        grey = np.full((SIZE, SIZE), 60, dtype=np.uint8)
        grey[down, right] = 180
        images.append(entry(tmp_path, f"{number:02d}", grey, (TARGET,), write_image))
    tuning = make(index_of(tmp_path, images))
    where = {int(square.argmax()) for square in tuning.images}
    assert len(where) == len(tuning.images)
    seen, levels = set(), set()
    for epoch in range(3):
        for micros in tuning.batches(epoch):
            for batch in micros:
                inputs = tuning.to_input(batch.images).mean(dim=1)
                for row, grey, image in zip(batch.image_id.tolist(), batch.images, inputs, strict=True):
                    place = int(tuning.images[row].argmax())
                    assert int(grey.flatten().argmax()) == int(image.flatten().argmax()) == place
                    assert len(grey.unique()) == 2 and int((grey == grey.max()).sum()) == 1
                    seen.add(place)
                    levels.add(int(grey.max()))
    assert seen == where and len(levels) > 10  # all of them, and the intensity did change
