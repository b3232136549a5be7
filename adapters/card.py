"""What is known of a model before anything is loaded: geometry, input, origin of its weights.

Cards are data: importing this module never imports torch.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Backbone = Literal["ViT-Base", "ViT-Large", "mini", "control", "other"]
"""The group of rows in which a model is compared. The first two are the paper's."""

Activation = Literal["gelu", "quick_gelu"]
"""No checkpoint states its activation, so a card must."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Architecture(_Data):
    """Geometry of an encoder; `kind` says which builder reads the rest."""

    kind: Literal["vit", "hivit", "timm", "object", "features"] = Field(
        description="vit: plain vision transformer; hivit: SARATR-X; timm: a timm model by `timm_name`; object: what "
        "the function `factory` of a package builds; features: hand-made statistics"
    )
    factory: str | None = Field(
        default=None, pattern=r"^[\w.]+:[\w.]+$", description="import path module:function, for kind 'object'"
    )
    code: str | None = Field(default=None, description="hash of the factory's sources, filled in where cards are read")
    timm_name: str | None = Field(default=None, description="name in timm, for kind 'timm'")
    width: int = Field(default=0, ge=0, description="token width; 0 where the builder knows it")
    depth: int = Field(default=0, ge=0, description="blocks that the checkpoint declares (BAN: 9 of 12)")
    heads: int = Field(default=0, ge=0, description="attention heads")
    patch: int = Field(default=0, ge=0, description="side of a patch in pixels")
    mlp_ratio: float = Field(default=4.0, gt=0, description="hidden width of the MLP over the token width")
    activation: Activation | None = Field(default=None, description="required for ViTs: no file states it")
    norm_eps: float = Field(default=1e-6, gt=0, description="epsilon of the layer norms")
    pre_norm: bool = Field(default=False, description="layer norm before the first block (CLIP family)")
    patch_bias: bool = Field(default=True, description="bias in the patch embedding (CLIP family: none)")
    class_token: bool = Field(default=True, description="class token in front of the patch tokens")
    final_norm: bool = Field(default=True, description="layer norm after the last block")
    in_channels: int = Field(default=3, ge=1, description="channels of the patch embedding")
    position: Literal["learned", "sincos2d", "sincos3d", "irpe_k", "none"] = Field(
        default="learned", description="position terms"
    )
    image_size: int = Field(default=224, ge=1, description="side of the images of pre-training, in pixels")
    output_norm: bool = Field(default=False, description="one more layer norm on all tokens, after the final one")
    feature_layer: int | None = Field(default=None, description="block whose output is read; None: the last one")
    doubled_class_token: bool = Field(
        default=False, description="upstream adds the class embedding twice (ChangeCLIP); its layout applies it"
    )

    @model_validator(mode="after")
    def _complete(self) -> Architecture:
        if self.kind == "vit":
            lacking = [name for name in ("width", "depth", "heads", "patch") if not getattr(self, name)]
            if self.activation is None:
                lacking.append("activation")
            if lacking:
                raise ValueError(f"a ViT card must state {', '.join(lacking)}")
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not divisible by {self.heads} heads")
        if self.kind == "object" and not self.factory:
            raise ValueError("a card of kind object must state factory")
        if self.kind == "timm" and not self.timm_name:
            raise ValueError("a timm card must state timm_name")
        return self


class InputContract(_Data):
    """What the encoder expects to be fed. Unit and channels are checked where images become input (`sar_input`)."""

    unit: Literal["uint8", "amplitude", "power", "db", "complex", "reflectance"] = Field(
        default="uint8", description="unit of a pixel before normalisation"
    )
    channels: int = Field(default=3, ge=1, description="channels after the grey rule")
    grey_rule: Literal["replicate", "single", "replicate_bands"] = Field(
        default="replicate", description="how one SAR channel becomes `channels`"
    )
    mean: tuple[float, ...] = Field(description="per channel, on pixels scaled to 0..1")
    std: tuple[float, ...] = Field(description="per channel, on pixels scaled to 0..1")
    polarisations: tuple[str, ...] = Field(default=(), description="accepted polarisations; empty: any one")
    ground_sampling_m: float | None = Field(default=None, description="pixel size of pre-training, where known")

    @model_validator(mode="after")
    def _consistent(self) -> InputContract:
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(f"mean and std must have {self.channels} entries")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self


class WeightSource(_Data):
    """Where the weights come from."""

    kind: Literal["none", "random", "file", "shipped", "timm", "hub", "url", "manual", "unreleased"] = Field(
        description="none: has no weights; file: a path on this machine; shipped: in this package; manual: must be "
        "fetched by hand"
    )
    hub_id: str | None = Field(default=None, description="repository on the Hugging Face hub")
    filename: str | None = Field(default=None, description="published file name")
    revision: str | None = Field(default=None, description="revision on the hub")
    url: str | None = Field(default=None, description="address of the file or of the page that leads to it")
    sha256: str | None = Field(default=None, description="checksum, once known")
    size_mb: int | None = Field(default=None, gt=0, description="published size in MB, where stated")
    shard_prefix: str | None = Field(
        default=None, description="of a sharded file only the shards with tensor names that start so are needed"
    )
    steps: tuple[str, ...] = Field(default=(), description="what to do by hand, for kind 'manual'")
    alternatives: str = Field(default="", description="other published files and places")
    path: str | None = Field(default=None, description="local file, for kind 'file'")
    licence: str = Field(default="", description="licence of the weights as far as stated")


class Companion(_Data):
    """A second file beside the first, read only where the first one falls short of the encoder."""

    filename: str = Field(pattern=r"^[^/\\]+$", description="file name, in the folder of the main file")
    layout: str = Field(description="checkpoint layout of that file")
    url: str = Field(description="where it is published")
    sha256: str | None = Field(default=None, description="checksum, once known")
    licence: str = Field(default="", description="its licence, as far as stated")


class TextSide(_Data):
    """Text, fusion and decoder parts beside the weights, as `klip export text` writes them."""

    filename: str = Field(pattern=r"^[^/\\]+$", description="file name, in the folder of the weights")
    sha256: str = Field(description="checksum")


class ModelCard(_Data):
    """One model at one size."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._:-]*$", description="stable name used on the command line")
    name: str = Field(description="name as it is printed; the paper's spelling where it has one")
    backbone: Backbone = Field(description="comparison group")
    paper_model: str | None = Field(default=None, description="model_id in results/reported/models.csv")
    tables: tuple[int, ...] = Field(default=(), description="tables of the paper with a row for it")
    kind: str = Field(description="multimodal_optical_rs, vision_only_sar, control, ...")
    architecture: Architecture | None = Field(description="None for answerers without an encoder of ours (Table 7)")
    input: InputContract | None = Field(default=None, description="None where there is no encoder")
    weights: WeightSource = Field(description="origin of the weights")
    layout: str | None = Field(default=None, description="checkpoint layout; None while its reader is not built")
    prefix: str | None = Field(
        default=None, description="what the encoder's tensor names start with, where a file holds several encoders"
    )
    companion: Companion | None = Field(default=None, description="second file, read only where the first falls short")
    text: TextSide | None = Field(default=None, description="the model's own text side, where it is a file we read")
    checkpoint_id: str | None = Field(default=None, description="id of the published checkpoint's description")
    note: str = Field(default="", description="what a reader of the table should know")


class WeightState(_Data):
    """Whether a card can be loaded here and now; found out without torch."""

    state: Literal["ready", "missing", "unsupported"] = Field(
        description="missing: the file is not here; unsupported: no reader for its layout, or not an encoder"
    )
    path: str | None = Field(default=None, description="the file that will be read")
    reason: str = Field(default="", description="why it is not ready")
    way_out: str = Field(default="", description="how to get it")
