"""Runs folders of a few cells, and a forger who changes bundles: carelessly, or with every hash made to fit."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from foundation.files import pretty_json, write_bytes
from foundation.hashing import hash_bytes, hash_lines, hash_value
from foundation.seeds import derive_seed
from leaderboard.bundle import pack
from leaderboard.submission import MANIFEST, Submission, sealed
from results.record import (
    CellId,
    CodeProvenance,
    DataProvenance,
    Execution,
    FileReference,
    ModelProvenance,
    Record,
)
from results.store import PREDICTIONS, Store, truth_name
from tasks.registry import get_task

CLASSES = ("A220", "A330", "Boeing737", "Boeing787")
TEST_ITEMS = 24
DIGEST = "e" * 64


class Runs:
    """A runs folder as a run leaves it behind: classification cells with answers that are right now and then."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(root)

    def add(
        self,
        model: str = "mine",
        dataset: str = "sar_acd",
        *,
        seed: int = 0,
        right: float = 0.7,
        profile: str = "mini",
        epochs: int = 3,
        world: str | None = "ci",
        data: str = "data",
        limit: int | None = None,
        twin: Literal["none", "shuffled_labels", "noise_images"] = "none",
        choices: dict[str, str] | None = None,
        scoring: str = DIGEST,
        finished: str = "2026-01-01T00:00:00+00:00",
    ) -> Record:
        """Adds a finished cell."""
        cell = CellId(task="classification", dataset=dataset, model=model, profile=profile, seed=seed)
        images = [f"images/{position:03d}.png" for position in range(TEST_ITEMS)]
        labels = [position % len(CLASSES) for position in range(TEST_ITEMS)]
        read_as = choices or {}
        provenance = _provenance(
            dataset, hash_value([dataset, data]), images, world=world, limit=limit, twin=twin, choices=read_as
        )
        truth = {
            "dataset": dataset,
            "synthetic": provenance.synthetic,
            "world": provenance.world,
            "data_hash": provenance.data_hash,
            "split_hash": provenance.split_hash,
            "classes": list(CLASSES),
            "train_counts": [10] * 4,
            "test": [{"image_id": image, "label": label} for image, label in zip(images, labels, strict=True)],
        }
        truth_bytes = pretty_json(truth)
        name = truth_name(provenance, hash_bytes(truth_bytes))
        write_bytes(self.root / name, truth_bytes)
        answers = self._answers(images, labels, right, derive_seed(cell, right))
        lines = b"".join(json.dumps(row).encode() + b"\n" for row in answers)
        settings = {"epochs": epochs}
        parts = _key_parts(cell, provenance, settings)
        scored = get_task("classification").score(answers, truth)
        record = Record(
            key=hash_value(parts),
            key_parts=parts,
            cell=cell,
            metrics=scored["metrics"],
            baselines=scored["baselines"],
            details={**scored["details"], "losses": [1.0, 0.5]},
            score_warnings=tuple(scored["warnings"]),
            settings=settings,
            precision="fp32",
            settings_hash=hash_value(settings),
            common_settings_hash=hash_value(settings),
            data=provenance,
            model=ModelProvenance(
                model=model, name=model, backbone="mini", architecture={}, input={}, weights_kind="file"
            ),
            code=CodeProvenance(version="0", numerics=DIGEST, scoring=scoring, python="3.11", dependencies={}),
            predictions=FileReference(name=PREDICTIONS, sha256=hash_bytes(lines)),
            truth=FileReference(name=name, sha256=hash_bytes(truth_bytes)),
            execution=_execution(finished),
        )
        write_bytes(self.store.folder(cell, record.key) / PREDICTIONS, lines)
        self.store.write(record)
        return record

    def folder(self, record: Record) -> Path:
        """Where a record lies."""
        return self.store.folder(record.cell, record.key)

    @staticmethod
    def _answers(images: list[str], labels: list[int], right: float, seed: int) -> list[dict[str, Any]]:
        generator = np.random.default_rng(seed)
        scores = generator.normal(size=(len(images), len(CLASSES)))
        for position in range(round(right * len(images))):
            scores[position, labels[position]] += 10
        return [{"image_id": image, "scores": row.tolist()} for image, row in zip(images, scores, strict=True)]


def _provenance(dataset: str, data_hash: str, images: list[str], **circumstances: Any) -> DataProvenance:
    return DataProvenance(
        dataset=dataset,
        synthetic=circumstances["world"] is not None,
        data_hash=data_hash,
        split_hash=hash_lines(images),
        classes=CLASSES,
        train_items=40,
        test_items=TEST_ITEMS,
        train_counts=(10,) * 4,
        test_counts=(6,) * 4,
        **circumstances,
    )


def _key_parts(cell: CellId, data: DataProvenance, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        **cell.model_dump(),
        "settings": hash_value(settings),
        "data": data.data_hash,
        "split": data.split_hash,
        "twin": data.twin,
        "choices": data.choices,
        "weights_kind": "file",
        "weights_hash": None,
        "numerics": DIGEST,
        "limit": data.limit,
    }


def _execution(finished: str) -> Execution:
    return Execution(
        started=finished,
        finished=finished,
        seconds=1.0,
        device="cpu",
        threads=1,
        platform="test",
    )


class Forger:
    """The files of a bundle, to be changed and written again."""

    def __init__(self, bundle: Path) -> None:
        with zipfile.ZipFile(bundle) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}

    def name(self, ending: str) -> str:
        """The one file whose name ends so."""
        (found,) = [name for name in self.files if name.endswith(ending)]
        return found

    def change(self, ending: str, change: Callable[[Any], object]) -> Forger:
        """Changes a JSON file in place; `predictions.jsonl` as a list of its lines."""
        name = self.name(ending)
        if name.endswith(".jsonl"):
            rows = [json.loads(line) for line in self.files[name].splitlines()]
            change(rows)
            self.files[name] = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        else:
            data = json.loads(self.files[name])
            change(data)
            self.files[name] = pretty_json(data)
        return self

    def scored_again(self) -> Forger:
        """Makes metrics of every record fit its predictions and truth."""
        for name in [name for name in self.files if name.endswith("record.json")]:
            record = json.loads(self.files[name])
            lines = self.files[name.replace("record.json", PREDICTIONS)].splitlines()
            truth = json.loads(self.files[record["truth"]["name"]])
            scored = get_task("classification").score([json.loads(line) for line in lines], truth)
            record["metrics"] = {key: metric.model_dump() for key, metric in scored["metrics"].items()}
            record["baselines"] = scored["baselines"].model_dump()
            record["details"] |= scored["details"]
            record["score_warnings"] = scored["warnings"]
            self.files[name] = pretty_json(record)
        return self

    def sealed_again(self) -> Forger:
        """Makes every hash and the seal fit, as somebody would who means to deceive."""
        listed = json.loads(self.files[MANIFEST])
        for entry in listed["cells"]:
            name = entry["record"]["name"]
            record = json.loads(self.files[name])
            for kind in ("predictions", "truth"):
                digest = hash_bytes(self.files[entry[kind]["name"]])
                entry[kind]["sha256"] = record[kind]["sha256"] = digest
            self._name_of_truth_fits(entry["truth"], record["truth"])
            self.files[name] = pretty_json(record)
            entry["record"]["sha256"] = hash_bytes(self.files[name])
        self.files[MANIFEST] = pretty_json(sealed(Submission.model_validate(listed)).model_dump(mode="json"))
        return self

    def _name_of_truth_fits(self, *references: dict[str, str]) -> None:
        old, digest = references[0]["name"], references[0]["sha256"]
        new = f"{old.removesuffix('/truth.json').rpartition('-')[0]}-{digest[:8]}/truth.json"
        self.files[new] = self.files.pop(old)
        for reference in references:
            reference["name"] = new

    def write(self, path: Path) -> Path:
        """Writes the bundle."""
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in self.files.items():
                archive.writestr(name, data)
        return path


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """An empty runs folder."""
    return Runs(tmp_path / "runs")


@pytest.fixture
def bundle(runs: Runs, tmp_path: Path) -> Path:
    """A bundle of one cell."""
    runs.add()
    path = tmp_path / "mine.zip"
    pack(runs.root, "mine", path, "A. Author")
    return path


@pytest.fixture
def forger(bundle: Path) -> Forger:
    """The files of that bundle."""
    return Forger(bundle)
