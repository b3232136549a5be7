"""Which files a model is read from, and the one checksum that stands for all of them. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapters.card import ModelCard
from adapters.containers.shards import INDEX_SUFFIX, shards_of
from foundation.hashing import hash_file, hash_lines


def wanted_prefix(card: ModelCard) -> str:
    """What the names of the encoder's tensors contain, where the card says so; others need not be read."""
    return card.prefix or card.weights.shard_prefix or ""


def companion_file(card: ModelCard, path: Path) -> Path | None:
    """Where the companion of the main file `path` lies, if the card knows one and it is there."""
    if card.companion is None:
        return None
    beside = path.with_name(card.companion.filename)
    return beside if beside.is_file() else None


def checkpoint_files(card: ModelCard, path: Path) -> tuple[Path, ...]:
    """The main file, the shards that an index names for this model, and the companion if it is there."""
    shards: tuple[Path, ...] = ()
    if path.name.endswith(INDEX_SUFFIX):
        prefix = wanted_prefix(card)
        shards = tuple(shard for shard in shards_of(path, lambda name: prefix in name) if shard.is_file())
    companion = companion_file(card, path)
    return (path, *shards, *([companion] if companion else []))


def weights_hash(card: ModelCard, path: Path, hash_of: Callable[[Path], str] = hash_file) -> str:
    """SHA-256 of the file where there is one, else of the checksums of all."""
    files = checkpoint_files(card, path)
    if len(files) == 1:
        return hash_of(path)
    return hash_lines(f"{file.name} {hash_of(file)}" for file in files)
