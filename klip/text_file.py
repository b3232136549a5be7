"""Everything of a KLIP model but its image tower, as one file: what fine-tuning with `init_text = "model"` starts from.

The file is a safetensors file with the names of the model; its header holds the vocabulary and the sizes of the text
side, so it needs nothing beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from foundation.errors import CellError, CheckError, UsageError
from foundation.files import canonical_json, require_writable, write_atomic
from foundation.hashing import hash_file
from klip.settings import ModelSettings, PretrainingSettings
from klip.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from klip.model.klip import KLIP

_ONLINE, _VISION = "online.", "vision."
_HEADER: Final = "klip_text_side"
_FORMAT: Final = "klip text side 1"
_OF_THE_TOWER = ("vision_proj.", "vis_to_txt.")
"""Parts that hang on the width of the image tower; an encoder of another width starts them anew."""


class _Header(BaseModel):
    """What stands in the file beside the values."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["klip text side 1"]
    vocabulary: list[str]
    model: ModelSettings


class TextSide(NamedTuple):
    """A text side and where its values come from."""

    vocabulary: Vocabulary
    model: ModelSettings
    state: dict[str, Tensor]
    where: str

    def fill(self, model: KLIP) -> tuple[str, ...]:
        """Puts the values into a model of these sizes; gives the names of what the file has for another image tower."""
        import torch

        own = dict(model.named_parameters())
        needed = (name for name in own if not name.startswith((_VISION, *_OF_THE_TOWER)))
        if lacking := sorted(name for name in needed if name not in self.state):
            raise CellError(
                f"the text side lacks {lacking[0]}{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''}",
                where=self.where,
                way_out="export it again: klip export text",
            )
        left = []
        with torch.no_grad():
            for name, value in self.state.items():
                if name not in own or own[name].shape != value.shape:
                    if not name.startswith(_OF_THE_TOWER):
                        raise CellError(
                            f"{name} of the text side does not fit the model",
                            where=self.where,
                            way_out="export it again: klip export text",
                        )
                    left.append(name)
                    continue
                own[name].copy_(value)
        return tuple(left)


def text_file_beside(weights: Path) -> Path:
    """Where the text side of a weight file lies: `klip-mini.safetensors` has `klip-mini-text.safetensors`."""
    return weights.with_name(f"{weights.stem}-text.safetensors")


def export_text_side(run: Path, out: Path, *, half: bool = False) -> str:
    """Writes the text side of a run of `klip pretrain`; gives the checksum of the file.

    Args:
        run: A run folder, or one checkpoint of it.
        out: The file, which ends in .safetensors.
        half: fp16, which takes half the room and rounds.
    """
    import torch
    from safetensors.torch import save

    from klip.training.checkpoint import find, read

    if out.suffix != ".safetensors":
        raise UsageError("the file must end in .safetensors", where=str(out), way_out=f"write {out}.safetensors")
    checkpoint = read(find(run))
    if checkpoint.about.get("kind") != "klip":
        raise UsageError(
            "only a run of `klip pretrain` has a text side", where=str(run), way_out="name the folder of such a run"
        )
    state = {
        name.removeprefix(_ONLINE): value.detach().to(torch.float16 if half else torch.float32).contiguous()
        for name, value in sorted(checkpoint.module.items())
        if name.startswith(_ONLINE) and not name.startswith(_ONLINE + _VISION)
    }
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckError(
            f"{broken[0]} holds values that are no numbers, or that fp16 cannot hold",
            where=str(checkpoint.path),
            way_out="export an earlier checkpoint of the run",
        )
    settings = PretrainingSettings.model_validate(checkpoint.about["settings"])
    header = canonical_json(
        {
            "format": _FORMAT,
            "vocabulary": list(checkpoint.about["pieces"]),
            # Where training started is a place on its machine, and no business of who starts from here.
            "model": settings.model.model_dump(mode="json", exclude={"init"}),
        }
    )
    require_writable(out.parent)
    # One entry only: several come in the order of a hash table, and the same export would have two checksums.
    data = save(state, metadata={_HEADER: header.decode()})
    write_atomic(out, lambda stream: stream.write(data))
    return hash_file(out)


def read_text_side(path: Path) -> TextSide:
    """A file of `export_text_side`, whole and with numbers in it."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            written = (file.metadata() or {}).get(_HEADER)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise CellError(f"cannot read the text side: {error}", where=str(path), way_out="export it again") from error
    if written is None:
        raise CellError(
            "the file is no text side of a KLIP model", where=str(path), way_out="write one with `klip export text`"
        )
    try:
        header = _Header.model_validate_json(written)
    except ValidationError as error:
        raise CellError(
            f"the header of the text side is damaged: {error}", where=str(path), way_out="export it again"
        ) from error
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CellError(f"{broken[0]} holds values that are no numbers", where=str(path), way_out="export it again")
    return TextSide(Vocabulary(header.vocabulary, where=str(path)), header.model, state, str(path))
