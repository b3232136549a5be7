"""The tasks that can be run, by name: where the parts of each are.

A part is imported when it is asked for: planning needs `data`, a leaderboard `score`, and only `fit` brings torch.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, cast

from foundation.errors import UsageError
from tasks.catalog import TASKS
from tasks.task import Build, FitAndPredict, Row, Score, TaskData


class Task(NamedTuple):
    """One task that is built."""

    id: str
    package: str
    implementation: str = "own"
    """Whose heads and loop: `own`, or `openmmlab` as a cross-check."""

    @property
    def build(self) -> Build:
        """From an index to both parts."""
        build = self._part("data").build
        # One package answers all questions; which of them is a matter of the data.
        return cast(Build, partial(build, task=self.id) if self.package == _QUESTIONS else build)

    def truth_of(self, data: TaskData) -> Row:
        """What predictions are scored against, and which data it belongs to; enough to score without the data set."""
        return cast(Row, self._part("data").truth_of(data))

    @property
    def made_by(self) -> str:
        """The implementation with its versions: what a key and a record say of it."""
        if self.implementation == "own":
            return self.implementation
        from tasks.openmmlab.installation import installed_versions

        return " ".join([self.implementation, *(f"{name}-{number}" for name, number in installed_versions())])

    @property
    def fit_and_predict(self) -> FitAndPredict:
        """Learns and answers."""
        if self.implementation == "openmmlab":
            from tasks.openmmlab.installation import fit_of

            return fit_of(self.id)
        return cast(FitAndPredict, self._part("fit").fit_and_predict)

    @property
    def score(self) -> Score:
        """From predictions and truth to metrics."""
        return cast(Score, self._part("score").score)

    def _part(self, name: str) -> Any:
        return import_module(f"{self.package}.{name}")


_QUESTIONS = "tasks.vqa"
_PACKAGES = {
    "classification": "tasks.classification",
    "detection": "tasks.detection",
    "segmentation": "tasks.segmentation",
    "retrieval": "tasks.retrieval",
    "caption": "tasks.caption",
    **dict.fromkeys((task for task in TASKS if task.startswith("vqa_")), _QUESTIONS),
}


def get_task(name: str, implementation: str = "own") -> Task:
    """A task by its id; another implementation than our own must be there for it, and installed."""
    if implementation == "openmmlab":
        from tasks.openmmlab.installation import require_installed

        require_installed(name)
    if name not in _PACKAGES:
        what = f"{TASKS[name].title} is not built yet" if name in TASKS else f"there is no task {name!r}"
        raise UsageError(what, way_out="see harness list tasks")
    return Task(name, _PACKAGES[name], implementation)
