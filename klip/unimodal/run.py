"""A baseline from a corpus to its last checkpoint, and the record of how it came about."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundation.errors import MissingError
from foundation.files import require_writable
from foundation.hashing import hash_lines
from foundation.progress import Progress, silent
from klip.corpus import Corpus, read_corpus_folder
from klip.machine import machine
from klip.pixels import load_pixels, statistics
from klip.run_record import RunRecord
from klip.text import corpus_strings
from klip.tokens.layout import TextTokens, tokenise_all, within_budget
from klip.tokens.vocabulary import Vocabulary
from klip.training.distributed import World
from klip.training.engine import Training, run_folder
from klip.unimodal.baseline import Baseline, InputStatistics, statistics_of
from klip.unimodal.contrastive import ContrastivePretraining, towers_of
from klip.unimodal.mae import MaskedAutoencoder
from klip.unimodal.moco_v3 import MomentumContrast
from klip.unimodal.objective import BaselineObjective, ImageObjective, TextImageObjective, plan_of
from klip.unimodal.sar_jepa import GradientPrediction
from klip.unimodal.settings import BaselineSettings, as_data, flat

SMALL_CONTRAST_BATCH = 256
"""Images per step below which MoCo v3 suffers (section 12)."""

IMAGE_METHODS: dict[str, type[Baseline]] = {
    "mae": MaskedAutoencoder,
    "moco-v3": MomentumContrast,
    "sar-jepa": GradientPrediction,
}


@dataclass(frozen=True)
class Prepared:
    """Everything that a training needs before its first step."""

    objective: BaselineObjective
    statistics: InputStatistics
    about: dict[str, Any]
    """What a reader of the checkpoint must know to use it."""
    configuration: dict[str, Any]
    """What must be the same for a training to go on."""
    notes: tuple[str, ...]


def pretrain_baseline(
    folder: Path,
    out: Path,
    settings: BaselineSettings,
    world: World,
    *,
    limit: int | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Trains in the folder `out`, from its newest checkpoint where there is one; gives what `run.json` says."""
    require_writable(out)
    with run_folder(out, world):
        corpus = read_baseline_corpus(folder, settings, limit=limit, progress=progress)
        prepared = prepare(corpus, settings, world, progress=progress)
        batches = prepared.objective.batches_per_epoch
        plan = plan_of(settings, batches, world, prepared.configuration, prepared.about)
        # The record comes after it: a folder of another training is refused here, and its record stays what it was.
        training = Training(prepared.objective, plan, out, world, progress=progress)
        record = RunRecord(out, _content(corpus, prepared, settings, world, training.precision), write=world.first)
        began = time.perf_counter()
        try:
            training.run(range(plan.epochs))
        finally:
            training.close()
            record.save()
        record.save(finished=True)
    return {**record.content, "seconds": round(time.perf_counter() - began, 1), "resumed": training.resumed is not None}


def _content(
    corpus: Corpus, prepared: Prepared, settings: BaselineSettings, world: World, precision: str
) -> dict[str, Any]:
    """What the record of a start says."""
    objective = prepared.objective
    return {
        "kind": "baseline",
        "method": settings.method,
        "settings": as_data(settings),
        "corpus": {"digest": corpus.digest, "images": len(corpus)},
        "input": prepared.statistics._asdict(),
        "presentations": settings.epochs * objective.batches_per_epoch * objective.batch_size * world.size,
        "steps": objective.batches_per_epoch * settings.epochs,
        "precision": precision,
        "machine": machine(world.device),
        "notes": list(prepared.notes),
        "finished": False,
    }


def read_baseline_corpus(
    folder: Path, settings: BaselineSettings, *, limit: int | None = None, progress: Progress = silent
) -> Corpus:
    """The images, with the texts that the method reads."""
    if settings.method != "clip":
        return read_corpus_folder(folder, limit=limit, progress=progress)
    texts = folder / settings.clip.texts
    if folder.is_dir() and not texts.is_file():
        raise MissingError(
            "the corpus has no template texts",
            where=str(texts),
            way_out="build the synthetic corpus anew with `harness data build sarworld`, or name another file of the "
            "folder with --set clip.texts=texts.jsonl",
        )
    return read_corpus_folder(folder, texts=texts, limit=limit, progress=progress)


def prepare(corpus: Corpus, settings: BaselineSettings, world: World, *, progress: Progress = silent) -> Prepared:
    """Images decoded, module built; nothing trained."""
    # KLIP's own augmentation hardly crops, so its images have the size of the views.
    ratio = 1 if settings.method == "clip" else settings.views.source_ratio
    pixels = load_pixels(corpus, settings.tower.image_size * ratio, progress)
    moments = statistics(pixels)
    found = statistics_of(settings.views, settings.tower.channels, (moments.mean, moments.std))
    about: dict[str, Any] = {
        "kind": "baseline",
        "method": settings.method,
        "settings": as_data(settings),
        "mean": list(found.mean),
        "std": list(found.std),
    }
    configuration = {**flat(settings), "images": hash_lines(corpus.image_hashes)}
    objective: BaselineObjective
    if settings.method == "clip":
        tokens, vocabulary = tokenised(corpus, settings)
        module = ContrastivePretraining(settings, found, vocabulary.size, vocabulary.specials)
        objective = TextImageObjective(module, pixels, corpus.texts, tokens, vocabulary.specials, settings, world)
        about["pieces"] = list(vocabulary.pieces)
        configuration["texts"] = corpus.digest
    else:
        baseline = IMAGE_METHODS[settings.method](settings, found)
        objective = ImageObjective(baseline, pixels, settings, world)
    return Prepared(objective, found, about, configuration, _notes(settings, world))


def tokenised(corpus: Corpus, settings: BaselineSettings) -> tuple[list[TextTokens], Vocabulary]:
    """The texts cut to KLIP's budget (section 3.4), and a vocabulary made from them."""
    vocabulary = Vocabulary.train(corpus_strings(corpus.texts), settings.clip.vocabulary_size)
    budget = towers_of(settings).text
    tokens = [
        within_budget(text, budget.max_len, budget.max_seg_len, vocabulary.continues).tokens
        for text in tokenise_all(corpus.texts, vocabulary)
    ]
    return tokens, vocabulary


def _notes(settings: BaselineSettings, world: World) -> tuple[str, ...]:
    batch = settings.batch_size_per_device * world.size
    if settings.method == "moco-v3" and batch < SMALL_CONTRAST_BATCH:
        return (f"{batch} images a step are few negatives for MoCo v3, which suffers below {SMALL_CONTRAST_BATCH}",)
    return ()
