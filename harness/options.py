"""From what stands on the command line to a request, with sane defaults for this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from foundation.errors import UsageError
from foundation.names import unknown_name
from harness.request import RunRequest, check_profile, parse_choices, parse_seeds

_CHOICES = {
    "world": ("ci", "mini", "default"),
    "twin": ("none", "shuffled_labels", "noise_images"),
    "load_mode": ("native", "resampled16", "paper_plain"),
    "device": ("auto", "cpu", "cuda"),
}


def make_request(
    *,
    models: str,
    tasks: str,
    profile: str,
    seeds: str,
    data_root: Path | None,
    weights_root: Path | None,
    out: Path,
    model_files: list[Path] | None,
    world: str,
    data_choices: Mapping[str, list[str] | None],
    allow_bad: bool,
    limit: int | None,
    twin: str,
    load_mode: str,
    jobs: int,
    threads: int,
    device: str,
) -> RunRequest:
    """The checked request."""
    check_profile(profile)
    for name, value in (("world", world), ("twin", twin), ("load_mode", load_mode), ("device", device)):
        if value not in _CHOICES[name]:
            raise unknown_name(name, value, _CHOICES[name], see="harness run --help")
    jobs, threads = machine_share(jobs, threads, profile)
    try:
        return RunRequest.model_validate(
            {
                "models": models,
                "model_files": tuple(model_files or ()),
                "tasks": tasks,
                "profile": profile,
                "seeds": parse_seeds(seeds),
                "data_root": data_root,
                "weights_root": weights_root,
                "out": out,
                "world": world,
                "data_choices": {
                    option: parse_choices(option.replace("_", "-"), items) for option, items in data_choices.items() if items
                },
                "allow_bad": allow_bad,
                "limit": limit,
                "twin": twin,
                "load_mode": load_mode,
                "jobs": jobs,
                "threads": threads,
                "device": device,
            }
        )
    except ValidationError as error:
        raise UsageError(f"not a possible request: {error}", way_out="see harness run --help") from error


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
