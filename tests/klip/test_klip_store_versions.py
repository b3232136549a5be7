"""Versions: atomic, immutable, and each on top of its parent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import BenchError, CheckError, MissingError, UsageError
from foundation.files import write_bytes
from klip.store.text_store import Change, TextStore
from klip.text import Segment
from tests.klip.small_corpus import small_store

WRITE = "klip.store.text_store.write_bytes"
FIRST, SECOND = "images/0.png", "images/1.png"


def provenance(pass_id: str, checkpoint: str = "c" * 64) -> dict[str, str]:
    return {"checkpoint": checkpoint, "config": "f" * 64, "pass_id": pass_id}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> TextStore:
    return small_store(tmp_path, Size="")


def test_a_version_changes_what_it_says_and_nothing_else(store: TextStore) -> None:
    base = files(store.folder)
    version = store.publish(
        [Change(SECOND, 2, "dropped"), Change(FIRST, 0, "replaced", "seven ships")],
        parent=0,
        provenance=provenance("p1"),
    )
    assert version == 1
    assert store.versions() == [0, 1]
    for number, (old, new) in enumerate(zip(store.texts(0), store.texts(1), strict=True)):
        for slot, (before, after) in enumerate(zip(old.segments, new.segments, strict=True)):
            if (number, slot) == (0, 0):
                assert after == Segment("Count", "seven ships", "replaced")
            elif (number, slot) == (1, 2):
                assert after == Segment("Feature", before.value, "dropped")
            else:
                assert after == before
    assert store.tokens(1)[1][2] is None
    assert store.manifest(1).counts == {"dropped": 1, "missing": 1, "ok": 29, "replaced": 1}
    assert {name: data for name, data in files(store.folder).items() if name in base} == base


def test_the_overlay_holds_only_what_changed_in_the_order_of_the_corpus(store: TextStore) -> None:
    changes = [Change(SECOND, 2, "noise"), Change(FIRST, 7, "dropped"), Change(FIRST, 0, "replaced", "seven ships")]
    store.publish(changes, parent=0, provenance=provenance("p1"))
    lines = [json.loads(line) for line in (store.folder / "v1.overlay.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["image_id"], line["slot"], line["status"]) for line in lines] == [
        (FIRST, 0, "replaced"),
        (FIRST, 7, "dropped"),
        (SECOND, 2, "noise"),
    ]
    assert {line["pass_id"] for line in lines} == {"p1"}
    assert store.changes(1) == [changes[2], changes[1], changes[0]]


def test_versions_stand_on_any_parent(store: TextStore) -> None:
    one = store.publish([Change(FIRST, 0, "dropped")], parent=0, provenance=provenance("p1"))
    two = store.publish([Change(FIRST, 0, "replaced", "six ships")], parent=one, provenance=provenance("p2"))
    side = store.publish([Change(FIRST, 1, "dropped")], parent=0, provenance=provenance("p3"))
    count, location = (store.text(two, 0).segments[slot] for slot in (0, 1))
    assert (count.value, count.status, location.status) == ("six ships", "replaced", "ok")
    assert [segment.status for segment in store.text(side, 0).segments[:2]] == ["ok", "dropped"]
    assert store.versions() == [0, 1, 2, 3]


def test_a_dropped_segment_can_come_back_as_it_was(store: TextStore) -> None:
    store.publish([Change(FIRST, 0, "dropped")], parent=0, provenance=provenance("p1"))
    store.publish([Change(FIRST, 0, "ok")], parent=1, provenance=provenance("p2"))
    assert store.texts(2) == store.texts(0)


def test_another_process_sees_what_was_published(store: TextStore) -> None:
    other = TextStore.open(store.folder)
    store.publish([Change(FIRST, 0, "dropped")], parent=0, provenance=provenance("p1"))
    assert other.latest == 1
    assert other.texts(1) == store.texts(1)


CHANGES = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.integers(0, 7).filter(lambda slot: slot != 3),
        st.sampled_from([("dropped", None), ("noise", None), ("ok", None), ("replaced", "two"), ("replaced", "sea")]),
    ),
    unique_by=lambda change: change[:2],
    max_size=10,
)


@given(rounds=st.lists(CHANGES, min_size=1, max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_agrees_with_applying_the_changes_by_hand(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[list[tuple[int, int, tuple[str, str | None]]]]
) -> None:
    store = small_store(tmp_path_factory.mktemp("store"))
    expected = {
        (row, slot): (entry.value, entry.status)
        for row, text in enumerate(store.texts(0))
        for slot, entry in enumerate(text.segments)
    }
    for number, some in enumerate(rounds):
        changes = []
        for row, slot, (status, value) in some:
            old, _ = expected[row, slot]
            expected[row, slot] = (old if value is None else value, status)  # type: ignore[assignment]
            changes.append(Change(store.ids[row], slot, status, value))  # type: ignore[arg-type]
        assert store.publish(changes, parent=number, provenance=provenance(f"p{number}")) == number + 1
    again = TextStore.open(store.folder)
    for row, text in enumerate(again.texts(len(rounds))):
        assert [(entry.value, entry.status) for entry in text.segments] == [expected[row, slot] for slot in range(8)]
        assert again.text(len(rounds), row) == text
        assert again.text(0, row) == store.texts(0)[row]


def test_publishing_a_finished_pass_again_changes_nothing(store: TextStore) -> None:
    changes = [Change(FIRST, 0, "dropped"), Change(SECOND, 1, "noise")]
    assert store.publish(changes, parent=0, provenance=provenance("p1")) == 1
    before = files(store.folder)
    assert TextStore.open(store.folder).publish(changes[::-1], parent=0, provenance=provenance("p1")) == 1
    assert files(store.folder) == before
    with pytest.raises(CheckError, match="published already, as version 1, with another result"):
        store.publish(changes[:1], parent=0, provenance=provenance("p1"))
    with pytest.raises(CheckError, match="another result"):
        store.publish(changes, parent=0, provenance=provenance("p1", checkpoint="d" * 64))
    assert files(store.folder) == before


@pytest.mark.parametrize("killed_at", [0, 1])
def test_a_half_written_version_is_invisible_and_does_not_stand_in_the_way(
    store: TextStore, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    changes = [Change(FIRST, 0, "dropped")]
    calls = iter(range(100))

    def dies(path: Path, data: bytes) -> None:
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        write_bytes(path, data)

    monkeypatch.setattr(WRITE, dies)
    with pytest.raises(KeyboardInterrupt):
        store.publish(changes, parent=0, provenance=provenance("p1"))
    monkeypatch.setattr(WRITE, write_bytes)
    assert (store.folder / "v1.overlay.jsonl").exists() == (killed_at == 1)
    assert TextStore.open(store.folder).versions() == [0]
    other = [Change(SECOND, 0, "dropped")]
    assert TextStore.open(store.folder).publish(other, parent=0, provenance=provenance("p2")) == 1
    assert TextStore.open(store.folder).changes(1) == other


@pytest.mark.parametrize(
    "name", ["base.jsonl", "vocabulary.txt", "cuts.jsonl", "v1.overlay.jsonl", "v0.manifest.json", "v1.manifest.json"]
)
@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_files_that_do_not_match_the_manifest_are_refused(store: TextStore, name: str, damage: str) -> None:
    store.publish([Change(FIRST, 0, "dropped")], parent=0, provenance=provenance("p1"))
    store.publish([Change(FIRST, 1, "dropped")], parent=1, provenance=provenance("p2"))
    path = store.folder / name
    if damage == "gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"ok"', b'"no"', 1) if b'"ok"' in data else data + b" ")
    before = files(store.folder)
    with pytest.raises(BenchError) as caught:
        TextStore.open(store.folder)
    assert caught.value.way_out
    assert files(store.folder) == before


def test_a_manifest_of_another_version_or_format_is_refused(store: TextStore) -> None:
    manifest = store.folder / "v0.manifest.json"
    data = json.loads(manifest.read_bytes())
    for change, message in [({"version": 3}, "manifest of version 3"), ({"format": 9}, "this format")]:
        manifest.write_text(json.dumps({**data, **change}), encoding="utf-8")
        with pytest.raises(CheckError, match=message):
            TextStore.open(store.folder)
    manifest.write_text(json.dumps({"format": 1, "version": 0}), encoding="utf-8")
    with pytest.raises(CheckError, match="damaged manifest"):
        TextStore.open(store.folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"format": 1}', b'{"format": 9}'])
def test_nobody_is_told_to_delete_a_damaged_manifest(store: TextStore, content: bytes) -> None:
    store.publish([Change(FIRST, 0, "dropped")], parent=0, provenance=provenance("p1"))
    manifest = store.folder / "v1.manifest.json"
    manifest.write_bytes(content)
    with pytest.raises(CheckError, match="manifest") as caught:
        TextStore.open(store.folder)
    assert "restore the file" in caught.value.way_out and "in another folder" in caught.value.way_out
    assert "delete" not in caught.value.what + caught.value.way_out


def test_an_absent_store_or_version_is_named(store: TextStore, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no text store here"):
        TextStore.open(tmp_path / "none")
    with pytest.raises(MissingError, match="no version 4") as caught:
        store.texts(4)
    assert "versions: 0" in caught.value.way_out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([Change("images/9.png", 0, "dropped")], "not in the store"),
        ([Change(FIRST, 0, "dropped"), Change(FIRST, 0, "noise")], "changed twice"),
        ([Change(FIRST, 8, "dropped")], "no segment 8"),
        ([Change(FIRST, 3, "replaced", "39 m")], "never given"),
        ([Change(FIRST, 0, "missing")], "call it missing"),
        ([Change(FIRST, 0, "replaced", "  ")], "without a value"),
        ([Change(FIRST, 0, "gone")], "no such status"),  # type: ignore[arg-type]
        ([Change(FIRST, 0, "replaced", "\u200b")], "has no token"),
        ([Change(FIRST, 0, "replaced", "ships at sea " * 5)], "over the budget"),
    ],
)
def test_changes_that_make_no_sense_are_refused_and_publish_nothing(
    store: TextStore, changes: list[Change], message: str
) -> None:
    before = files(store.folder)
    with pytest.raises(CheckError, match=message) as caught:
        store.publish(changes, parent=0, provenance=provenance("p1"))
    assert caught.value.way_out
    assert files(store.folder) == before


def test_rebuilt_values_keep_the_budget_of_the_whole_text(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    grown = [Change(FIRST, slot, "replaced", "one two three four five") for slot in range(8)]
    with pytest.raises(CheckError, match="over the budget of 80"):
        store.publish(grown, parent=0, provenance=provenance("p1"))


def test_a_version_must_say_where_it_comes_from(store: TextStore) -> None:
    with pytest.raises(UsageError, match="checkpoint, config missing"):
        store.publish([], parent=0, provenance={"pass_id": "p1"})
    with pytest.raises(UsageError, match="not the id of a pass"):
        store.publish([], parent=0, provenance=provenance("../p1"))


def test_a_pool_comes_back_as_it_was_kept(store: TextStore) -> None:
    noise = np.zeros((4, 8), dtype=np.bool_)
    noise[0, 2] = noise[0, 5] = noise[3, 7] = True
    store.save_pool("p1", noise, version=0)
    path = store.folder / "pools" / "p1.json"
    before = path.stat().st_mtime_ns, path.read_bytes()
    store.save_pool("p1", noise, version=0)
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    again = TextStore.open(store.folder)
    assert np.array_equal(again.load_pool("p1"), noise)
    assert again.pool("p1").version == 0
    assert again.pools() == ["p1"]
    assert not again.load_pool("p1")[1:3].any()


def test_an_empty_pool_is_one(store: TextStore) -> None:
    store.save_pool("p1", np.zeros((4, 8), dtype=np.bool_), version=0)
    assert not store.load_pool("p1").any()


def test_pools_of_other_texts_are_refused(store: TextStore, tmp_path: Path) -> None:
    noise = np.zeros((4, 8), dtype=np.bool_)
    with pytest.raises(UsageError, match="shape"):
        store.save_pool("p1", noise[:3], version=0)
    with pytest.raises(UsageError, match="not the id of a pass"):
        store.save_pool("a/b", noise, version=0)
    noise[0, 3] = True
    with pytest.raises(CheckError, match="1 segments of the noise pool are not in version 0"):
        store.save_pool("p1", noise, version=0)
    with pytest.raises(MissingError, match="no noise pool of pass 'p2'"):
        store.load_pool("p2")
    noise[0] = [True, *[False] * 7]
    store.save_pool("p1", noise, version=0)
    other = small_store(tmp_path / "other", count=3)
    (other.folder / "pools").mkdir()
    (other.folder / "pools" / "p1.json").write_bytes((store.folder / "pools" / "p1.json").read_bytes())
    with pytest.raises(CheckError, match="other texts"):
        other.load_pool("p1")


@pytest.mark.parametrize("content", ['{"pass_id": "p1"}', '{"noise": {"x.png": [1]}, "images": 4}', "[]"])
def test_a_damaged_pool_is_refused(store: TextStore, content: str) -> None:
    (store.folder / "pools").mkdir()
    (store.folder / "pools" / "p1.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckError, match="damaged noise pool"):
        store.load_pool("p1")
