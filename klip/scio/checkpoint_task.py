"""A pass from what a pre-training left: its newest checkpoint, its text store, the images of its corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from foundation.errors import CheckError, MissingError
from foundation.files import read_json
from foundation.progress import Progress, silent
from klip.configuration import configured
from klip.corpus import read_corpus_folder
from klip.model.klip import KLIP
from klip.pixels import load_pixels
from klip.scio.material import Material, material_of
from klip.settings import PretrainingSettings
from klip.store.text_store import TextStore
from klip.tokens.vocabulary import Vocabulary
from klip.training import checkpoint as checkpoints
from klip.training.distributed import device_called

if TYPE_CHECKING:
    from klip.corpus import Corpus

STORE = "store"
_ONLINE = "online."
_KIND = "klip"


@dataclass(frozen=True)
class Trained:
    """A model with everything that it judges."""

    model: KLIP
    settings: PretrainingSettings
    store: TextStore
    checkpoint: Path
    corpus: Corpus
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def material(self, version: int, progress: Progress = silent) -> Material:
        """A version of the texts with their images."""
        pixels = load_pixels(self.corpus, self.settings.image.size, progress)
        return material_of(self.store, version, pixels, self.mean, self.std, image_hashes=self.corpus.image_hashes)


@dataclass(frozen=True)
class Chosen:
    """What a command line says about the parts; None: as the run folder has them."""

    run: Path
    checkpoint: Path | None = None
    store: Path | None = None
    corpus: Path | None = None
    config: Path | None = None
    changes: Sequence[str] = ()
    device: str = "auto"


def load_trained(chosen: Chosen, progress: Progress = silent) -> Trained:
    """Reads the model, and refuses texts and images that it was not trained with."""
    device = device_called(chosen.device)
    path = checkpoints.find(chosen.checkpoint or chosen.run)
    found = checkpoints.read(path)
    about = found.about
    if about.get("kind") != _KIND:
        raise CheckError(
            f"a checkpoint of kind {about.get('kind')!r} cannot judge texts",
            where=str(path),
            way_out="give a run folder of `klip pretrain`",
        )
    settings = configured(
        PretrainingSettings, about["settings"], file=chosen.config, changes=chosen.changes, see="klip settings"
    )
    vocabulary = Vocabulary(about["pieces"], where=str(path))
    store = TextStore.open(chosen.store or store_of(chosen.run))
    if store.vocabulary.digest != vocabulary.digest:
        raise CheckError(
            "the text store has another vocabulary than the model",
            where=str(store.folder),
            way_out="give the store of the run, or build one with the vocabulary of the run",
        )
    corpus = _corpus(chosen, store, progress)
    model = _model(found.module, settings, vocabulary, path).to(device).eval()
    mean, std = tuple(about["mean"]), tuple(about["std"])
    return Trained(model, settings, store, path, corpus, mean, std)


def store_of(run: Path) -> Path:
    """The text store of a run folder."""
    return run / STORE


def _corpus(chosen: Chosen, store: TextStore, progress: Progress) -> Corpus:
    folder = chosen.corpus
    if folder is None:
        record = read_json(chosen.run / "run.json") if (chosen.run / "run.json").is_file() else {}
        folder = Path(record["corpus"]) if "corpus" in record else None
    if folder is None or not folder.is_dir():
        raise MissingError(
            "the corpus of this run is not where it was",
            where=str(folder or chosen.run),
            way_out="name the folder with --corpus",
        )
    corpus = read_corpus_folder(folder, limit=len(store), progress=progress)
    store.require_corpus(corpus)
    return corpus


def _model(state: dict[str, torch.Tensor], settings: PretrainingSettings, vocabulary: Vocabulary, path: Path) -> KLIP:
    model = KLIP(settings, vocabulary.size, vocabulary.specials)
    own: dict[str, Any] = {
        name.removeprefix(_ONLINE): value for name, value in state.items() if name.startswith(_ONLINE)
    }
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise CheckError(
            f"the checkpoint does not fit the model of its settings: {str(error).splitlines()[-1].strip()}",
            where=str(path),
            way_out="do not change model.* with --config or --set",
        ) from error
    return model
