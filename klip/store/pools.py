"""Noise pools: which segments of a version a pass of screening takes for wrong (section 6.5)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from foundation.errors import CheckError, MissingError, UsageError
from foundation.files import pretty_json, read_json, write_bytes
from klip.settings import SLOTS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FOLDER = "pools"
_ENDING = ".json"


class Pool(NamedTuple):
    """What a pass found."""

    pass_id: str
    version: int
    """The version of the texts that it looked at."""
    noise: NDArray[np.bool_]
    """[N, 8] in the order of the corpus."""


def require_pass_id(pass_id: str) -> str:
    """A pass names files, so its id is a plain word."""
    if not _NAME.fullmatch(pass_id):
        raise UsageError(f"not the id of a pass: {pass_id!r}", way_out="use letters, digits, dots, dashes, underscores")
    return pass_id


def pool_names(folder: Path) -> list[str]:
    """Passes that left a pool, by name."""
    return sorted(path.name.removesuffix(_ENDING) for path in (folder / _FOLDER).glob(f"[!.]*{_ENDING}"))


def write_pool(folder: Path, pool: Pool, ids: Sequence[str], manifest: str) -> None:
    """Keeps a pool whole or not at all; the same one again leaves the same bytes."""
    path = _path(folder, pool.pass_id)
    noise = {
        image_id: [slot for slot, flagged in enumerate(flags) if flagged]
        for image_id, flags in zip(ids, pool.noise.tolist(), strict=True)
        if any(flags)
    }
    content = pretty_json(
        {"pass_id": pool.pass_id, "version": pool.version, "manifest": manifest, "images": len(ids), "noise": noise}
    )
    if not path.is_file() or path.read_bytes() != content:
        write_bytes(path, content)


def read_pool(folder: Path, pass_id: str, ids: Sequence[str]) -> tuple[Pool, str]:
    """A pool, and the hash of the manifest of the version that it speaks of."""
    import numpy as np

    path = _path(folder, pass_id)
    if not path.is_file():
        known = pool_names(folder)
        raise MissingError(
            f"no noise pool of pass {pass_id!r}",
            where=str(folder),
            way_out=f"passes with one: {', '.join(known) or 'none; screen first'}",
        )
    data = read_json(path)
    rows = {image_id: row for row, image_id in enumerate(ids)}
    noise = np.zeros((len(ids), SLOTS), dtype=np.bool_)
    try:
        _fill(noise, data["noise"], rows)
        whole = data["images"] == len(ids)
        pool = Pool(str(data["pass_id"]), int(data["version"]), noise)
        manifest = str(data["manifest"])
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise CheckError(
            f"a damaged noise pool: {type(error).__name__} {error}", where=str(path), way_out="screen again"
        ) from error
    if not whole or pool.pass_id != pass_id:
        raise CheckError("a noise pool of other texts or another pass", where=str(path), way_out="screen again")
    return pool, manifest


def _fill(noise: NDArray[np.bool_], found: dict[str, Any], rows: dict[str, int]) -> None:
    for image_id, slots in found.items():
        for slot in slots:
            if not 0 <= slot < SLOTS:
                raise ValueError(f"segment {slot}")
            noise[rows[image_id], slot] = True


def _path(folder: Path, pass_id: str) -> Path:
    return folder / _FOLDER / f"{require_pass_id(pass_id)}{_ENDING}"
