"""Any other network that timm builds and can read feature maps from: ResNet, ConvNeXt, Swin, ...

Hierarchical networks have no class token: the tokens are the cells of the last map, after the network's own final norm
or last convolution. The pooled feature is what the network feeds its own classifier, where that has the width of the
tokens; networks that widen it behind the pooling (MobileNetV3, EfficientViT, VGG) give the mean of the tokens, for one
encoder has one width. Dropout and drop path reach the network as far as its architecture has them.

Networks whose last features are no grid of tokens (CoaT, CrossViT, PiT) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from adapters.card import Architecture
from adapters.image_batch import require_images
from adapters.interface import FeatureMap, Features, Grid
from foundation.errors import MissingError, UsageError
from foundation.names import unknown_name
from foundation.seeds import derive_seed

_STAGE_NAME = re.compile(r"(?:^|\.)(?:stages?|layers?|blocks?)[._]?(\d+)(?:\.|$)")

_AFTER_STAGES = ("norm.", "norm_head.", "head.", "fc_norm.", "conv_head.", "bn2.")  # bn2: of EfficientNets' conv_head


class TimmEncoder(nn.Module):
    """A timm network without its classifier, as an encoder."""

    def __init__(self, network: nn.Module, *, in_channels: int) -> None:
        super().__init__()
        self.network = network
        described: list[Mapping[str, Any]] = list(network.feature_info)  # type: ignore[arg-type]
        if not hasattr(network, "forward_intermediates") or not described:
            raise UsageError(
                f"{type(network).__name__} of timm gives no feature maps",
                way_out="choose another architecture, for example timm:resnet18",
            )
        self._strides = [int(info["reduction"]) for info in described]
        # What `forward_features` gives; a last convolution may make it wider than the last map.
        self.width = int(getattr(network, "num_features", described[-1]["num_chs"]))
        self.stride = self._strides[-1]
        self.in_channels = in_channels
        stages = {int(match[1]) for name, _ in network.named_parameters() if (match := _STAGE_NAME.search(name))}
        self._first_stage = min(stages, default=0)  # ResNet counts from 1, ConvNeXt and Swin from 0
        self.layer_count = max(stages, default=0) - self._first_stage + 1

    @property
    def pretrained_config(self) -> Mapping[str, Any]:
        """What timm says of the weights: mean and std among others."""
        config: Mapping[str, Any] = self.network.pretrained_cfg  # type: ignore[assignment]
        return config

    def forward(self, images: Tensor) -> Features:
        """Features of images [B, C, H, W], after the network's own final norm and with its own pooling."""
        require_images(images, self.in_channels)
        network: Any = self.network
        last = network.forward_features(images)
        class_token, tokens, grid = self._tokens(last, images)
        pooled: Tensor = network.forward_head(last, pre_logits=True)
        if pooled.shape != (len(images), self.width):
            pooled = tokens.mean(dim=1)
        return Features(pooled, class_token, tokens, grid)

    def _tokens(self, last: Any, images: Tensor) -> tuple[Tensor | None, Tensor, Grid]:
        """Class token, tokens in row order, and their grid."""
        if isinstance(last, Tensor) and last.ndim == 4:
            # Most networks give [B, D, h, w]; Swin and its kin say that they give [B, h, w, D].
            rows = last.permute(0, 3, 1, 2) if getattr(self.network, "output_fmt", None) == "NHWC" else last
            if rows.shape[1] == self.width:
                return None, rows.flatten(2).transpose(1, 2), Grid(*map(int, rows.shape[2:]))
        grid = Grid(images.shape[2] // self.stride, images.shape[3] // self.stride)
        if isinstance(last, Tensor) and last.ndim == 3 and last.shape[2] == self.width:
            # Tokens before the patches: class token, registers; VOLO has one and does not count it.
            prefix = last.shape[1] - grid.h * grid.w
            own = prefix > 0 and getattr(self.network, "cls_token", None) is not None
            if prefix == int(getattr(self.network, "num_prefix_tokens", int(own))):
                return last[:, 0] if own else None, last[:, prefix:], grid
        raise UsageError(
            f"the last features of {type(self.network).__name__} are no grid of tokens",
            where=f"timm network for images of {images.shape[2]} x {images.shape[3]} pixels",
            way_out="choose another architecture, for example timm:resnet18 or timm:swin_tiny_patch4_window7_224",
        )

    def maps(self, images: Tensor) -> list[FeatureMap]:
        """The maps of all stages, from fine to coarse."""
        require_images(images, self.in_channels)
        found: list[Tensor] = self.network.forward_intermediates(  # type: ignore[operator]
            images, intermediates_only=True, output_fmt="NCHW"
        )
        return [FeatureMap(values, stride) for values, stride in zip(found, self._strides, strict=True)]

    def layer_id(self, parameter_name: str) -> int:
        """0 for the stem, the stage's number from 1, L + 1 for what comes after the stages."""
        stage = _STAGE_NAME.search(parameter_name)
        if stage:
            return int(stage[1]) - self._first_stage + 1
        return self.layer_count + 1 if parameter_name.removeprefix("network.").startswith(_AFTER_STAGES) else 0

    def no_weight_decay(self) -> set[str]:
        """What timm itself leaves out of the decay; of the names it gives, not every network has all."""
        names: set[str] = getattr(self.network, "no_weight_decay", set)()
        return {f"network.{name}" for name, _ in self.network.named_parameters() if name in names}


def build_timm(
    architecture: Architecture,
    *,
    image_size: int,
    seed: int,
    pretrained: bool = False,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> TimmEncoder:
    """Builds a timm network from scratch, or with the weights that timm fetches."""
    network = create_network(
        architecture,
        seed=seed,
        pretrained=pretrained,
        img_size=image_size,
        drop_rate=dropout,
        drop_path_rate=drop_path,
    )
    encoder = TimmEncoder(network, in_channels=architecture.in_channels)
    _require_size(encoder, architecture.timm_name, image_size)
    return encoder


def _require_size(encoder: TimmEncoder, name: str | None, image_size: int) -> None:
    """Shows the network one empty image: many take only some sizes, and say so by whatever breaks inside."""
    training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            image = torch.zeros(1, encoder.in_channels, image_size, image_size)
            encoder(image)
            encoder.maps(image)
    except (AssertionError, RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
        detail = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"{name} of timm cannot be used with images of {image_size} pixels: {detail}",
            where=f"timm:{name}",
            way_out="choose another architecture, for example timm:resnet18 or timm:convnext_atto",
        ) from error
    finally:
        encoder.train(training)


def create_network(architecture: Architecture, *, seed: int, pretrained: bool, **options: Any) -> nn.Module:
    """`timm.create_model` without touching the global random state, with what the network knows of `options`."""
    name = architecture.timm_name or ""
    if not timm.is_model(name):
        raise unknown_name("timm architecture", name, timm.list_models(), see="the model list in timm's documentation")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("timm", name, seed))
        while True:
            try:
                network: nn.Module = timm.create_model(
                    name, pretrained=pretrained, in_chans=architecture.in_channels, num_classes=0, **options
                )
            except TypeError as error:
                # Networks differ in what they accept; the error names the argument.
                refused = [option for option in options if f"'{option}'" in str(error)]
                if not refused:
                    raise
                for option in refused:
                    del options[option]
            except Exception as error:
                if not pretrained:
                    raise
                raise MissingError(
                    f"timm could not get the weights of {name}: {error}",
                    where=f"timm:{name}@pretrained",
                    way_out="connect to the network once, or fill timm's cache (HF_HOME) by hand",
                ) from error
            else:
                return network
