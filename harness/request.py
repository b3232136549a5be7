"""What a user asked for: the options of `plan`, `run` and `status`, checked once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.interface import LoadMode
from foundation.errors import UsageError
from foundation.names import unknown_name
from tasks.catalog import DATASETS
from tasks.datasets.catalogue import ANY_SPLIT, options_of, require_known
from tasks.datasets.options import DataOptions
from tasks.protocol import PROFILES

WorldSize = Literal["ci", "mini", "default"]
_NO_NAME = re.compile(r"[^A-Za-z0-9_-]")


class RunRequest(BaseModel):
    """One request; immutable and fit to be sent to a worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: str = Field(default="all", description="ids, groups, name=path:architecture, timm:NAME; with commas")
    model_files: tuple[Path, ...] = Field(default=(), description="TOML files with further model cards")
    tasks: str = Field(default="vision", description="all, vision, language, task ids, data set ids; with commas")
    profile: str = Field(default="mini", description="paper, released or mini")
    seeds: tuple[int, ...] = Field(default=(0,), description="one run of every cell per seed")
    data_root: Path | None = Field(default=None, description="real data; None: the synthetic world")
    weights_root: Path | None = Field(default=None, description="published weights")
    out: Path = Field(default=Path("runs"), description="where records go")
    world: WorldSize = Field(default="mini", description="size of the synthetic world")
    by_hand: tuple[tuple[str, str], ...] = Field(
        default=(), description="settings that are not the profile's: TASK.KEY, value"
    )
    data_choices: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="option of the readers to its value per data set; '' for all data sets"
    )
    allow_bad: bool = Field(default=False, description="go on with more than 1 % unreadable images")
    limit: int | None = Field(default=None, ge=1, description="at most this many images per part")
    twin: Literal["none", "shuffled_labels", "noise_images"] = Field(default="none", description="sanity twin")
    implementation: Literal["own", "openmmlab"] = Field(
        default="own", description="whose detection and segmentation heads and loops; openmmlab is a cross-check"
    )
    load_mode: LoadMode = Field(default="native", description="how published weights are fitted to the encoder")
    jobs: int = Field(default=1, ge=1, description="cells at a time")
    threads: int = Field(default=1, ge=1, description="threads per cell on the CPU")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where cells run")

    def data_options(self, dataset: str) -> DataOptions:
        """How one data set is read; what was said for it goes before what was said for all."""
        return options_of(dataset, self.data_choices, allow_bad=self.allow_bad)

    @property
    def own_split(self) -> bool:
        """True where some split is not the one of the data set and the protocol: a file's, or one of groups found."""
        return any(value != "no" for option in ANY_SPLIT for value in self.data_choices.get(option, {}).values())


def parse_seeds(text: str) -> tuple[int, ...]:
    """`0`, `0,1,2` or `0-2`."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"not a list of seeds: {text!r}", way_out="write --seeds 0,1,2 or --seeds 0-2")
        seeds += range(int(first), int(last) + 1) if dash else [int(first)]
    if max(seeds, default=0) >= 2**31:
        raise UsageError(f"seed too large: {max(seeds)}", way_out="choose seeds below 2147483648")
    if not seeds:
        raise UsageError(f"no seed in {text!r}", way_out="write --seeds 0,1,2 or --seeds 0-2")
    return tuple(dict.fromkeys(seeds))


def parse_choices(option: str, items: list[str]) -> dict[str, str]:
    """`scene` for every data set that knows the option, `fusar_map=scene` for one; any number of them.

    A value may hold `=` itself: what stands before the first one is a data set only if it could be the name of one.
    """
    chosen: dict[str, str] = {}
    for item in items:
        dataset, equals, value = item.partition("=")
        if not equals or _NO_NAME.search(dataset):
            dataset, equals, value = "", "", item
        if option == "label-map" and not (dataset and value):
            raise UsageError(f"not a label map: {item!r}", way_out="write --label-map fusar_ship=ship7")
        if not value or (equals and not dataset):
            raise UsageError(f"not a value of --{option}: {item!r}", way_out=f"write --{option} [DATA SET=]VALUE")
        if dataset and dataset not in DATASETS:
            raise unknown_name("data set", dataset, DATASETS, see="harness list tasks")
        if dataset:
            require_known(dataset, option.replace("-", "_"))
        chosen[dataset] = value
    return chosen


def check_profile(name: str) -> str:
    """The profile's name, if there is such a profile."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES, see="harness list profiles")
    return name
