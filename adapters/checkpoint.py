"""Filling an encoder completely or not at all, in each of the three modes.

A file that fits only in part would give plausible, worse numbers; so whatever the encoder declares must be there,
and whatever the file holds of an encoder must find its place. Only position tables and, where asked for, patch kernels
change their size. The mode paper_plain is the one exception, made to see what such a partial fit does: it reports
what it lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt

import torch
from torch import Tensor, nn

from adapters.card import ModelCard
from adapters.initial_values import Startable
from adapters.interface import Grid, LoadMode, LoadReport
from adapters.layouts import Converted
from adapters.layouts.description import named
from adapters.layouts.plain import HEADS
from adapters.patch_kernel import resample
from adapters.positions import resize_positions
from foundation.errors import CellError

KERNEL = "patch_embed.proj.weight"

_ENCODER_NAMES = (
    "cls_token",
    "pos_embed",
    "absolute_pos_embed",
    "patch_embed.",
    "norm_pre.",
    "blocks.",
    "norm.",
    "reg_token",
)
_TABLES = {"pos_embed": True, "absolute_pos_embed": False}  # name -> may hold a row for the class token
_NAMES_IN_MESSAGES = 5
_UNIT = re.compile(r"blocks\.\d+|norm(?=\.)")


def shapes_say(state: Mapping[str, Tensor]) -> str | None:
    """The architecture that the shapes of canonical tensors speak of, in words; None where they say nothing."""
    return named({name: tuple(value.shape) for name, value in state.items()})


def with_companion(
    converted: Converted, other: Converted, encoder: nn.Module, *, depth: int
) -> tuple[Converted, tuple[str, ...]]:
    """The main file's tensors, and of the companion's those whole parts that the main file has nothing of.

    Parts are the embeddings, each block below `depth` and the final norm: a companion appends a tail or stands in for
    an absent tower, it does not mend single holes. Also returns the names that were borrowed.
    """
    held = {_unit(name) for name in converted.state} | {
        unit for unit in map(_unit, other.state) if unit.startswith("blocks.") and int(unit[7:]) >= depth
    }
    wanted = encoder.state_dict(keep_vars=True).keys()
    borrowed = tuple(name for name in other.state if name in wanted and _unit(name) not in held)
    state = converted.state | {name: other.state[name] for name in borrowed}
    return Converted(state, converted.dropped, converted.notes), borrowed


def fill(
    encoder: nn.Module,
    converted: Converted,
    card: ModelCard,
    *,
    where: str,
    mode: LoadMode = "native",
    borrowed: Iterable[str] = (),
    adopt: bool = False,
) -> LoadReport:
    """Puts canonical tensors into the encoder: copies, or with `adopt` the very tensors, which nobody else may use.

    In the modes native and resampled16 anything short of a full match is an error; paper_plain takes what fits, leaves
    the rest of the encoder as it is, and says so.
    """
    parameters = encoder.state_dict(keep_vars=True)
    fitted = _Fitted(dict(converted.state), list(converted.notes))
    _fit_positions(encoder, parameters, fitted)
    if mode != "native":
        _fit_kernel(parameters, fitted, mode)
    state = fitted.state
    required = {name for name in parameters if not _optional(name, encoder)}
    missing = sorted(required - state.keys())
    wrong = sorted(name for name in required & state.keys() if state[name].shape != parameters[name].shape)
    left = [name for name in state if name not in parameters]
    # Of timm's own networks every tensor is the encoder's: the layout has dropped their classifiers already.
    homeless = sorted(name for name in left if _is_network(encoder) or name.startswith(_ENCODER_NAMES))
    if mode == "paper_plain":
        missing = sorted({*missing, *wrong})
        lost = tuple(sorted({*wrong, *homeless}))
    elif missing or wrong or homeless:
        raise _no_fit(parameters, state, card, where, missing=missing, wrong=wrong, homeless=homeless)
    else:
        lost = ()
    matched = sorted((parameters.keys() & state.keys()) - set(wrong))
    _require_finite({name: state[name] for name in matched}, where)
    with torch.no_grad():
        own = _alone({name: state[name] for name in matched}) if adopt else set()
        for name in matched:
            if name in own and parameters[name].dtype == state[name].dtype:
                parameters[name].data = state[name]
            else:
                parameters[name].copy_(state[name])
        if "patch_embed.proj.bias" in missing:
            parameters["patch_embed.proj.bias"].zero_()  # section 3.3: a bias that no file holds changes nothing
    return LoadReport(
        matched=tuple(matched),
        missing=tuple(missing),
        unexpected=tuple(sorted(set(left) - set(homeless))),
        dropped=converted.dropped,
        reshaped=tuple(name for name in fitted.reshaped if name in matched),
        lost=lost,
        borrowed=tuple(name for name in borrowed if name in matched),
        mode=mode,
        notes=tuple(fitted.notes),
    )


def _alone(state: Mapping[str, Tensor]) -> set[str]:
    """The tensors that fill a memory of their own from end to end."""
    holders = Counter(value.untyped_storage().data_ptr() for value in state.values())
    return {
        name
        for name, value in state.items()
        if value.is_contiguous()
        and value.untyped_storage().nbytes() == value.numel() * value.element_size()
        and holders[value.untyped_storage().data_ptr()] == 1
    }


@dataclass
class _Fitted:
    """The file's tensors while they are made to fit, and what was done to them."""

    state: dict[str, Tensor]
    notes: list[str]
    reshaped: list[str] = field(default_factory=list)


def _unit(name: str) -> str:
    match = _UNIT.match(name)
    return match[0] if match else "embeddings"


def _is_network(encoder: nn.Module) -> bool:
    """Whether this is a network of timm's own, whose names are none of ours."""
    return not isinstance(encoder, Startable)


def _optional(name: str, encoder: nn.Module) -> bool:
    """Left-overs of classifiers inside timm's own networks are never run, so nothing has to fill them."""
    return _is_network(encoder) and (name.startswith(HEADS) or name.endswith("num_batches_tracked"))


def _fit_positions(encoder: nn.Module, parameters: Mapping[str, Tensor], fitted: _Fitted) -> None:
    """Resizes the file's square position table to the encoder's grid, where that is the only difference."""
    if _is_network(encoder):
        return
    for name, with_class in _TABLES.items():
        table, ours = fitted.state.get(name), parameters.get(name)
        if table is None or ours is None or table.shape == ours.shape or table.ndim != 3:
            continue
        class_rows = int(with_class and "cls_token" in parameters)
        side = isqrt(max(table.shape[1] - class_rows, 0))
        grid = getattr(encoder, "grid", None)
        if side == 0 or side * side != table.shape[1] - class_rows or table.shape[2] != ours.shape[2] or grid is None:
            continue
        old, new = Grid(side, side), Grid(*grid)
        fitted.state[name] = resize_positions(table, old=old, new=new, class_token=bool(class_rows))
        fitted.reshaped.append(name)


def _fit_kernel(parameters: Mapping[str, Tensor], fitted: _Fitted, mode: LoadMode) -> None:
    """Makes the file's patch kernel one of the encoder's, as far as the mode allows."""
    kernel, ours = fitted.state.get(KERNEL), parameters.get(KERNEL)
    if kernel is None or ours is None or kernel.shape == ours.shape or kernel.ndim != 4:
        return
    if mode == "resampled16" and kernel.shape[:2] == ours.shape[:2]:
        fitted.state[KERNEL] = resample(kernel, ours.shape[-1])
    elif mode == "paper_plain" and kernel.shape[1] == 1 and kernel.shape[2:] == ours.shape[2:]:
        # Section 6: three equal channels with a third of the kernel each are the one channel.
        fitted.state[KERNEL] = kernel.expand(ours.shape) / ours.shape[1]
        fitted.notes.append("the one-channel patch kernel is spread over three channels")
    else:
        return
    fitted.reshaped.append(KERNEL)


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
    complaints = misfits(parameters, state, "the encoder", missing=missing, wrong=wrong, homeless=homeless)
    described = shapes_say(state)
    if described:
        way_out = f"the shapes in the file say {described}: name that architecture"
    else:
        names = some_of(list(state))
        way_out = f"the names in the file start with {names}; write them as timm does, or choose another layout"
    return CellError(f"the checkpoint does not fit {card.id}: {complaints}", where=where, way_out=way_out)


def misfits(
    parameters: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    place: str,
    *,
    missing: list[str],
    wrong: list[str],
    homeless: list[str],
) -> str:
    """What of a state dict does not fit the parameters of `place`, in words."""
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} of {len(parameters)} tensors are missing ({some_of(missing)})")
    if wrong:
        shapes = [f"{name} {tuple(state[name].shape)} not {tuple(parameters[name].shape)}" for name in wrong]
        complaints.append(f"{len(wrong)} have another shape ({some_of(shapes)})")
    if homeless:
        complaints.append(f"{len(homeless)} have no place in {place} ({some_of(homeless)})")
    return "; ".join(complaints)


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - _NAMES_IN_MESSAGES
    return ", ".join(names[:_NAMES_IN_MESSAGES]) + (f" and {more} more" if more > 0 else "")


def _require_finite(state: Mapping[str, Tensor], where: str) -> None:
    # A sum is finite only if all its terms are, and reads the numbers once; where it is not, they may still have
    # been too large to add up, so those few tensors are looked at one by one.
    doubtful = {
        name: value for name, value in state.items() if value.is_floating_point() and not value.sum().isfinite()
    }
    broken = [name for name, value in doubtful.items() if not value.isfinite().all()]
    if broken:
        raise CellError(
            f"the checkpoint holds NaN or infinite weights in {some_of(broken)}",
            where=where,
            way_out="the training that wrote it diverged: use an earlier checkpoint",
        )
