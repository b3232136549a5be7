"""The one training loop: accumulation, resuming bit for bit, damaged checkpoints, precision, clipping."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from foundation.errors import CellError, StorageError
from foundation.hashing import hash_bytes
from tasks.optimiser import build_optimiser
from tasks.protocol.settings import TrainingSettings
from tasks.schedule import rate_at
from tasks.training import History, accumulate, autocast, resolve_precision, train

CPU = torch.device("cpu")
ITEMS = 22


class StoppedError(Exception):
    """What stops a run in these tests."""


@dataclass
class Micro:
    """Items with their targets."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass
class Regression:
    """A small network with dropout on fixed random data; can be told to stop at an epoch and step."""

    model: nn.Module
    plan: list[list[tuple[int, int]]]
    stop: tuple[int, int] | None = None
    spoil: Callable[[Tensor], Tensor] = lambda loss: loss
    seen: list[torch.dtype] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    optimiser: torch.optim.Optimizer | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.plan)

    def batches(self, epoch: int) -> Iterator[list[Micro]]:
        generator = torch.Generator().manual_seed(0)
        inputs = torch.randn(ITEMS, 5, generator=generator)
        targets = inputs @ torch.randn(5, 2, generator=generator)
        order = torch.randperm(ITEMS, generator=torch.Generator().manual_seed(epoch))
        for step, micros in enumerate(self.plan):
            if self.stop == (epoch, step):
                raise StoppedError
            yield [Micro(inputs[order[low:high]], targets[order[low:high]]) for low, high in micros]

    def loss(self, micro: Micro) -> Tensor:
        out = self.model(micro.inputs)
        self.seen.append(out.dtype)
        if self.optimiser is not None:
            self.rates.append(self.optimiser.param_groups[0]["lr"])
        return self.spoil(((out.float() - micro.targets) ** 2).mean())

    def after_step(self) -> None:
        """Nothing follows."""


def _settings(**changes: Any) -> TrainingSettings:
    values: dict[str, Any] = {
        "epochs": 4,
        "batch": 8,
        "micro_batch": 8,
        "precision": "fp32",
        "optimiser": {"name": "adamw", "rate": 0.02, "weight_decay": 0.05, "no_decay": ("bias",)},
        "schedule": {"kind": "cosine", "step": "iteration", "warmup_epochs": 1, "warmup_factor": 0.1},
    }
    return TrainingSettings.model_validate({**values, **changes})


SGD = {"name": "sgd", "rate": 0.1, "weight_decay": 0.0, "no_decay": ()}
CONSTANT = {"kind": "constant", "step": "iteration"}


def _model(dropout: float = 0.3) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3, generator=generator)
    return model


def _run(
    settings: TrainingSettings | None = None,
    *,
    dropout: float = 0.3,
    checkpoint: Path | None = None,
    key: str = "mine",
    **task: Any,
) -> tuple[History, Regression]:
    settings = settings or _settings()
    work = Regression(_model(dropout), accumulate(ITEMS, settings), **task)
    work.optimiser = build_optimiser(work.model, settings.optimiser)
    history = train(work, work.optimiser, settings, seed=3, device=CPU, checkpoint=checkpoint, key=key)
    return history, work


def _predictions(work: Regression) -> Tensor:
    work.model.eval()
    with torch.no_grad():
        out: Tensor = work.model(torch.linspace(-1, 1, 35).view(7, 5))
    return out


def _require_identical(run: tuple[History, Regression], other: tuple[History, Regression]) -> None:
    assert run[0].losses == other[0].losses
    ours, theirs = run[1].model.state_dict(), other[1].model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert torch.equal(_predictions(run[1]), _predictions(other[1]))


def test_the_loss_falls() -> None:
    losses = _run(_settings(epochs=15), dropout=0.0)[0].losses
    assert len(losses) == 15 and losses[-1] < 0.5 * losses[0]


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20))
def test_micro_batches_cover_every_item_once_and_fill_the_batch(items: int, batch: int, micro: int) -> None:
    micro = min(batch, micro)
    steps = accumulate(items, _settings(batch=batch, micro_batch=micro))
    assert [index for step in steps for low, high in step for index in range(low, high)] == list(range(items))
    sizes = [sum(high - low for low, high in step) for step in steps]
    assert all(size == batch for size in sizes[:-2])
    assert all(0 < size <= batch + (micro > 1) for size in sizes)
    assert all(0 < high - low <= micro + (micro > 1) for step in steps for low, high in step)
    if micro > 1 and items > 1:
        assert all(high - low > 1 for step in steps for low, high in step), "batch norm has no variance of one item"


def test_a_single_item_that_is_left_over_joins_the_batch_before() -> None:
    assert accumulate(9, _settings(batch=4, micro_batch=4)) == [[(0, 4)], [(4, 9)]]
    assert accumulate(9, _settings(batch=8, micro_batch=4)) == [[(0, 4), (4, 9)]]
    assert accumulate(10, _settings(batch=5, micro_batch=4)) == [[(0, 5)], [(5, 10)]]
    assert accumulate(1, _settings(batch=4, micro_batch=4)) == [[(0, 1)]]
    assert accumulate(3, _settings(batch=1, micro_batch=1)) == [[(0, 1)], [(1, 2)], [(2, 3)]]


@pytest.mark.parametrize("micro", [1, 3, 5, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(micro: int) -> None:
    settings = _settings(epochs=2, optimiser=SGD, schedule=CONSTANT)
    whole = _run(settings, dropout=0.0)
    parts = _run(settings.model_copy(update={"micro_batch": micro}), dropout=0.0)
    for name, value in whole[1].model.state_dict().items():
        assert torch.allclose(parts[1].model.state_dict()[name], value, rtol=0, atol=1e-6), name
    assert parts[0].losses == pytest.approx(whole[0].losses, abs=1e-6)


def test_one_step_is_plain_gradient_descent() -> None:
    settings = _settings(epochs=1, batch=ITEMS, micro_batch=ITEMS, optimiser=SGD, schedule=CONSTANT)
    history, work = _run(settings, dropout=0.0)
    model = _model(0.0)
    (micros,) = Regression(model, accumulate(ITEMS, settings)).batches(0)
    loss = ((model(micros[0].inputs) - micros[0].targets) ** 2).mean()
    loss.backward()
    assert history.losses == [pytest.approx(loss.item())]
    for (name, parameter), trained in zip(model.named_parameters(), work.model.parameters(), strict=True):
        assert parameter.grad is not None
        assert torch.allclose(trained, parameter - 0.1 * parameter.grad, atol=1e-6), name


def test_every_step_has_the_rate_of_the_schedule() -> None:
    settings = _settings()
    steps = 3  # ceil(22 / 8)
    expected = [
        rate_at(settings.schedule, peak=0.02, epochs=4, position=epoch + step / steps)
        for epoch in range(4)
        for step in range(steps)
    ]
    assert _run(settings)[1].rates == expected


@pytest.mark.parametrize("global_seed", [0, 1])
def test_dropout_hangs_on_the_seed_and_not_on_what_ran_before(global_seed: int) -> None:
    reference = _run()
    torch.manual_seed(global_seed)
    _require_identical(_run(), reference)


def test_another_seed_trains_otherwise() -> None:
    settings = _settings()
    work = Regression(_model(), accumulate(ITEMS, settings))
    train(work, build_optimiser(work.model, settings.optimiser), settings, seed=4, device=CPU)
    assert not torch.equal(_predictions(work), _predictions(_run()[1]))


def test_a_model_left_in_evaluation_is_trained_with_dropout() -> None:
    settings = _settings()
    work = Regression(_model().eval(), accumulate(ITEMS, settings))
    history = train(work, build_optimiser(work.model, settings.optimiser), settings, seed=3, device=CPU)
    _require_identical((history, work), _run())


# ---- Resuming


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_run_stopped_anywhere_goes_on_bit_for_bit(tmp_path: Path, optimiser: str, epoch: int, step: int) -> None:
    chosen = {"name": optimiser, "rate": 0.02, "momentum": 0.9, "weight_decay": 0.05, "no_decay": ("bias",)}
    settings = _settings(optimiser=chosen)
    with pytest.raises(StoppedError):
        _run(settings, checkpoint=tmp_path / "checkpoint", stop=(epoch, step))
    torch.manual_seed(99)
    resumed = _run(settings, checkpoint=tmp_path / "checkpoint")
    assert resumed[0].resumed_from_epoch == (epoch or None)
    assert resumed[0].warnings == []
    _require_identical(resumed, _run(settings))


def test_a_run_may_be_stopped_again_and_again(tmp_path: Path) -> None:
    for epoch in (1, 1, 2, 3, 3):
        with pytest.raises(StoppedError):
            _run(checkpoint=tmp_path / "checkpoint", stop=(epoch, 1))
    _require_identical(_run(checkpoint=tmp_path / "checkpoint"), _run())


def test_a_checkpoint_changes_nothing(tmp_path: Path) -> None:
    _require_identical(_run(checkpoint=tmp_path / "checkpoint"), _run())


def test_a_checkpoint_starts_with_the_hash_of_its_content(tmp_path: Path) -> None:
    _run(checkpoint=tmp_path / "checkpoint")
    digest, _, data = (tmp_path / "checkpoint").read_bytes().partition(b"\n")
    assert hash_bytes(data).encode() == digest


def test_time_is_counted_over_all_parts(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        _run(checkpoint=tmp_path / "checkpoint", stop=(2, 0))
    _, _, data = (tmp_path / "checkpoint").read_bytes().partition(b"\n")
    (tmp_path / "plain").write_bytes(data)
    before = torch.load(tmp_path / "plain", weights_only=True)["seconds"]
    assert _run(checkpoint=tmp_path / "checkpoint")[0].seconds > before > 0


def _flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "garbage": lambda _: b"not a checkpoint at all",
    "a bit of the weights": lambda data: _flip(data, len(data) // 2),
    "a bit at the end": lambda data: _flip(data, len(data) - 1),
    "a bit of the hash": lambda data: _flip(data, 5),
    "valid hash over garbage": lambda _: hash_bytes(b"garbage").encode() + b"\ngarbage",
    "valid hash over nothing": lambda _: hash_bytes(b"").encode() + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_costs_time_and_nothing_else(tmp_path: Path, damage: str) -> None:
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        _run(checkpoint=checkpoint, stop=(3, 0))
    checkpoint.write_bytes(DAMAGES[damage](checkpoint.read_bytes()))
    again = _run(checkpoint=checkpoint)
    assert again[0].resumed_from_epoch is None
    assert len(again[0].warnings) == 1 and "started over" in again[0].warnings[0]
    _require_identical(again, _run())


def test_a_checkpoint_of_other_settings_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        _run(checkpoint=tmp_path / "checkpoint", key="theirs", stop=(3, 0))
    again = _run(checkpoint=tmp_path / "checkpoint")
    assert "other settings" in again[0].warnings[0]
    _require_identical(again, _run())


def _rewrite(checkpoint: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes what a checkpoint holds, with a right hash over it."""
    plain = checkpoint.with_suffix(".plain")
    plain.write_bytes(checkpoint.read_bytes().partition(b"\n")[2])
    state = torch.load(plain, weights_only=True)
    change(state)
    torch.save(state, plain)
    checkpoint.write_bytes(hash_bytes(plain.read_bytes()).encode() + b"\n" + plain.read_bytes())


def _of_another_network(state: dict[str, Any]) -> None:
    # Another decay and fewer weights under the same key: as after a change of the code that the key did not notice.
    for group in state["optimiser"]["param_groups"]:
        group["weight_decay"] = 0.9
        group["rate_scale"] = 0.01
    del state["model"]["3.bias"]


FOREIGN: dict[str, Callable[[dict[str, Any]], object]] = {
    "another network": _of_another_network,
    "no weights": lambda state: state.pop("model"),
    "no losses": lambda state: state.pop("losses"),
    "no epoch": lambda state: state.pop("epoch"),
    "no optimiser": lambda state: state.update(optimiser={"state": {}, "param_groups": []}),
    "another scaler": lambda state: state.update(scaler=None),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_checkpoint_that_does_not_fit_leaves_no_trace(tmp_path: Path, what: str) -> None:
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        _run(checkpoint=checkpoint, stop=(3, 0))
    _rewrite(checkpoint, FOREIGN[what])
    again = _run(checkpoint=checkpoint)
    if what != "another scaler":  # without mixed precision the scaler holds nothing
        assert again[0].resumed_from_epoch is None and len(again[0].warnings) == 1
    _require_identical(again, _run())


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    checkpoint, plain = tmp_path / "checkpoint", tmp_path / "plain"
    touched = tmp_path / "touched"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (touched,))

    torch.save({"key": "mine", "epoch": Malicious()}, plain)
    checkpoint.write_bytes(hash_bytes(plain.read_bytes()).encode() + b"\n" + plain.read_bytes())
    _require_identical(_run(checkpoint=checkpoint), _run())
    assert not touched.exists()


def test_a_checkpoint_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        _run(checkpoint=tmp_path / "file" / "checkpoint")


# ---- Numbers


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_cell_and_is_never_stored(tmp_path: Path, value: float) -> None:
    calls: list[int] = []

    def spoil(loss: Tensor) -> Tensor:
        calls.append(1)
        return loss * value if len(calls) == 6 else loss  # the last step of the second of four epochs

    with pytest.raises(CellError, match="no longer finite") as caught:
        _run(checkpoint=tmp_path / "checkpoint", spoil=spoil)
    assert caught.value.where == "epoch 2 of 4" and caught.value.way_out
    # What is stored is the last sound epoch: a run whose cause is gone goes on from there.
    again = _run(checkpoint=tmp_path / "checkpoint")
    assert again[0].resumed_from_epoch == 1
    _require_identical(again, _run())


def test_bf16_computes_in_bf16_and_keeps_weights_in_fp32() -> None:
    history, work = _run(_settings(precision="bf16", epochs=8), dropout=0.0)
    assert set(work.seen) == {torch.bfloat16}
    assert {parameter.dtype for parameter in work.model.parameters()} == {torch.float32}
    exact = _run(_settings(epochs=8), dropout=0.0)
    assert set(exact[1].seen) == {torch.float32}
    assert history.losses == pytest.approx(exact[0].losses, rel=0.05)
    assert history.losses != exact[0].losses


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_resumes_bit_for_bit(tmp_path: Path, precision: str) -> None:
    settings = _settings(precision=precision)
    with pytest.raises(StoppedError):
        _run(settings, checkpoint=tmp_path / "checkpoint", stop=(2, 1))
    resumed = _run(settings, checkpoint=tmp_path / "checkpoint")
    assert resumed[0].resumed_from_epoch == 2
    _require_identical(resumed, _run(settings))


def test_auto_is_fp32_on_a_processor_and_names_pass_through() -> None:
    assert resolve_precision("auto", CPU) == "fp32"
    assert [resolve_precision(name, CPU) for name in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]
    with autocast(CPU, "fp32"):
        assert not torch.is_autocast_enabled("cpu")
    with autocast(CPU, "bf16"):
        assert torch.is_autocast_enabled("cpu")


def _moved(clip: float | None) -> float:
    settings = _settings(
        epochs=1,
        batch=ITEMS,
        micro_batch=6,
        optimiser={**SGD, "rate": 1.0},
        schedule=CONSTANT,
        gradient_clip=clip,
    )
    before = copy.deepcopy(_model(0.0).state_dict())
    after = _run(settings, dropout=0.0)[1].model.state_dict()
    return math.sqrt(sum(float(((after[name] - before[name]) ** 2).sum()) for name in before))


def test_gradients_are_clipped_to_the_norm_over_the_whole_batch() -> None:
    free = _moved(None)
    assert _moved(0.1 * free) == pytest.approx(0.1 * free, rel=1e-3)
    assert _moved(10 * free) == pytest.approx(free, rel=1e-6)


def test_progress_counts_every_step_once() -> None:
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int, note: str = "") -> None:
        told.append((done, total))
        assert note.startswith("epoch ")

    settings = _settings()
    work = Regression(_model(), accumulate(ITEMS, settings))
    optimiser = build_optimiser(work.model, settings.optimiser)
    train(work, optimiser, settings, seed=3, device=CPU, progress=progress)
    assert told == [(step, 12) for step in range(1, 13)]
