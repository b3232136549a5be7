"""Fine-tuning an encoder under KLIP's text side on questions, or fitting linear classifiers on fixed features."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from adapters.interface import FeatureExtractor, LoadedModel
from foundation.errors import UsageError
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from tasks.baselines.features import LinearClassifier
from tasks.baselines.majority import MajorityAnswers
from tasks.fine_tuning import Chosen, fine_tune, preparing
from tasks.input_path import InputPath, input_path
from tasks.language.images import Squares, squares
from tasks.language.network import LanguageNetwork, language_network
from tasks.language.start import text_start
from tasks.language.tokens import Pieces, cut_remarks, encode, reading, writing
from tasks.language.tuning import LanguageTuning, Texts, text_hashes
from tasks.protocol.settings import VqaSettings
from tasks.task import Outcome, Part, Row, Twin
from tasks.vqa.answering import Ask, Generation, Ranking, answer_all
from tasks.vqa.asking import kind_of
from tasks.vqa.blind import places
from tasks.vqa.data import VqaData

_DROPPED = re.compile(r"[.!\"()*#:;~]")
"""Section 9; so `[30.5, 60.0]` is read as `[305, 600]`: tenths, since every number has one decimal."""


class QuestionTuning(LanguageTuning):
    """Questions as the training loop wants them: the question is read with the image, the answer is written."""

    def __init__(
        self,
        model: LanguageNetwork,
        to_input: InputPath,
        settings: VqaSettings,
        images: Squares,
        image_of: Sequence[int],
        questions: Sequence[str],
        answers: Sequence[str],
        *,
        seed: int,
        device: torch.device,
    ) -> None:
        per_epoch = settings.questions_per_epoch
        super().__init__(model, to_input, settings, images, image_of, seed=seed, device=device, per_epoch=per_epoch)
        self.questions = encode(questions, model.vocabulary, settings.max_tokens)
        self.answers = answer_pieces(model, answers)
        self.hashes = text_hashes([f"{asked} {said}" for asked, said in zip(questions, answers, strict=True)])

    def texts(self, epoch: int, chosen: Chosen) -> Texts:  # noqa: ARG002  # the same in every epoch
        """Compared is the statement `question answer`, so an answer is no negative of an equal one (section 8.4)."""
        specials = self.model.vocabulary.specials
        asked, said = ([pieces[number] for number in chosen] for pieces in (self.questions, self.answers))
        statements = reading([(*a, *b) for a, b in zip(asked, said, strict=True)], specials)
        question = writing(said, reading(asked, specials), specials)
        return Texts(statements, self.hashes[torch.from_numpy(chosen)], question)


def fit_and_predict(
    loaded: LoadedModel,
    data: VqaData,
    settings: VqaSettings,
    *,
    seed: int,
    twin: Twin = "none",
    device: torch.device | None = None,
    checkpoint: Path | None = None,
    key: str = "",
    progress: Progress = silent,
) -> Outcome:
    """Learns from the training questions and answers every test question, with its image and with another one."""
    if settings.joint:
        raise UsageError(
            "one model for all six tasks is not built",
            where="vqa.joint",
            way_out="leave it at false: a cell would need the questions of all tasks, and its model would be theirs",
        )
    device = device or torch.device("cpu")
    told = preparing(progress)
    images = {
        part: squares(data.index, data.images(part), settings.image_size, twin=twin, seed=seed, progress=told)
        for part in _PARTS
    }
    answers = _answers(data, twin, seed)
    if not loaded.trainable:
        return _linear(loaded, data, images, answers, seed=seed, progress=progress)
    questions = [as_read(question.question) for question in data.train]
    start = text_start(loaded, settings, lambda: [*questions, *answers])
    network = language_network(loaded, settings, start, pairs=len(data.train), seed=seed).to(device)
    to_input = input_path(loaded, settings.normalisation)
    tuning = QuestionTuning(
        network,
        to_input,
        settings,
        images["train"],
        _rows_of(data, "train"),
        questions,
        answers,
        seed=seed,
        device=device,
    )

    def predictions(precision: str) -> list[Row]:
        asked = _asked(data, encode([as_read(q.question) for q in data.test], network.vocabulary, settings.max_tokens))
        if settings.answering == "rank":
            reply: Ranking | Generation = Ranking(network, data.classes, device)
        else:
            reply = Generation(network, settings, device)
        return _rows(
            data, answer_all(network, to_input, images["test"], asked, reply, device=device, precision=precision)
        )

    asked = [*questions, *(as_read(q.question) for q in data.test)]
    remarks = cut_remarks(asked, start.vocabulary, settings.max_tokens, "questions")
    return fine_tune(tuning, predictions, checkpoint=checkpoint, key=key, progress=progress, remarks=remarks)


def as_read(question: str) -> str:
    """A question as the model reads it (section 9)."""
    return " ".join(_DROPPED.sub("", question.lower()).split())


def answer_pieces(network: LanguageNetwork, answers: Sequence[str]) -> list[Pieces]:
    """Answers are never cut but by the positions that there are: the limit of Table 5 is one of questions."""
    return encode(answers, network.vocabulary, network.klip.text.positions.num_embeddings)


_PARTS: tuple[Part, Part] = ("train", "test")


def _answers(data: VqaData, twin: Twin, seed: int) -> list[str]:
    answers = [question.answer for question in data.train]
    if twin == "shuffled_labels":
        order = np.random.default_rng(derive_seed("shuffled_labels", seed)).permutation(len(answers))
        return [answers[number] for number in order]
    return answers


def _rows_of(data: VqaData, part: Part) -> list[int]:
    """The row of each question's image."""
    row = {image.image_id: number for number, image in enumerate(data.images(part))}
    return [row[question.image_id] for question in data.items(part)]


def _others(data: VqaData) -> list[int]:
    """The row of another image for each test question; none where there is no other."""
    row = {image.image_id: number for number, image in enumerate(data.images("test"))}
    return [row[data.other_images[question.image_id]] for question in data.test if data.other_images]


def _asked(data: VqaData, questions: Sequence[Pieces]) -> list[Ask]:
    """Every test question with its image, then every one with another image."""
    own = [Ask(pieces, row) for pieces, row in zip(questions, _rows_of(data, "test"), strict=True)]
    return own + [Ask(pieces, row) for pieces, row in zip(questions, _others(data), strict=False)]


def _rows(data: VqaData, answers: Sequence[str | None]) -> list[Row]:
    count = len(data.test)
    own, others = answers[:count], answers[count:] or [None] * count
    return [
        {"question_id": question.question_id, "answer": answer, "answer_other_image": other}
        for question, answer, other in zip(data.test, own, others, strict=True)
    ]


def _linear(
    loaded: LoadedModel,
    data: VqaData,
    images: dict[Part, Squares],
    answers: Sequence[str],
    *,
    seed: int,
    progress: Progress,
) -> Outcome:
    """One linear classifier over fixed features for each kind of question, and the place where one is asked about."""
    extract = cast(FeatureExtractor, loaded.encoder).features
    progress(0, 3, "features of the training part")
    learnt = extract(list(images["train"]))[_rows_of(data, "train")]
    progress(1, 3, "features of the test part")
    seen = extract(list(images["test"]))
    progress(2, 3, "linear classifiers")
    kinds = {part: np.array([kind_of(question) for question in data.items(part)]) for part in _PARTS}
    asked = np.array([*_rows_of(data, "test"), *_others(data)])
    rounds = len(asked) // len(data.test)
    test = np.concatenate([seen[asked], np.tile(places(data, data.test), (rounds, 1))], axis=1)
    train = np.concatenate([learnt, places(data, data.train)], axis=1)
    test_kinds = np.tile(kinds["test"], rounds)
    said = MajorityAnswers(kinds["train"].tolist(), answers).predict(test_kinds.tolist())
    labels = np.array([data.classes.index(answer) for answer in answers])
    parameters = 0
    for kind in sorted(set(kinds["train"].tolist())):
        own, wanted = kinds["train"] == kind, np.flatnonzero(test_kinds == kind)
        with warnings.catch_warnings():
            # Half as many answers as questions is usual for lists of cells; scikit-learn takes them for numbers.
            warnings.simplefilter("ignore", UserWarning)
            classifier = LinearClassifier(train[own], labels[own], len(data.classes), seed=seed)
        parameters += classifier.parameters
        for number, label in zip(wanted, classifier.scores(test[wanted]).argmax(axis=1), strict=True):
            said[number] = data.classes[label]
    progress(3, 3, "predicted")
    return Outcome(
        predictions=_rows(data, said),
        losses=[],
        parameters=parameters,
        precision="fp32",
        earlier_seconds=0.0,
        resumed_from_epoch=None,
        warnings=[],
    )
