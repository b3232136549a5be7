"""`record.json` of a pass: what commands did by hand, with which settings, model and code, and what came out.

It is written when the work is done and lies beside the logs, not in the `run.json` of the training: that one says how
the model was made, and a training that still runs writes it anew. A time line of `klip pretrain` needs no such record.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.files import read_json, write_json
from klip.run_record import code_version
from klip.settings import as_data

if TYPE_CHECKING:
    from klip.scio.checkpoint_task import Trained

RECORD = "record.json"


def append_record(place: Path, did: str, started: datetime, **about: Any) -> None:
    """Adds to the record of a pass.

    Args:
        place: The folder of the pass.
        did: What was done.
        started: When; see `now`.
        about: Whatever else is to be known, as plain data.
    """
    path = place / RECORD
    before = read_json(path) if path.is_file() else []
    entry = {
        "did": did,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((now() - started).total_seconds(), 1),
        "code": code_version(),
    }
    write_json(path, [*before, entry | about])


def parts_of(trained: Trained) -> dict[str, Any]:
    """With what a model judged."""
    return {
        "settings": as_data(trained.settings),
        "checkpoint": str(trained.checkpoint),
        "store": str(trained.store.folder),
        "corpus": str(trained.corpus.folder),
        "device": str(trained.model.device),
    }


def now() -> datetime:
    """The time that a record begins with."""
    return datetime.now(UTC)
