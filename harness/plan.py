"""Which cells a request means, and what is left to do for each.

Decided without loading a model and without opening an image that was opened before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from adapters.card import ModelCard, WeightState
from adapters.checkpoint_files import weights_hash
from adapters.input_rules import require_fit
from adapters.interface import LoadMode
from adapters.load_modes import card_for
from adapters.registry import load_model_file, select, weight_state
from foundation.cache import cached_file_hash
from foundation.errors import BenchError, CheckError, MissingError, UsageError
from foundation.hashing import hash_value
from foundation.progress import Progress, silent
from harness.keys import key_parts, scoring_hash, settings_hash
from harness.request import RunRequest, check_profile
from harness.sources import data_source, read
from results.record import CellId, Failure, Record
from results.store import Store
from tasks.catalog import TASKS, select_columns
from tasks.datasets import DataSource
from tasks.language.start import TextOrigin, text_origin
from tasks.protocol import TaskSettings, common_settings, load_profile, task_settings
from tasks.protocol.settings import LanguageSettings
from tasks.registry import get_task
from tasks.task import TaskData


class State(StrEnum):
    """What is to be done about a cell."""

    DONE = "done"
    TODO = "to do"
    RESCORE = "to score again"
    RETRY = "failed before, to do again"
    WEIGHTS = "weights missing"
    DATA = "data missing"
    NOT_BUILT = "task not built yet"
    UNSUPPORTED = "not supported"


RUNNABLE = (State.TODO, State.RETRY, State.RESCORE)


@dataclass(frozen=True)
class PlannedCell:
    """One cell with everything that a worker needs to compute it."""

    cell: CellId
    card: ModelCard
    state: State
    reason: str = ""
    way_out: str = ""
    settings: TaskSettings | None = None
    source: DataSource | None = None
    key: str = ""
    key_parts: dict[str, Any] = field(default_factory=dict)
    weights_hash: str | None = None
    load_mode: LoadMode = "native"
    train_items: int = 0

    @property
    def work(self) -> float:
        """How long it takes in relation to the others: pixels seen, or little for fixed features."""
        if self.settings is None or self.card.architecture is None or self.card.architecture.kind == "features":
            return 50.0 + 0.5 * self.train_items
        pixels = (self.settings.input_size / 64) ** 2
        heads = 3.0 if self.cell.task == "detection" else 1.0  # proposals and boxes take longer than the encoder
        return 50.0 + self.train_items * self.settings.training.epochs * pixels * heads


@dataclass(frozen=True)
class DataState:
    """What is known of one data set of the request, prepared for one task."""

    dataset: str
    data: TaskData | None = None
    source: DataSource | None = None
    reason: str = ""
    way_out: str = ""
    will_be_built: bool = False
    broken: BenchError | None = None
    """The data set is there but cannot be used."""


@dataclass(frozen=True)
class Plan:
    """All cells of a request, in the order of tasks, data sets, models and seeds."""

    request: RunRequest
    cards: tuple[ModelCard, ...]
    weights: dict[str, WeightState]
    cells: tuple[PlannedCell, ...]
    data: dict[tuple[str, str], DataState]
    """By task and data set."""

    def runnable(self) -> list[PlannedCell]:
        """Cells that a run would compute."""
        return [cell for cell in self.cells if cell.state in RUNNABLE]

    def counts(self) -> dict[str, int]:
        """Cells per state, states without cells left out."""
        return {state.value: number for state in State if (number := sum(cell.state is state for cell in self.cells))}


def make_plan(request: RunRequest, *, build_world: bool, progress: Progress = silent) -> Plan:
    """Plans a request; builds the synthetic world first if it is asked to and needed."""
    check_profile(request.profile)
    load_profile(request.profile)
    extra = [card for file in request.model_files for card in load_model_file(file)]
    cards = tuple(select(request.models, extra))
    columns = select_columns(request.tasks)
    weights = {card.id: weight_state(card, request.weights_root) for card in cards}
    _refuse_named_but_missing(request, cards, weights)
    data = {
        (task, dataset): _data_state(request, task, dataset, build_world=build_world, progress=progress)
        for task, dataset in columns
        if TASKS[task].built
    }
    store = Store(request.out)
    cells = tuple(
        _planned(
            request,
            store,
            CellId(task=task, dataset=dataset, model=card.id, profile=request.profile, seed=seed),
            card,
            weights[card.id],
            data.get((task, dataset)),
        )
        for task, dataset in columns
        for card in cards
        for seed in request.seeds
    )
    return Plan(request, cards, weights, cells, data)


def mode_of(card: ModelCard, wanted: LoadMode) -> LoadMode:
    """How a card is loaded; a model without published weights has nothing to be fitted, so it is what it is.

    Raises:
        UsageError: The mode means nothing for the card's architecture.
    """
    if card.weights.kind in ("none", "random", "shipped"):
        return "native"
    card_for(card, wanted)
    return wanted


def text_start_of(card: ModelCard, settings: TaskSettings, weights_root: Path | None) -> TextOrigin | None:
    """Where the text side of a language task starts; None for a vision task.

    Raises:
        MissingError: What it starts from is not here.
    """
    if not isinstance(settings, LanguageSettings):
        return None
    return text_origin(card, settings, weights_root)


def is_stale(record: Record) -> bool:
    """True where the code that scores has changed since."""
    return record.code.scoring != scoring_hash(record.cell.task)


def _refuse_named_but_missing(
    request: RunRequest, cards: tuple[ModelCard, ...], weights: dict[str, WeightState]
) -> None:
    """A model that the user named must be there; a model that a group brings along keeps its row without it."""
    named = _named(request.models)
    for card in cards:
        state = weights[card.id]
        if card.id in named and state.state != "ready":
            raise MissingError(
                f"{card.id} ({card.name}): {state.reason}", where=state.path or "no weights root", way_out=state.way_out
            )


def prepare(request: RunRequest, task: str, source: DataSource, progress: Progress = silent) -> TaskData:
    """Both parts of a data set as a task of this request learns and tests with; the same for every backbone."""
    index = read(request, source, progress)
    settings = common_settings(request.profile, task, request.by_hand)
    ratio = load_profile(request.profile).split.ratio
    data: TaskData = get_task(task).build(index, settings, ratio=ratio, limit=request.limit)
    return data


def _data_state(request: RunRequest, task: str, dataset: str, *, build_world: bool, progress: Progress) -> DataState:
    try:
        source = data_source(request, dataset, build_world=build_world, progress=progress)
    except MissingError as error:
        if request.data_root is None or dataset in _named(request.tasks):
            raise
        return DataState(dataset, reason=error.what, way_out=error.way_out)
    if source is None:
        return DataState(dataset, reason="the synthetic world is not built yet", will_be_built=True)
    try:
        data = prepare(request, task, source, progress)
    except UsageError:
        raise
    except BenchError as error:
        return DataState(dataset, source=source, reason=error.what, way_out=error.way_out, broken=error)
    return DataState(dataset, data, source)


def _named(spec: str) -> set[str]:
    """What the user wrote out, as against what a group brought along."""
    return {item.strip().partition("=")[0] for item in spec.split(",")}


def _planned(
    request: RunRequest, store: Store, cell: CellId, card: ModelCard, weights: WeightState, data: DataState | None
) -> PlannedCell:
    if not TASKS[cell.task].built:
        return PlannedCell(cell, card, State.NOT_BUILT, f"{TASKS[cell.task].title} is not built yet")
    if weights.state != "ready":
        state = State.WEIGHTS if weights.state == "missing" else State.UNSUPPORTED
        return PlannedCell(cell, card, state, weights.reason, weights.way_out)
    assert data is not None  # built tasks always have one
    settings = task_settings(request.profile, cell.task, card.backbone, request.by_hand)
    try:
        text_start = text_start_of(card, settings, request.weights_root)
    except MissingError as error:
        return PlannedCell(cell, card, State.WEIGHTS, f"{error.what}: {error.where}", error.way_out, settings)
    if data.data is None:
        state = State.TODO if data.will_be_built else State.DATA
        return PlannedCell(cell, card, state, data.reason, data.way_out, settings)
    try:
        made_by = get_task(cell.task, request.implementation).made_by
        if request.implementation != "own" and card.architecture and card.architecture.kind == "features":
            raise UsageError(f"hand-made features are no network that {request.implementation} could train")
        mode = mode_of(card, request.load_mode)
        if card.input is not None:
            require_fit(card.input)  # every data set is read as 8-bit grey
    except UsageError as error:
        return PlannedCell(cell, card, State.UNSUPPORTED, error.what, error.way_out, settings)
    found_hash = weights_hash(card, Path(weights.path), cached_file_hash) if weights.path else None
    parts = key_parts(
        cell,
        card,
        settings,
        weights_hash=found_hash,
        load_mode=mode,
        made_by=made_by,
        data_hash=data.data.index.data_hash,
        split_hash=data.data.split.hash,
        twin=request.twin,
        world=data.data.index.world,
        text_start=None if text_start is None else text_start.digest,
    )
    key = hash_value(parts)
    state, reason = _progress_of(store, cell, key)
    return PlannedCell(
        cell=cell,
        card=card,
        state=state,
        reason=reason,
        settings=settings,
        source=data.source,
        key=key,
        key_parts=parts,
        weights_hash=found_hash,
        load_mode=mode,
        train_items=len(data.data.split.train),
    )


def _progress_of(store: Store, cell: CellId, key: str) -> tuple[State, str]:
    try:
        record = store.read(cell, key)
    except CheckError as error:
        return State.RETRY, f"its record is damaged: {error.what}"
    if record is not None:
        return (State.RESCORE, "the scoring code has changed") if is_stale(record) else (State.DONE, "")
    failure: Failure | None = store.read_failure(cell, key)
    if failure is not None:
        return State.RETRY, failure.what
    return State.TODO, ""


def plan_as_data(plan: Plan) -> dict[str, Any]:
    """The plan for `--json`."""
    return {
        "profile": plan.request.profile,
        "out": str(plan.request.out),
        "counts": plan.counts(),
        "cells": [
            {
                **cell.cell.model_dump(),
                "state": cell.state.value,
                "reason": cell.reason,
                "way_out": cell.way_out,
                "key": cell.key or None,
                "settings_hash": settings_hash(cell.settings) if cell.settings else None,
            }
            for cell in plan.cells
        ],
    }
