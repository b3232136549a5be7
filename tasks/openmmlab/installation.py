"""Whether mmdet and mmsegmentation are here, which, and made ready to be imported. Importing this is cheap."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.errors import MissingError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from tasks.openmmlab.operators import OperatorBackend
    from tasks.task import FitAndPredict

PACKAGES = ("mmengine", "mmcv", "mmcv-lite", "mmdet", "mmsegmentation")
"""Of mmcv there is either the compiled or the light one."""

TASKS = ("detection", "segmentation")
"""Tasks that mmdet and mmsegmentation can stand in for."""

WAY_OUT = "pip install 'fusar-klip-bench[openmmlab]', or leave out --implementation openmmlab"


SHARED_LIBRARY = "cannot open shared object file"
"""What the loader says where the system lacks a library; OpenCV, which mmcv needs, asks for those of a screen."""
LIBRARY_WAY_OUT = "install the library it names; for libGL.so.1 on Debian or Ubuntu: apt install libgl1"


class Implementation(NamedTuple):
    """What a record says of the code that computed a cell in place of ours."""

    name: str
    operators: OperatorBackend
    versions: tuple[tuple[str, str], ...]
    """Package and version, of those that are installed."""

    def __str__(self) -> str:
        """One line for a table or a log."""
        packages = ", ".join(f"{package} {number}" for package, number in self.versions)
        return f"{self.name} ({packages}; operators of {self.operators})"


def installed_versions() -> tuple[tuple[str, str], ...]:
    """Package and version of what is installed; reads metadata only."""
    found = []
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            continue
    return tuple(found)


def is_installed() -> bool:
    """True where everything of the extra is there."""
    names = {package for package, _ in installed_versions()}
    return {"mmengine", "mmdet", "mmsegmentation"} <= names and bool({"mmcv", "mmcv-lite"} & names)


def require_installed(task: str) -> None:
    """What a plan asks before anything heavy is imported: is there such an implementation, and is it here?"""
    if task not in TASKS:
        raise UsageError(
            f"there is no openmmlab implementation of {task}",
            where="--implementation openmmlab",
            way_out=f"choose --tasks from {', '.join(TASKS)}, or leave --implementation out",
        )
    if not is_installed():
        there = ", ".join(f"{package} {number}" for package, number in installed_versions()) or "nothing of it"
        raise MissingError("mmdet and mmsegmentation are not installed", where=f"found: {there}", way_out=WAY_OUT)


def fit_of(task: str) -> FitAndPredict:
    """What takes the place of the task's own `fit_and_predict`; imports torch."""
    require_installed(task)
    from tasks.openmmlab.fit import fit_and_predict_boxes, fit_and_predict_masks

    return fit_and_predict_boxes if task == "detection" else fit_and_predict_masks


def require_openmmlab() -> Implementation:
    """Puts the operators in place, so that mmdet and mmseg can be imported from here on."""
    require_installed(TASKS[0])
    from tasks.openmmlab.operators import install_operators

    operators = install_operators()
    try:
        for module in ("mmcv.ops", "mmdet.models", "mmseg.models"):
            importlib.import_module(module)
    except (ImportError, AssertionError) as error:  # they assert each other's versions while they are imported
        raise MissingError(
            f"mmdet or mmsegmentation cannot be imported: {error}",
            where=", ".join(f"{package} {number}" for package, number in installed_versions()),
            way_out=LIBRARY_WAY_OUT if SHARED_LIBRARY in str(error) else WAY_OUT,
        ) from error
    return Implementation("openmmlab", operators, installed_versions())


def build_network(registry: Any, config: dict[str, Any], seed: int) -> nn.Module:
    """A network of theirs with its initial values, without a trace in the global generator or on the screen."""
    import torch
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope

    # Whoever ran a configuration in this process has left a scope in which the names of the other library are unknown.
    with torch.random.fork_rng(devices=[]), _quiet(), DefaultScope.overwrite_default_scope(registry.scope):
        torch.manual_seed(seed)
        network: nn.Module = registry.build(ConfigDict(config))
        network.init_weights()  # type: ignore[operator]
    return network


@contextmanager
def _quiet() -> Iterator[None]:
    """Their logger prints every parameter that gets its initial value."""
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of calls among themselves that they mean to remove
            yield
    finally:
        logger.setLevel(level)
