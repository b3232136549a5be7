"""Screening: every text of a version judged segment by segment, resumably (sections 6.3, 6.4 and 6.9).

A pass first writes the scores of all images, then decides, asking the model for what the set-level guard wants to know,
then writes its decisions. Each step goes on where a killed process left it and gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from foundation.files import read_json, write_json
from foundation.progress import Progress, silent
from klip.scio.audit_log import SKIPPED, AuditLog, Record, plain, read_kind, write_whole
from klip.scio.decide import Flags, Floats, random_control
from klip.scio.decisions import (
    DECISIONS,
    Decisions,
    PassScores,
    as_bits,
    decide,
    decision_records,
    known_sets,
    lookup,
    read_scores,
    slots_of,
)
from klip.scio.guard import Guarded
from klip.scio.readiness import Readiness, rate_warnings, readiness, warnings_of
from klip.scio.score import Bank, frozen, numbers
from klip.scio.work import Rows, Task, control_seed
from klip.training.distributed import World, single

if TYPE_CHECKING:
    from klip.model.klip import KLIP
    from klip.scio.material import Material
    from klip.settings import PretrainingSettings

_READINESS = "readiness.json"


class ScreenResult(NamedTuple):
    """What a pass found."""

    pass_id: str
    version: int
    """Of the texts that were screened."""
    checkpoint: str
    noise: Flags
    """[N, 8]: the noise pool (section 6.5)."""
    scores: PassScores | None
    """None where the pass was skipped."""
    decisions: Decisions | None
    readiness: Readiness
    warnings: tuple[str, ...]
    skipped: bool
    """Whether the model was too weak and `scio.strict` is on: nothing is noise then."""

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of a log line."""
        present = 0 if self.scores is None else int(self.scores.numbers.present.sum())
        flagged = int(self.noise.sum())
        return {
            "pass": self.pass_id,
            "version": self.version,
            "segments": present,
            "noise": flagged,
            "flag_rate": flagged / present if present else 0.0,
            "texts_with_noise": int(self.noise.any(axis=1).sum()),
            "readmitted": 0 if self.decisions is None else int(self.decisions.guarded.readmitted.sum()),
            "errors": 0 if self.decisions is None else int(self.decisions.error.sum()),
            "itm_auc": self.readiness.itm_auc if np.isfinite(self.readiness.itm_auc) else None,
            "recall_at_1": self.readiness.recall_at_1,
            "skipped": self.skipped,
            "warnings": list(self.warnings),
        }


def screen(
    model: KLIP,
    material: Material,
    settings: PretrainingSettings,
    folder: Path,
    *,
    pass_id: str,
    world: World | None = None,
    queue: Bank | None = None,
    progress: Progress = silent,
) -> ScreenResult:
    """Finds the segments that the image speaks against; nothing is changed but the audit log under `folder`.

    Args:
        model: The judge; it is frozen for the pass and then as it was.
        material: The texts of one version with their images.
        settings: Of the pre-training; `scio`, `queue.size`, `batch_size_per_device`, `precision` and `seed` matter.
        folder: The run folder; the log lies in `audit/<pass_id>`.
        pass_id: The name of the pass; the same name goes on with it, or reads it where it is finished.
        world: The processes that share the work.
        queue: Negatives for `scio.negatives=queue`.
        progress: Told about every chunk.
    """
    task = Task(model, material, settings, folder, pass_id, world or single(model.device), queue, progress)
    material.require_whole_texts(settings.text.max_len)
    with frozen(model), task.log("scores") as log:
        ready = _readiness(task)
        warnings = warnings_of(ready, settings.scio.min_itm_auc)
        if settings.scio.strict and not ready.itm_auc >= settings.scio.min_itm_auc:
            _skip(task, ready)
            nothing = np.zeros_like(material.present)
            return ScreenResult(
                pass_id, material.version, task.checkpoint, nothing, None, None, ready, tuple(warnings), True
            )
        if task.world.first:
            (task.place / SKIPPED).unlink(missing_ok=True)
        _score_all(task, log)
        scores = read_scores(task.place)
        decisions = _decided(task, scores)
    task.world.barrier()
    if task.world.first:
        write_whole(task.place / DECISIONS, task.header, decision_records(scores, decisions))
    task.world.barrier()
    present = scores.numbers.present
    warnings += rate_warnings(decisions.noise.sum() / max(1, present.sum()))
    return ScreenResult(
        pass_id,
        material.version,
        task.checkpoint,
        decisions.noise,
        scores,
        decisions,
        ready,
        tuple(warnings),
        False,
    )


def _readiness(task: Task) -> Readiness:
    """Asked once per pass, by the first process."""
    path = task.place / _READINESS
    if task.world.first and not path.is_file():
        share, seed = task.settings.scio.held_out, task.settings.seed
        batch = task.settings.batch_size_per_device
        found = readiness(
            task.model, task.material, share=share, seed=seed, batch=batch, chunk=task.chunk, precision=task.precision
        )
        data = found._asdict() | {"itm_auc": found.itm_auc if np.isfinite(found.itm_auc) else None}
        write_json(path, data)
    task.world.barrier()
    return read_readiness(task.place)


def read_readiness(place: Path) -> Readiness:
    """What was asked before the pass."""
    data = read_json(place / _READINESS)
    auc = data["itm_auc"]
    return Readiness(float("nan") if auc is None else auc, data["recall_at_1"], data["pairs"])


def _skip(task: Task, ready: Readiness) -> None:
    """Leaves the reason, so that nobody takes the empty pool of the pass for a clean corpus."""
    if task.world.first:
        auc = ready.itm_auc if np.isfinite(ready.itm_auc) else None
        write_json(task.place / SKIPPED, {"itm_auc": auc, "min_itm_auc": task.settings.scio.min_itm_auc})


def _score_all(task: Task, log: AuditLog) -> None:
    material = task.material
    done = {record["row"] for record in log.everything()}
    task.world.barrier()

    def compute(rows: Rows) -> list[Record]:
        scorer = task.scorer(rows)
        seen = task.look(scorer, rows)
        tokens = material.packed(rows, task.model.device)
        found = scorer.versions(tokens, seen, every_match=task.every_match)
        return [
            {
                "id": material.texts[row].image_id,
                "row": int(row),
                "domain": material.texts[row].domain,
                "tokens": found.tokens[n].tolist(),
                "itc": [plain(value) for value in found.itc[n]],
                "itm": [plain(value) for value in found.itm[n]],
                "d_itc": [plain(value) for value in found.itc[n, 1:] - found.itc[n, 0]],
                "d_itm": [plain(value) for value in found.itm[n, 1:] - found.itm[n, 0]],
            }
            for n, row in enumerate(rows)
        ]

    task.fill(
        log,
        task.chunks(np.arange(len(material), dtype=np.int64)),
        done,
        lambda record: record["row"],
        compute,
        lambda rows: rows.tolist(),
        "screening",
    )


def _decided(task: Task, scores: PassScores) -> Decisions:
    with task.log("guard") as log:
        asked = _GuardScores(task, scores, log)
        decisions = decide(scores, task.rule, asked.match_without)
    if task.settings.scio.control == "random":
        drawn = random_control(decisions.noise, scores.numbers, task.rule, seed=control_seed(task))
        none = np.zeros_like(drawn)
        guarded = Guarded(drawn, np.zeros(len(drawn), dtype=np.int64), none, none[:, 0])
        return Decisions(drawn, drawn, guarded, decisions.error)
    return decisions


class _GuardScores:
    """Matching scores without sets of segments: from the log, or from the model and then into the log."""

    def __init__(self, task: Task, scores: PassScores, log: AuditLog) -> None:
        self.task, self.scores, self.log = task, scores, log

    def match_without(self, rows: Rows, drop: Flags) -> Floats:
        """One round of the guard; all processes ask the same."""
        known = known_sets(read_kind(self.task.place, "guard"))
        self.task.world.barrier()
        # What screening has measured is not asked again; what the log has is, so that chunks are always the same.
        wanted = np.isnan(lookup(self.scores, {})(rows, drop))
        sets = {int(row): flags for row, flags in zip(rows[wanted], drop[wanted], strict=True)}
        self.task.fill(
            self.log,
            self.task.chunks(rows[wanted]),
            set(known),
            lambda record: (record["row"], as_bits(record["drop"])),
            lambda chunk: self._scored(chunk, np.array([sets[int(row)] for row in chunk])),
            lambda chunk: [(int(row), as_bits(slots_of(sets[int(row)]))) for row in chunk],
            "testing sets of segments",
        )
        return lookup(self.scores, known_sets(read_kind(self.task.place, "guard")))(rows, drop)

    def _scored(self, rows: Rows, drop: Flags) -> list[Record]:
        task = self.task
        scorer = task.scorer(rows)
        seen = task.look(scorer, rows)
        device = task.model.device
        own = torch.arange(len(rows), device=device)
        tokens = task.material.packed(rows, device)
        shorter = scorer.shortened(tokens, own, torch.from_numpy(drop).to(device))
        match = numbers(scorer.itm(shorter, seen, own))
        ids = task.material.ids(rows)
        return [
            {"id": ids[n], "row": int(row), "drop": slots_of(drop[n]), "itm": plain(match[n])}
            for n, row in enumerate(rows)
        ]
