"""Rebuilding the noise of a pass and publishing the next version of the texts (sections 6.6, 6.7 and 6.9).

The model, the bank and the texts are those of the screening; the log of the pass is refused under others. A new version
is published once, when every text is done, so a killed process leaves the store as it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from foundation.errors import CheckError, UsageError
from foundation.hashing import hash_bytes, hash_value
from foundation.progress import Progress, silent
from klip.scio.accept import Fit, Judge, Outcome, judge_all, statuses
from klip.scio.audit_log import Record, plain, read_kind
from klip.scio.decide import Flags
from klip.scio.rebuild import Source, propose
from klip.scio.report import rebuilt_summary
from klip.scio.score import Bank, frozen
from klip.scio.work import Rows, Task
from klip.settings import as_data
from klip.store.records import Change
from klip.training.distributed import World, single

if TYPE_CHECKING:
    from klip.model.klip import KLIP
    from klip.scio.material import Material
    from klip.settings import PretrainingSettings
    from klip.store.text_store import TextStore


class Rebuilt(NamedTuple):
    """What came of a pass."""

    version: int
    """The new version of the texts."""
    summary: dict[str, Any]


def reconstruct(
    model: KLIP,
    material: Material,
    settings: PretrainingSettings,
    folder: Path,
    store: TextStore,
    *,
    pass_id: str,
    noise: Flags,
    world: World | None = None,
    queue: Bank | None = None,
    progress: Progress = silent,
) -> Rebuilt:
    """Writes the noise of a pass anew, keeps what the image likes better, drops the rest, and publishes a version.

    With `scio.reconstruct=false` nothing is written and the noise is dropped (ablation of section 9).

    Args:
        model: The model that screened.
        material: The texts of the version that was screened.
        settings: Of the pre-training.
        folder: The run folder with the log of the pass.
        store: Where the new version goes.
        pass_id: The pass.
        noise: bool [N, 8], its noise pool.
        world: The processes that share the work.
        queue: Negatives for `scio.negatives=queue`.
        progress: Told about every chunk.
    """
    task = Task(model, material, settings, folder, pass_id, world or single(model.device), queue, progress)
    material.require_whole_texts(settings.text.max_len)
    if noise.shape != material.present.shape or bool((noise & ~material.present).any()):
        raise UsageError("a noise pool of other texts", way_out="give the pool of the pass that screened these texts")
    if settings.scio.reconstruct:
        _rebuild_all(task, noise)
        records = read_kind(task.place, "rebuilt")
        changes = changes_of(records)
        summary = rebuilt_summary(records)
    else:
        changes = [
            Change(material.texts[row].image_id, int(slot), "dropped")
            for row, slot in zip(*noise.nonzero(), strict=True)
        ]
        summary = {"gaps": int(noise.sum()), "replaced": 0, "dropped": int(noise.sum())}
    provenance = {
        "checkpoint": task.checkpoint,
        "config": hash_value(as_data(settings)),
        "pass_id": pass_id,
        "reconstruct": settings.scio.reconstruct,
    }
    if task.world.first:
        store.publish(changes, parent=material.version, provenance=provenance)
    task.world.barrier()
    version = _published(store, material.version, pass_id)
    return Rebuilt(version, summary | {"version": version, "pass": pass_id})


def changes_of(records: list[Record]) -> list[Change]:
    """What the log of a reconstruction changes in the texts."""
    changes = []
    for record in sorted(records, key=lambda record: int(record["row"])):
        new = {entry["slot"]: entry["text"] for entry in record["slots"]}
        for slot in sorted({*record["noise"], *new}):
            status = record["status"][slot]
            if status == "replaced":
                changes.append(Change(record["id"], slot, "replaced", new[slot]))
            elif status == "dropped" and slot in record["noise"]:
                changes.append(Change(record["id"], slot, "dropped"))
    return changes


def _rebuild_all(task: Task, noise: Flags) -> None:
    scio = task.settings.scio
    header = task.header | {
        "noise": hash_bytes(np.packbits(noise).tobytes()),
        "recon": scio.recon.model_dump(mode="json"),
        "accept": scio.accept.model_dump(mode="json") | {"fallback": scio.fallback, "min_keep": scio.min_keep},
    }
    dropped = np.array(
        [[segment.status == "dropped" for segment in text.segments] for text in task.material.texts], dtype=np.bool_
    )
    gaps = noise | dropped
    with frozen(task.model), task.log("rebuilt", header) as log:
        done = {record["row"] for record in log.everything()}
        task.world.barrier()
        task.fill(
            log,
            task.chunks(np.flatnonzero(gaps.any(axis=1))),
            done,
            lambda record: record["row"],
            lambda rows: _rebuilt(task, rows, noise, gaps),
            lambda rows: rows.tolist(),
            "rebuilding segments",
        )


def _rebuilt(task: Task, rows: Rows, noise: Flags, gaps: Flags) -> list[Record]:
    material = task.material
    scorer = task.scorer(rows)
    seen = task.look(scorer, rows)
    sources = [Source(material.texts[row], material.tokens[row], noise[row], gaps[row]) for row in rows]
    with scorer.encoders():  # keys and values of the images have this precision already
        proposals = propose(task.model, material.vocabulary, sources, seen, task.settings)
    outcomes = judge_all(Judge(scorer, seen), sources, proposals, task.settings.scio)
    return [_record(int(row), source, outcome) for row, source, outcome in zip(rows, sources, outcomes, strict=True)]


def _record(row: int, source: Source, outcome: Outcome) -> Record:
    slots = []
    for judged in sorted(outcome.judged, key=lambda judged: judged.proposal.gap.slot):
        proposal = judged.proposal
        slots.append(
            {
                "slot": proposal.gap.slot,
                "text": proposal.text,
                "score": plain(proposal.score),
                "reject": proposal.reject,
                "filtered": _difference(judged.filtered, outcome.filtered),
                "original": _difference(judged.original, outcome.full),
                "accepted": judged.accepted,
            }
        )
    final = outcome.final or outcome.filtered
    return {
        "id": source.text.image_id,
        "row": row,
        "domain": source.text.domain,
        "noise": [int(slot) for slot in np.flatnonzero(source.noise)],
        "slots": slots,
        "full": outcome.full.as_data(),
        "without_noise": outcome.filtered.as_data(),
        "final": final.as_data(),
        "joint": outcome.joint,
        "status": statuses(source, outcome),
    }


def _difference(new: Fit | None, old: Fit) -> dict[str, float | None] | None:
    """As everywhere: the text in question less the one it is compared with."""
    if new is None:
        return None
    return {"d_itc": plain(new.itc - old.itc), "d_itm": plain(new.itm - old.itm)}


def _published(store: TextStore, parent: int, pass_id: str) -> int:
    for version in store.versions():
        manifest = store.manifest(version)
        if manifest.parent == parent and manifest.provenance.get("pass_id") == pass_id:
            return version
    raise CheckError(
        f"pass {pass_id} was not published",
        where=str(store.folder),
        way_out="run again; what is done is in the log of the pass",
    )
