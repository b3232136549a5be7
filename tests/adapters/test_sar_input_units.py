"""Samples of other SAR products: units, polarisations, channels, and what is refused."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from adapters.card import InputContract, ModelCard
from adapters.input_rules import choose_bands, require_fit
from adapters.mean_clip import mean_clip_uint8
from adapters.registry import catalog
from adapters.sar_input import FLOOR_DB, Statistics, encoder_input, native_statistics, prepare, to_unit
from foundation.errors import UsageError

GREY = InputContract(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
DB = InputContract(unit="db", channels=1, grey_rule="single", mean=(-12.0,), std=(6.0,))
DUAL = InputContract(unit="db", channels=2, polarisations=("VV", "VH"), mean=(-12.0, -20.0), std=(5.0, 6.0))
LINEAR = ("amplitude", "power", "db")


def amplitude(seed: int = 0, shape: tuple[int, ...] = (2, 1, 9, 7)) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).rayleigh(0.3, shape)).float()


def as_unit(values: Tensor, unit: str) -> Tensor:
    return values if unit == "amplitude" else to_unit(values, "amplitude", unit)


# ---- units


def test_decibels_are_twenty_logarithms_of_amplitude_and_ten_of_power() -> None:
    values = torch.tensor([[[[1.0, 10.0, 0.1, 0.5]]]])
    expected = torch.tensor([[[[0.0, 20.0, -20.0, -6.0206]]]])
    torch.testing.assert_close(to_unit(values, "amplitude", "db"), expected)
    torch.testing.assert_close(to_unit(values.square(), "power", "db"), expected)


@pytest.mark.parametrize(("one", "other"), list(product(LINEAR, LINEAR)))
def test_detected_units_lead_back_to_themselves(one: str, other: str) -> None:
    values = as_unit(amplitude(), one)
    torch.testing.assert_close(to_unit(to_unit(values, one, other), other, one), values, rtol=1e-5, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(LINEAR), st.sampled_from(LINEAR), st.sampled_from((*LINEAR, "uint8")))
def test_a_chain_of_conversions_ends_where_the_direct_one_does(seed: int, one: str, two: str, three: str) -> None:
    values = as_unit(amplitude(seed), one)
    direct = to_unit(values, one, three).double()
    chained = to_unit(to_unit(values, one, two), two, three).double()
    # Eight bits round: one level at most.
    torch.testing.assert_close(chained, direct, rtol=1e-5, atol=1.0 if three == "uint8" else 1e-4)


def test_complex_samples_become_their_magnitude_whatever_their_phase() -> None:
    values = amplitude()
    phase = torch.from_numpy(np.random.default_rng(1).uniform(0, 2 * np.pi, values.shape)).float()
    samples = torch.polar(values, phase)
    for unit in LINEAR:
        torch.testing.assert_close(
            to_unit(samples, "complex", unit), as_unit(values, unit).float(), rtol=1e-4, atol=1e-4
        )


def test_no_signal_is_the_floor_in_decibels_and_nothing_on_the_way_back() -> None:
    values = torch.tensor([[0.0, float("nan"), float("inf"), 1.0]])
    decibels = to_unit(values, "amplitude", "db")
    assert decibels.tolist() == [[FLOOR_DB, FLOOR_DB, FLOOR_DB, 0.0]]
    assert to_unit(decibels, "db", "amplitude").tolist() == [[0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("unit", ["amplitude", "uint16", "power", "db", "complex"])
def test_eight_bits_are_made_as_the_readers_of_the_tasks_make_them(unit: str) -> None:
    rng = np.random.default_rng(3)
    counts = np.round(rng.rayleigh(900, (3, 1, 40, 31))).astype(np.float32)
    counts[:, :, :5] = 0  # no data stays out of the mean
    samples = torch.from_numpy(counts)
    if unit in ("power", "db"):
        samples = to_unit(samples, "amplitude", unit)
    elif unit == "complex":
        samples = torch.complex(torch.zeros_like(samples), samples)
    found = to_unit(samples, unit, "uint8")
    expected = torch.from_numpy(np.stack([mean_clip_uint8(image) for image in counts]))
    difference = (found.int() - expected.int()).abs()
    assert found.dtype == torch.uint8
    assert difference.max() <= 1
    assert difference.float().mean() < 1e-3


def test_each_image_is_scaled_by_itself_and_an_empty_one_stays_empty() -> None:
    values = amplitude(shape=(3, 1, 20, 20))
    values[2] = 0
    both = to_unit(values * torch.tensor([1.0, 1000.0, 1.0]).view(3, 1, 1, 1), "amplitude", "uint8")
    torch.testing.assert_close(both, to_unit(values, "amplitude", "uint8"), rtol=0, atol=1)
    assert not both[2].any()


@pytest.mark.parametrize(
    ("from_unit", "target", "says"),
    [
        ("uint8", "db", "cannot be undone"),
        ("uint8", "amplitude", "cannot be undone"),
        ("uint8", "complex", "cannot be undone"),
        ("uint16", "db", "factor"),
        ("uint16", "amplitude", "factor"),
        ("amplitude", "complex", "phase"),
        ("db", "reflectance", "optical"),
        ("reflectance", "uint8", "optical"),
        ("amplitude", "uint16", "no rule"),
        ("speckle", "uint8", "no unit"),
    ],
)
def test_what_cannot_become_another_unit_is_refused_with_reason_and_way_out(
    from_unit: str, target: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        to_unit(torch.zeros(1, 1, 4, 4), from_unit, target)
    assert caught.value.way_out


@pytest.mark.parametrize(
    ("samples", "unit", "says"),
    [
        (torch.full((1, 1, 2, 2), -3.0), "amplitude", "amplitude below zero"),
        (torch.full((1, 1, 2, 2), -3.0), "power", "power below zero"),
        (torch.zeros(1, 1, 2, 2), "complex", "not complex"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.complex64), "amplitude", "not amplitude"),
        (torch.zeros(1, 1, 2, 2), "uint8", "not uint8"),
    ],
)
def test_samples_that_are_not_what_they_are_called_are_refused(samples: Tensor, unit: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        to_unit(samples, unit, "uint8")


# ---- polarisations


@pytest.mark.parametrize(
    ("wanted", "channels", "bands", "chosen"),
    [
        ((), 1, ("VH", "VV"), (1,)),  # any one: the co-polarised first
        ((), 3, ("HV", "HH", "VV"), (1,)),
        ((), 1, ("",), (0,)),
        (("VV",), 1, ("HH", "VV"), (1,)),
        (("VV", "HH"), 3, ("HH", "HV"), (0,)),  # the first of those accepted
        (("VV", "VH"), 2, ("VH", "VV"), (1, 0)),  # one channel each, in the model's order
        (("vv", "vh"), 2, ("VV", "HV"), (0, 1)),  # HV = VH
        (("HH", "HV", "VH", "VV"), 4, ("HH", "HV", "VH", "VV"), (0, 1, 2, 3)),
    ],
)
def test_bands_are_chosen_by_the_stated_rule(
    wanted: tuple[str, ...], channels: int, bands: tuple[str, ...], chosen: tuple[int, ...]
) -> None:
    contract = InputContract(channels=channels, polarisations=wanted, mean=(0.0,) * channels, std=(1.0,) * channels)
    assert choose_bands(bands, contract) == chosen


@pytest.mark.parametrize(
    ("bands", "says"),
    [
        (("HH",), "expects VV and VH, and the data have HH"),
        (("VV",), "expects VH, and the data have VV"),
        (("",), "no named polarisation"),
        ((), "no band"),
        (("VV", "VV"), "named twice"),
    ],
)
def test_data_without_the_polarisations_of_the_model_are_refused(bands: tuple[str, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        choose_bands(bands, DUAL)
    assert caught.value.way_out


def test_planning_can_ask_whether_data_fit_without_having_them() -> None:
    require_fit(DUAL, unit="complex", bands=("VV", "VH"))
    require_fit(GREY)
    with pytest.raises(UsageError, match="cannot be undone"):
        require_fit(DUAL, unit="uint8", bands=("VV", "VH"))
    with pytest.raises(UsageError, match="VV and VH"):
        require_fit(DUAL, unit="power", bands=("HH",))


# ---- from samples to channels


def test_eight_bit_grey_goes_the_way_of_the_tasks() -> None:
    grey = torch.arange(2 * 4 * 6, dtype=torch.uint8).view(2, 4, 6) * 5
    for contract in (GREY, InputContract(channels=1, grey_rule="single", mean=(0.1,), std=(0.5,))):
        expected = encoder_input(grey, contract, *native_statistics(contract))
        torch.testing.assert_close(prepare(grey, ("HH",), "uint8", contract), expected)


def test_each_polarisation_is_normalised_with_its_own_statistics() -> None:
    samples = amplitude(shape=(2, 3, 5, 5))
    out = prepare(samples, ("HH", "VH", "VV"), "amplitude", DUAL)
    decibels = to_unit(samples, "amplitude", "db")
    torch.testing.assert_close(out[:, 0], (decibels[:, 2] + 12) / 5)
    torch.testing.assert_close(out[:, 1], (decibels[:, 1] + 20) / 6)


def test_statistics_of_the_data_set_may_stand_in_for_the_cards() -> None:
    six = InputContract(channels=6, grey_rule="replicate_bands", mean=(0.0,) * 6, std=(1.0,) * 6)
    grey = torch.randint(0, 255, (2, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = float(grey.float().mean()), float(grey.float().std())
    out = prepare(grey, ("",), "uint8", six, statistics=Statistics((mean,) * 6, (std,) * 6))
    assert out.shape == (2, 6, 8, 8)
    assert out.mean().abs() < 1e-5 and (out.std() - 1).abs() < 0.01


def test_a_complex_model_gets_real_and_imaginary_parts() -> None:
    samples = torch.complex(amplitude(1), -amplitude(2))
    contract = InputContract(unit="complex", channels=2, mean=(0.0, 0.0), std=(1.0, 2.0))
    out = prepare(samples, ("HH",), "complex", contract)
    torch.testing.assert_close(out, torch.cat([samples.real, samples.imag / 2], dim=1))


@pytest.mark.parametrize(
    ("samples", "bands", "contract", "says"),
    [
        (torch.zeros(2, 2, 4, 4), ("VV",), DB, "1 named bands"),
        (torch.zeros(4, 4), ("VV",), DB, "named bands"),
        (torch.zeros(2, 1, 4, 4), ("HH",), DUAL, "VV and VH"),
    ],
)
def test_samples_that_do_not_go_with_the_model_are_refused(
    samples: Tensor, bands: tuple[str, ...], contract: InputContract, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        prepare(samples, bands, "amplitude", contract)


def test_one_band_cannot_fill_two_channels_that_want_statistics_of_their_own() -> None:
    with pytest.raises(UsageError, match="statistics for 1 channels"):
        prepare(amplitude(), ("VV",), "amplitude", GREY, statistics=Statistics((0.0,), (1.0,)))


def test_the_samples_themselves_are_left_alone() -> None:
    samples = amplitude(shape=(2, 2, 5, 5))
    before = samples.clone()
    prepare(samples, ("VV", "VH"), "amplitude", DUAL)
    assert torch.equal(samples, before)


# ---- section 6 of the adapter specification: what three equal channels amount to


THREE_CHANNELS = [
    card
    for card in catalog().values()
    if card.architecture is not None and card.input is not None and card.input.channels == 3
]


@pytest.mark.parametrize("card", THREE_CHANNELS, ids=lambda card: card.id)
def test_three_grey_channels_are_one_with_a_collapsed_kernel(card: ModelCard) -> None:
    assert card.architecture is not None and card.input is not None
    patch = card.architecture.patch or 16
    generator = torch.Generator().manual_seed(patch)
    kernel = torch.randn(8, 3, patch, patch, generator=generator) / patch
    grey = torch.randint(0, 256, (2, 2 * patch, 3 * patch), dtype=torch.uint8, generator=generator)
    mean, std = torch.tensor(card.input.mean), torch.tensor(card.input.std)
    collapsed = (kernel / std.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    bias = -(kernel.sum(dim=(2, 3)) * (mean / std)).sum(dim=1)
    three = conv2d(prepare(grey, ("HH",), "uint8", card.input), kernel, stride=patch)
    one = conv2d(grey[:, None] / 255, collapsed, bias, stride=patch)
    torch.testing.assert_close(three, one, rtol=1e-4, atol=1e-4)
