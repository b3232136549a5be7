"""How it behaves: repeatability, independence of images, modes, number formats, input, storage."""

from __future__ import annotations

import io
from typing import Any

import torch

from adapters.conformance.report import NotApplicable, Unmet
from adapters.conformance.subject import Subject, largest_difference, named, training_mode
from adapters.sar_input import encoder_input, native_statistics
from foundation.errors import UsageError

ALONE_TOLERANCE = 1e-4
"""Kernels differ with the size of a batch in the last digits of single precision, and depth adds them up."""

BF16_TOLERANCE = 0.15
"""Eight bits of mantissa, through all layers."""


def same_input_twice(subject: Subject) -> str:
    """In evaluation the same image gives the same features."""
    images = subject.images(2)
    one, other = subject.see(images), subject.see(images)
    if not (torch.equal(one.pooled, other.pooled) and torch.equal(one.tokens, other.tokens)):
        raise Unmet(
            expected="equal features",
            seen=f"differences of {largest_difference(one.pooled, other.pooled):.1e}",
            change="nothing random in evaluation: dropout, masking and sampling must ask self.training",
        )
    return "equal to the last bit"


def same_seed_twice(subject: Subject) -> str:
    """Built again with the same seed it is the same model; the global random state is left alone."""
    before = torch.random.get_rng_state()
    again = subject.build(image_size=subject.size, seed=0).encoder
    if not torch.equal(before, torch.random.get_rng_state()):
        raise Unmet(
            expected="the global random state as it was",
            seen="building drew from it",
            change="initialise from torch.Generator().manual_seed(...), or inside torch.random.fork_rng",
        )
    images = subject.images(1)
    one, other = subject.see(images), subject.see(images, again)
    if not torch.equal(one.pooled, other.pooled):
        raise Unmet(
            expected="equal features of two models built with the same seed",
            seen=f"differences of {largest_difference(one.pooled, other.pooled):.1e}",
            change="initialise every parameter from `seed`, and load weights completely",
        )
    return "equal features"


def alone_or_in_company(subject: Subject) -> str:
    """An image's features do not hang on the other images of the batch."""
    images = subject.images(3)
    together = subject.see(images)
    difference = max(
        largest_difference(together.pooled[index], subject.see(images[index : index + 1]).pooled[0])
        for index in range(2 if subject.quick else 3)
    )
    if difference > ALONE_TOLERANCE:
        raise Unmet(
            expected=f"relative differences below {ALONE_TOLERANCE:.0e}",
            seen=f"{difference:.1e}",
            change="no statistics over the batch in evaluation (batch norm in eval, no attention across images)",
        )
    return f"relative difference {difference:.0e}"


def input_left_alone(subject: Subject) -> str:
    """Images are not written to: the training loop uses them again."""
    images = subject.images(1)
    before = images.clone()
    subject.see(images)
    subject.maps(images)
    if not torch.equal(images, before):
        raise Unmet(expected="images as they were", seen="changed", change="no in-place operation on the input")
    return "unchanged"


def modes(subject: Subject) -> str:
    """`train` and `eval` reach every part, and switching alone changes nothing."""
    encoder, images = subject.encoder, subject.images(1)
    before = subject.see(images)
    for mode in (True, False):
        encoder.train(mode)
        stuck = [name or "the encoder" for name, module in encoder.named_modules() if module.training is not mode]
        if stuck:
            raise Unmet(
                expected=f"every module with training = {mode}",
                seen=f"not {named(stuck)}",
                change="call super().train(mode) and return self",
            )
    after = subject.see(images)
    if not torch.equal(before.pooled, after.pooled):
        raise Unmet(
            expected="the same features after train() and eval()",
            seen=f"differences of {largest_difference(before.pooled, after.pooled):.1e}",
            change="keep no state that switching the mode changes",
        )
    return "both reach every module"


def gradients(subject: Subject) -> str:
    """Every parameter that wants a gradient gets a finite one from features and maps together."""
    encoder = subject.encoder
    parameters = dict(encoder.named_parameters())
    wanting = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    if not wanting:
        raise NotApplicable("no parameter wants a gradient")
    images = subject.images(2)
    with training_mode(encoder):
        found = encoder(images)
        loss = found.pooled.square().mean() + found.tokens.square().mean()
        for one in encoder.maps(images):
            loss = loss + one.values.square().mean()
        if not loss.requires_grad:
            raise Unmet(
                expected="features that gradients flow through",
                seen="features without a graph",
                change="no torch.no_grad, detach or numpy in forward and maps",
            )
        loss.backward()
        idle = [name for name, parameter in wanting.items() if parameter.grad is None]
        broken = [name for name, p in wanting.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
        flat = all(parameter.grad is None or not bool(parameter.grad.any()) for parameter in wanting.values())
    if idle:
        raise Unmet(
            expected="a gradient for every parameter with requires_grad",
            seen=f"none for {named(idle)}",
            change="use them in forward, set requires_grad = False, or leave them out of the encoder",
        )
    if broken or flat:
        raise Unmet(
            expected="finite gradients that are not all zero",
            seen=f"NaN or infinity in {named(broken)}" if broken else "zeros everywhere",
            change="look at divisions, square roots and masks in forward",
        )
    fixed = len(parameters) - len(wanting)
    return f"{len(wanting)} parameters" + (f", {fixed} fixed" if fixed else "")


def number_formats(subject: Subject) -> str:
    """float32 in and out; under bfloat16 autocast the features are nearly the same."""
    images = subject.images(1)
    exact = subject.see(images)
    if exact.pooled.dtype != torch.float32 or exact.tokens.dtype != torch.float32:
        raise Unmet(
            expected="float32 features of float32 images",
            seen=f"{exact.pooled.dtype}, {exact.tokens.dtype}",
            change="keep the weights in float32; the harness chooses the format with autocast",
        )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = subject.see(images)
        subject.maps(images)
    exact_vector, rough_vector = exact.pooled.flatten().double(), rough.pooled.flatten().double()
    error = float((exact_vector - rough_vector).norm() / exact_vector.norm().clamp_min(1e-12))
    if not error < BF16_TOLERANCE:
        raise Unmet(
            expected=f"features under bfloat16 autocast within {BF16_TOLERANCE:.0%}",
            seen=f"{error:.0%} away",
            change="compute norms, exponentials and long sums in float32 (x.float())",
        )
    return f"float32; bfloat16 autocast {error:.1%} away"


def layers(subject: Subject) -> str:
    """Every parameter has a layer between 0 and L + 1, for the layer-wise decay of the rate."""
    encoder = subject.encoder
    last = encoder.layer_count + 1
    ids = {name: encoder.layer_id(name) for name, _ in encoder.named_parameters()}
    wrong = [f"{name}: {number!r}" for name, number in ids.items() if not _is_layer(number, last)]
    if wrong:
        raise Unmet(
            expected=f"whole numbers from 0 to L + 1 = {last}",
            seen=named(wrong),
            change="0 for embeddings and stem, i + 1 for block i, L + 1 for what comes after the blocks",
        )
    unused = sorted(set(range(1, last)) - set(ids.values()))
    if unused:
        raise Unmet(
            expected=f"parameters in every layer from 1 to {last - 1}",
            seen=f"none in {named([str(number) for number in unused])}",
            change="number the blocks without gaps, or correct layer_count",
        )
    return f"{len(ids)} parameters in layers 0 to {last}"


def weight_decay(subject: Subject) -> str:
    """The names that are not decayed exist."""
    names = {name for name, _ in subject.encoder.named_parameters()}
    unknown = sorted(set(subject.encoder.no_weight_decay()) - names)
    if unknown:
        raise Unmet(
            expected="names of parameters",
            seen=f"{named(unknown)}: no such parameter",
            change="return full names as named_parameters() gives them, and only those that are there",
        )
    return named(sorted(subject.encoder.no_weight_decay())) or "none"


def input_contract(subject: Subject) -> str:
    """Grey pixels, prepared as the card says, have the statistics that the card says and are taken."""
    contract = subject.loaded.contract
    if contract.unit != "uint8":
        raise NotApplicable(f"the model expects {contract.unit}; the built tasks have 8-bit grey")
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (1, subject.size, subject.size), dtype=torch.uint8, generator=generator)
    try:
        prepared = encoder_input(grey, contract, *native_statistics(contract))
    except UsageError as error:
        raise Unmet(
            expected="grey pixels can be prepared with the card's statistics",
            seen=error.what,
            change="state mean and std once per channel in the card's input",
        ) from error
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (contract.mean, contract.std))
    expected = (grey[:, None] / 255 - mean) / std
    if not torch.allclose(prepared, expected, rtol=1e-4, atol=1e-4):
        raise Unmet(
            expected="(pixel / 255 - mean) / std in every channel",
            seen=f"differences of {largest_difference(prepared, expected):.1e}",
            change="state mean and std on pixels scaled to 0..1",
        )
    subject.see(prepared)
    if float(prepared.abs().max()) > 20:
        raise Unmet(
            expected="normalised values of a few units",
            seen=f"up to {float(prepared.abs().max()):.0f}",
            change="mean and std are on pixels scaled to 0..1, not on 0..255",
        )
    return f"{contract.channels} channels, values from {float(prepared.min()):.2f} to {float(prepared.max()):.2f}"


def storage(subject: Subject) -> str:
    """Saved and read into a model with other values, it is the same model."""
    buffer = io.BytesIO()
    torch.save(subject.encoder.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    other: Any = subject.build(image_size=subject.size, seed=1).encoder
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()  # whatever the state does not bring back shows
    try:
        other.load_state_dict(state)
    except RuntimeError as error:
        raise Unmet(
            expected="load_state_dict(state_dict()) without complaint",
            seen=str(error).splitlines()[0],
            change="names and shapes of the state must not hang on the seed or on what was seen",
        ) from error
    images = subject.images(1)
    one, back = subject.see(images), subject.see(images, other)
    if not torch.equal(one.pooled, back.pooled):
        raise Unmet(
            expected="equal features after the round trip",
            seen=f"differences of {largest_difference(one.pooled, back.pooled):.1e}",
            change="keep everything that forward uses in parameters or persistent buffers",
        )
    return f"{len(state)} tensors"


def _is_layer(number: object, last: int) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= last
