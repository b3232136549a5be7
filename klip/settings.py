"""Every setting of KLIP pre-training as typed data, with the presets `paper` and `recommended`.

Names and defaults are the configuration keys of section 14 of the KLIP specification, and sections, contradictions
(section 1) and Table 2.1 in the comments are the specification's; equations, Algorithm 1, figures and Table 8 are the
paper's. `[P]` marks what the paper states, `[B]` what follows the public BLIP recipe that the paper's numbers come
from, `[D]` what this project decided.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foundation.names import unknown_name

SLOTS = 8
"""Segments of a text (section 3.1)."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class DataSettings(_Settings):
    """What is read of a corpus (section 9)."""

    text: Literal["corpus", "template"] = "corpus"  # [P] Table 8: template is its first row


class InitialValuesSettings(_Settings):
    """Where the towers start (section 2.6): `random`, a file, or for the image tower `timm:NAME`."""

    vision: str = Field(default="random", min_length=1)  # [D] section 2.6: nothing is fetched unless asked for
    text: str = Field(default="random", min_length=1)  # [D] section 2.6


class ModelSettings(_Settings):
    """What is built (sections 2.1, 2.2 and 2.4)."""

    size: Literal["tiny", "base", "large"] = "base"  # [P] Table 2.1
    fusion: Literal["blip", "albef"] = "blip"  # [B] section 2.2: one BERT in three modes
    embed_dim: int = Field(default=256, ge=1)  # [B] contradiction C22
    decoder_memory: Literal["fused+image", "image", "fused"] = "fused+image"  # [D] section 2.4
    vision_width: int = Field(default=768, ge=1)  # Table 2.1
    vision_depth: int = Field(default=12, ge=1)  # Table 2.1
    vision_heads: int = Field(default=12, ge=1)  # Table 2.1
    drop_path: float = Field(default=0.0, ge=0, lt=1)  # [B] Table 2.1: 0.1 for large, linear in depth
    text_width: int = Field(default=768, ge=1)  # Table 2.1: BERT-base, for large as well
    text_layers: int = Field(default=12, ge=1)  # Table 2.1
    text_heads: int = Field(default=12, ge=1)  # Table 2.1
    text_ffn: int = Field(default=3072, ge=1)  # Table 2.1
    positions: int = Field(default=512, ge=1)  # Table 2.1
    init: InitialValuesSettings = InitialValuesSettings()
    # Section 2.1: 0.02 everywhere; images: 1 / sqrt(inputs) wherever images are read; width: in the whole model.
    spread: Literal["bert", "images", "width"] = "bert"

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        for tower, width, heads in (
            ("vision", self.vision_width, self.vision_heads),
            ("text", self.text_width, self.text_heads),
        ):
            if width % heads:
                raise ValueError(f"{tower} width {width} is not a multiple of its {heads} heads")
        return self


class ImageSettings(_Settings):
    """What the image tower sees (section 2.5)."""

    size: int = Field(default=224, ge=1)  # [P] Table 2.1
    patch: int = Field(default=16, ge=1)  # [P] Table 2.1
    aug: Literal["safe", "blip", "none"] = "safe"  # [D] section 2.5: flips and crops would contradict the text
    flip: Literal["off", "text_aware"] = "off"  # [D] section 2.5: left and right of the text change with the image
    norm: Literal["imagenet", "dataset"] = "imagenet"  # [P] section 2.5: the ViT is ImageNet-initialised

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.size % self.patch:
            raise ValueError(f"image size {self.size} is not a multiple of the patch {self.patch}")
        return self

    @property
    def tokens(self) -> int:
        """Visual tokens, [CLS] included (Table 2.1)."""
        return (self.size // self.patch) ** 2 + 1


class TextSettings(_Settings):
    """How long texts may be (sections 3.4 and 3.5)."""

    max_len: int = Field(default=160, ge=1)  # [D] contradiction C20: eight segments take 79 to 123 tokens
    max_seg_len: int = Field(default=48, ge=1)  # [D] section 3.4: the longest segment of the paper's Fig. 8 takes 35
    segment_dropout: float = Field(default=0.0, ge=0, lt=1)  # section 3.5; recommended: 0.15
    dropout_stages: Literal["first", "all"] = "first"  # section 3.5; all: shorter texts, so faster epochs, to the end
    grad_ckpt: int = Field(default=0, ge=0)  # section 7.6: the last layers whose states are computed twice

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.max_seg_len > self.max_len:
            raise ValueError(f"a segment of {self.max_seg_len} tokens does not fit a text of {self.max_len}")
        return self


class VisionSettings(_Settings):
    """Memory of the image tower (section 7.6)."""

    grad_ckpt: int = Field(default=0, ge=0)  # section 7.6: the last blocks whose states are computed twice


class LossSettings(_Settings):
    """Weights of ITC, ITM and MLM (section 4.4)."""

    weights: tuple[float, float, float] = Field(default=(1.0, 1.0, 1.0), alias="lambda")  # [P] eq. 7

    @model_validator(mode="after")
    def _some_loss(self) -> Self:
        if min(self.weights) < 0 or max(self.weights) == 0:
            raise ValueError("loss weights must not be negative, and one of them not 0")
        return self


class ContrastSettings(_Settings):
    """Image-text contrast (section 4.1)."""

    alpha: float = Field(default=0.4, ge=0, le=1)  # [P] contradiction C12: weight of the soft targets
    alpha_ramp_epochs: int = Field(default=2, ge=0)  # [B] section 4.1
    tau_init: float = Field(default=0.07, gt=0)  # [B] contradiction C22
    tau_clamp: tuple[float, float] = (0.001, 0.5)  # [B] section 4.1
    gather: bool = False  # [B] section 5.4: local batch and the shared queue
    group_equal_text: bool = True  # [D] section 4.1: equal texts are no negatives

    @model_validator(mode="after")
    def _temperature_in_range(self) -> Self:
        if not self.tau_clamp[0] <= self.tau_init <= self.tau_clamp[1]:
            raise ValueError(f"tau starts at {self.tau_init}, outside of {self.tau_clamp[0]} to {self.tau_clamp[1]}")
        return self


class MatchingSettings(_Settings):
    """Image-text matching (section 4.2)."""

    # [B] section 4.2: wrong partners are drawn by similarity; 0: all are as likely. A model that starts from nothing
    # learns to match from those that are easy to tell, and the contrast needs 50 steps to leave none of them.
    hardness: float = Field(default=1.0, ge=0, le=1)
    negative_all_rank: bool = False  # [B] section 4.2: true only in retrieval fine-tuning


class InfillingSettings(_Settings):
    """Masked language modelling (section 4.3)."""

    objective: Literal["infill", "bidir", "lm"] = "infill"  # [D] contradiction C10
    mode_probs: tuple[float, float, float] = (0.4, 0.4, 0.2)  # [D] section 4.3: token, segment, full
    prob: float = Field(default=0.15, gt=0, le=1)  # [B] section 4.3
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # [D] section 4.3; BLIP's LM uses 0.1

    @model_validator(mode="after")
    def _probabilities(self) -> Self:
        if min(self.mode_probs) < 0 or abs(sum(self.mode_probs) - 1) > 1e-9:
            raise ValueError("the probabilities of token, segment and full must sum to 1")
        return self


class QueueSettings(_Settings):
    """Momentum features of earlier batches (section 5.1)."""

    size: int = Field(default=20_000, ge=0)  # [P] contradiction C13: need not divide by the batch
    init: Literal["empty", "random"] = "empty"  # [D] section 5.1: BLIP starts with fake negatives
    same_id: Literal["mask", "positive"] = "mask"  # [D] section 5.1


class MomentumSettings(_Settings):
    """The momentum twins (section 5.2)."""

    m: float = Field(default=0.995, ge=0, lt=1)  # [B] contradiction C22
    dropout: bool = False  # [D] section 5.2: BLIP leaves the twins in training mode


class OptimiserSettings(_Settings):
    """AdamW and its schedule (sections 7.1 and 7.2)."""

    lr: float = Field(default=3e-4, gt=0)  # [P] section 7.2
    warmup_lr: float = Field(default=1e-6, gt=0)  # [B] section 7.2
    warmup_steps: int | Literal["auto"] = 3000  # [P] contradiction C14: steps of the optimiser
    decay: float = Field(default=0.9, gt=0, le=1)  # [P] contradiction C15: factor per epoch
    min_lr: float = Field(default=1e-6, ge=0)  # [P] contradiction C15
    wd: float = Field(default=0.05, ge=0)  # [P] section 7.1
    wd_exclude: Literal["standard", "none"] = "standard"  # [D] section 7.1
    clip_norm: float = Field(default=0.0, ge=0)  # [B] section 7.1, 0: off; recommended: 1.0
    lr_scale: Literal["none", "linear"] = "none"  # [D] section 7.2
    restart_each_stage: bool = False  # [D] contradiction C15: warm-up and decay go on through the stages
    accumulate: int = Field(default=1, ge=1)  # section 5.5: micro-batches per step of the optimiser

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if max(self.warmup_lr, self.min_lr) > self.lr:
            raise ValueError("warm-up and floor of the learning rate must not lie above it")
        if isinstance(self.warmup_steps, int) and self.warmup_steps < 0:
            raise ValueError("warmup_steps must not be negative")
        return self


class ReconstructionSettings(_Settings):
    """How a noisy segment is written anew (section 6.6)."""

    context: Literal["filtered", "original"] = "filtered"  # [D] contradiction C7
    keep_label: bool = True  # [D] section 6.6
    num_beams: int = Field(default=3, ge=1)  # [D] section 6.6
    num_candidates: int = Field(default=1, ge=1)  # [D] section 6.6


class AcceptanceSettings(_Settings):
    """When a rebuilt segment is taken (section 6.7)."""

    base: Literal["both", "filtered", "original"] = "both"  # [D] contradiction C8


class ScioSettings(_Settings):
    """Self-consistent iterative optimisation of the texts (section 6)."""

    enabled: bool = True  # [P] Algorithm 1
    screen: bool = True  # [P] Algorithm 1, ablated in Table 8
    reconstruct: bool = True  # [P] Algorithm 1, ablated in Table 8
    stage_epochs: tuple[int, int, int] = (12, 12, 12)  # [P] contradiction C11
    max_iter: int = Field(default=1, ge=1)  # [D] contradiction C11
    negatives: Literal["bank", "queue", "batch"] = "bank"  # [D] section 6.2: independent of batching
    rule: Literal["sign", "zscore"] = "sign"  # [P] eqs 10 and 11
    tests: Literal["both", "itc", "itm"] = "both"  # [P] eqs 10 and 11; one alone is an ablation of section 9
    noise_rate: float = Field(default=0.2, gt=0, lt=1)  # [P] the texts are right to about 80 %; `zscore` alone uses it
    control: Literal["none", "random"] = "none"  # [D] section 9: as many segments flagged, but by lot
    rescreen_every: int = Field(default=0, ge=0)  # [D] section 6.1: epochs between screenings in stage 2, 0: at its end
    itc_margin: float = Field(default=0.0, ge=0)  # [P] eq. 10
    itm_margin: float = Field(default=0.0, ge=0)  # [P] eq. 11
    confirm: Literal["segment", "set", "both"] = "both"  # [D] contradiction C5
    min_keep: int = Field(default=3, ge=1, le=SLOTS)  # [D] section 6.4
    max_noise_frac: float = Field(default=0.5, ge=0, le=1)  # [D] section 6.4
    gate_itm: bool = True  # [D] section 6.8: matching only where contrast speaks of noise
    noise_in_mlm: Literal["mask", "keep"] = "mask"  # [D] section 4.3
    recon: ReconstructionSettings = ReconstructionSettings()
    accept: AcceptanceSettings = AcceptanceSettings()
    fallback: Literal["drop", "original"] = "drop"  # [P] contradiction C9, Algorithm 1
    held_out: float = Field(default=0.02, ge=0, le=0.5)  # [D] section 6.10: share that training leaves out
    min_itm_auc: float = Field(default=0.75, ge=0, le=1)  # [D] section 6.10
    strict: bool = False  # [D] section 6.10: skip a screening by a model that cannot match, instead of warning
    closing_screen: bool = True  # [D] section 6.1: one more screening at the end, for the report alone
    crossfit: int = Field(default=1, ge=1)  # [D] section 6.10, 1: off

    @model_validator(mode="after")
    def _screened_before_rebuilt(self) -> Self:
        if self.enabled and self.reconstruct and not self.screen:
            raise ValueError("reconstruction needs screening: only what is flagged can be rebuilt")
        if min(self.stage_epochs) < 1:
            raise ValueError("every stage needs an epoch")
        return self


class AuditSettings(_Settings):
    """What screening writes down (section 6.8)."""

    full: bool = False  # [D] section 6.8: match every segment, also where contrast speaks of none


class DebugSettings(_Settings):
    """Checks that cost time (section 5.3)."""

    queue_check_every: int = Field(default=500, ge=0)  # [D] section 5.3: several processes compare their queues


class PretrainingSettings(_Settings):
    """All of it."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    image: ImageSettings = ImageSettings()
    vision: VisionSettings = VisionSettings()
    text: TextSettings = TextSettings()
    batch_size_per_device: int = Field(default=32, ge=2)  # [P] contradiction C13; matching needs two (section 4.2)
    epochs: int = Field(default=36, ge=1)  # [P] contradiction C11
    loss: LossSettings = LossSettings()
    itc: ContrastSettings = ContrastSettings()
    itm: MatchingSettings = MatchingSettings()
    mlm: InfillingSettings = InfillingSettings()
    queue: QueueSettings = QueueSettings()
    ema: MomentumSettings = MomentumSettings()
    optim: OptimiserSettings = OptimiserSettings()
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"  # section 14: bf16 on a GPU, fp32 on a CPU
    scio: ScioSettings = ScioSettings()
    audit: AuditSettings = AuditSettings()
    seed: int = Field(default=0, ge=0)  # section 14
    log_every: int = Field(default=50, ge=1)  # [D] section 7.5: steps per line of the log
    tensorboard: bool = True  # [D] section 7.5
    save_minutes: float = Field(default=15.0, gt=0)  # [D] section 7.4
    checkpoints: int = Field(default=2, ge=1)  # [D] section 7.4: the last ones that are kept, beside ends of stages
    debug: DebugSettings = DebugSettings()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        planned = self.scio.max_iter * sum(self.scio.stage_epochs)
        if self.scio.enabled and planned != self.epochs:
            raise ValueError(f"epochs is {self.epochs}, the stages of SCIO take {planned} (contradiction C11)")
        if self.text.max_len > self.model.positions:
            raise ValueError(f"texts of {self.text.max_len} tokens need more than {self.model.positions} positions")
        return self


SIZES: dict[str, dict[str, dict[str, Any]]] = {
    # Table 2.1, column by column; what a size does not state is the default above, which is `base`.
    "tiny": {
        "model": {
            "size": "tiny",
            # [D] At 0.02 an image tower of width 128 spends its first thousand steps on growing its weights, and what
            # cross-attention brings of an image moves a state by 3 % of its size. The rest of a text stack has no such
            # need to write: started wider it does so worse for longer (loss 4.8 instead of 3.3 after 150 steps). To
            # match it has: on the toy world of the acceptance test only `width` learns it in 300 steps.
            "spread": "images",
            "embed_dim": 64,
            "vision_width": 128,
            "vision_depth": 4,
            "vision_heads": 4,
            "text_width": 128,
            "text_layers": 4,
            "text_heads": 4,
            "text_ffn": 512,
        },
        "image": {"size": 64, "patch": 8},
        "queue": {"size": 1024},
    },
    "base": {"model": {"size": "base"}},
    "large": {
        "model": {"size": "large", "vision_width": 1024, "vision_depth": 24, "vision_heads": 16, "drop_path": 0.1}
    },
}
"""Size to what it changes."""

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},  # the defaults above, literally
    "recommended": {
        "text": {"segment_dropout": 0.15},  # section 3.5: texts with a gap are then in-distribution for SCIO
        "optim": {"clip_norm": 1.0},  # sections 7.1 and 7.2: 3e-4 is aggressive for a batch of 32
    },
}
"""Preset to what it changes."""


class Setting(NamedTuple):
    """One value by its key of section 14."""

    key: str
    value: Any


def preset(name: str = "paper", size: str = "base") -> PretrainingSettings:
    """The settings of a preset in a size."""
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS, see="klip settings --help")
    if size not in SIZES:
        raise unknown_name("size", size, SIZES, see="klip settings --help")
    changes: dict[str, dict[str, Any]] = {}
    for group, values in chain(SIZES[size].items(), PRESETS[name].items()):
        changes.setdefault(group, {}).update(values)
    return PretrainingSettings.model_validate(changes)


def as_data(settings: PretrainingSettings) -> dict[str, Any]:
    """Plain data under the names of section 14; `PretrainingSettings.model_validate` reads it back."""
    return settings.model_dump(mode="json", by_alias=True)


def flat(settings: PretrainingSettings) -> list[Setting]:
    """Every value by its dotted key."""
    return list(_flat("", as_data(settings)))


def _flat(prefix: str, data: dict[str, Any]) -> list[Setting]:
    found = []
    for name, value in data.items():
        key = f"{prefix}{name}"
        found += _flat(f"{key}.", value) if isinstance(value, dict) else [Setting(key, value)]
    return found
