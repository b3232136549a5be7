"""What is known about the errors of a synthetic corpus: where they were planted, and which segments are right now."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from klip.settings import SLOTS
from klip.store.manifest import CUTS

if TYPE_CHECKING:
    from klip.tokens.layout import TextTokens
    from klip.tokens.vocabulary import Vocabulary

Flags = NDArray[np.bool_]


class Truth(NamedTuple):
    """The segments of a version against the clean texts; arrays are [N, 8]."""

    present: Flags
    """Segments that the version has."""
    stated: Flags
    """Segments that the clean text has."""
    correct: Flags
    """Segments that equal the clean text's, as the tokeniser sees them."""

    @property
    def share_correct(self) -> float | None:
        """Right ones among the present ones; None where there are none."""
        present = int(self.present.sum())
        return int(self.correct.sum()) / present if present else None

    @property
    def share_kept(self) -> float | None:
        """Right ones among those that the clean texts have, so dropping does not pay; None where there are none."""
        stated = int(self.stated.sum())
        return int(self.correct.sum()) / stated if stated else None


def compare(tokens: Sequence[TextTokens], clean: Path, vocabulary: Vocabulary) -> Truth:
    """A version against the file of clean values; a value that was cut is right if it begins like the clean one."""
    present, stated, correct = (np.zeros((len(tokens), SLOTS), dtype=np.bool_) for _ in range(3))
    rows = [json.loads(line) for line in clean.read_bytes().splitlines()]
    cuts = _cuts(clean.with_name(CUTS))
    distinct = list({value for row in rows for value in row["values"]})
    pieces = dict(zip(distinct, vocabulary.encode_all(distinct), strict=True))
    for n, (row, text) in enumerate(zip(rows, tokens, strict=True)):
        for slot, value in enumerate(row["values"]):
            segment, truth = text[slot], pieces[value]
            present[n, slot] = segment is not None
            stated[n, slot] = bool(truth)
            if segment is not None:
                correct[n, slot] = segment.value in (truth, truth[: cuts.get((row["id"], slot))])
    return Truth(present, stated, correct)


def planted_errors(path: Path, ids: Sequence[str]) -> dict[str, Flags]:
    """Where errors were planted, by kind of error."""
    rows = {image_id: row for row, image_id in enumerate(ids)}
    found: dict[str, Flags] = {}
    for line in path.read_bytes().splitlines():
        record = json.loads(line)
        flags = found.setdefault(record["kind"], np.zeros((len(ids), SLOTS), dtype=np.bool_))
        flags[rows[record["id"]], record["slot"]] = True
    return dict(sorted(found.items()))


def _cuts(path: Path) -> dict[tuple[str, int], int]:
    records = (json.loads(line) for line in path.read_bytes().splitlines())
    return {(record["id"], record["slot"]): record["after"] for record in records}
