"""The rooms of the house and the floors they stand on; notices foreign packages of the same names.

The folder names make generic import names, so another distribution (AdapterHub's `adapters`, say) can stand in the
way. That is found at start, without importing anything.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from foundation.errors import UsageError

FLOORS = {"foundation": 0, "adapters": 1, "results": 1, "klip": 2, "tasks": 3, "harness": 4, "leaderboard": 4}
"""Imports run strictly downward: a room knows only rooms on lower floors."""


def foreign_rooms() -> dict[str, str]:
    """Rooms that Python would import from somewhere else, with the place."""
    home = Path(__file__).resolve().parent.parent
    foreign = {}
    for room in FLOORS:
        spec = find_spec(room)
        origin = spec.origin if spec is not None else None
        if origin is None or Path(origin).resolve().parent.parent != home:
            foreign[room] = origin or "not found"
    return foreign


def require_own_rooms() -> None:
    """Refuses to start when a foreign package stands in for one of ours."""
    foreign = foreign_rooms()
    if foreign:
        raise UsageError(
            "another installed package has the name of one of ours: "
            + ", ".join(f"{room} ({place})" for room, place in foreign.items()),
            where=str(Path(__file__).resolve().parent.parent),
            way_out="use an environment of its own for this project (make setup makes one), or uninstall the other",
        )
