"""What a user asked for: the options of `plan`, `run` and `status`, checked once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from adapters.interface import LoadMode
from foundation.errors import UsageError
from foundation.names import unknown_name
from tasks.catalog import DATASETS
from tasks.protocol import PROFILES

WorldSize = Literal["ci", "mini", "default"]


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
    label_maps: dict[str, str] = Field(default_factory=dict, description="data set to label map")
    allow_bad: bool = Field(default=False, description="go on with more than 1 % unreadable images")
    limit: int | None = Field(default=None, ge=1, description="at most this many images per part")
    twin: Literal["none", "shuffled_labels", "noise_images"] = Field(default="none", description="sanity twin")
    load_mode: LoadMode = Field(default="native", description="how published weights are fitted to the encoder")
    jobs: int = Field(default=1, ge=1, description="cells at a time")
    threads: int = Field(default=1, ge=1, description="threads per cell on the CPU")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where cells run")


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


def parse_label_maps(items: Mapping[str, str] | list[str]) -> dict[str, str]:
    """`fusar_ship=ship7`, any number of them."""
    chosen: dict[str, str] = {}
    for item in items:
        dataset, equals, label_map = item.partition("=")
        if not equals or not label_map:
            raise UsageError(f"not a label map: {item!r}", way_out="write --label-map fusar_ship=ship7")
        if dataset not in DATASETS:
            raise unknown_name("data set", dataset, DATASETS, see="harness list tasks")
        chosen[dataset] = label_map
    return chosen


def check_profile(name: str) -> str:
    """The profile's name, if there is such a profile."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES, see="harness list profiles")
    return name
