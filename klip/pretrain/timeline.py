"""What a pre-training does in which order, as data (section 6.1): epochs, screenings, reconstructions.

The order follows from the settings alone. A run that was killed goes through it again from the front; what is done
already says so itself (epochs in the checkpoint, passes in their audit logs, versions in the store), so there is no
cursor that could be wrong.
"""

from __future__ import annotations

from typing import NamedTuple

from klip.settings import PretrainingSettings


class Train(NamedTuple):
    """Epochs on one version of the texts."""

    iteration: int
    stage: int
    """1 to 3; 0 for the epochs after stage 1 where there is no SCIO."""
    epochs: range
    version: int
    pool: str | None
    """The pass whose noise infilling leaves out, but for what a later version has mended."""
    opens_stage: bool = True


class Screen(NamedTuple):
    """Every segment is judged by the model as it is."""

    pass_id: str
    epoch: int
    """Epochs that the model was trained for."""
    version: int
    closing: bool = False
    """For the report alone: nothing is trained after it."""


class Rewrite(NamedTuple):
    """The noise of a screening is written anew, or only left out: a new version."""

    pass_id: str
    """Of the screening."""
    epoch: int
    version: int
    """The version it starts from."""
    reconstruct: bool


Step = Train | Screen | Rewrite


def timeline(settings: PretrainingSettings) -> list[Step]:
    """All steps of a run."""
    scio = settings.scio
    if not scio.enabled:
        return _without_scio(settings)
    steps: list[Step] = []
    for iteration in range(scio.max_iter):
        start = iteration * sum(scio.stage_epochs)
        steps += _iteration(settings, iteration, start)
    if scio.screen and scio.closing_screen:
        version = scio.max_iter
        steps.append(_screen(settings.epochs, version, closing=True))
    return steps


def stage_ends(settings: PretrainingSettings) -> frozenset[int]:
    """Epochs after which a stage is over: their checkpoints are kept (section 7.4)."""
    return frozenset(step.epochs.stop for step in timeline(settings) if isinstance(step, Train))


def _without_scio(settings: PretrainingSettings) -> list[Step]:
    """The same epochs: those of stage 1, whose texts may lose segments (section 3.5), and the others."""
    first = min(settings.scio.stage_epochs[0], settings.epochs)
    steps: list[Step] = [Train(0, 1, range(first), version=0, pool=None)]
    if first < settings.epochs:
        steps.append(Train(0, 0, range(first, settings.epochs), version=0, pool=None, opens_stage=False))
    return steps


def _iteration(settings: PretrainingSettings, iteration: int, start: int) -> list[Step]:
    scio = settings.scio
    first, second, third = scio.stage_epochs
    middle, late, end = start + first, start + first + second, start + first + second + third
    version = iteration if scio.screen else 0
    steps: list[Step] = [Train(iteration, 1, range(start, middle), version, pool=None)]
    pool = None
    for begin in range(middle, late, scio.rescreen_every or second):
        stop = min(begin + (scio.rescreen_every or second), late)
        if scio.screen:
            steps.append(screen := _screen(begin, version))
            pool = screen.pass_id
        steps.append(Train(iteration, 2, range(begin, stop), version, pool, opens_stage=begin == middle))
    if not scio.screen:
        return [*steps, Train(iteration, 3, range(late, end), version, pool=None)]
    again = _screen(late, version)
    rewrite = Rewrite(again.pass_id, late, version, scio.reconstruct)
    return [*steps, again, rewrite, Train(iteration, 3, range(late, end), version + 1, pool=again.pass_id)]


def _screen(epoch: int, version: int, *, closing: bool = False) -> Screen:
    """A pass is named by the epochs that its model was trained for."""
    return Screen(f"screen_{epoch:03d}", epoch, version, closing)
