"""What comes out: features, tokens, maps, at the card's size and at others."""

from __future__ import annotations

from typing import Any

import torch

from adapters.conformance.report import NotApplicable, Unmet
from adapters.conformance.subject import Size, Subject, named
from adapters.interface import Encoder, FeatureMap, Features, Grid
from foundation.errors import BenchError


def interface(subject: Subject) -> str:
    """The encoder has what the interface names."""
    encoder = subject.encoder
    lacking = [
        name
        for name in ("forward", "maps", "layer_id", "no_weight_decay", "named_parameters", "train", "eval", "to")
        if not callable(getattr(encoder, name, None))
    ]
    numbers = {name: getattr(encoder, name, None) for name in ("width", "stride", "layer_count", "in_channels")}
    wrong = [f"{name} = {value!r}" for name, value in numbers.items() if not _is_count(value)]
    if lacking or wrong or not isinstance(encoder, Encoder) or not isinstance(encoder, torch.nn.Module):
        absent = f"without {', '.join(lacking)}" if lacking else ""
        raise Unmet(
            expected="an nn.Module with all of adapters.interface.Encoder; width, stride, layer_count, in_channels > 0",
            seen=" ".join(part for part in (type(encoder).__name__, absent, "; ".join(wrong)) if part),
            change="add what is lacking; adapters/interface.py says what each of them is",
        )
    channels = subject.loaded.contract.channels
    if encoder.in_channels != channels:
        raise Unmet(
            expected=f"in_channels = {channels}, as the card's input states",
            seen=f"in_channels = {encoder.in_channels}",
            change="set input.channels of the card, or in_channels of the encoder, to what the first layer takes",
        )
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def features(subject: Subject) -> str:
    """Pooled feature, class token and tokens have the stated shapes, and are finite."""
    images = subject.images(2)
    found = subject.see(images)
    _require_features(subject, found, Size(subject.size, subject.size), count=2)
    token = "with" if found.class_token is not None else "without"
    return f"{found.grid.h} x {found.grid.w} tokens of width {subject.encoder.width}, {token} class token"


def maps(subject: Subject) -> str:
    """Maps go from fine to coarse, and their cells are as large as they say."""
    found = subject.maps(subject.images(2))
    _require_maps(found, Size(subject.size, subject.size), count=2)
    return f"strides {', '.join(str(one.stride) for one in found)}"


def other_sizes(subject: Subject) -> str:
    """Built for another image size, the model works at that size."""
    stride = subject.encoder.stride
    sides = sorted({subject.size + stride, max(2 * stride, subject.size // 2 // stride * stride)} - {subject.size})
    sides = sides[:1] if subject.quick else sides
    for side in sides:
        try:
            encoder: Any = subject.build(image_size=side, seed=0).encoder
            found = subject.see(subject.images(1, Size(side, side)), encoder)
            of_maps = subject.maps(subject.images(1, Size(side, side)), encoder)
        except Exception as error:  # whatever it is, the tasks need that size
            raise Unmet(
                expected=f"a model built for {side} x {side} pixels (tasks use 56 to 800)",
                seen=f"{type(error).__name__}: {error}",
                change="let the factory build for any `image_size` that the stride divides; resize position tables",
            ) from error
        _require_features(subject, found, Size(side, side), count=1)
        _require_maps(of_maps, Size(side, side), count=1)
    return f"built anew for {' and '.join(f'{side} x {side}' for side in sides)}"


def sizes_it_was_not_built_for(subject: Subject) -> str:
    """Whoever accepts other or oblong images, must be right about them."""
    stride = subject.encoder.stride
    oblong = Size(subject.size, subject.size + stride)
    accepted: list[str] = []
    refusals: list[str] = []
    for size in (oblong, Size(subject.size + stride, subject.size + stride)):
        images = subject.images(1, size)
        try:
            found, of_maps = subject.see(images), subject.maps(images)
        except BenchError as error:
            refusals.append(error.what)
            continue
        except Exception as error:  # a library's own way to refuse
            refusals.append(f"{type(error).__name__}: {error}")
            continue
        _require_features(subject, found, size, count=1)
        _require_maps(of_maps, size, count=1)
        accepted.append(f"{size.height} x {size.width}")
    if not accepted:
        raise NotApplicable(f"takes only the size it was built for ({refusals[0][:120]})")
    return f"accepts {' and '.join(accepted)}"


def wrong_channels(subject: Subject) -> str:
    """Images with another number of channels are refused, not broadcast."""
    channels = subject.loaded.contract.channels
    images = torch.zeros(1, channels + 1, subject.size, subject.size)
    try:
        subject.see(images)
    except Exception as error:
        return f"refused ({type(error).__name__})"
    raise Unmet(
        expected=f"an error for images with {channels + 1} channels",
        seen="features",
        change="check images.shape[1] against in_channels in forward and maps",
    )


def _require_features(subject: Subject, found: Features, size: Size, *, count: int) -> None:
    width, stride = subject.encoder.width, subject.encoder.stride
    if not isinstance(found, tuple) or getattr(found, "_fields", ()) != Features._fields:
        raise Unmet(
            expected="adapters.interface.Features",
            seen=type(found).__name__,
            change="return Features(pooled, class_token, tokens, grid)",
        )
    grid = Grid(-(-size.height // stride), -(-size.width // stride))
    shapes = {
        "pooled": (found.pooled, (count, width)),
        "class_token": (found.class_token, (count, width)),
        "tokens": (found.tokens, (count, grid.h * grid.w, width)),
    }
    for name, (tensor, shape) in shapes.items():
        if tensor is None and name == "class_token":
            continue
        if not isinstance(tensor, torch.Tensor) or tuple(tensor.shape) != shape:
            raise Unmet(
                expected=f"{name} of shape {shape} for {count} images of {size.height} x {size.width}",
                seen=str(tuple(tensor.shape)) if isinstance(tensor, torch.Tensor) else repr(tensor),
                change="tokens are the patches only, in row order; width and stride of the encoder must fit them",
            )
        _require_finite(name, tensor)
    if tuple(found.grid) != tuple(grid):
        raise Unmet(
            expected=f"grid {tuple(grid)} = image size over stride {stride}",
            seen=str(tuple(found.grid)),
            change="give rows and columns of the tokens as Grid(h, w), and the pixels per token as stride",
        )


def _require_maps(found: list[FeatureMap], size: Size, *, count: int) -> None:
    strides = [one.stride for one in found]
    if not found or strides != sorted(set(strides)) or min(strides) < 1:
        raise Unmet(
            expected="at least one map, strides growing",
            seen=f"strides {strides}",
            change="list the maps from fine to coarse, one per stride",
        )
    for one in found:
        cells = (-(-size.height // one.stride), -(-size.width // one.stride))
        if one.values.ndim != 4 or len(one.values) != count or tuple(one.values.shape[2:]) != cells:
            raise Unmet(
                expected=f"[{count}, D, {cells[0]}, {cells[1]}] for stride {one.stride}",
                seen=named([str(tuple(other.values.shape)) for other in found]),
                change="a map is [B, D, h, w] with h = image height / stride",
            )
        _require_finite(f"map of stride {one.stride}", one.values)


def _require_finite(name: str, tensor: torch.Tensor) -> None:
    if not bool(torch.isfinite(tensor).all()):
        raise Unmet(
            expected=f"finite {name}",
            seen="NaN or infinity",
            change="look at the weights, and at divisions and logarithms in forward",
        )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
