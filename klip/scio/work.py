"""What every pass over the texts shares: fixed chunks, a fixed bank, a log that knows what is done.

Chunks are cut from the texts in the order of their lengths, which only the texts decide, and go to the processes in
turn. A chunk that was interrupted is computed whole again and only what is missing is written: so every number is the
same, bit for bit, wherever a pass was killed and however many processes share it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foundation.errors import UsageError
from foundation.hashing import hash_bytes
from foundation.progress import Progress, silent
from foundation.seeds import derive_seed
from klip.scio.audit_log import AuditLog, Kind, Record, pass_folder
from klip.scio.decide import Rule, rule_of
from klip.scio.score import Bank, Scorer, Seen, bank_rows, encode_bank, encode_pairs
from klip.training.checkpoint import module_digest
from klip.training.distributed import World, single
from klip.training.engine import resolve_precision

if TYPE_CHECKING:
    from klip.model.klip import KLIP
    from klip.scio.material import Material
    from klip.settings import PretrainingSettings

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """A pass: who judges what, how, and where it is written down. The model must be frozen for as long as it runs."""

    model: KLIP
    material: Material
    settings: PretrainingSettings
    folder: Path
    pass_id: str
    world: World = field(default_factory=single)
    queue: Bank | None = None
    """The negatives of `scio.negatives=queue`."""
    progress: Progress = silent

    @property
    def place(self) -> Path:
        """The folder of its audit log."""
        return pass_folder(self.folder, self.pass_id)

    @property
    def rule(self) -> Rule:
        """How decisions are taken."""
        return rule_of(self.settings.scio)

    @property
    def every_match(self) -> bool:
        """Whether matching is asked for every version (section 6.8, step 3)."""
        scio = self.settings.scio
        return not scio.gate_itm or self.settings.audit.full or self.rule.needs_all_matches

    @property
    def chunk(self) -> int:
        """Images at a time."""
        return self.settings.batch_size_per_device

    @property
    def precision(self) -> str:
        """Of towers and fusion, the same for all versions."""
        return resolve_precision(self.settings.precision, self.world.device)

    @cached_property
    def checkpoint(self) -> str:
        """The hash of the model's weights."""
        return module_digest(self.model)

    @property
    def bank_size(self) -> int:
        """Negatives of a pass: as many as the queue holds, at most all other images (section 6.2)."""
        return min(self.settings.queue.size or len(self.material), len(self.material) - 1)

    @cached_property
    def header(self) -> dict[str, Any]:
        """With what the scores are made; a pass goes on under the same header only."""
        scio = self.settings.scio
        return {
            "pass": self.pass_id,
            "checkpoint": self.checkpoint,
            "corpus": self.material.digest,
            "vocabulary": self.material.vocabulary.digest,
            "version": self.material.version,
            "images": len(self.material),
            "bank": {
                "negatives": scio.negatives,
                "size": self.bank_size if self.queue is None else len(self.queue),
                "seed": self.settings.seed,
                "digest": None if self.queue is None else hash_bytes(self.queue.text.cpu().numpy().tobytes()),
            },
            "rule": {name: getattr(self.rule, name) for name in self.rule.__slots__},
            "control": scio.control,
            "every_match": self.every_match,
            "precision": self.precision,
            "chunk": self.chunk,
            "world": self.world.size,
        }

    @cached_property
    def _shared_bank(self) -> Bank:
        if self.settings.scio.negatives == "queue":
            if self.queue is None:
                raise UsageError(
                    "scio.negatives=queue needs the queue of the training",
                    way_out="screen with scio.negatives=bank, which a model alone can do",
                )
            return self.queue
        rows = bank_rows(len(self.material), self.bank_size, self.settings.seed)
        return encode_bank(self.model, self.material, rows, chunk=self.chunk, precision=self.precision)

    def scorer(self, rows: Rows) -> Scorer:
        """What judges the texts of `rows`; only `scio.negatives=batch` makes it depend on them."""
        if self.settings.scio.negatives != "batch":
            return Scorer(self.model, self._shared_bank, precision=self.precision)
        vision, text = encode_pairs(self.model, self.material, rows, self.precision)
        bank = Bank(vision, text, *self.material.hashes(rows, self.model.device))
        return Scorer(self.model, bank, precision=self.precision)

    def look(self, scorer: Scorer, rows: Rows) -> Seen:
        """The images of `rows`."""
        device = self.model.device
        return scorer.look(self.material.images(rows, device), *self.material.hashes(rows, device))

    def log(self, kind: Kind, header: Mapping[str, Any] | None = None) -> AuditLog:
        """The log of a kind, after all processes have looked at what was there before."""
        opened = AuditLog(self.place, kind, self.header if header is None else header, rank=self.world.rank)
        self.world.barrier()
        return opened

    def chunks(self, rows: Rows) -> list[Rows]:
        """Rows of about equal length together, in an order that only the texts decide."""
        ordered = rows[np.argsort(self.material.lengths[rows], kind="stable")]
        return [ordered[start : start + self.chunk] for start in range(0, len(ordered), self.chunk)]

    def fill(
        self,
        log: AuditLog,
        chunks: Sequence[Rows],
        done: set[Hashable],
        key: Callable[[Record], Hashable],
        compute: Callable[[Rows], list[Record]],
        keys: Callable[[Rows], list[Hashable]],
        note: str,
    ) -> None:
        """Writes the records that are missing, this process's share of the chunks.

        Args:
            log: Where they go.
            chunks: The work, the same in every process.
            done: Keys of records that are there.
            key: The key of a record.
            compute: All records of a chunk.
            keys: The keys that a chunk will have.
            note: What the progress says.
        """
        mine = list(range(self.world.rank, len(chunks), self.world.size))
        total = sum(len(chunks[n]) for n in mine)
        finished = 0
        for n in mine:
            if not done.issuperset(keys(chunks[n])):
                log.append(record for record in compute(chunks[n]) if key(record) not in done)
            finished += len(chunks[n])
            self.progress(finished, total, note)
        self.world.barrier()


def control_seed(task: Task) -> int:
    """Of the lots of the random control; every pass draws its own."""
    return derive_seed(task.settings.seed, task.pass_id)
