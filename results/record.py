"""The record of one cell: typed, versioned, complete, and the same bytes for the same run.

`Record` holds what determines the numbers and what they are. When, where and how long is `Execution`; the
store keeps it in a file of its own, so that running twice gives identical `record.json` files.
Every field says what it means; readers of old records migrate by `schema_version`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
BY_HAND = " by hand"
"""How a deviation ends that the user asked for: a setting that is not the profile's."""


class _Data(BaseModel):
    # JSON has no infinities: they are refused here, where the culprit is known, not when the record is written.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CellId(_Data):
    """The name of a cell: one model on one data set of one task, under one profile with one seed."""

    task: str = Field(description="task id, e.g. classification")
    dataset: str = Field(description="data set id, e.g. sar_acd")
    model: str = Field(description="model id")
    profile: str = Field(description="paper, released or mini")
    seed: int = Field(ge=0, description="seed of initialisation, order and augmentation; the split keeps its own")

    def __str__(self) -> str:
        return f"{self.task}/{self.dataset}/{self.model}/{self.profile}/seed-{self.seed}"


class Metric(_Data):
    """One number with its uncertainty, or the reason why there is none."""

    value: float | None = Field(description="in the unit, full precision; None where undefined")
    unit: Literal["percent", "none"] = Field(default="percent", description="percent: 0..100")
    low: float | None = Field(default=None, description="lower end of the 95 % interval over test items")
    high: float | None = Field(default=None, description="upper end of the 95 % interval over test items")
    interval: str = Field(default="", description="how the interval was made: wilson, bootstrap(1000), ...")
    n: int = Field(default=0, ge=0, description="test items it was computed from")
    reason: str = Field(default="", description="why the value is None, or what to mind about it")
    variant: str = Field(
        default="",
        description="how it was computed, if not as in the paper, e.g. tokenizer=fallback; a column never mixes two",
    )

    @model_validator(mode="after")
    def _explained(self) -> Metric:
        if self.value is None and not self.reason:
            raise ValueError("a metric without a value must give the reason")
        if (self.low is None) != (self.high is None):
            raise ValueError("an interval has two ends or none")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the interval runs backwards: {self.low} to {self.high}")
        return self


class Baselines(_Data):
    """What costs nothing, by metric: a score means little without them (section 11.8 of the task spec)."""

    chance: dict[str, float | None] = Field(description="uniform guessing")
    majority: dict[str, float | None] = Field(description="always the most common training answers")


class DataProvenance(_Data):
    """Which data, split how."""

    dataset: str = Field(description="data set id")
    synthetic: bool = Field(description="True for sarworld: never to be compared with the paper's numbers")
    world: str | None = Field(default=None, description="world version, size and seed of synthetic data")
    data_hash: str = Field(description="SHA-256 over the names and contents of the files read")
    split_hash: str = Field(description="SHA-256 over the train and test lists")
    label_map: str = Field(default="", description="label map in force, where the data set has several")
    choices: dict[str, str] = Field(default_factory=dict, description="how the data set was read: options in force")
    limit: int | None = Field(default=None, description="at most this many images per part; None: all")
    twin: Literal["none", "shuffled_labels", "noise_images"] = Field(
        default="none", description="sanity twin: what was destroyed on purpose; must score at chance"
    )
    classes: tuple[str, ...] = Field(default=(), description="class names in index order")
    train_items: int = Field(ge=0, description="images used for training")
    test_items: int = Field(ge=0, description="images scored")
    train_counts: tuple[int, ...] = Field(default=(), description="training images, boxes or pixels per class")
    test_counts: tuple[int, ...] = Field(default=(), description="test images, boxes or pixels per class")
    dropped_classes: tuple[str, ...] = Field(default=(), description="classes with fewer than five images")
    bad_files: tuple[str, ...] = Field(default=(), description="files that could not be read, with the reason")
    near_duplicates_across: int | None = Field(default=None, description="near-duplicate pairs across the parts")
    exact_duplicates_across: int | None = Field(default=None, description="exact-duplicate pairs across the parts")


class ModelProvenance(_Data):
    """Which model, with which weights, loaded how."""

    model: str = Field(description="model id")
    name: str = Field(description="printed name")
    backbone: str = Field(description="comparison group")
    architecture: dict[str, Any] = Field(description="the card's architecture, as data")
    input: dict[str, Any] = Field(description="the card's input contract, as data")
    weights_kind: str = Field(description="none, random, file, hub, ...")
    weights_hash: str | None = Field(default=None, description="SHA-256 of the weight file; None: no file")
    load_mode: str = Field(default="native", description="native, resampled16 or paper_plain")
    load_report: dict[str, Any] = Field(default_factory=dict, description="matched, missing, unexpected, dropped keys")
    parameters: int | None = Field(default=None, description="trainable parameters, head included")
    text_start: str = Field(
        default="", description="where the text side of a language task starts; empty where there is none"
    )


class CodeProvenance(_Data):
    """Which code."""

    version: str = Field(description="version of this package")
    commit: str | None = Field(default=None, description="commit of the working tree, '+changes' if not clean")
    numerics: str = Field(description="hash of the sources that can change this cell's predictions; part of the key")
    scoring: str = Field(description="hash of the sources that turn predictions into metrics; differing: score again")
    python: str = Field(description="version of Python")
    dependencies: dict[str, str] = Field(description="versions of the libraries that compute")


class FileReference(_Data):
    """A file beside the record."""

    name: str = Field(description="file name inside the cell's folder, or relative to the runs folder")
    sha256: str = Field(description="hash of its content")


class Execution(_Data):
    """When, where, how long. Kept apart: it differs between runs that are otherwise the same."""

    started: str = Field(description="UTC, ISO 8601, of the part of the run that finished the cell")
    finished: str = Field(description="UTC, ISO 8601")
    seconds: float = Field(ge=0, description="wall time, over all interrupted parts")
    resumed_from_epoch: int | None = Field(default=None, description="epoch at which an interrupted run went on")
    device: str = Field(description="cpu or the name of the GPU")
    threads: int = Field(ge=1, description="threads of one cell")
    platform: str = Field(description="operating system and processor type")
    peak_memory_mib: float | None = Field(default=None, description="largest resident size of the process")
    notes: tuple[str, ...] = Field(default=(), description="what happened on the way, e.g. a damaged checkpoint")


class Record(_Data):
    """Everything that is known of one finished cell."""

    schema_version: int = Field(default=SCHEMA_VERSION, description="version of this schema")
    key: str = Field(description="SHA-256 over everything that can change the numbers; see `key_parts`")
    key_parts: dict[str, Any] = Field(description="the allow-list that `key` is the hash of")
    cell: CellId = Field(description="which cell")
    metrics: dict[str, Metric] = Field(description="metric id to value")
    baselines: Baselines = Field(description="chance and majority for the same test items")
    details: dict[str, Any] = Field(default_factory=dict, description="confusion matrix, per-class values, loss curve")
    settings: dict[str, Any] = Field(description="the protocol's settings in force, whole")
    precision: str = Field(description="number format in force: fp32, bf16 or fp16; tables never mix two in a column")
    settings_hash: str = Field(
        description="hash of `settings`; tables never mix two of them among rows of one backbone"
    )
    common_settings_hash: str = Field(
        description="hash of the task's settings without changes per backbone; tables never mix two in a column"
    )
    implementation: str = Field(
        default="own", description="whose heads and training loop: own, or openmmlab with its operators' backend"
    )
    data: DataProvenance = Field(description="which data")
    model: ModelProvenance = Field(description="which model")
    code: CodeProvenance = Field(description="which code")
    predictions: FileReference = Field(description="raw answers: enough to score again")
    truth: FileReference = Field(description="what they are scored against")
    warnings: tuple[str, ...] = Field(default=(), description="what a reader should know of data and model")
    score_warnings: tuple[str, ...] = Field(default=(), description="what a reader should know of the answers")
    deviations: tuple[str, ...] = Field(
        default=(),
        description="what was knowingly not done as the profile says, e.g. epochs=3 by hand; forbids a comparison",
    )
    execution: Execution | None = Field(default=None, description="kept in execution.json, absent from record.json")


class Failure(_Data):
    """Why a cell has no record."""

    schema_version: int = Field(default=SCHEMA_VERSION, description="version of this schema")
    cell: CellId = Field(description="which cell")
    key: str = Field(description="key of the attempt")
    error: str = Field(description="class of the error")
    what: str = Field(description="what happened")
    where: str = Field(default="", description="file, model or record")
    way_out: str = Field(default="", description="what to do next")
    traceback: str = Field(default="", description="for a bug report; empty for expected errors")
