"""No language task moves a pixel: what a text says of a place stays true (section 15.8 of the task specification)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks.input_path import input_path
from tasks.language.images import squares
from tasks.language.network import language_network
from tasks.language.start import text_start
from tasks.language.tuning import LanguageTuning
from tasks.retrieval.data import build
from tasks.retrieval.fit import PairTuning
from tests.tasks.captioned_pictures import SIZE, WriteImage, entry, index_of, tiny_language, tiny_model

Make = Callable[[Any], LanguageTuning]
PLACES = [(row, column) for row in range(1, SIZE, 3) for column in range(2, SIZE, 3)]


def _retrieval(index: Any) -> LanguageTuning:
    settings, loaded = tiny_language("retrieval", 3, captions_per_epoch=2, intensity_jitter=0.3), tiny_model()
    data = build(index, settings)
    captions = [item.texts for item in data.train]
    start = text_start(loaded, settings, lambda: [text for own in captions for text in own])
    network = language_network(loaded, settings, start, pairs=len(captions), seed=0)
    images = squares(index, [item.image for item in data.train], SIZE)
    to_input = input_path(loaded, settings.normalisation)
    return PairTuning(network, to_input, settings, images, captions, seed=0, device=torch.device("cpu"))


@pytest.mark.parametrize("make", [_retrieval], ids=["retrieval"])
def test_a_single_bright_pixel_stays_where_it_is(make: Make, tmp_path: Path, write_image: WriteImage) -> None:
    images = []
    for number, (down, right) in enumerate(PLACES):
        grey = np.full((SIZE, SIZE), 60, dtype=np.uint8)
        grey[down, right] = 180
        images.append(entry(tmp_path, f"{number:02d}", grey, (), write_image))
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
