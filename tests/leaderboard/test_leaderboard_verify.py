"""Verification: an honest submission holds, and every planted fault is found under its own name."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foundation.errors import MissingError
from foundation.hashing import hash_value
from leaderboard.bundle import pack
from leaderboard.container import Limits
from leaderboard.submission import MANIFEST, is_expected_name
from leaderboard.verify import TRUTH_FACTS, Verdict, _false_claims, differences, verify

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Forger, Runs


def kinds(verdict: Verdict) -> list[str]:
    assert not verdict.holds
    return sorted({finding.kind for finding in verdict.findings})


def flip_answer(rows: list[dict[str, Any]]) -> None:
    rows[0]["scores"] = rows[0]["scores"][::-1]


def test_what_was_packed_holds(runs: Runs, tmp_path: Path) -> None:
    records = [runs.add(), runs.add(seed=1), runs.add(dataset="fusar_ship")]
    pack(runs.root, "mine", tmp_path / "mine.zip", "A. Author")
    for truth in (None, runs.root):
        verdict = verify(tmp_path / "mine.zip", truth)
        assert verdict.findings == ()
        assert verdict.holds
        assert verdict.own_truth is (truth is not None)
        assert {record.cell for record in verdict.records} == {record.cell for record in records}


def test_an_answer_that_holds_nothing_counts_as_wrong_and_is_no_fault(forger: Forger, tmp_path: Path) -> None:
    forger.change(".jsonl", lambda rows: rows[0]["scores"].__setitem__(0, None))
    verdict = verify(forger.scored_again().sealed_again().write(tmp_path / "again.zip"))
    assert verdict.holds
    assert verdict.records[0].score_warnings


@pytest.mark.parametrize(("field", "lie"), [("synthetic", False), ("world", None), ("split_hash", "0" * 64)])
def test_a_record_that_lies_about_its_data_is_found_under_a_new_seal(
    forger: Forger, tmp_path: Path, field: str, lie: object
) -> None:
    forger.change("record.json", lambda record: record["data"].__setitem__(field, lie))
    verdict = verify(forger.sealed_again().write(tmp_path / "forged.zip"))
    assert not verdict.holds
    assert any(field in finding.what or finding.kind == "identity" for finding in verdict.findings)


def test_changed_predictions_are_found_by_their_hash_and_by_their_score(forger: Forger, tmp_path: Path) -> None:
    verdict = verify(forger.change(".jsonl", flip_answer).write(tmp_path / "forged.zip"))
    assert kinds(verdict) == ["hash", "metric"]
    assert verdict.records == ()


def test_changed_predictions_under_a_new_seal_are_found_by_their_score(forger: Forger, tmp_path: Path) -> None:
    forged = forger.change(".jsonl", flip_answer).sealed_again().write(tmp_path / "forged.zip")
    assert kinds(verify(forged)) == ["metric"]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["metrics"]["top1"].update(value=record["metrics"]["top1"]["value"] + 1e-12),
        lambda record: record["metrics"]["macro"].update(low=0.0),
        lambda record: record["metrics"]["top3"].update(n=25),
        lambda record: record["metrics"].update(ap50={"value": 99.0}),
        lambda record: record["metrics"].pop("macro"),
        lambda record: record["baselines"]["chance"].update(top1=1.0),
        lambda record: record["details"]["confusion"][0].reverse(),
        lambda record: record.update(score_warnings=["all is well"]),
    ],
    ids=["value", "interval", "items", "added", "left out", "baseline", "confusion", "warning"],
)
def test_a_number_that_the_predictions_do_not_give_is_found_under_any_seal(
    forger: Forger, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    forged = forger.change("record.json", change).sealed_again().write(tmp_path / "forged.zip")
    assert kinds(verify(forged)) == ["metric"]


def swap_two_labels(truth: dict[str, Any]) -> None:
    first, second = truth["test"][-1], truth["test"][-2]
    first["label"], second["label"] = second["label"], first["label"]


def test_an_easier_truth_with_every_number_made_to_fit_is_found_only_by_the_leaderboards_own(
    forger: Forger, runs: Runs, tmp_path: Path
) -> None:
    forged = forger.change("truth.json", swap_two_labels).scored_again().sealed_again().write(tmp_path / "forged.zip")
    assert verify(forged).holds
    verdict = verify(forged, runs.root)
    assert "truth" in kinds(verdict)
    assert any("not the leaderboard's" in finding.what for finding in verdict.findings)


@pytest.mark.parametrize(
    "change",
    [
        lambda truth: truth["test"].pop(),
        lambda truth: truth["test"][0].update(label=1),
        lambda truth: truth["test"][0].update(label=-1),
        lambda truth: truth["classes"].reverse(),
        lambda truth: truth["train_counts"].reverse() or truth["train_counts"].__setitem__(0, 11),
        lambda truth: truth.update(dataset="fusar_air"),
        lambda truth: truth["test"].__setitem__(0, "not a row"),
    ],
)
def test_a_truth_that_contradicts_the_record_is_found_without_the_leaderboards_own(
    forger: Forger, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    forged = forger.change("truth.json", change).sealed_again().write(tmp_path / "forged.zip")
    assert "truth" in kinds(verify(forged))


def test_a_leaderboard_without_the_truth_of_a_cell_does_not_trust_it(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    verdict = verify(bundle, tmp_path / "empty")
    assert kinds(verdict) == ["truth"]
    assert verdict.records == ()


@pytest.mark.parametrize("field", ["submitter", "note", "seal"])
def test_a_changed_list_breaks_the_seal(forger: Forger, tmp_path: Path, field: str) -> None:
    forged = forger.change(MANIFEST, lambda data: data.update({field: "somebody else"})).write(tmp_path / "forged.zip")
    assert kinds(verify(forged)) == ["seal"]


def another_key(record: dict[str, Any], **parts: Any) -> None:
    """The key of other parts, hashed as it should be; None leaves a part out."""
    changed = {**record["key_parts"], **parts}
    record["key_parts"] = {name: value for name, value in changed.items() if value is not None or name not in parts}
    record["key"] = hash_value(record["key_parts"])


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(key="0" * 64),
        lambda record: record["key_parts"].update(seed=7),
        lambda record: record["settings"].update(epochs=1),
        lambda record: record["data"].update(limit=8),
        lambda record: record["data"].update(twin="noise_images"),
        lambda record: record["data"].update(data_hash="0" * 64),
        lambda record: record["data"].update(data_hash="short"),
        lambda record: record["model"].update(model="famous"),
        lambda record: record["model"].update(weights_hash="0" * 64),
        lambda record: record["code"].update(numerics="0" * 64),
        lambda record: record["cell"].update(seed=7),
        lambda record: record["key_parts"].update(layout="another"),
        lambda record: another_key(record, numerics="0" * 64),
        lambda record: another_key(record, split=None),
    ],
)
def test_a_record_that_contradicts_itself_is_found_under_any_seal(
    forger: Forger, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    forged = forger.change("record.json", change).sealed_again().write(tmp_path / "forged.zip")
    assert "identity" in kinds(verify(forged))


@pytest.mark.parametrize("kind", ["data", "split"])
def test_a_hash_that_is_none_is_found_although_its_head_fits_the_truth(
    forger: Forger, tmp_path: Path, kind: str
) -> None:
    def forge(record: dict[str, Any]) -> None:
        record["data"][f"{kind}_hash"] = record["data"][f"{kind}_hash"][:8] + "!" * 56
        another_key(record, **{kind: record["data"][f"{kind}_hash"]})

    verdict = verify(forger.change("record.json", forge).sealed_again().write(tmp_path / "forged.zip"))
    assert f"the hash of the {kind} is no hash" in [finding.what for finding in verdict.findings]


@pytest.mark.parametrize("ending", ["record.json", "predictions.jsonl", "truth.json"])
def test_a_file_that_is_listed_and_not_there_is_found(forger: Forger, tmp_path: Path, ending: str) -> None:
    del forger.files[forger.name(ending)]
    assert kinds(verify(forger.write(tmp_path / "forged.zip"))) == ["content"]


def test_a_file_that_is_there_and_not_listed_is_found(forger: Forger, tmp_path: Path) -> None:
    forger.files["splits/more/truth.json"] = b"{}"
    assert kinds(verify(forger.write(tmp_path / "forged.zip"))) == ["content"]


def test_a_bundle_without_a_list_is_no_submission(forger: Forger, tmp_path: Path) -> None:
    del forger.files[MANIFEST]
    verdict = verify(forger.write(tmp_path / "forged.zip"))
    assert kinds(verdict) == ["content"]
    assert verdict.submission is None


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.update(schema_version=2),
        lambda data: data.update(cells=[]),
        lambda data: data["cells"].append(data["cells"][0]),
        lambda data: data.update(model="famous"),
        lambda data: data.update(rank=1),
        lambda data: data.update(submitter="\x1b[31mred"),
        lambda data: data.pop("submitter"),
    ],
)
def test_a_list_that_does_not_fit_the_schema_is_found(
    forger: Forger, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    assert kinds(verify(forger.change(MANIFEST, change).write(tmp_path / "forged.zip"))) == ["schema"]


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"[]", b'{"seal": NaN}', b"\xff\xfe"])
@pytest.mark.parametrize("ending", [MANIFEST, "record.json"])
def test_a_file_that_is_no_json_object_is_found(forger: Forger, tmp_path: Path, ending: str, content: bytes) -> None:
    forger.files[forger.name(ending)] = content
    assert "schema" in kinds(verify(forger.write(tmp_path / "forged.zip")))


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.pop(),
        lambda rows: rows.append(rows[0]),
        lambda rows: rows[0].pop("scores"),
        lambda rows: rows[0].update(scores=[1.0]),
        lambda rows: rows[0].update(scores="high"),
        lambda rows: rows.__setitem__(0, 7),
        lambda rows: rows.clear(),
    ],
)
def test_predictions_that_cannot_be_scored_are_found(
    forger: Forger, tmp_path: Path, change: Callable[[Any], object]
) -> None:
    forged = forger.change(".jsonl", change).sealed_again().write(tmp_path / "forged.zip")
    assert kinds(verify(forged)) == ["score"]


def test_a_task_without_a_scorer_is_found(forger: Forger, tmp_path: Path) -> None:
    def rename(record: dict[str, Any]) -> None:
        record["cell"]["task"] = "divination"

    forged = forger.change("record.json", rename).sealed_again().write(tmp_path / "forged.zip")
    assert "score" in kinds(verify(forged))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "/etc/evil.json",
        "cells/../../evil/x/seed-0-a/record.json",
        "splits/../truth.json",
        "splits/./truth.json",
        "splits/.hidden/truth.json",
        "splits\\x\\truth.json",
        "splits/x/truth.json\x00.txt",
        "splits/x/truth.json\n",
        "C:evil.json",
        "splits/x/",
        "README.md",
        "",
    ],
)
def test_a_name_that_does_not_belong_in_a_submission_is_refused_unread(
    forger: Forger, tmp_path: Path, name: str
) -> None:
    assert not is_expected_name(name)
    path = forger.write(tmp_path / "forged.zip")
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("placeholder")
        entry.filename = entry.orig_filename = name
        archive.writestr(entry, b"{}")
    before = sorted(tmp_path.rglob("*"))
    assert kinds(verify(path)) == ["container"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_is_refused(forger: Forger, tmp_path: Path) -> None:
    path = forger.write(tmp_path / "forged.zip")
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("splits/x/truth.json")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    verdict = verify(path)
    assert kinds(verdict) == ["container"]
    assert "link" in verdict.findings[0].what


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_unusual_compression_is_refused_unread(forger: Forger, tmp_path: Path, method: int) -> None:
    path = forger.write(tmp_path / "forged.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("splits/x/truth.json", b"{}", compress_type=method)
    verdict = verify(path)
    assert kinds(verdict) == ["container"]
    assert "compressed in an unusual way" in verdict.findings[0].what


def test_an_encrypted_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    data = bytearray(bundle.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flags of the first entry of the table of contents
    path = tmp_path / "encrypted.zip"
    path.write_bytes(bytes(data))
    verdict = verify(path)
    assert kinds(verdict) == ["container"]
    assert "is encrypted" in verdict.findings[0].what


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_name_that_is_there_twice_is_refused(forger: Forger, tmp_path: Path) -> None:
    path = forger.write(tmp_path / "forged.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MANIFEST, b"{}")
    verdict = verify(path)
    assert kinds(verdict) == ["container"]
    assert "twice" in verdict.findings[0].what


@pytest.mark.parametrize("limits", [Limits(files=3), Limits(file_bytes=100), Limits(total_bytes=1000)])
def test_what_is_too_large_is_refused(bundle: Path, limits: Limits) -> None:
    assert kinds(verify(bundle, limits=limits)) == ["container"]


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, b"0" * 2_000_000)
    assert path.stat().st_size < 10_000
    verdict = verify(path, limits=Limits(total_bytes=1_000_000))
    assert "2000000 bytes" in verdict.findings[0].what


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x05\x06" + b"\xff" * 18])
def test_a_file_that_is_no_bundle_is_found(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no.zip"
    path.write_bytes(content)
    assert kinds(verify(path)) == ["container"]


def test_files_that_are_not_there_are_missing_and_not_forged(bundle: Path, tmp_path: Path) -> None:
    for arguments in ((tmp_path / "none.zip",), (bundle, tmp_path / "none")):
        with pytest.raises(MissingError):
            verify(*arguments)


def test_findings_hold_no_control_characters(forger: Forger, tmp_path: Path) -> None:
    forged = forger.change("record.json", lambda record: record.update({"\x1b[2J": 1})).sealed_again()
    verdict = verify(forged.write(tmp_path / "forged.zip"))
    assert all(finding.what.isprintable() and finding.where.isprintable() for finding in verdict.findings)
    assert kinds(verdict) == ["schema"]


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_bundle_with_any_one_byte_changed_is_found_or_means_the_same(
    data: st.DataObject, bundle: Path, tmp_path: Path
) -> None:
    original = bundle.read_bytes()
    place = data.draw(st.integers(0, len(original) - 1), label="place")
    change = data.draw(st.integers(1, 255), label="change")
    damaged = bytearray(original)
    damaged[place] ^= change
    path = tmp_path / "damaged.zip"
    path.write_bytes(bytes(damaged))
    verdict = verify(path)
    assert not verdict.holds or contents(path) == contents(bundle)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_bundle_that_was_cut_off_is_found(data: st.DataObject, bundle: Path, tmp_path: Path) -> None:
    original = bundle.read_bytes()
    path = tmp_path / "cut.zip"
    path.write_bytes(original[: data.draw(st.integers(0, len(original) - 1), label="length")])
    assert not verify(path).holds


def test_a_verdict_can_be_written_as_json(forger: Forger, tmp_path: Path) -> None:
    verdict = verify(forger.change(".jsonl", flip_answer).write(tmp_path / "forged.zip"))
    assert json.loads(json.dumps([finding._asdict() for finding in verdict.findings]))


def test_captions_that_were_scored_without_java_are_told_apart_from_false_ones(runs: Runs) -> None:
    record = runs.add()
    record = record.model_copy(update={"details": {**record.details, "tokenizer": "tokenizer=fallback"}})
    scored: dict[str, Any] = {
        "metrics": {},
        "baselines": record.baselines,
        "details": {"tokenizer": "tokenizer=ptb"},
        "warnings": [],
    }
    (found,) = differences(record, scored)
    assert "Java" in found and "tokenizer=fallback" in found and "tokenizer=ptb" in found
    scored["details"] = {"tokenizer": "tokenizer=fallback"}
    assert all("Java" not in found for found in differences(record, scored))


def test_an_image_that_is_asked_about_twice_counts_once_and_questions_have_no_labels(runs: Runs) -> None:
    record = runs.add()
    cell = record.cell.model_copy(update={"task": "vqa_reg_land"})
    record = record.model_copy(update={"cell": cell, "data": record.data.model_copy(update={"test_items": 2})})
    test = [{"question_id": question, "image_id": image} for question, image in ("ax", "bx", "cy")]
    truth = {
        **{name: getattr(record.data, name) for name in TRUTH_FACTS},
        "classes": list(record.data.classes),
        "train_counts": list(record.data.train_counts),
        "test": test,
    }
    assert list(_false_claims(record, truth)) == []
    (found,) = _false_claims(record, {**truth, "test": test[:2]})
    assert "test_items" in found
