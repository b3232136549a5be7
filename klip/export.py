"""The image tower of a run as one file that the benchmark loads, with its card (section 8.6 of the KLIP specification).

The file holds the online ViT under timm's names and nothing else; the card is a model file, so a tower that was
exported can be run at once: `harness run --model-file vision_encoder.toml --models ID`. Whether the file says the same
as the model is found out by loading it the way the benchmark does.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from adapters.card import Architecture, InputContract, ModelCard, TextSide, WeightSource
from adapters.encoder import PlainViT, build_vit
from adapters.geometry import backbone_group
from adapters.load import load
from foundation.errors import CheckError, UsageError, storage_error
from foundation.files import TEMPORARY_PREFIX, read_json, require_writable, write_atomic, write_bytes
from foundation.hashing import hash_file
from foundation.seeds import derive_seed
from klip.model.klip import vision_architecture
from klip.run_record import FILE as RUN_FILE
from klip.settings import PretrainingSettings
from klip.text_file import export_text_side, text_file_beside
from klip.toml_text import toml_document
from klip.training.checkpoint import Checkpoint, find, read
from klip.unimodal.methods import PAPER_NAMES
from klip.unimodal.settings import BaselineSettings
from klip.unimodal.tower import architecture_of

Format = Literal["fp32", "fp16"]
EXACT = 1e-6
"""Largest difference of features that fp32 may have (section 8.6)."""
ROUNDED = 0.05
"""Of fp16, over the root mean square of the features; beyond it something is broken."""

_TOWERS = {"klip": "online.vision.", "clip": "towers.vision."}
_TRIED = 4  # images whose features are compared


@dataclass(frozen=True)
class Tower:
    """The image tower of a checkpoint."""

    architecture: Architecture
    input: InputContract
    state: dict[str, Tensor]
    method: str
    """klip, or the baseline's name."""
    epochs: int
    """Epochs behind it."""
    steps: int


@dataclass(frozen=True)
class Exported:
    """What was written, and how far it is from the model."""

    weights: Path
    card: Path
    sha256: str
    size_mb: float
    """With the text side, where there is one."""
    difference: float
    """Largest difference of a feature."""
    relative: float
    """The same over the root mean square of the features."""


def export_vision(
    run: Path,
    out: Path,
    *,
    identifier: str | None = None,
    name: str | None = None,
    number_format: Format = "fp32",
    shipped: bool = False,
    made: dict[str, Any] | None = None,
    with_text: bool = False,
) -> Exported:
    """Writes `out` (.safetensors) and its card beside it, whole or not at all: what fails leaves what lay there.

    Args:
        run: A run folder of `klip pretrain` or `klip baseline`, or one checkpoint of it.
        out: The weight file; the card has its name and ends in .toml.
        identifier: Id of the model on the command line; by default the name of the file.
        name: As tables print it.
        number_format: fp16 takes half the room and rounds.
        shipped: The card belongs to the zoo of the adapters.
        made: How the run came about; by default what its record says.
        with_text: Also the text side, as `<name of out>-text.safetensors`, named in the card.
    """
    if out.suffix != ".safetensors":
        raise UsageError("the file must end in .safetensors", where=str(out), way_out=f"write {out}.safetensors")
    if number_format not in ("fp32", "fp16"):
        raise UsageError(f"unknown format: {number_format!r}", way_out="use fp32 or fp16")
    checkpoint = read(find(run))
    tower = tower_of(checkpoint)
    state = _stored(tower.state, number_format, where=str(checkpoint.path))
    require_writable(out.parent)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX, dir=out.parent) as folder:
        tried = Path(folder) / out.name
        _write_tensors(tried, state)
        card = _card(tower, tried, identifier or _identifier(out), name)
        difference, relative = _compared(tower, card)
        if difference > EXACT and (number_format == "fp32" or relative > ROUNDED):
            raise CheckError(
                f"the exported tower differs from the model: features by {difference:.2g}",
                where=str(checkpoint.path),
                way_out="export fp32, or an earlier checkpoint of the run; nothing was written",
            )
        if with_text:
            card = _with_text(card, run, Path(folder), out, half=number_format == "fp16")
        _renamed(tried, out)
    told = record_of(run) if made is None else made
    table = {**told, "method": tower.method, "epochs": tower.epochs, "steps": tower.steps, "format": number_format}
    place = out.with_suffix(".toml")
    write_bytes(place, card_text(card, table, shipped=shipped).encode())
    size = sum(path.stat().st_size for path in (out, text_file_beside(out)) if path == out or with_text)
    return Exported(out, place, card.weights.sha256 or "", round(size / 1e6, 2), difference, relative)


def tower_of(checkpoint: Checkpoint) -> Tower:
    """The online tower of a checkpoint; twins and slow copies are left out."""
    about = checkpoint.about
    kind = about.get("kind")
    if kind == "klip":
        method = "klip"
        architecture = vision_architecture(PretrainingSettings.model_validate(about["settings"]))
    elif kind == "baseline":
        method = str(about["method"])
        architecture = architecture_of(BaselineSettings.model_validate(about["settings"]).tower)
    else:
        raise UsageError(
            f"a checkpoint of {kind!r} has no image tower to export",
            where=str(checkpoint.path),
            way_out="give a run folder of `klip pretrain` or `klip baseline`",
        )
    prefix = _TOWERS.get(method, "encoder.")
    state = {key.removeprefix(prefix): value for key, value in checkpoint.module.items() if key.startswith(prefix)}
    channels = architecture.in_channels
    contract = InputContract(
        channels=channels,
        grey_rule="replicate" if channels > 1 else "single",
        mean=tuple(about["mean"]),
        std=tuple(about["std"]),
    )
    return Tower(architecture, contract, state, method, checkpoint.place.epoch, checkpoint.place.step)


def record_of(run: Path) -> dict[str, Any]:
    """Of the run's record what a card should tell: data, code, time, machine."""
    folder = run if run.is_dir() else run.parent.parent
    path = folder / RUN_FILE
    if not path.is_file():
        return {}
    record = read_json(path)
    hashes = record.get("hashes") or {"corpus": record.get("corpus", {}).get("digest")}
    sessions = record.get("sessions") or [{}]
    kept = {
        "command": sessions[-1].get("command"),
        "seed": record.get("settings", {}).get("seed"),
        "corpus": hashes.get("corpus"),
        "code": record.get("code"),
        "seconds": record.get("seconds"),
        "machine": record.get("machine") or record.get("device"),
    }
    return {key: value for key, value in kept.items() if value is not None}


def card_text(card: ModelCard, made: dict[str, Any], *, shipped: bool) -> str:
    """The card as a model file, with the table `[made]`."""
    entry = card.model_dump(mode="json", exclude_defaults=True)
    entry["weights"] = (
        {"kind": "shipped", "filename": card.weights.filename, "sha256": card.weights.sha256}
        if shipped
        else {"kind": "file", "path": card.weights.filename, "sha256": card.weights.sha256}
    )
    return toml_document({"made": made, "model": [entry]})


def _identifier(out: Path) -> str:
    return out.stem.lower().replace("_", "-")


def _card(tower: Tower, out: Path, identifier: str, name: str | None) -> ModelCard:
    architecture = tower.architecture
    mini = architecture.width < 768  # smaller than ViT-Base
    return ModelCard(
        id=identifier,
        name=name or f"{_paper_name(tower.method)} (own)",
        backbone="mini" if mini else backbone_group(architecture.width, architecture.depth),
        kind="multimodal_sar" if tower.method in ("klip", "clip") else "vision_only_sar",
        architecture=architecture,
        input=tower.input,
        weights=WeightSource(kind="file", path=str(out), filename=out.name, sha256=hash_file(out)),
        layout="timm",
        note=f"trained by this repository for {tower.epochs} epochs",
    )


def _paper_name(method: str) -> str:
    return "FUSAR-KLIP" if method == "klip" else {str(key): name for key, name in PAPER_NAMES.items()}[method]


def _stored(state: dict[str, Tensor], number_format: Format, where: str) -> dict[str, Tensor]:
    dtype = torch.float16 if number_format == "fp16" else torch.float32
    stored = {name: value.detach().to(dtype).contiguous() for name, value in sorted(state.items())}
    broken = [name for name, value in stored.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckError(
            f"{broken[0]} holds values that {number_format} cannot hold or that are no numbers",
            where=where,
            way_out="export fp32, or an earlier checkpoint of the run",
        )
    return stored


def _write_tensors(out: Path, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save

    data = save(state, metadata={"format": "pt"})
    write_atomic(out, lambda stream: stream.write(data))


def _with_text(card: ModelCard, run: Path, folder: Path, out: Path, *, half: bool) -> ModelCard:
    """The card with the text side, which is written whole before it gets its name."""
    place = text_file_beside(out)
    tried = folder / place.name
    checksum = export_text_side(run, tried, half=half)
    _renamed(tried, place)
    return card.model_copy(update={"text": TextSide(filename=place.name, sha256=checksum)})


def _renamed(tried: Path, out: Path) -> None:
    try:
        tried.replace(out)
    except OSError as error:
        raise storage_error(error, out) from error


def _compared(tower: Tower, card: ModelCard) -> tuple[float, float]:
    """Features of the model and of the file as the benchmark loads it: largest difference, and over their size."""
    size = tower.architecture.image_size
    model: PlainViT = build_vit(tower.architecture, image_size=size, seed=None)
    model.load_state_dict(tower.state)
    loaded = cast(PlainViT, load(card, image_size=size, seed=0).encoder)
    generator = torch.Generator().manual_seed(derive_seed("export", card.id))
    images = torch.randn(_TRIED, tower.architecture.in_channels, size, size, generator=generator)
    with torch.no_grad():
        expected, found = model.eval()(images), loaded.eval()(images)
    pairs = ((expected.pooled, found.pooled), (expected.tokens, found.tokens))
    difference = max(float((one - other).abs().max()) for one, other in pairs)
    return difference, difference / max(1e-12, float(expected.tokens.square().mean().sqrt()))
