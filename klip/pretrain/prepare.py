"""From a corpus folder to what training takes: a text store, pixels in memory, and the texts of a stage as tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from foundation.errors import CheckError, MissingError
from foundation.hashing import hash_value
from foundation.progress import Progress
from klip.corpus import TEMPLATE_TEXTS, Corpus, read_corpus_folder, text_hash
from klip.pixels import load_pixels, statistics
from klip.pretrain.mirror import mirrored
from klip.pretrain.objective import Images, Texts
from klip.scio.material import Material
from klip.settings import PretrainingSettings, flat
from klip.store.manifest import manifest_path
from klip.store.text_store import TextStore
from klip.text import corpus_strings
from klip.tokens.batch import pack
from klip.tokens.layout import tokenise_all
from klip.tokens.vocabulary import DEFAULT_SIZE, Vocabulary
from klip.training.checkpoint import latest, read, require_same
from klip.training.distributed import World
from klip.training.engine import resolve_precision
from klip.training.order import batches_per_epoch

STORE = "store"

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Section 2.5: the ViT is ImageNet-initialised."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Source:
    """What a command line says about the corpus."""

    corpus: Path
    texts: Path | None = None
    """Another file of texts about the same images."""
    vocabulary: Path | None = None
    """None: trained from the corpus."""
    vocabulary_size: int | None = None
    """Of one that is trained; None: that of the run folder, or the usual one where there is none yet."""
    limit: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A corpus that can be trained on."""

    corpus: Corpus
    store: TextStore
    images: Images
    image_id: NDArray[np.int64]
    """[N]: equal where two rows show the same image."""

    def material(self, version: int) -> Material:
        """The texts of a version as SCIO takes them."""
        texts = self.store.texts(version)
        return Material(
            texts=texts,
            tokens=self.store.tokens(version),
            pixels=self.images.pixels,
            text_hash=np.array([text_hash(text) for text in texts], dtype=np.int64),
            vocabulary=self.store.vocabulary,
            mean=self.images.mean,
            std=self.images.std,
            version=version,
            digest=self.corpus.digest,
            image_id=self.image_id,
        )

    def stage_texts(self, version: int, noise: NDArray[np.bool_] | None, settings: PretrainingSettings) -> Texts:
        """The texts of a version with a noise pool, as training takes them."""
        texts = self.store.texts(version)
        pool = np.zeros((len(texts), len(texts[0].segments)), dtype=np.bool_) if noise is None else noise
        vocabulary = self.store.vocabulary
        other = None
        if settings.image.flip == "text_aware":
            other = pack(list(tokenise_all([mirrored(text) for text in texts], vocabulary)), vocabulary.specials)
        manifest = manifest_path(self.store.folder, version).read_text(encoding="utf-8")
        return Texts(
            version=version,
            tokens=pack(self.store.tokens(version), vocabulary.specials),
            text_hash=torch.tensor([text_hash(text) for text in texts], dtype=torch.int64),
            noise=torch.from_numpy(pool),
            digest=hash_value([manifest, np.argwhere(pool).tolist()]),
            mirrored=other,
        )


def first_alone(world: World, work: Callable[[], Found]) -> Found:
    """The first process does the work and leaves it on disk; the others then find it there."""
    if world.first:
        found = work()
    world.barrier()
    return found if world.first else work()


def prepare(source: Source, folder: Path, settings: PretrainingSettings, world: World, progress: Progress) -> Prepared:
    """Reads, checks and stores a corpus in a run folder; what is there already is checked and used."""
    return first_alone(world, lambda: _prepare(source, folder, settings, world, progress))


def read_source(source: Source, settings: PretrainingSettings, progress: Progress) -> Corpus:
    """The corpus with the texts that `data.text` and the command line name."""
    texts = source.texts
    if settings.data.text == "template":
        texts = texts or source.corpus / TEMPLATE_TEXTS
        if not texts.is_file():
            raise MissingError(
                "the corpus has no template texts",
                where=str(texts),
                way_out=f"add {TEMPLATE_TEXTS} to the corpus, or name a file with --texts",
            )
    return read_corpus_folder(source.corpus, texts=texts, limit=source.limit, progress=progress)


def _prepare(source: Source, folder: Path, settings: PretrainingSettings, world: World, progress: Progress) -> Prepared:
    corpus = read_source(source, settings, progress)
    place = folder / STORE
    there = TextStore.open(place) if manifest_path(place, 0).is_file() else None
    if there is not None:
        _require_same_budget(folder, there, settings, world)
    # A store that is written binds the folder to its texts, so what no training can take is refused before.
    batches_per_epoch(len(corpus), settings.batch_size_per_device, world.size)
    vocabulary = _vocabulary(source, corpus, there)
    if there is not None:
        _require_same_texts(there, corpus, vocabulary)
    store = TextStore.create(place, corpus, vocabulary, settings.text, progress)
    pixels = load_pixels(corpus, settings.image.size, progress)
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if settings.image.norm == "dataset":
        found = statistics(pixels)
        if found.std <= 0:
            raise CheckError("all pixels of the corpus are alike", where=str(corpus.folder), way_out="check the images")
        mean, std = (found.mean,) * 3, (found.std,) * 3
    rows = {digest: row for row, digest in reversed(list(enumerate(corpus.image_hashes)))}
    image_id = np.array([rows[digest] for digest in corpus.image_hashes], dtype=np.int64)
    return Prepared(corpus, store, Images(pixels, mean, std, torch.from_numpy(image_id)), image_id)


def _vocabulary(source: Source, corpus: Corpus, there: TextStore | None) -> Vocabulary:
    """The one that was given, the one of the store, or one trained from the texts."""
    if source.vocabulary is not None:
        return Vocabulary.read(source.vocabulary)
    if there is not None and source.vocabulary_size in (None, there.vocabulary.size):
        return there.vocabulary
    # Few texts fill no vocabulary, so what was asked for then is not what its size says: the same again tells.
    return Vocabulary.train(corpus_strings(corpus.texts), source.vocabulary_size or DEFAULT_SIZE)


def _require_same_budget(folder: Path, there: TextStore, settings: PretrainingSettings, world: World) -> None:
    """Texts that were cut otherwise belong to other settings: those are named, all of them that are known."""
    now = {**dict(flat(settings)), "precision": resolve_precision(settings.precision, world.device)}
    budget = {f"text.{name}": value for name, value in there.manifest(0).budget.items()}
    if all(now[key] == value for key, value in budget.items()):
        return
    path = latest(folder)
    before = now if path is None else read(path).configuration
    require_same({**{key: before[key] for key in now if key in before}, **budget}, now, path or there.folder)


def _require_same_texts(there: TextStore, corpus: Corpus, vocabulary: Vocabulary) -> None:
    """Refuses what the store of the run folder was not made from."""
    if there.manifest(0).corpus != corpus.digest:
        raise CheckError(
            f"this folder holds a training on another corpus: its texts or images are not the {len(corpus)} given now",
            where=str(there.folder),
            way_out="give the former corpus, --texts and --limit to go on, or another --out folder to start anew",
        )
    if there.vocabulary.digest != vocabulary.digest:
        raise CheckError(
            f"this folder holds a training with another vocabulary: {there.vocabulary.size} pieces, "
            f"and not the {vocabulary.size} asked for now",
            where=str(there.folder),
            way_out="leave --vocabulary and --vocabulary-size out to go on with its own, "
            "or give another --out folder to start anew",
        )
