"""The shape of the settings. Values live in the TOML files beside this one, each with its source.

Validated before anything heavy is imported. No field has a default that a profile could forget to state, except
options that are off: what trains a model is written down in full.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimiserSettings(_Settings):
    """Which optimiser, how fast, and which parameters are decayed."""

    name: Literal["adamw", "adam", "sgd"] = Field(description="optimiser")
    rate: float = Field(gt=0, description="peak learning rate")
    betas: tuple[float, float] = Field(default=(0.9, 0.999), description="moments of Adam and AdamW")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(ge=0, description="decay of the decayed parameters")
    no_decay: tuple[Literal["class_token", "position", "norm", "bias"], ...] = Field(
        description="kinds of parameters without decay"
    )
    layer_decay: float | None = Field(
        default=None, gt=0, le=1, description="rate factor per layer, counted from the head; None: same rate everywhere"
    )


class ScheduleSettings(_Settings):
    """How the rate moves from its start to its end."""

    kind: Literal["cosine", "multistep", "poly", "constant"] = Field(description="shape after the warm-up")
    step: Literal["iteration", "epoch"] = Field(description="how often the rate is set")
    warmup_epochs: float = Field(default=0.0, ge=0, description="length of the linear warm-up; part of the epochs")
    warmup_factor: float = Field(default=1.0, gt=0, le=1, description="rate factor at the start of the warm-up")
    milestones: tuple[int, ...] = Field(default=(), description="multistep: epochs after which the rate falls")
    gamma: float = Field(default=0.1, gt=0, le=1, description="multistep: factor at each milestone")
    power: float = Field(default=1.0, gt=0, description="poly: exponent")
    floor: float = Field(default=0.0, ge=0, description="cosine and poly: rate at the end")

    @model_validator(mode="after")
    def _ordered(self) -> ScheduleSettings:
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if (self.kind == "multistep") != bool(self.milestones):
            raise ValueError("milestones belong to multistep, and multistep needs them")
        return self


class TrainingSettings(_Settings):
    """What the one training loop needs, whatever the task."""

    epochs: int = Field(ge=1, description="passes over the training part")
    batch: int = Field(ge=1, description="items per optimiser step, over all processes")
    micro_batch: int = Field(ge=1, description="items per forward pass; gradients are accumulated up to `batch`")
    optimiser: OptimiserSettings
    schedule: ScheduleSettings
    gradient_clip: float | None = Field(default=None, gt=0, description="largest gradient norm; None: not clipped")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        description="auto: bf16 where there is a GPU that has it, else fp32"
    )

    @model_validator(mode="after")
    def _consistent(self) -> TrainingSettings:
        if self.schedule.warmup_epochs >= self.epochs:
            raise ValueError("the warm-up must be shorter than the training")
        if self.micro_batch > self.batch:
            raise ValueError("micro_batch must not exceed batch")
        if any(milestone >= self.epochs for milestone in self.schedule.milestones):
            raise ValueError("milestones must lie before the last epoch")
        return self


class Normalisation(_Settings):
    """Statistics of the pixels fed to the encoder, on the 0..255 scale as the sources print them."""

    source: Literal["task", "native"] = Field(description="task: the numbers here; native: the model card's own")
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class EncoderSettings(_Settings):
    """Regularisation of the encoder while it is fine-tuned."""

    dropout: float = Field(ge=0, lt=1, description="dropout in the MLPs and projections")
    drop_path: float = Field(ge=0, lt=1, description="stochastic depth at the last block")


class RandomCrop(_Settings):
    """Random resized crop."""

    scale: tuple[float, float] = Field(description="share of the area")
    ratio: tuple[float, float] = Field(description="width over height")


class ClassificationSettings(_Settings):
    """Section 3.1 of the task specification."""

    training: TrainingSettings
    encoder: EncoderSettings
    normalisation: Normalisation
    image_size: int = Field(ge=8, description="side of the encoder's input")
    images: Literal["original", "resized"] = Field(
        description="what the training crops are cut from: the decoded file, or its test-time square"
    )
    crop: RandomCrop
    horizontal_flip: float = Field(ge=0, le=1, description="probability")
    pooling: Literal["class_token", "mean"] = Field(
        description="feature under the linear head; encoders without a class token always use the mean"
    )
    label_smoothing: float = Field(ge=0, lt=1)

    @property
    def input_size(self) -> int:
        """Side of what the encoder sees."""
        return self.image_size

    def resized(self, size: int) -> ClassificationSettings:
        """The same for another size of the input."""
        return self.model_copy(update={"image_size": size})


class DetectionSettings(_Settings):
    """Section 4.1 of the task specification."""

    training: TrainingSettings
    encoder: EncoderSettings
    normalisation: Normalisation
    image_size: int = Field(ge=32, description="side of the padded square")
    resize_range: tuple[float, float] = Field(description="random scale of the longest side in training")
    horizontal_flip: float = Field(ge=0, le=1)
    smallest_box: float = Field(description="boxes with a side below this many pixels are dropped")
    smallest_image: int = Field(description="images with a side below this are left out of training")
    window: int = Field(ge=1, description="side of the attention windows, in patches")
    global_blocks: tuple[int, ...] = Field(description="blocks with global attention")
    pyramid_strides: tuple[int, ...]
    pyramid_channels: int = Field(ge=1)
    anchor_scale: float = Field(gt=0, description="anchor side over stride")
    anchor_ratios: tuple[float, ...]
    rpn_convolutions: int
    rpn_positive_iou: float
    rpn_negative_iou: float
    rpn_low_quality_iou: float = Field(
        ge=0, le=1, description="overlap from which the nearest anchors of a target are positive, whatever the others"
    )
    rpn_samples: int
    rpn_positive_share: float
    rpn_proposals_train: tuple[int, int] = Field(description="before and after suppression")
    rpn_proposals_test: tuple[int, int] = Field(description="before and after suppression")
    rpn_suppression_iou: float
    roi_size: int
    roi_convolutions: int
    roi_hidden: int
    roi_samples: int
    roi_positive_share: float
    roi_positive_iou: float
    roi_delta_scale: tuple[float, float, float, float]
    test_score: float
    test_suppression_iou: float
    test_detections: int
    ignore_difficult: bool = Field(
        description="boxes that the annotators call difficult are neither asked for nor held against who finds them"
    )
    few_shot_share: float = Field(gt=0, le=1, description="AIR-F: share of the training pool that is kept")

    @property
    def input_size(self) -> int:
        """Side of what the encoder sees."""
        return self.image_size

    def resized(self, size: int) -> DetectionSettings:
        """The same for another size of the input."""
        return self.model_copy(update={"image_size": size})


class SegmentationSettings(_Settings):
    """Section 5.1 of the task specification."""

    training: TrainingSettings
    encoder: EncoderSettings
    normalisation: Normalisation
    tile: int = Field(ge=8, description="side of the tiles")
    stride: int = Field(ge=1, description="step between tiles")
    augment: bool = Field(description="flips and quarter turns")
    decoder_blocks: int = Field(ge=1)
    decoder_dropout: float = Field(ge=0, lt=1)
    ignore_label: int

    @property
    def input_size(self) -> int:
        """Side of what the encoder sees."""
        return self.tile

    def resized(self, size: int) -> SegmentationSettings:
        """The same for another size of the input; no pixel falls between smaller tiles."""
        return self.model_copy(update={"tile": size, "stride": min(self.stride, size)})


class TextSideSettings(_Settings):
    """The text, fusion and decoder parts that every encoder is given: one BERT in three modes."""

    width: int = Field(ge=1)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    hidden: int = Field(ge=1, description="width of the feed-forward layers")
    positions: int = Field(ge=1, description="longest text")
    vocabulary: int = Field(ge=200, description="word pieces, where a vocabulary is trained from the training texts")
    dropout: float = Field(ge=0, lt=1)


class ComparingSettings(_Settings):
    """Of the contrastive loss, wherever it is one of the losses."""

    embedding: int = Field(ge=1)
    momentum: float = Field(ge=0, lt=1, description="of the twins")
    temperature: float = Field(gt=0)
    temperature_range: tuple[float, float]
    alpha: float = Field(ge=0, le=1, description="weight of the soft targets")
    rise_epochs: int = Field(ge=0, description="until alpha is reached")
    queue: int = Field(ge=0, description="capped at four times the training pairs")
    hardness: float = Field(ge=0, le=1, description="of wrong partners for matching; 0: all are as likely")


class _LanguageSettings(_Settings):
    training: TrainingSettings
    encoder: EncoderSettings
    normalisation: Normalisation
    image_size: int = Field(ge=8)
    losses: tuple[Literal["itc", "itm", "lm"], ...] = Field(description="losses of Table 5; lm is its MLM")
    max_tokens: int = Field(ge=1, description="word pieces of a text, Table 5")
    intensity_jitter: float = Field(ge=0, description="the only augmentation that cannot falsify a position")
    init_text: Literal["bert", "model", "random"] = Field(
        description="initialisation of the parts that are not visual: bert for every model, each model's own where it "
        "has them, or random"
    )
    text: TextSideSettings
    comparing: ComparingSettings

    @property
    def input_size(self) -> int:
        """Side of what the encoder sees."""
        return self.image_size

    def resized(self, size: int) -> Self:
        """The same for another size of the input."""
        return self.model_copy(update={"image_size": size})


class RetrievalSettings(_LanguageSettings):
    """Section 7 of the task specification."""

    images: int | None = Field(ge=5, description="of all images with captions, in hash order by source; None: all")
    captions_per_epoch: int = Field(ge=1, le=5, description="of the five of an image, drawn anew in every epoch")
    rerank: int = Field(ge=0, description="candidates scored again with the matching head; 0: none")


class CaptionSettings(_LanguageSettings):
    """Section 8 of the task specification."""

    images: int | None = Field(ge=5, description="of all images with captions, in hash order by source; None: all")
    captions_per_epoch: int = Field(ge=1, le=5, description="of the five of an image, drawn anew in every epoch")
    prompt: str = Field(description="fixed start of every caption; carries no loss, cut from the output")
    beams: int = Field(ge=1)
    generated_tokens: tuple[int, int] = Field(description="shortest and longest output")


class VqaSettings(_LanguageSettings):
    """Section 9 of the task specification."""

    questions_per_epoch: int | None = Field(
        default=None, ge=1, description="of the training questions, drawn anew in every epoch; None: all"
    )
    joint: bool = Field(description="one model for all six tasks instead of one each")
    answering: Literal["rank", "generate"]
    paraphrases: bool = Field(description="two further wordings of every question, in both parts")
    coords: Literal["percent", "pixel"] = Field(description="unit of a centre that is asked about (section 6.3)")
    min_share: float = Field(ge=0, le=1, description="of a tile, for a land cover to be present (section 6.3)")
    min_margin: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="lead of the main land cover, as a share of the labelled pixels; closer calls are not asked; None: "
        "0 on real data, 0.05 on synthetic",
    )
    min_labelled: float = Field(ge=0, le=1, description="of a quadrant, for it to be asked about (section 6.3)")
    beams: int = Field(ge=1)
    generated_tokens: int = Field(ge=1)


LanguageSettings = RetrievalSettings | CaptionSettings | VqaSettings

TaskSettings = (
    ClassificationSettings
    | DetectionSettings
    | SegmentationSettings
    | RetrievalSettings
    | CaptionSettings
    | VqaSettings
)
