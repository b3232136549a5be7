"""The store: open a version, read its texts, publish the next one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from foundation.errors import CheckError, UsageError
from foundation.files import exclusive, require_writable, write_bytes
from foundation.hashing import hash_bytes
from foundation.progress import Progress, silent
from klip.corpus import Corpus
from klip.store.build import count_statuses, files_of, fitted
from klip.store.manifest import (
    BASE,
    CLEAN,
    CUTS,
    PLANTED,
    VOCABULARY,
    Manifest,
    manifest_path,
    overlay_name,
    published,
    read_manifest,
    verify,
)
from klip.store.pools import Pool, pool_names, read_pool, require_pass_id, write_pool
from klip.store.records import Change, change_of, changed, overlay_line, text_of
from klip.text import SegmentedText
from klip.tokens.layout import TextTokens, require_fit, tokenise_all
from klip.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from klip.settings import TextSettings
    from klip.store.truth import Flags, Truth

_LOCK = ".lock"
_STATED = ("checkpoint", "config", "pass_id")
"""What the maker of a version must say about it (section 6.9)."""


class TextStore:
    """The texts of a corpus in versions; rows are in the order of the corpus."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._manifests: dict[int, Manifest] = {}
        self._changes: dict[int, dict[str, list[Change]]] = {}
        self._texts: dict[int, list[SegmentedText]] = {}
        self._tokens: dict[int, list[TextTokens]] = {}

    @classmethod
    def create(
        cls,
        folder: Path,
        corpus: Corpus,
        vocabulary: Vocabulary,
        budget: TextSettings,
        progress: Progress = silent,
    ) -> Self:
        """Version 0 of a corpus; one that is there already is opened if it is the same, and refused if not."""
        fit = fitted(corpus.texts, vocabulary, budget, progress)
        files = files_of(corpus, fit, vocabulary)
        manifest = Manifest(
            version=0,
            parent=None,
            parent_manifest=None,
            files={name: hash_bytes(content) for name, content in files.items()},
            vocabulary=vocabulary.digest,
            corpus=corpus.digest,
            budget={"max_len": budget.max_len, "max_seg_len": budget.max_seg_len},
            counts=count_statuses(fit.texts),
            provenance={},
            lengths={"before": fit.before, "after": fit.after},
        )
        require_writable(folder)
        with exclusive(folder / _LOCK):
            if 0 in published(folder):
                _require_same(folder, read_manifest(folder, 0), manifest)
            else:
                for name, content in files.items():
                    write_bytes(folder / name, content)
                write_bytes(manifest_path(folder, 0), manifest.content())
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """A store whose every version matches its manifest."""
        store = cls(folder)
        store.manifest(0)
        store.versions()
        return store

    def __len__(self) -> int:
        return len(self.ids)

    def versions(self) -> list[int]:
        """Versions that are published, also by other processes since the store was opened."""
        found = published(self.folder)
        for version in found:
            self.manifest(version)
        return found

    @property
    def latest(self) -> int:
        """The version that was published last."""
        return self.versions()[-1]

    def manifest(self, version: int) -> Manifest:
        """The manifest of a version, after its files were held against it."""
        if version not in self._manifests:
            manifest = read_manifest(self.folder, version)
            if manifest.parent is not None:
                self.manifest(manifest.parent)
            verify(self.folder, manifest)
            self._manifests[version] = manifest
        return self._manifests[version]

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the texts were cut with; every model of this store uses it."""
        vocabulary = Vocabulary.read(self.folder / VOCABULARY)
        if vocabulary.digest != self.manifest(0).vocabulary:
            raise CheckError(
                "the vocabulary does not match the manifest", where=str(self.folder), way_out="build the store anew"
            )
        return vocabulary

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The image of every row."""
        return tuple(text.image_id for text in self.texts(0))

    @property
    def max_len(self) -> int:
        """Tokens that a text takes at most."""
        return self.manifest(0).budget["max_len"]

    @property
    def max_seg_len(self) -> int:
        """Tokens that a value takes at most."""
        return self.manifest(0).budget["max_seg_len"]

    @property
    def warnings(self) -> list[str]:
        """What a user should know about the lengths (section 3.4)."""
        before = self.manifest(0).lengths["before"]
        if before.p99 <= self.max_len:
            return []
        return [
            f"1 % of the texts have {before.p99} tokens or more, {self.max_len} are allowed: values were cut "
            f"(see {CUTS}); raise text.max_len to keep them"
        ]

    def require_corpus(self, corpus: Corpus) -> None:
        """Refuses images and texts that the store was not built from."""
        if corpus.digest != self.manifest(0).corpus:
            raise CheckError(
                f"the text store was built from another corpus than {corpus.folder}",
                where=str(self.folder),
                way_out="give the corpus that it was built from, whole and unchanged, or build another store",
            )

    def texts(self, version: int) -> list[SegmentedText]:
        """All texts of a version."""
        if version not in self._texts:
            manifest = self.manifest(version)
            if manifest.parent is None:
                with (self.folder / BASE).open("rb") as stream:
                    self._texts[version] = [text_of(line) for line in stream]
            else:
                parent = self.texts(manifest.parent)
                changes = self._overlay(version)
                self._texts[version] = [changed(text, changes.get(text.image_id, ())) for text in parent]
        return list(self._texts[version])

    def text(self, version: int, row: int) -> SegmentedText:
        """One text of a version, without reading the others."""
        manifest = self.manifest(version)
        if manifest.parent is not None:
            text = self.text(manifest.parent, row)
            return changed(text, self._overlay(version).get(text.image_id, ()))
        with (self.folder / BASE).open("rb") as stream:
            stream.seek(self._offsets[row])
            return text_of(stream.readline())

    def tokens(self, version: int) -> list[TextTokens]:
        """All texts of a version as tokens, each of them within the budget."""
        if version not in self._tokens:
            found = list(tokenise_all(self.texts(version), self.vocabulary))
            require_fit(found, self.max_len, self.max_seg_len, lambda row: f"{self.ids[row]} of version {version}")
            self._tokens[version] = found
        return list(self._tokens[version])

    def changes(self, version: int) -> list[Change]:
        """What a version changed in its parent, by row and segment."""
        return [change for changes in self._overlay(version).values() for change in changes]

    def publish(self, changes: Iterable[Change], *, parent: int, provenance: Mapping[str, Any]) -> int:
        """The next version: atomic, and the same one again gives the number that it has.

        Args:
            changes: Segments that differ from the parent.
            parent: The version that they stand on.
            provenance: At least `checkpoint` and `config` (hashes) and `pass_id`.
        """
        lacking = [name for name in _STATED if not isinstance(provenance.get(name), str)]
        if lacking:
            raise UsageError(
                f"a version must say where it comes from: {', '.join(lacking)} missing", way_out="state it as text"
            )
        pass_id = require_pass_id(provenance["pass_id"])
        ordered = self._in_order(changes)
        overlay = b"".join(overlay_line(change, pass_id) for change in ordered)
        texts = self._resolved(ordered, parent)
        with exclusive(self.folder / _LOCK):
            found = self.versions()
            for version in found:
                known = self.manifest(version)
                if known.parent == parent and known.provenance.get("pass_id") == pass_id:
                    _require_same_pass(self.folder, known, overlay, provenance)
                    return version
            version = found[-1] + 1
            name = overlay_name(version)
            manifest = self.manifest(parent)._replace(
                version=version,
                parent=parent,
                parent_manifest=self._manifest_hash(parent),
                files={name: hash_bytes(overlay)},
                counts=count_statuses(texts),
                provenance=dict(provenance),
                lengths={},
            )
            write_bytes(self.folder / name, overlay)
            write_bytes(manifest_path(self.folder, version), manifest.content())
        return version

    def save_pool(self, pass_id: str, noise: NDArray[np.bool_], *, version: int) -> None:
        """Keeps what a pass of screening took for wrong in a version."""
        present = [[segment.present for segment in text.segments] for text in self.texts(version)]
        if noise.shape != (len(self), len(present[0])):
            raise UsageError(
                f"a noise pool of shape {noise.shape} for {len(self)} texts", way_out="give one row per text, [N, 8]"
            )
        absent = [self.ids[row] for row, slot in zip(*noise.nonzero(), strict=True) if not present[row][slot]]
        if absent:
            raise CheckError(
                f"{len(absent)} segments of the noise pool are not in version {version}",
                where=absent[0],
                way_out="give the version that was screened",
            )
        write_pool(self.folder, Pool(pass_id, version, noise), self.ids, self._manifest_hash(version))

    def load_pool(self, pass_id: str) -> NDArray[np.bool_]:
        """What a pass of screening took for wrong, [N, 8]."""
        return self.pool(pass_id).noise

    def pool(self, pass_id: str) -> Pool:
        """The same with the version that it speaks of."""
        pool, manifest = read_pool(self.folder, pass_id, self.ids)
        if self._manifest_hash(pool.version) != manifest:
            raise CheckError(
                f"the noise pool of pass {pass_id} speaks of another version {pool.version}",
                where=str(self.folder),
                way_out="screen again",
            )
        return pool

    def pools(self) -> list[str]:
        """Passes that left a noise pool, by name."""
        return pool_names(self.folder)

    def planted(self) -> dict[str, Flags] | None:
        """Where errors were planted in version 0, [N, 8] per kind of error; None where nobody knows."""
        if PLANTED not in self.manifest(0).files:
            return None
        from klip.store.truth import planted_errors

        return planted_errors(self.folder / PLANTED, self.ids)

    def truth(self, version: int) -> Truth | None:
        """Which segments of a version equal the clean text; None where there is no clean text."""
        if CLEAN not in self.manifest(0).files:
            return None
        from klip.store.truth import compare

        return compare(self.tokens(version), self.folder / CLEAN, self.vocabulary)

    @cached_property
    def _offsets(self) -> list[int]:
        offsets = [0]
        with (self.folder / BASE).open("rb") as stream:
            offsets += (stream.tell() for _ in iter(stream.readline, b""))
        return offsets[:-1]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {image_id: row for row, image_id in enumerate(self.ids)}

    def _manifest_hash(self, version: int) -> str:
        self.manifest(version)
        return hash_bytes(manifest_path(self.folder, version).read_bytes())

    def _overlay(self, version: int) -> dict[str, list[Change]]:
        if version not in self._changes:
            found: dict[str, list[Change]] = {}
            if self.manifest(version).parent is not None:
                for line in (self.folder / overlay_name(version)).read_bytes().splitlines():
                    change = change_of(line)
                    found.setdefault(change.image_id, []).append(change)
            self._changes[version] = found
        return self._changes[version]

    def _in_order(self, changes: Iterable[Change]) -> list[Change]:
        """The changes by row and segment, in whatever order they came."""
        given = list(changes)
        foreign = [change.image_id for change in given if change.image_id not in self._rows]
        if foreign:
            raise CheckError(
                f"{len(foreign)} changes of images that are not in the store",
                where=foreign[0],
                way_out="publish changes of the texts of this store only",
            )
        ordered = sorted(given, key=lambda change: (self._rows[change.image_id], change.slot))
        places = [(change.image_id, change.slot) for change in ordered]
        if len(set(places)) < len(places):
            twice = next(place for place in places if places.count(place) > 1)
            raise CheckError(f"segment {twice[1]} is changed twice", where=twice[0], way_out="give one change for each")
        return ordered

    def _resolved(self, ordered: Sequence[Change], parent: int) -> list[SegmentedText]:
        """The texts of the version to be; every one that changes must keep the budget."""
        by_row: dict[int, list[Change]] = {}
        for change in ordered:
            by_row.setdefault(self._rows[change.image_id], []).append(change)
        texts = self.texts(parent)
        for row, changes in by_row.items():
            texts[row] = changed(texts[row], changes)
        rows = list(by_row)
        tokens = list(tokenise_all([texts[row] for row in rows], self.vocabulary))
        for row, text in zip(rows, tokens, strict=True):
            silent_ones = [
                segment.field
                for slot, segment in enumerate(texts[row].segments)
                if segment.present and text[slot] is None
            ]
            if silent_ones:
                raise CheckError(
                    f"{', '.join(silent_ones)} has no token", where=self.ids[row], way_out="drop the segment instead"
                )
        require_fit(tokens, self.max_len, self.max_seg_len, lambda n: self.ids[rows[n]])
        return texts


def _require_same(folder: Path, there: Manifest, given: Manifest) -> None:
    """Building the same store again changes nothing; another one never replaces version 0."""
    names = {"vocabulary": "vocabulary", "corpus": "corpus", "budget": "text.max_len or text.max_seg_len"}
    differing = [name for key, name in names.items() if getattr(there, key) != getattr(given, key)]
    if not differing and there.files != given.files:
        differing = ["code that cuts the texts"]
    if differing:
        raise CheckError(
            f"there is a text store already, of another {' and another '.join(differing)}",
            where=str(folder),
            way_out="choose another folder (--out or --store); version 0 is never overwritten",
        )
    verify(folder, there)


def _require_same_pass(folder: Path, known: Manifest, overlay: bytes, provenance: Mapping[str, Any]) -> None:
    same = known.files == {overlay_name(known.version): hash_bytes(overlay)}
    if not same or json.loads(json.dumps(dict(provenance))) != known.provenance:
        raise CheckError(
            f"pass {provenance['pass_id']} was published already, as version {known.version}, with another result",
            where=str(folder),
            way_out="give the pass another id; versions are never changed",
        )


__all__ = ["Change", "TextStore"]
