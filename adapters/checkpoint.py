"""Reading a checkpoint without running any code from it, and filling an encoder completely or not at all.

A file that fits only in part would give plausible, worse numbers; so whatever the encoder declares must be there,
and whatever the file holds of an encoder must find its place. Only the position table may change its size.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adapters.card import ModelCard
from adapters.encoder import PlainViT, resize_positions
from adapters.geometry import vit_name
from adapters.interface import Grid, LoadReport
from adapters.layouts import Converted
from adapters.layouts.plain import HEADS
from foundation.errors import CellError, MissingError

NESTING = ("model", "state_dict")
"""Keys under which training scripts keep the tensors (section 4 of the adapter specification)."""

_ENCODER_NAMES = ("cls_token", "pos_embed", "patch_embed.", "norm_pre.", "blocks.", "norm.", "reg_token")
_FOREIGN = ("GLOBAL", "Unsupported class", "unrecognized function", "Can only build", "Can only create new object")
_NAMES_IN_MESSAGES = 5
_BLOCK = re.compile(r"blocks\.(\d+)\.")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """All tensors of a PyTorch or safetensors file by name, floating ones as float32.

    Tensors under `model` or `state_dict` are unpacked; whatever is not a tensor is left out.
    """
    if not path.is_file():
        raise MissingError("no such checkpoint", where=str(path), way_out="check the path")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    while isinstance(content, Mapping):
        inner = next((content[key] for key in NESTING if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {}
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CellError(
            "the file holds no tensors by name",
            where=str(path),
            way_out="save the weights with torch.save(model.state_dict(), path)",
        )
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def fill(encoder: nn.Module, converted: Converted, card: ModelCard, *, where: str) -> LoadReport:
    """Copies canonical tensors into the encoder; anything short of a full match is an error."""
    parameters = encoder.state_dict(keep_vars=True)
    state = dict(converted.state)
    required = {name for name in parameters if not _optional(name, encoder)}
    reshaped = _fit_positions(encoder, state)
    missing = sorted(required - state.keys())
    wrong = sorted(name for name in required & state.keys() if state[name].shape != parameters[name].shape)
    left = [name for name in state if name not in parameters]
    # Of timm's own networks every tensor is the encoder's: the layout has dropped their classifiers already.
    homeless = sorted(name for name in left if not isinstance(encoder, PlainViT) or name.startswith(_ENCODER_NAMES))
    if missing or wrong or homeless:
        raise _no_fit(parameters, state, card, where, missing=missing, wrong=wrong, homeless=homeless)
    matched = sorted(parameters.keys() & state.keys())
    _require_finite({name: state[name] for name in matched}, where)
    with torch.no_grad():
        for name in matched:
            parameters[name].copy_(state[name])
    unexpected = tuple(sorted(set(left) - set(homeless)))
    return LoadReport(tuple(matched), (), unexpected, converted.dropped, reshaped)


def shapes_say(state: Mapping[str, Tensor]) -> str | None:
    """The architecture that the shapes of canonical tensors speak of, in words; None where they say nothing."""
    kernel = state.get("patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 4:
        return None
    width, patch = int(kernel.shape[0]), int(kernel.shape[-1])
    depth = len({match[1] for name in state if (match := _BLOCK.match(name))})
    facts = f"width {width}, depth {depth}, patch {patch}, {kernel.shape[1]} channels"
    if "norm_pre.weight" in state:
        facts += ", norm before the first block"
    table = state.get("pos_embed")
    rows = int(table.shape[-2]) - ("cls_token" in state) if table is not None and table.ndim == 3 else 0
    name = vit_name(width, depth, patch, isqrt(rows) * patch or 224)
    return f"{name} ({facts})" if name and "norm_pre.weight" not in state else facts


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch reports damaged files and files with foreign objects by the same exception.
        if any(phrase in str(error) for phrase in _FOREIGN):
            raise CellError(
                "the checkpoint holds more than tensors, and foreign objects are never loaded",
                where=str(path),
                way_out="open it where it was written and save the tensors alone: torch.save(model.state_dict(), path)",
            ) from error
        raise _unreadable(path, error) from error
    except RuntimeError as error:
        if "TorchScript" in str(error) or _is_torchscript(path):
            raise CellError(
                "the file is a TorchScript archive, which runs code of its own when it is loaded",
                where=str(path),
                way_out="save its tensors alone: torch.save(torch.jit.load(path).state_dict(), other_path)",
            ) from error
        raise _unreadable(path, error) from error
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
        TypeError,
        UnicodeDecodeError,
    ) as error:
        raise _unreadable(path, error) from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _unreadable(path: Path, error: Exception) -> CellError:
    # What torch says of damaged pickles is a page on trust; the type of the exception says as much.
    detail = type(error).__name__ if isinstance(error, pickle.UnpicklingError) else str(error).strip()
    detail = detail.partition("\n")[0].partition(". ")[0] or type(error).__name__
    return CellError(
        "not a readable checkpoint: truncated, damaged, or another kind of file",
        where=f"{path} ({path.stat().st_size} bytes; {detail})",
        way_out="fetch the file again and compare its size and checksum with the published ones",
    )


def _optional(name: str, encoder: nn.Module) -> bool:
    """Left-overs of classifiers inside timm's own networks are never run, so nothing has to fill them."""
    if isinstance(encoder, PlainViT):
        return False
    return name.startswith(HEADS) or name.endswith("num_batches_tracked")


def _fit_positions(encoder: nn.Module, state: dict[str, Tensor]) -> tuple[str, ...]:
    """Resizes the file's square position table to the encoder's grid, where that is the only difference."""
    table = state.get("pos_embed")
    if not isinstance(encoder, PlainViT) or encoder.pos_embed is None or table is None or table.ndim != 3:
        return ()
    class_rows = int(encoder.cls_token is not None)
    side = isqrt(max(table.shape[1] - class_rows, 0))
    square = side > 0 and side * side == table.shape[1] - class_rows
    if table.shape == encoder.pos_embed.shape or not square or table.shape[2] != encoder.width:
        return ()
    state["pos_embed"] = resize_positions(table, old=Grid(side, side), new=encoder.grid, class_token=bool(class_rows))
    return ("pos_embed",)


def _no_fit(
    parameters: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    card: ModelCard,
    where: str,
    *,
    missing: list[str],
    wrong: list[str],
    homeless: list[str],
) -> CellError:
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} of {len(parameters)} tensors are missing ({_some(missing)})")
    if wrong:
        shapes = [f"{name} {tuple(state[name].shape)} not {tuple(parameters[name].shape)}" for name in wrong]
        complaints.append(f"{len(wrong)} have another shape ({_some(shapes)})")
    if homeless:
        complaints.append(f"{len(homeless)} have no place in the encoder ({_some(homeless)})")
    described = shapes_say(state)
    if described:
        way_out = f"the shapes in the file say {described}: name that architecture"
    else:
        way_out = (
            f"the names in the file start with {_some(list(state))}; write them as timm does, or choose another layout"
        )
    return CellError(f"the checkpoint does not fit {card.id}: {'; '.join(complaints)}", where=where, way_out=way_out)


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_IN_MESSAGES
    return ", ".join(names[:_NAMES_IN_MESSAGES]) + (f" and {more} more" if more > 0 else "")


def _require_finite(state: Mapping[str, Tensor], where: str) -> None:
    broken = [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise CellError(
            f"the checkpoint holds NaN or infinite weights in {_some(broken)}",
            where=where,
            way_out="the training that wrote it diverged: use an earlier checkpoint",
        )
