"""From a card to its files under the weights root: from the hub, from an address, or by hand with exact steps.

Files that are there already are left alone. What cannot be fetched says what to download and where to put it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from adapters.card import ModelCard
from adapters.containers.shards import INDEX_SUFFIX
from adapters.weight_files import hub
from adapters.weight_files.checksums import note
from adapters.weight_files.download import Remote, download
from adapters.weights import basename, default_weights_root, further_files, hub_page
from foundation.errors import MissingError
from foundation.files import write_atomic
from foundation.hashing import hash_file
from foundation.progress import Progress, silent

Source = Literal["hub", "url", "manual", "unreleased", "nothing"]


class Wanted(NamedTuple):
    """One file that a model needs, and how to come by it."""

    target: Path
    source: Source
    origin: str
    """The address, or the page that leads to it."""
    filename: str = ""
    """Its path in the repository."""
    sha256: str | None = None
    size_mb: int | None = None
    revision: str | None = None
    licence: str = ""

    @property
    def here(self) -> bool:
        """Whether a file lies there; not whether it is the right one."""
        return self.target.is_file()


class Got(NamedTuple):
    """A file that has arrived."""

    path: Path
    size: int
    sha256: str
    origin: str
    kept: int = 0
    """Bytes of it that an earlier run had left."""


def wanted_files(card: ModelCard, weights_root: Path | None) -> list[Wanted]:
    """What the card needs, as far as known before an index of shards is here; empty where it needs no file."""
    source = card.weights
    target = (weights_root or default_weights_root()) / card.id / basename(card)
    if source.kind == "hub":
        main = _on_hub(card, target, source.filename or "", source.sha256, source.size_mb)
    elif source.kind in ("url", "manual"):
        kind: Source = "url" if source.kind == "url" else "manual"
        main = Wanted(target, kind, source.url or "", "", source.sha256, source.size_mb, licence=source.licence)
    elif source.kind == "unreleased":
        main = Wanted(target, "unreleased", source.url or "", licence=source.licence)
    else:
        return []
    return [main, *_beside(card, main)]


def fetch(card: ModelCard, weights_root: Path | None, progress: Progress = silent) -> Iterator[Got]:
    """Gets every file that is not here and can be had over the network, one after the other.

    Raises what stopped it, with what to download by hand and where to put it.
    """
    for main in wanted_files(card, weights_root)[:1]:
        if _to_get(main):
            yield _get(card, main, progress)
        # An index of shards is here by now, and says what else there is.
        for other in _beside(card, main):
            if _to_get(other):
                yield _get(card, other, progress)


def by_hand(card: ModelCard, wanted: Wanted) -> list[str]:
    """The steps to come by a file without this program."""
    save = f"save it as {wanted.target}"
    if wanted.source == "unreleased":
        return [f"the authors have not published these weights; watch {wanted.origin}", f"once they have, {save}"]
    if wanted.source == "hub":
        revision = wanted.revision or "main"
        return [f"download {wanted.origin}/resolve/{revision}/{wanted.filename}", save]
    if wanted.source == "url":
        return [f"download {wanted.origin}", save]
    steps = list(card.weights.steps) or [f"fetch {wanted.target.name} by hand, starting at {wanted.origin}"]
    return [*steps, save, f"check it with `harness weights verify {card.id}`"]


def _get(card: ModelCard, wanted: Wanted, progress: Progress) -> Got:
    try:
        if wanted.source == "hub":
            return _from_hub(card, wanted, progress)
        done = download(Remote(wanted.origin, wanted.origin, wanted.sha256), wanted.target, progress)
        return _noted(Got(done.path, done.size, done.sha256, wanted.origin, done.kept))
    except MissingError as error:
        steps = ", then ".join(by_hand(card, wanted))
        other = f"; other places: {card.weights.alternatives}" if card.weights.alternatives else ""
        raise MissingError(error.what, where=error.where, way_out=f"{error.way_out}; or {steps}{other}") from error


def _from_hub(card: ModelCard, wanted: Wanted, progress: Progress) -> Got:
    hub_id = card.weights.hub_id or ""
    cached = hub.cached(hub_id, wanted.filename, wanted.revision)
    if cached is not None:
        with cached.open("rb") as source:
            write_atomic(wanted.target, lambda stream: shutil.copyfileobj(source, stream, 1 << 20))
        found = hash_file(wanted.target)
        if wanted.sha256 in (None, found):
            return _noted(Got(wanted.target, wanted.target.stat().st_size, found, f"the hub's cache, {cached}"))
        wanted.target.unlink()
    there = hub.find(hub_id, wanted.filename, wanted.revision)
    remote = there.remote if wanted.sha256 is None else there.remote._replace(sha256=wanted.sha256)
    done = download(remote, wanted.target, progress)
    return _noted(Got(done.path, done.size, done.sha256, remote.address, done.kept))


def _noted(got: Got) -> Got:
    note(got.path, got.sha256, f"from {got.origin}")
    return got


def _to_get(wanted: Wanted) -> bool:
    return not wanted.here and wanted.source in ("hub", "url")


def _beside(card: ModelCard, main: Wanted) -> list[Wanted]:
    """The shards and the companion that `main` needs, as far as it is here to tell."""
    if main.target.name.endswith(INDEX_SUFFIX) and not main.here:
        return []
    found = []
    for path in further_files(card, main.target):
        second = card.companion
        if second is not None and path.name == second.filename:
            found.append(Wanted(path, "url", second.url, sha256=second.sha256, licence=second.licence))
        else:
            name = str(Path(main.filename).with_name(path.name))
            found.append(_on_hub(card, path, name, None, None))
    return found


def _on_hub(card: ModelCard, target: Path, filename: str, sha256: str | None, size_mb: int | None) -> Wanted:
    source = card.weights
    return Wanted(target, "hub", hub_page(source), filename, sha256, size_mb, source.revision, source.licence)
