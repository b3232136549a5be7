"""Does a submission hold? Every number is made again from its predictions and compared exactly.

What this finds: files that were changed, left out or added, records that contradict themselves, metrics that the
predictions do not give, truth that is not the leaderboard's. What it cannot find: predictions that no model made. Their
key says which code, weights and settings would have to give them again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from foundation.errors import CheckError, MissingError, UsageError
from foundation.hashing import hash_bytes, hash_file, hash_value
from leaderboard.container import Container, Limits, open_container
from leaderboard.submission import (
    MANIFEST,
    SCHEMA_VERSION,
    Submission,
    SubmittedCell,
    cell_folder,
    seal_of,
)
from results.record import SCHEMA_VERSION as RECORD_SCHEMA_VERSION
from results.record import Record
from results.store import PREDICTIONS, RECORD, truth_folder, truth_name
from tasks.registry import get_task

_Model = TypeVar("_Model", bound=BaseModel)

Kind = Literal["container", "content", "schema", "seal", "hash", "identity", "truth", "score", "metric"]


class Finding(NamedTuple):
    """One thing that does not hold."""

    kind: Kind
    where: str
    """The file or cell."""
    what: str


class Verdict(NamedTuple):
    """What a verification came to."""

    bundle: Path
    sha256: str
    """Hash of the bundle."""
    submission: Submission | None
    """None where it could not be read."""
    records: tuple[Record, ...]
    """The records that hold."""
    findings: tuple[Finding, ...]
    own_truth: bool
    """Scored against the leaderboard's truth, not the submission's."""

    @property
    def holds(self) -> bool:
        """Nothing was found."""
        return not self.findings


def verify(bundle: Path, truth_root: Path | None = None, *, limits: Limits | None = None) -> Verdict:
    """Checks a bundle and scores it again; whatever is wrong with it is a finding, never an exception.

    Args:
        bundle: the file that was handed in.
        truth_root: a runs folder of the leaderboard; its truth is used, and a submission's that differs is a finding.
        limits: how large a submission may be.
    """
    if not bundle.is_file():
        raise MissingError("no such submission", where=str(bundle), way_out="pack one: leaderboard pack")
    if truth_root is not None and not truth_root.is_dir():
        raise MissingError("no such folder of truth", where=str(truth_root), way_out="give a runs folder with splits/")
    examination = _Examination(truth_root)
    try:
        with open_container(bundle, limits or Limits()) as container:
            examination.examine(container)
    except CheckError as error:
        examination.find("container", bundle.name, error.what)
    return Verdict(
        bundle=bundle,
        sha256=hash_file(bundle),
        submission=examination.submission,
        records=tuple(examination.records),
        findings=tuple(examination.findings),
        own_truth=truth_root is not None,
    )


class _Examination:
    """Collects what is found on the way."""

    def __init__(self, truth_root: Path | None) -> None:
        self._truth_root = truth_root
        self.findings: list[Finding] = []
        self.records: list[Record] = []
        self.submission: Submission | None = None

    def find(self, kind: Kind, where: str, what: str) -> None:
        self.findings.append(Finding(kind, _printable(where), _printable(what)))

    def examine(self, container: Container) -> None:
        if MANIFEST not in container.names:
            self.find("content", MANIFEST, "missing, so this is no submission")
            return
        self.submission = submission = self._parsed(
            Submission, container.read(MANIFEST), MANIFEST, newest=SCHEMA_VERSION
        )
        if submission is None:
            return
        if submission.seal != seal_of(submission):
            self.find("seal", MANIFEST, "the seal does not belong to this content")
        listed = submission.files()
        for name in sorted(listed.keys() - container.names.keys()):
            self.find("content", name, "is listed and not there")
        for name in sorted(container.names.keys() - listed.keys() - {MANIFEST}):
            self.find("content", name, "is there and not listed")
        for name in sorted(listed.keys() & container.names.keys()):
            if hash_bytes(container.read(name)) != listed[name]:
                self.find("hash", name, "is not the file that was sealed")
        for entry in submission.cells:
            files = (entry.record, entry.predictions, entry.truth)
            if all(file.name in container.names for file in files):
                before = len(self.findings)
                record = self._cell(entry, container)
                if record is not None and len(self.findings) == before:
                    self.records.append(record)

    def _cell(self, entry: SubmittedCell, container: Container) -> Record | None:
        where = str(entry.cell)
        record = self._parsed(
            Record, container.read(entry.record.name), entry.record.name, newest=RECORD_SCHEMA_VERSION
        )
        if record is None:
            return None
        for what in _contradictions(entry, record):
            self.find("identity", where, what)
        truth = self._truth(entry, record, container.read(entry.truth.name))
        if truth is None:
            return record
        for what in _false_claims(record, truth):
            self.find("truth", where, what)
        try:
            score = get_task(record.cell.task).score
        except UsageError as error:
            self.find("score", where, error.what)
            return record
        try:
            lines = container.read(entry.predictions.name).splitlines()
            scored = score([json.loads(line) for line in lines], truth)
        except Exception as error:  # whatever a stranger's file makes a scorer do, it is the file's fault
            self.find("score", where, f"cannot be scored: {type(error).__name__}: {error}")
            return record
        for what in differences(record, scored):
            self.find("metric", where, what)
        return record

    def _truth(self, entry: SubmittedCell, record: Record, submitted: bytes) -> dict[str, Any] | None:
        where = str(entry.cell)
        content = submitted
        if self._truth_root is not None:
            # A name that is in the container has the usual form, so it cannot lead out of the folder.
            own = self._truth_root / entry.truth.name
            if entry.truth.name != truth_name(record.data, entry.truth.sha256) or not own.is_file():
                # The same data and split written by other libraries still is a truth to score against.
                others = sorted(self._truth_root.glob(f"{truth_folder(record.data)}-*/truth.json"))
                if not others:
                    self.find("truth", where, f"the leaderboard has no truth for {entry.truth.name}")
                    return None
                own = others[0]
            content = own.read_bytes()
            if content != submitted:
                self.find("truth", where, "the submitted truth is not the leaderboard's")
        try:
            truth = json.loads(content)
        except (ValueError, RecursionError) as error:
            self.find("truth", where, f"not valid JSON: {error}")
            return None
        if not isinstance(truth, dict):
            self.find("truth", where, "not a truth file")
            return None
        return truth

    def _parsed(self, kind: type[_Model], data: bytes, name: str, *, newest: int) -> _Model | None:
        try:
            value = json.loads(data, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            self.find("schema", name, f"not valid JSON: {error}")
            return None
        version = value.get("schema_version", 0) if isinstance(value, dict) else 0
        if isinstance(version, int) and version > newest:
            self.find("schema", name, f"written by a newer version: schema {version}, known up to {newest}")
            return None
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole file"
            self.find("schema", name, f"{place}: {first['msg']}")
            return None


def differences(record: Record, scored: Mapping[str, Any]) -> Iterator[str]:
    """What a record says and its predictions do not give, number by number; nothing is rounded."""
    metrics = scored["metrics"]
    tokens, own_tokens = record.details.get("tokenizer"), scored["details"].get("tokenizer")
    if tokens and own_tokens and tokens != own_tokens:  # what follows would be one and the same thing, metric by metric
        yield f"captions were scored with {tokens}, here with {own_tokens}: Java must be in both places or in neither"
        return
    for name in sorted(record.metrics.keys() | metrics.keys()):
        said, made = record.metrics.get(name), metrics.get(name)
        if said == made:
            continue
        if said is None or made is None:
            yield f"{name}: {'not in the record' if said is None else 'not a metric of this task'}"
        elif said.value != made.value:
            yield f"{name}: the record says {said.value}, the predictions give {made.value}"
        else:
            parts = [part for part in type(said).model_fields if getattr(said, part) != getattr(made, part)]
            yield f"{name}: {', '.join(parts)} differ from what the predictions give"
    if record.baselines != scored["baselines"]:
        yield "the baselines are not those of the truth"
    for name, value in scored["details"].items():
        # Through JSON, so that tuples and lists are the same.
        if record.details.get(name) != json.loads(json.dumps(value)):
            yield f"detail {name} is not what the predictions give"
    if record.score_warnings != tuple(scored["warnings"]):
        yield "the warnings are not those of the predictions"


def _contradictions(entry: SubmittedCell, record: Record) -> Iterator[str]:
    """Where record, list and hashes disagree about what was run."""
    folder = cell_folder(entry.cell, entry.key)
    cell, data = record.cell, record.data
    for what, said, known in (
        ("cell", cell, entry.cell),
        ("key", record.key, entry.key),
        ("name of the record", entry.record.name, f"{folder}/{RECORD}"),
        ("name of the predictions", entry.predictions.name, f"{folder}/{PREDICTIONS}"),
        ("name of the truth", entry.truth.name, truth_name(data, record.truth.sha256)),
        ("truth", record.truth, entry.truth),
        ("predictions", record.predictions.sha256, entry.predictions.sha256),
        ("data set", data.dataset, cell.dataset),
        ("model", record.model.model, cell.model),
        ("limit", data.limit, None),
        ("sanity twin", data.twin, "none"),
    ):
        if said != known:
            yield f"{what}: the record says {said}, it should be {known}"
    for name, digest in (("data", data.data_hash), ("split", data.split_hash)):
        if not _DIGEST.fullmatch(digest):
            yield f"the hash of the {name} is no hash"
    if hash_value(record.key_parts) != record.key:
        yield "the key is not the hash of its parts"
    if hash_value(record.settings) != record.settings_hash:
        yield "the hash of the settings is not theirs"
    claims = {
        "task": cell.task,
        "dataset": cell.dataset,
        "model": cell.model,
        "profile": cell.profile,
        "seed": cell.seed,
        "settings": record.settings_hash,
        "data": data.data_hash,
        "split": data.split_hash,
        "twin": data.twin,
        "weights_kind": record.model.weights_kind,
        "weights_hash": record.model.weights_hash,
        "numerics": record.code.numerics,
    }
    for name, claim in claims.items():
        if record.key_parts.get(name, _ABSENT) != claim:
            yield f"the key was made for another {name}"


def _false_claims(record: Record, truth: dict[str, Any]) -> Iterator[str]:
    """What the record says of its data and the truth file denies; tasks without classes say less."""
    data = record.data
    claims: dict[str, Any] = {name: getattr(data, name) for name in TRUTH_FACTS}
    found: dict[str, Any] = {name: truth.get(name) for name in TRUTH_FACTS}
    test = truth.get("test")
    if isinstance(test, list):
        rows = [row if isinstance(row, dict) else {} for row in test]
        asked = [row.get("question_id") for row in rows]
        # An image may be asked about more than once; everywhere else a row is an image.
        images = len({str(row.get("image_id")) for row in rows}) if all(asked) else len(test)
        claims["test_items"], found["test_items"] = data.test_items, images
    if isinstance(truth.get("classes"), list):
        claims |= {"classes": list(data.classes), "train_counts": list(data.train_counts)}
        found |= {"classes": truth["classes"], "train_counts": truth.get("train_counts")}
        if isinstance(test, list) and record.cell.task == "classification":  # elsewhere a row has no one label
            counts = Counter(str(row.get("label")) if isinstance(row, dict) else "" for row in test)
            claims["test_counts"] = {str(label): count for label, count in enumerate(data.test_counts) if count}
            found["test_counts"] = dict(counts)
    for name, claim in claims.items():
        if found[name] != claim:
            yield f"{name}: the record does not say what the truth file says"


TRUTH_FACTS = ("dataset", "synthetic", "world", "data_hash", "split_hash")
"""What a truth file says of the data it belongs to, in the words of the record."""

_ABSENT = object()
_DIGEST = re.compile("[0-9a-f]{64}")


def _printable(text: str) -> str:
    """Without the control characters by which a stranger's text could speak to a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
