"""Fine-tuning an encoder under KLIP's text side, or neighbours in fixed features; ranked candidates out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.interface import FeatureExtractor, LoadedModel
from foundation.errors import CellError
from foundation.progress import Progress, silent
from klip.tokens.vocabulary import Vocabulary
from tasks.baselines.neighbours import retrieval_scores
from tasks.fine_tuning import Chosen, fine_tune, preparing
from tasks.input_path import InputPath, input_path
from tasks.language.images import Squares, squares
from tasks.language.network import LanguageNetwork, language_network
from tasks.language.start import text_start
from tasks.language.texts import CaptionedData, CaptionedImage, drawn_caption, learnt_captions
from tasks.language.tokens import cut_remarks, encode, reading
from tasks.language.tuning import LanguageTuning, Texts, text_hashes
from tasks.protocol.settings import RetrievalSettings
from tasks.retrieval.ranking import Ranked, Rankings, look, rank, ranked, read
from tasks.task import Outcome, Row, Twin
from tasks.training import autocast

SHORTEST_TRAINING = 2
"""Images: a mismatch needs another one."""


class PairTuning(LanguageTuning):
    """Images and captions that are compared and matched; in every epoch some captions of each image."""

    def __init__(
        self,
        model: LanguageNetwork,
        to_input: InputPath,
        settings: RetrievalSettings,
        images: Squares,
        captions: Sequence[Sequence[str]],
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        self.each = settings.captions_per_epoch
        image_of = np.repeat(np.arange(len(captions)), self.each).tolist()
        super().__init__(model, to_input, settings, images, image_of, seed=seed, device=device)
        self.pieces = [encode(own, model.vocabulary, settings.max_tokens) for own in captions]
        self.hashes = [text_hashes(own) for own in captions]

    def texts(self, epoch: int, chosen: Chosen) -> Texts:
        """A caption for each item: those of an image are different in an epoch, and others in the next."""
        drawn = [drawn_caption(self.pieces, self.each, int(item), seed=self.seed, epoch=epoch) for item in chosen]
        specials = self.model.vocabulary.specials
        compared = reading([self.pieces[image][caption] for image, caption in drawn], specials)
        return Texts(compared, torch.stack([self.hashes[image][caption] for image, caption in drawn]))


def fit_and_predict(
    loaded: LoadedModel,
    data: CaptionedData,
    settings: RetrievalSettings,
    *,
    seed: int,
    twin: Twin = "none",
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> Outcome:
    """Learns from the training part and ranks all test captions for each test image, and the other way round."""
    device = device or torch.device("cpu")
    told = preparing(progress)
    train, test = (
        squares(data.index, [item.image for item in part], settings.image_size, twin=twin, seed=seed, progress=told)
        for part in (data.train, data.test)
    )
    captions = learnt_captions(data, twin, seed)
    if not loaded.trainable:
        return _by_neighbours(loaded, train, captions, test, data.test, progress)
    if len(captions) < SHORTEST_TRAINING:
        raise CellError(
            f"the training part holds {len(captions)} images; matching needs another one to be mismatched with",
            where=data.index.dataset,
            way_out="raise --limit, or leave it out",
        )
    start = text_start(loaded, settings, lambda: [text for own in captions for text in own])
    pairs = sum(map(len, captions))
    network = language_network(loaded, settings, start, pairs=pairs, seed=seed).to(device)
    to_input = input_path(loaded, settings.normalisation)
    tuning = PairTuning(network, to_input, settings, train, captions, seed=seed, device=device)
    steps = settings.training.epochs * tuning.steps_per_epoch

    def answers(precision: str) -> list[Row]:
        def matched(done: int, total: int) -> None:
            progress(steps, steps, f"image {done} of {total} matched")

        texts = [text for item in data.test for text in item.texts]
        with autocast(device, precision):
            looked = look(network.klip, to_input, test)
            written = read(network.klip, encode(texts, network.vocabulary, settings.max_tokens))
            found = rank(network.klip, looked, written, _second_stage(settings), matched)
        return _rows(data.test, found)

    return fine_tune(
        tuning,
        answers,
        checkpoint=checkpoint,
        key=key,
        progress=progress,
        remarks=_remarks(settings, data, network.vocabulary),
    )


def _by_neighbours(
    loaded: LoadedModel,
    train: Squares,
    captions: Sequence[Sequence[str]],
    test: Squares,
    items: Sequence[CaptionedImage],
    progress: Progress,
) -> Outcome:
    """What an encoder can do that learns nothing: a caption goes with the images whose neighbours have its like."""
    extract = cast(FeatureExtractor, loaded.encoder).features
    progress(0, 2, "features of the training part")
    learnt = extract(list(train))
    progress(1, 2, "features of the test part")
    asked = extract(list(test))
    texts = [text for item in items for text in item.texts]
    scores = retrieval_scores(learnt, captions, asked, texts).astype(np.float32)
    progress(2, 2, "predicted")
    return Outcome(
        predictions=_rows(items, Rankings(ranked(scores), ranked(scores.T))),
        losses=[],
        parameters=0,
        precision="fp32",
        earlier_seconds=0.0,
        resumed_from_epoch=None,
        warnings=["neighbours in fixed features: one stage, nothing is re-ranked"],
    )


def _second_stage(settings: RetrievalSettings) -> int:
    return settings.rerank if "itm" in settings.losses else 0


def _remarks(settings: RetrievalSettings, data: CaptionedData, vocabulary: Vocabulary) -> list[str]:
    found = []
    if settings.rerank and not _second_stage(settings):
        found.append("the matching head is not trained: one stage, nothing is re-ranked")
    for part, items in (("training", data.train), ("test", data.test)):
        texts = [text for item in items for text in item.texts]
        found += cut_remarks(texts, vocabulary, settings.max_tokens, f"{part} captions")
    return found


def _rows(items: Sequence[CaptionedImage], found: Rankings) -> list[Row]:
    images = [item.image.image_id for item in items]
    captions = [caption.caption_id for item in items for caption in item.captions]
    return [*_directed("i2t", images, captions, found.i2t), *_directed("t2i", captions, images, found.t2i)]


def _directed(way: str, queries: Sequence[str], gallery: Sequence[str], found: Ranked) -> list[Row]:
    return [
        {
            "way": way,
            "query": query,
            "candidates": [gallery[number] for number in candidates],
            "scores": _numbers(scores),
        }
        for query, candidates, scores in zip(queries, found.candidates, found.scores, strict=True)
    ]


def _numbers(scores: NDArray[np.float32]) -> list[float | None]:
    # Nine significant digits give every float32 back exactly; what JSON lacks becomes null: no answer.
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in scores]
