"""Models in several files: an index says which tensor lies in which shard."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from foundation.errors import CellError, MissingError

if TYPE_CHECKING:
    from torch import Tensor

INDEX_SUFFIX = ".index.json"

Keep = Callable[[str], bool]


def weight_map(path: Path) -> dict[str, str]:
    """Tensor name -> file name of its shard, as the index says."""
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        named = {str(name): str(shard) for name, shard in index["weight_map"].items()}
    except OSError as error:
        raise MissingError("no such checkpoint", where=str(path), way_out="check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CellError(
            "not a readable index of shards: truncated, damaged, or another kind of file",
            where=str(path),
            way_out="fetch the index again",
        ) from error
    for shard in named.values():
        if Path(shard).name != shard:  # an index must not lead out of its folder
            raise CellError(
                f"the index names {shard!r}, which is no file beside it",
                where=str(path),
                way_out="fetch the index again from where the model is published",
            )
    return named


def shards_of(path: Path, keep: Keep | None = None) -> tuple[Path, ...]:
    """The shards with wanted tensors, beside the index."""
    wanted = {shard for name, shard in weight_map(path).items() if keep is None or keep(name)}
    return tuple(path.with_name(shard) for shard in sorted(wanted))


def read_shards(
    path: Path, keep: Keep | None, read_one: Callable[[Path, Keep], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], tuple[str, ...], str]:
    """Wanted tensors, the names of the others, and the kind of the whole."""
    named = weight_map(path)
    wanted = {name for name in named if keep is None or keep(name)}
    tensors: dict[str, Tensor] = {}
    shards = shards_of(path, keep)
    for shard in shards:
        if not shard.is_file():
            raise MissingError(
                f"the shard {shard.name} is not beside its index",
                where=str(path),
                way_out=f"fetch {shard.name} from where the index is published, into {path.parent}",
            )
        tensors |= read_one(shard, wanted.__contains__)
    lacking = sorted(wanted - tensors.keys())
    if lacking:
        raise CellError(
            f"{len(lacking)} tensors of the index are in no shard ({', '.join(lacking[:5])})",
            where=str(path),
            way_out="index and shards do not belong together: fetch them again from one place",
        )
    kind = "sharded safetensors" if "safetensors" in path.name else "sharded torch"
    return tensors, tuple(name for name in named if name not in wanted), kind
