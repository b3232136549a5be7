"""Any other network that timm builds and can read feature maps from: ResNet, ConvNeXt, Swin, ...

Hierarchical networks have no class token: the pooled feature is the average of the last map, the tokens are its
cells. Dropout and drop path reach the network as far as its architecture has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from adapters.card import Architecture
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
        self.width = int(described[-1]["num_chs"])
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
        self._require_channels(images)
        network: Any = self.network
        last: Tensor = network.forward_features(images)
        pooled: Tensor = network.forward_head(last, pre_logits=True)
        if last.ndim == 4:
            # Most networks give [B, D, h, w]; Swin and its kin give [B, h, w, D].
            rows = last if last.shape[1] == self.width else last.permute(0, 3, 1, 2)
            return Features(pooled, None, rows.flatten(2).transpose(1, 2), Grid(*map(int, rows.shape[2:])))
        prefix = int(getattr(network, "num_prefix_tokens", 0))
        own_token = prefix > 0 and getattr(network, "cls_token", None) is not None
        grid = Grid(images.shape[2] // self.stride, images.shape[3] // self.stride)
        return Features(pooled, last[:, 0] if own_token else None, last[:, prefix:], grid)

    def _require_channels(self, images: Tensor) -> None:
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise UsageError(
                f"images of shape {tuple(images.shape)} where [B, {self.in_channels}, H, W] is expected",
                way_out=f"prepare the images with the card's input contract ({self.in_channels} channels)",
            )

    def maps(self, images: Tensor) -> list[FeatureMap]:
        """The maps of all stages, from fine to coarse."""
        self._require_channels(images)
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
        """What timm itself leaves out of the decay."""
        names: set[str] = getattr(self.network, "no_weight_decay", set)()
        return {f"network.{name}" for name in names}


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
    return TimmEncoder(network, in_channels=architecture.in_channels)


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
