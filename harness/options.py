"""From what stands on the command line to a request, with sane defaults for this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from foundation.errors import UsageError
from foundation.names import unknown_name
from harness.request import RunRequest, check_profile, parse_choices, parse_seeds
from tasks.datasets.options import TEXT_OPTIONS
from tasks.protocol import parse_by_hand

if TYPE_CHECKING:
    from harness.ablation import Choices

_CHOICES = {
    "world": ("ci", "mini", "default"),
    "twin": ("none", "shuffled_labels", "noise_images"),
    "load_mode": ("native", "resampled16", "paper_plain"),
    "implementation": ("own", "openmmlab"),
    "device": ("auto", "cpu", "cuda"),
}


def make_request(**given: Any) -> RunRequest:
    """The checked request of options by their names; those of the readers are lists of [DATA SET=]VALUE."""
    check_profile(given["profile"])
    for name, known in _CHOICES.items():
        if given[name] not in known:
            raise unknown_name(name, given[name], known, see="harness run --help")
    jobs, threads = machine_share(given["jobs"], given["threads"], given["profile"])
    values = {option: given.pop(option) or [] for option in TEXT_OPTIONS}
    choices = {option: parse_choices(option.replace("_", "-"), items) for option, items in values.items() if items}
    update = {
        "model_files": tuple(given["model_files"] or ()),
        "seeds": parse_seeds(given["seeds"]),
        "by_hand": parse_by_hand(given.pop("settings") or []),
        "data_choices": choices,
        "jobs": jobs,
        "threads": threads,
    }
    try:
        return RunRequest.model_validate(given | update)
    except ValidationError as error:
        raise UsageError(f"not a possible request: {error}", way_out="see harness run --help") from error


def make_ablation(name: str | None, pretraining: dict[str, Any]) -> Choices | None:
    """The ablation that is asked for; options of its pre-training mean nothing without one."""
    given = {option: value for option, value in pretraining.items() if value is not None}
    if name is None:
        if given:
            options = ", ".join(f"--{option}" for option in given)
            raise UsageError(f"only an ablation pre-trains: {options}", way_out="add --ablation table8")
        return None
    from harness.ablation import NAMES, Choices

    if name not in NAMES:
        raise unknown_name("ablation", name, NAMES, see="harness run --help")
    return Choices(name=name, **given)


def machine_share(jobs: int, threads: int, profile: str) -> tuple[int, int]:
    """Cells at a time and threads per cell.

    Mini cells are small: one thread each and one per core is fastest, and gives the same bits whatever --jobs says.
    Full-size cells take the machine (or its GPU) one at a time.
    """
    cores = available_cores()
    if profile == "mini":
        return jobs or min(cores, 8), threads or 1
    return jobs or 1, threads or max(1, cores // (jobs or 1))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
