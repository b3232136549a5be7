"""Records for the tests of this room: complete, small, and different only in what a test asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from foundation.hashing import hash_value
from results.record import (
    Baselines,
    CellId,
    CodeProvenance,
    DataProvenance,
    Execution,
    FileReference,
    Metric,
    ModelProvenance,
    Record,
)


def _record(
    model: str = "mine",
    task: str = "classification",
    dataset: str = "fusar_air",
    *,
    profile: str = "paper",
    seed: int = 0,
    values: dict[str, float | None] | None = None,
    half: float | None = 1.0,
    metrics: dict[str, Metric] | None = None,
    chance: dict[str, float | None] | None = None,
    majority: dict[str, float | None] | None = None,
    settings: dict[str, Any] | None = None,
    data_hash: str = "d" * 64,
    split_hash: str = "5" * 64,
    world: str | None = None,
    limit: int | None = None,
    twin: str = "none",
    scoring: str = "e" * 64,
    weights_kind: str = "file",
    deviations: tuple[str, ...] = (),
    finished: str | None = "2026-01-01T00:00:00+00:00",
) -> Record:
    """A record with an interval of `half` around each of `values`."""
    cell = CellId(task=task, dataset=dataset, model=model, profile=profile, seed=seed)
    if metrics is None:
        metrics = {
            name: Metric(value=None, reason="no ground truth")
            if value is None
            else Metric(
                value=value,
                low=None if half is None else value - half,
                high=None if half is None else value + half,
                n=100,
            )
            for name, value in (values or {"top1": 80.0, "top3": 95.0}).items()
        }
    settings = settings if settings is not None else {"epochs": 100, "profile": profile}
    parts = {"cell": cell.model_dump(), "settings": settings, "data": data_hash}
    execution = Execution(
        started="2026-01-01T00:00:00+00:00",
        finished=finished or "",
        seconds=1.5,
        device="cpu",
        threads=1,
        platform="test",
    )
    return Record(
        key=hash_value(parts),
        key_parts=parts,
        cell=cell,
        metrics=metrics,
        baselines=Baselines(
            chance=chance if chance is not None else {"top1": 10.0, "top3": 30.0},
            majority=majority if majority is not None else {"top1": 25.5, "top3": 60.0},
        ),
        settings=settings,
        precision="fp32",
        settings_hash=hash_value(settings),
        common_settings_hash=hash_value(settings),
        data=DataProvenance(
            dataset=dataset,
            synthetic=world is not None,
            world=world,
            data_hash=data_hash,
            split_hash=split_hash,
            limit=limit,
            twin=cast(Any, twin),
            train_items=400,
            test_items=100,
        ),
        model=ModelProvenance(
            model=model, name=model, backbone="ViT-Base", architecture={}, input={}, weights_kind=weights_kind
        ),
        code=CodeProvenance(version="0", numerics="f" * 64, scoring=scoring, python="3.11", dependencies={}),
        predictions=FileReference(name="predictions.jsonl", sha256="a" * 64),
        truth=FileReference(name="truth.jsonl", sha256="b" * 64),
        deviations=deviations,
        execution=execution if finished is not None else None,
    )


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """Makes a complete record; every argument has a default."""
    return _record
