"""Fine-tuning an encoder under KLIP's text side to write captions, or taking those of the nearest images; texts out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from adapters.interface import FeatureExtractor, LoadedModel
from foundation.errors import UsageError
from foundation.progress import Progress, silent
from klip.generate import KlipWriter, Writing, forbidden_tokens, write
from klip.model.klip import KLIP
from klip.tokens.vocabulary import Vocabulary
from tasks.baselines.neighbours import captions as captions_of_neighbours
from tasks.fine_tuning import Chosen, fine_tune, preparing
from tasks.input_path import InputPath, input_path
from tasks.language.images import Squares, squares
from tasks.language.network import LanguageNetwork, language_network
from tasks.language.start import text_start
from tasks.language.texts import CaptionedData, CaptionedImage, drawn_caption, learnt_captions
from tasks.language.tokens import Pieces, cut_remarks, encode, reading, unread, writing
from tasks.language.tuning import LanguageTuning, Texts, text_hashes
from tasks.protocol.settings import CaptionSettings
from tasks.task import Outcome, Row, Twin
from tasks.training import autocast

WRITE_BATCH = 32
"""Images that are written of at a time; what is written of one hangs on none of the others."""
_MARKS = 2
"""[DEC] before a text that is written, [SEP] behind it."""


class Described(NamedTuple):
    """One caption of a training image."""

    text: str
    pieces: Pieces


class CaptionTraining(LanguageTuning):
    """Captions as the training loop wants them: of every image so many of its captions, drawn anew in every epoch."""

    def __init__(
        self,
        model: LanguageNetwork,
        to_input: InputPath,
        settings: CaptionSettings,
        images: Squares,
        captions: Sequence[Sequence[str]],
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        """`captions` are those of each of the images."""
        self.each = settings.captions_per_epoch
        image_of = np.repeat(np.arange(len(captions)), self.each).tolist()
        super().__init__(model, to_input, settings, images, image_of, seed=seed, device=device)
        self.prompt = prompt_pieces(settings, model.vocabulary)
        self.captions = _described(captions, settings, model.vocabulary)
        require_room(model.klip, settings, self.prompt)

    def texts(self, epoch: int, chosen: Chosen) -> Texts:
        """Of each item the caption of this epoch; nothing but the image is known when it is written."""
        specials = self.model.vocabulary.specials
        told = [self.told(epoch, int(item)) for item in chosen]
        pieces = [caption.pieces for caption in told]
        read = unread(len(told), specials)
        return Texts(
            compared=reading(pieces, specials),
            hashes=text_hashes([caption.text for caption in told]),
            question=writing(pieces, read, specials, self.prompt),
        )

    def told(self, epoch: int, item: int) -> Described:
        """The caption that an item stands for."""
        image, caption = drawn_caption(self.captions, self.each, item, seed=self.seed, epoch=epoch)
        return self.captions[image][caption]


class Captioner:
    """A trained network and how it writes."""

    def __init__(self, network: LanguageNetwork, settings: CaptionSettings, to_input: InputPath) -> None:
        self.model = network.klip
        self.vocabulary = network.vocabulary
        self.to_input = to_input
        self.prompt = prompt_pieces(settings, network.vocabulary)
        fewest, longest = settings.generated_tokens
        # Section 8: no repetition penalty. The longest output is that of Table 5; the stop token comes on top.
        self.how = Writing(most=longest + 1, fewest=fewest, beams=settings.beams, length_power=1.0, no_repeat=0)

    @torch.inference_mode()
    def written(self, images: Squares, device: torch.device, precision: str) -> list[str]:
        """One caption per 8-bit square."""
        self.model.eval()
        found: list[str] = []
        for low in range(0, len(images), WRITE_BATCH):
            grey = torch.from_numpy(np.array(images[low : low + WRITE_BATCH])).to(device)
            with autocast(device, precision):
                found += self.texts(self.to_input(grey))
        return found

    def texts(self, inputs: Tensor) -> list[str]:
        """One caption per image [B, 3, S, S]; the prompt is given and not part of it."""
        return [self.vocabulary.decode(ids) for ids in self.pieces(inputs)]

    def pieces(self, inputs: Tensor) -> list[Pieces]:
        """The pieces of the best caption of each image."""
        model, specials = self.model, self.vocabulary.specials
        memory = model.visual_memory(model.encode_image(inputs).memory)
        question = unread(len(inputs), specials).to(inputs.device)
        seen = model.decoder_memory(model.fused(question, memory), question.mask, memory)
        prefix = torch.tensor([[specials.dec, *self.prompt]] * len(inputs), device=inputs.device)
        found = write(
            KlipWriter(model, seen),
            prefix,
            torch.ones_like(prefix, dtype=torch.bool),
            stop=specials.sep,
            how=self.how,
            banned=forbidden_tokens(specials, self.vocabulary.size, stop=specials.sep),
        )
        return [best[0].ids if best else () for best in found]


def fit_and_predict(
    loaded: LoadedModel,
    data: CaptionedData,
    settings: CaptionSettings,
    *,
    seed: int,
    twin: Twin = "none",
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> Outcome:
    """Learns from the training part and writes one caption for every test image."""
    device = device or torch.device("cpu")
    captions = learnt_captions(data, twin, seed)
    told = preparing(progress)

    def images_of(items: Sequence[CaptionedImage]) -> Squares:
        entries = [item.image for item in items]
        return squares(data.index, entries, settings.image_size, twin=twin, seed=seed, progress=told)

    images = images_of(data.train)
    if not loaded.trainable:
        return _control(loaded, data, images, captions, images_of(data.test), progress)
    start = text_start(loaded, settings, lambda: [text for own in captions for text in own])
    network = language_network(
        loaded, settings, start, pairs=len(captions) * settings.captions_per_epoch, seed=seed
    ).to(device)
    to_input = input_path(loaded, settings.normalisation)
    task = CaptionTraining(network, to_input, settings, images, captions, seed=seed, device=device)
    return fine_tune(
        task,
        lambda precision: _rows(
            data.test, Captioner(network, settings, to_input).written(images_of(data.test), device, precision)
        ),
        checkpoint=checkpoint,
        key=key,
        progress=progress,
        remarks=_cut(captions, settings, start.vocabulary),
    )


def prompt_pieces(settings: CaptionSettings, vocabulary: Vocabulary) -> Pieces:
    """The fixed start of every caption; an empty prompt is none."""
    return vocabulary.encode(settings.prompt)


def require_room(model: KLIP, settings: CaptionSettings, prompt: Pieces) -> None:
    """Refuses captions that are longer than the text side has positions, or that the prompt leaves no room for."""
    if settings.max_tokens <= _MARKS + len(prompt):
        raise UsageError(
            f"max_tokens = {settings.max_tokens} leaves no room for a caption after a prompt of {len(prompt)} pieces",
            way_out="raise max_tokens, or shorten the prompt",
        )
    positions = model.text.positions.num_embeddings
    longest = max(settings.max_tokens, _MARKS + len(prompt) + settings.generated_tokens[1])
    if longest > positions:
        raise UsageError(
            f"captions of {longest} tokens with their prompt; the text side has positions for {positions}",
            way_out="lower max_tokens and generated_tokens, or take a text side with more positions",
        )


def _described(
    captions: Sequence[Sequence[str]], settings: CaptionSettings, vocabulary: Vocabulary
) -> list[list[Described]]:
    """The pieces of every caption, equal ones divided once; the prompt counts among the tokens of Table 5."""
    texts = list(dict.fromkeys(text for own in captions for text in own))
    room = settings.max_tokens - len(prompt_pieces(settings, vocabulary))
    pieces = dict(zip(texts, encode(texts, vocabulary, room), strict=True))
    return [[Described(text, pieces[text]) for text in own] for own in captions]


def _cut(captions: Sequence[Sequence[str]], settings: CaptionSettings, vocabulary: Vocabulary) -> list[str]:
    room = settings.max_tokens - len(prompt_pieces(settings, vocabulary))
    return cut_remarks([text for own in captions for text in own], vocabulary, room, "training captions")


def _control(
    loaded: LoadedModel,
    data: CaptionedData,
    images: Squares,
    captions: Sequence[Sequence[str]],
    test: Squares,
    progress: Progress,
) -> Outcome:
    """Says of an image what is said of the one that looks most like it."""
    extract = cast(FeatureExtractor, loaded.encoder).features
    progress(0, 2, "features of the training part")
    train = extract(list(images))
    progress(1, 2, "features of the test part")
    said = captions_of_neighbours(train, captions, extract(list(test))) if len(test) else []
    progress(2, 2, "predicted")
    return Outcome(_rows(data.test, said), [], 0, "fp32", 0.0, None, [])


def _rows(items: Sequence[CaptionedImage], texts: Sequence[str]) -> list[Row]:
    return [
        {"image_id": item.image.image_id, "caption": " ".join(text.split())}
        for item, text in zip(items, texts, strict=True)
    ]
