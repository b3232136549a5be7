"""What lies under the weights root: which files of a model are there, and whether they are the published ones.

The quick examination knows checksums and first bytes and imports no torch; the full one reads names and shapes too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from adapters.card import ModelCard
from adapters.weight_files.checksums import note, note_file, noted
from adapters.weight_files.identity import first_look, known_file, look_inside
from adapters.weights import PUBLISHED, further_files, weight_file
from foundation.cache import cached_file_hash
from foundation.errors import BenchError
from foundation.files import TEMPORARY_PREFIX

State = Literal["present", "missing", "unfinished", "wrong file"]
Checksum = Literal["ok", "noted", "unknown", "changed", "wrong", "-"]
"""ok: the published one; noted: the one noted beside the file; unknown: nothing to compare with."""


class FileState(NamedTuple):
    """One file of a model."""

    path: Path
    state: State
    checksum: Checksum = "-"
    sha256: str | None = None
    size: int | None = None
    says: str = ""
    """What is wrong with it, or what it is."""
    way_out: str = ""

    @property
    def sound(self) -> bool:
        """It is there, and nothing speaks against it."""
        return self.state == "present" and self.checksum not in ("wrong", "changed")


def examine(card: ModelCard, weights_root: Path | None) -> list[FileState]:
    """All files of a published model or a user's own one; empty for models without files."""
    main = weight_file(card, weights_root)
    if main is None or card.weights.kind not in (*PUBLISHED, "file"):
        return []
    problem = ""
    try:
        further = further_files(card, main)
    except BenchError as error:
        further, problem = (), error.what
    second = card.companion
    pinned = {} if second is None else {second.filename: second.sha256}
    states = [_file(card, main, card.weights.sha256, main=True)]
    if problem:
        states[0] = states[0]._replace(state="wrong file", says=problem, way_out=_again(card, main))
    return states + [_file(card, path, pinned.get(path.name)) for path in further]


def verify(card: ModelCard, weights_root: Path | None) -> list[FileState]:
    """As `examine`, and looks at the names and shapes inside; notes the checksum of a file that is right."""
    states = examine(card, weights_root)
    if not states or not all(state.sound for state in states):
        return states
    main, *others = states
    inside = look_inside(card, main.path)
    if inside.complaint:
        said = inside.complaint
        if inside.description:
            said = f"this is {inside.description}, not {card.name}: {said}"
        return [main._replace(state="wrong file", says=said, way_out=_again(card, main.path)), *others]
    main = main._replace(says=inside.description)
    return [_noted(card, state) for state in (main, *others)]


def _file(card: ModelCard, path: Path, pinned: str | None, *, main: bool = False) -> FileState:
    if not path.is_file():
        partial = path.with_name(TEMPORARY_PREFIX + path.name)
        if partial.is_file():
            size = partial.stat().st_size
            return FileState(path, "unfinished", size=size, says=f"{size} bytes have arrived", way_out=_fetch(card))
        return FileState(path, "missing", way_out=_fetch(card))
    size = path.stat().st_size
    complaint = first_look(path)
    if complaint:
        return FileState(path, "wrong file", size=size, says=complaint, way_out=_again(card, path))
    found = cached_file_hash(path)
    before = noted(path)
    known = known_file(found)
    if pinned is not None and found != pinned:
        said = f"this is {known}, not {card.name}" if known else f"its SHA-256 is {found}, published is {pinned}"
        return FileState(path, "wrong file", "wrong", found, size, said, _again(card, path))
    if pinned is None and known and main and card.weights.kind != "file":
        return FileState(
            path, "wrong file", "unknown", found, size, f"this is {known}, not {card.name}", _again(card, path)
        )
    if before is not None and found != before:
        said = f"it has changed since its checksum was noted: SHA-256 {found}, noted {before}"
        way_out = f"fetch it again; if you changed it yourself, delete {note_file(path).name}"
        return FileState(path, "present", "changed", found, size, said, way_out)
    checksum: Checksum = "ok" if pinned is not None else "noted" if before is not None else "unknown"
    return FileState(path, "present", checksum, found, size)


def _noted(card: ModelCard, state: FileState) -> FileState:
    # What users train themselves changes from run to run, and needs no note beside it.
    if state.checksum != "unknown" or state.sha256 is None or card.weights.kind == "file":
        return state
    note(state.path, state.sha256, f"first seen by `harness weights verify {card.id}`")
    return state


def _fetch(card: ModelCard) -> str:
    if card.weights.kind == "file":
        return "check the path in the model file"
    if card.weights.kind == "unreleased":
        return f"not published yet; watch {card.weights.url}"
    return f"`harness weights fetch {card.id}`"


def _again(card: ModelCard, path: Path) -> str:
    if card.weights.kind == "file":
        return "write the checkpoint again, or name another file"
    return f"delete {path} and run {_fetch(card)}"
