"""Every setting of the baselines as typed data: section 12 of the KLIP specification, and how it shrinks.

The defaults are the column of each method, `[S12]`. `[D]` marks what this project decided, mostly for the size
`tiny`, where lengths in pixels and patches shrink with the image and widths with the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foundation.names import unknown_name
from klip.configuration import configured, merged
from klip.corpus import TEMPLATE_TEXTS
from klip.unimodal.methods import METHODS, Method


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TowerSettings(_Settings):
    """The encoder that is trained and exported: the same as KLIP's (Table 2.1)."""

    width: int = Field(default=768, ge=4)
    depth: int = Field(default=12, ge=1)
    heads: int = Field(default=12, ge=1)
    patch: int = Field(default=16, ge=2)
    image_size: int = Field(default=224, ge=8)
    channels: Literal[1, 3] = 3  # SAR-JEPA: one, the others repeat the grey channel [S12]
    position: Literal["sincos2d", "learned"] = "sincos2d"  # fixed [S12]; KLIP's tower learns its own

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.image_size % self.patch:
            raise ValueError(f"image size {self.image_size} is not a multiple of the patch {self.patch}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of the {self.heads} heads")
        return self

    @property
    def side(self) -> int:
        """Patches along a side."""
        return self.image_size // self.patch


class ViewSettings(_Settings):
    """What is done to an image before the encoder sees it."""

    source_ratio: int = Field(default=2, ge=1, le=4)
    """Side of the image that crops are taken from, over that of a view [D]: small crops are then not enlarged."""
    scale: tuple[float, float] = (0.2, 1.0)  # share of the area; MoCo v3: from 0.08 [S12]
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # the usual range of random resized crops
    flip: float = Field(default=0.5, ge=0, le=1)  # left and right [S12]; fine without text
    brightness: float = Field(default=0.0, ge=0, lt=1)  # MoCo v3: 0.4 [S12]
    contrast: float = Field(default=0.0, ge=0, lt=1)  # MoCo v3: 0.4, SAR-JEPA: 0.5 [S12]
    jitter: float = Field(default=1.0, ge=0, le=1)  # probability of both; MoCo v3: 0.8 [S12]
    blur: tuple[float, float] = (0.0, 0.0)  # probability in the first and in the second view [S12]
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels of an image of 224; shrinks with it [D]
    solarise: tuple[float, float] = (0.0, 0.0)  # probability in the first and in the second view [S12]
    norm: Literal["imagenet", "dataset", "none"] = "imagenet"  # SAR-JEPA: none [S12]

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("the scale of crops lies between 0 and 1, the smaller first")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError("the ratio of crops is positive, the smaller first")
        return self


class MaskedSettings(_Settings):
    """MAE: patches removed and painted again."""

    keep: float = Field(default=0.25, gt=0, lt=1)  # [S12]
    decoder_width: int = Field(default=512, ge=4)  # [S12]
    decoder_depth: int = Field(default=8, ge=1)  # [S12]
    decoder_heads: int = Field(default=16, ge=1)  # [S12]
    normalise_target: bool = True  # per patch [S12]


class MomentumContrastSettings(_Settings):
    """MoCo v3: a view's query against the other view's momentum keys."""

    hidden: int = Field(default=4096, ge=1)  # [S12]
    out: int = Field(default=256, ge=1)  # [S12]
    temperature: float = Field(default=0.2, gt=0)  # [S12]
    momentum: float = Field(default=0.99, ge=0, le=1)  # rises to 1 along a cosine [S12]
    freeze_patches: bool = True  # the patch projection stays as it starts [S12]


class GradientSettings(_Settings):
    """SAR-JEPA: gradients of masked patches in local windows."""

    windows: int = Field(default=4, ge=1)  # [S12]
    window: int = Field(default=7, ge=2)  # patches along a side [S12]
    masked: float = Field(default=0.8, gt=0, lt=1)  # [S12]
    predictor_width: int = Field(default=512, ge=4)  # [S12]
    predictor_depth: int = Field(default=8, ge=1)  # [S12]
    predictor_heads: int = Field(default=16, ge=1)  # the head width of MAE's decoder [D]
    half_sizes: tuple[int, ...] = (5, 9, 13, 17)  # of the kernels, in pixels [S12]
    floor: float = Field(default=0.01, gt=0)  # added to both sums [S12]


class ContrastiveSettings(_Settings):
    """The CLIP objective on template texts (first row of Table 8)."""

    texts: str = TEMPLATE_TEXTS  # a file of the corpus folder
    tau_init: float = Field(default=0.07, gt=0)  # as KLIP's (section 4.1)
    group_equal_text: bool = True  # equal texts are no negatives, as in KLIP's ITC (section 4.1) [D]
    vocabulary_size: int = Field(default=2000, ge=200)  # Table 2.1, where the corpus trains its own


class OptimiserSettings(_Settings):
    """AdamW with a rate per 256 images, warmed up and lowered along a cosine, step by step."""

    rate: float = Field(default=1.5e-4, gt=0)  # times batch / 256; SAR-JEPA: 1e-3 [S12]
    betas: tuple[float, float] = (0.9, 0.95)  # MoCo v3: the defaults of AdamW [S12]
    weight_decay: float = Field(default=0.05, ge=0)  # not on vectors; MoCo v3: 0.1 [S12]
    warmup: float = Field(default=40 / 800, ge=0, lt=1)  # share of all steps, from epochs of epochs [S12]
    clip_norm: float = Field(default=0.0, ge=0)  # off, as in all three


class BaselineSettings(_Settings):
    """All of it; the groups of other methods are there and unused."""

    method: Method
    size: Literal["tiny", "base"] = "base"
    epochs: int = Field(default=36, ge=1)
    """As KLIP (contradiction C11), so that as many images are presented; two views of one count once [D]."""
    batch_size_per_device: int = Field(default=64, ge=2)
    """[D]; section 12 has 4096, 1024 to 4096, and 300. Below 256 MoCo v3 suffers, which a run reports."""
    tower: TowerSettings = TowerSettings()
    views: ViewSettings = ViewSettings()
    mae: MaskedSettings = MaskedSettings()
    moco: MomentumContrastSettings = MomentumContrastSettings()
    jepa: GradientSettings = GradientSettings()
    clip: ContrastiveSettings = ContrastiveSettings()
    optim: OptimiserSettings = OptimiserSettings()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # bf16 on a GPU, as KLIP (section 14)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        if self.method == "sar-jepa" and self.jepa.window > self.tower.side:
            raise ValueError(f"a window of {self.jepa.window} patches is wider than an image of {self.tower.side}")
        return self


METHOD_CHANGES: dict[Method, dict[str, Any]] = {
    "mae": {},
    "moco-v3": {
        "views": {
            "scale": (0.08, 1.0),
            "brightness": 0.4,
            "contrast": 0.4,
            "jitter": 0.8,
            "blur": (1.0, 0.1),
            "solarise": (0.0, 0.2),
        },
        "optim": {"betas": (0.9, 0.999), "weight_decay": 0.1, "warmup": 40 / 300},
    },
    "sar-jepa": {
        "tower": {"channels": 1},
        "views": {"contrast": 0.5, "norm": "none"},
        "optim": {"rate": 1e-3, "warmup": 20 / 300},
    },
    # The rate of KLIP (section 7.2) for its batch of 32 is 3e-4; the views must agree with the texts (section 2.5).
    "clip": {
        "tower": {"position": "learned"},
        "views": {"scale": (0.9, 1.0), "ratio": (0.95, 1.05), "flip": 0.0, "brightness": 0.2, "contrast": 0.2},
        "optim": {"rate": 2.4e-3, "betas": (0.9, 0.999), "warmup": 2 / 36},
    },
}
"""Method to what it changes: its column of section 12."""

_TINY_TOWER = {"width": 128, "depth": 4, "heads": 4, "patch": 8, "image_size": 64}  # Table 2.1
TINY_CHANGES: dict[Method, dict[str, Any]] = {
    # Heads stay 32 wide; widths keep two thirds of the encoder's, depths two thirds of its blocks, both rounded up.
    "mae": {"mae": {"decoder_width": 96, "decoder_depth": 3, "decoder_heads": 3}, "optim": {"rate": 4e-3}},
    # A sixth of 4096 and of 256, rounded to a power of two.
    "moco-v3": {"moco": {"hidden": 512, "out": 64}, "optim": {"rate": 2e-3}},
    # Half an image wide as in the original; kernels of half the size, as the patches.
    "sar-jepa": {
        "jepa": {
            "window": 4,
            "predictor_width": 96,
            "predictor_depth": 3,
            "predictor_heads": 3,
            "half_sizes": (2, 4, 6, 8),
        },
        "optim": {"rate": 4e-3},
    },
    "clip": {"optim": {"rate": 4e-3}},
}
"""What the size `tiny` changes besides the tower; its rates [D] are for batches of 64: 1e-3, for MoCo v3 5e-4."""


def settings_of(
    method: str, size: str = "base", file: Path | None = None, changes: Sequence[str] = ()
) -> BaselineSettings:
    """The settings of a method in a size, with those of a file and `key=value` changes over them."""
    if method not in METHODS:
        raise unknown_name("baseline", method, METHODS, see="klip baseline --help")
    if size not in ("tiny", "base"):
        raise unknown_name("size", size, ("tiny", "base"), see="klip baseline --help")
    base: dict[str, Any] = merged({"method": method, "size": size}, METHOD_CHANGES[method])
    if size == "tiny":
        base = merged(merged(base, {"tower": _TINY_TOWER}), TINY_CHANGES[method])
    return configured(
        BaselineSettings, base, file=file, changes=changes, see=f"klip baseline settings {method} --size {size}"
    )


def as_data(settings: BaselineSettings) -> dict[str, Any]:
    """Plain data; `BaselineSettings.model_validate` reads it back."""
    return settings.model_dump(mode="json")


def flat(settings: BaselineSettings) -> dict[str, Any]:
    """Every value by its dotted key."""
    return dict(_flat("", as_data(settings)))


def _flat(prefix: str, data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value
