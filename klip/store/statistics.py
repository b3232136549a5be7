"""What a store holds, in numbers: for people before they train, and for the report."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from klip.corpus_check import word_lengths
from klip.store.manifest import CUTS, Lengths
from klip.text import FIELDS
from klip.tokens.layout import length

if TYPE_CHECKING:
    from klip.store.text_store import TextStore


def summary(store: TextStore, version: int) -> dict[str, Any]:
    """A version as plain data."""
    manifest = store.manifest(version)
    tokens = store.tokens(version)
    given = store.manifest(0).lengths["before"]
    cuts = [json.loads(line)["id"] for line in (store.folder / CUTS).read_bytes().splitlines()]
    planted = store.planted() if version == 0 else None
    truth = store.truth(version)
    return {
        "texts": len(tokens),
        "version": version,
        "versions": store.versions(),
        "provenance": manifest.provenance,
        "vocabulary": {"pieces": store.vocabulary.size, "digest": manifest.vocabulary},
        "counts": manifest.counts,
        "budget": manifest.budget,
        "lengths": {
            "given": given._asdict() if version == 0 else None,
            "tokens": _lengths([length(text) for text in tokens]),
            "values": _lengths([len(entry.value) for text in tokens for entry in text if entry is not None]),
        },
        "cuts": {"values": len(cuts), "texts": len(set(cuts))},
        "changed": _changed_fields(store, version),
        "pools": {name: int(store.load_pool(name).sum()) for name in store.pools()},
        "planted": {kind: int(flags.sum()) for kind, flags in planted.items()} if planted else None,
        "correct": {"of_present": truth.share_correct, "of_clean": truth.share_kept} if truth else None,
    }


def _lengths(counts: list[int]) -> dict[str, int] | None:
    return Lengths(*word_lengths(counts))._asdict() if counts else None


def _changed_fields(store: TextStore, version: int) -> dict[str, int]:
    """Changed segments by field, the most frequent first."""
    domains = {text.image_id: text.domain for text in store.texts(version)}
    changes = store.changes(version)
    return dict(Counter(FIELDS[domains[change.image_id]][change.slot] for change in changes).most_common())
