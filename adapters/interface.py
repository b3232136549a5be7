"""What the other rooms see of a model: features, maps, and how it was loaded. Importing this never imports torch.

Protocols rather than base classes, so that a third party's module fits without knowing this project.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor
    from torch.nn import Parameter

    from adapters.card import InputContract, ModelCard

LoadMode = Literal["native", "resampled16", "paper_plain"]
"""How a checkpoint is fitted to the encoder (section 3.3 of the adapter specification): exactly as published; with
patches of 16 pixels; or as a plain ViT/16 that keeps whatever happens to fit."""

NAMES_SHOWN = 20
"""Names per list in a report's data; the counts are always complete."""


class Grid(NamedTuple):
    """Rows and columns of tokens."""

    h: int
    w: int


class Features(NamedTuple):
    """What an encoder sees in a batch of images.

    `pooled` [B, D] is the class token where there is one, else the mean of the tokens; `class_token` [B, D] or None;
    `tokens` [B, N, D] are the patch tokens in row order, of `grid` h x w = N.
    """

    pooled: Tensor
    class_token: Tensor | None
    tokens: Tensor
    grid: Grid


class FeatureMap(NamedTuple):
    """A map [B, D, h, w]; one of its cells covers `stride` x `stride` pixels."""

    values: Tensor
    stride: int


@runtime_checkable
class Encoder(Protocol):
    """An `nn.Module` that turns images [B, C, H, W], already normalised, into features."""

    width: int
    """D of the features."""
    stride: int
    """Pixels per token; image sides must be multiples of it where the architecture says so."""
    layer_count: int
    """L: blocks, or stages where the network has stages."""
    in_channels: int

    def __call__(self, images: Tensor) -> Features:
        """Runs `forward` with the hooks of `nn.Module`."""

    def forward(self, images: Tensor) -> Features:
        """The features of a batch."""

    def maps(self, images: Tensor) -> list[FeatureMap]:
        """Feature maps from fine to coarse; a plain ViT has one."""

    def layer_id(self, parameter_name: str) -> int:
        """0 for embeddings, 1..L for blocks, L+1 for the rest: what layer-wise decay of the rate needs."""

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are not decayed although they are no vectors: class token, position table."""

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """As of `nn.Module`."""

    def train(self, mode: bool = True) -> Any:
        """As of `nn.Module`."""

    def eval(self) -> Any:
        """As of `nn.Module`."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As of `nn.Module`."""


@runtime_checkable
class FeatureExtractor(Protocol):
    """Hand-made features: no weights, nothing to train."""

    width: int
    """F of the features."""

    def features(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
        """Features [N, F] of grey images [H, W] of any size."""


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a checkpoint."""

    matched: tuple[str, ...] = ()
    """Encoder parameters that the file filled."""
    missing: tuple[str, ...] = ()
    """Encoder parameters that nothing filled: none in the modes native and resampled16; in paper_plain they keep their
    random initial values."""
    unexpected: tuple[str, ...] = ()
    """Tensors of the file that belong to nothing here (decoders, queues)."""
    dropped: tuple[str, ...] = ()
    """Tensors that the layout leaves out on purpose (classifier heads)."""
    reshaped: tuple[str, ...] = ()
    """Matched ones that were resized (position table, patch kernel); also among `matched`."""
    lost: tuple[str, ...] = ()
    """Tensors of the file's encoder that found no place: none but in paper_plain, which is about what gets lost."""
    borrowed: tuple[str, ...] = ()
    """Matched ones that came from the companion file; also among `matched`."""
    mode: LoadMode = "native"
    """How the file was fitted to the encoder (section 3.3 of the adapter specification)."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know of this loading, in sentences."""

    def as_dict(self) -> dict[str, Any]:
        """Counts, and at most twenty names of each kind: small enough for a record."""
        kinds = ("matched", "missing", "unexpected", "dropped", "reshaped", "lost", "borrowed")
        lists = {name: getattr(self, name) for name in kinds}
        shown = {name: {"count": len(names), "names": list(names[:NAMES_SHOWN])} for name, names in lists.items()}
        return shown | {"mode": self.mode, "notes": list(self.notes)}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready for the tasks, with everything a record has to say about it."""

    card: ModelCard
    encoder: Encoder | FeatureExtractor
    contract: InputContract
    report: LoadReport = field(default_factory=LoadReport)
    weights_hash: str | None = None
    """SHA-256 of the weight file, or of the tensors where a library hides the file; None without weights."""
    trainable: bool = True
    """False for hand-made features."""
    text_file: Path | None = None
    """The model's own text side in the format of `klip export text`; None where it has none that is read."""
    weights_root: Path | None = None
    """Where published weights lie, for what a task needs besides the encoder; None: the default place."""

    @property
    def mode(self) -> LoadMode:
        """How the weights were fitted to the encoder."""
        return self.report.mode
