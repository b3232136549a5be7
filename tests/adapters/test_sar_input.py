"""The path from grey pixels to an encoder's input."""

from __future__ import annotations

import pytest
import torch

from adapters.card import InputContract
from adapters.registry import catalog
from adapters.sar_input import encoder_input, native_statistics
from foundation.errors import UsageError

THREE = InputContract(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
ONE = InputContract(channels=1, grey_rule="single", mean=(0.0,), std=(1.0,))
IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def grey() -> torch.Tensor:
    return torch.arange(2 * 4 * 6, dtype=torch.uint8).view(2, 4, 6) * 5


def test_equal_statistics_give_equal_channels_in_the_stated_range() -> None:
    out = encoder_input(grey(), THREE, (127.5,) * 3, (127.5,) * 3)
    assert out.shape == (2, 3, 4, 6)
    assert torch.equal(out[:, 0], out[:, 2])
    assert torch.allclose(out[:, 1], grey().float() / 127.5 - 1)


def test_statistics_per_channel_are_applied_per_channel() -> None:
    out = encoder_input(grey(), THREE, *IMAGENET)
    for channel in range(3):
        expected = (grey().float() - IMAGENET[0][channel]) / IMAGENET[1][channel]
        assert torch.allclose(out[:, channel], expected)


def test_one_channel_takes_the_average_of_the_task_s_statistics() -> None:
    out = encoder_input(grey(), ONE, *IMAGENET)
    assert out.shape == (2, 1, 4, 6)
    assert torch.allclose(out[:, 0], (grey().float() - sum(IMAGENET[0]) / 3) / (sum(IMAGENET[1]) / 3))


def test_the_images_themselves_are_left_alone() -> None:
    images = grey()
    encoder_input(images, THREE, (127.5,) * 3, (127.5,) * 3)
    assert torch.equal(images, grey())


def test_native_statistics_are_those_of_the_card() -> None:
    mean, std = native_statistics(THREE)
    assert mean == std == (127.5, 127.5, 127.5)


@pytest.mark.parametrize(
    ("images", "contract", "says"),
    [
        (torch.zeros(1, 4, 4), THREE, "8-bit grey"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), THREE, "4 dimensions"),
        (grey(), THREE.model_copy(update={"unit": "db"}), "expects db"),
        (
            grey(),
            InputContract(channels=6, grey_rule="replicate_bands", mean=(0.1,) * 6, std=(1.0,) * 6),
            "takes 6",
        ),
    ],
)
def test_what_cannot_be_fed_is_refused_with_the_reason(
    images: torch.Tensor, contract: InputContract, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        encoder_input(images, contract, *IMAGENET)


def test_every_encoder_of_the_catalogue_that_takes_grey_pixels_can_be_fed() -> None:
    for card in catalog().values():
        if card.input is not None and card.input.unit == "uint8" and card.input.channels in (1, 3):
            out = encoder_input(grey(), card.input, *IMAGENET)
            assert out.shape[1] == card.input.channels and torch.isfinite(out).all(), card.id
