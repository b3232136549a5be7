"""Scores of many versions at once against a loop that was written without looking at them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from foundation.errors import CheckError, UsageError
from klip.model.klip import KLIP
from klip.model.queue import FeatureQueue
from klip.scio.material import Material
from klip.scio.score import (
    Bank,
    Scorer,
    Scores,
    bank_of_queue,
    bank_rows,
    encode_bank,
    frozen,
)
from klip.tokens.batch import pack
from tests.bench.toy_world import Plan, World, make_world, toy_settings, untrained

SETTINGS = toy_settings(batch_size_per_device=5, queue={"size": 12}, seed=3)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("toy"), Plan(pairs=22, seed=1), SETTINGS)


@pytest.fixture(scope="module")
def model(world: World) -> KLIP:
    return untrained(world, SETTINGS)


@pytest.fixture(scope="module")
def material(world: World) -> Material:
    return world.material()


def naive_scores(
    model: KLIP, material: Material, rows: NDArray[np.int64], row: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One pair at a time, everything from the start for each version: cross-entropy over the pair and its negatives."""
    itc, itm = np.full(9, np.nan), np.full(9, np.nan)
    tau = float(model.temperature)
    keep = [
        int(n)
        for n in rows
        if material.images_of[n] != material.images_of[row] and material.text_hash[n] != material.text_hash[row]
    ]
    for version in range(9):
        if version and material.tokens[row][version - 1] is None:
            continue
        tokens = list(material.tokens[row])
        if version:
            tokens[version - 1] = None
        batch = pack([tuple(tokens)], material.vocabulary.specials)
        image = model.encode_image(material.images(np.array([row]), model.device))
        text = model.encode_text(batch)[0]
        texts = [model.encode_text(pack([material.tokens[n]], material.vocabulary.specials))[0] for n in keep]
        images = [model.encode_image(material.images(np.array([n]), model.device)).features[0] for n in keep]
        i2t = torch.stack([image.features[0] @ text, *(image.features[0] @ other for other in texts)]) / tau
        t2i = torch.stack([text @ image.features[0], *(text @ other for other in images)]) / tau
        target = torch.tensor([0])
        itc[version] = float((F.cross_entropy(i2t[None], target) + F.cross_entropy(t2i[None], target)) / 2)
        logits = model.itm_logits(batch, model.visual_memory(image.memory), torch.tensor([0]))[0]
        itm[version] = float(logits[1] - logits[0])
    return itc, itm


def batched(model: KLIP, material: Material, rows: list[int], bank: Bank, *, every_match: bool = True) -> Scores:
    index = np.array(rows, dtype=np.int64)
    scorer = Scorer(model, bank)
    seen = scorer.look(material.images(index, model.device), *material.hashes(index, model.device))
    return scorer.versions(material.packed(index, model.device), seen, every_match=every_match)


@torch.inference_mode()
def test_batched_scores_equal_a_loop_over_single_pairs(model: KLIP, material: Material) -> None:
    rows = bank_rows(len(material), 12, 3)
    bank = encode_bank(model, material, rows, chunk=5)
    found = batched(model, material, list(range(6)), bank)
    for row in range(6):
        itc, itm = naive_scores(model, material, rows, row)
        np.testing.assert_allclose(found.itc[row], itc, atol=1e-5)
        np.testing.assert_allclose(found.itm[row], itm, atol=1e-5)
    assert found.itc.std() > 1e-2 and found.itm.std() > 1e-2  # the comparison is about something


@torch.inference_mode()
def test_scores_hang_neither_on_the_batch_nor_on_its_order(model: KLIP, material: Material) -> None:
    bank = encode_bank(model, material, bank_rows(len(material), 12, 3), chunk=7)
    together = batched(model, material, [3, 1, 4, 15, 9, 2, 6], bank)
    for place, row in enumerate([3, 1, 4, 15, 9, 2, 6]):
        alone = batched(model, material, [row], bank)
        np.testing.assert_allclose(together.itc[place], alone.itc[0], atol=1e-5)
        np.testing.assert_allclose(together.itm[place], alone.itm[0], atol=1e-5)


@torch.inference_mode()
def test_segments_that_are_missing_have_no_version(model: KLIP, material: Material) -> None:
    thin = tuple(slot if n in (0, 3, 5) else None for n, slot in enumerate(material.tokens[0]))
    bank = encode_bank(model, material, bank_rows(len(material), 12, 3), chunk=5)
    index = np.array([0])
    scorer = Scorer(model, bank)
    seen = scorer.look(material.images(index, model.device), *material.hashes(index, model.device))
    found = scorer.versions(pack([thin], material.vocabulary.specials), seen, every_match=True)
    there = [True, True, False, False, True, False, True, False, False]
    assert np.isfinite(found.itc[0]).tolist() == there
    assert np.isfinite(found.itm[0]).tolist() == there
    assert (found.tokens[0] > 0).tolist() == there


@torch.inference_mode()
def test_matching_is_asked_only_where_contrast_prefers_the_version(model: KLIP, material: Material) -> None:
    bank = encode_bank(model, material, bank_rows(len(material), 12, 3), chunk=5)
    rows = list(range(10))
    every, gated = batched(model, material, rows, bank), batched(model, material, rows, bank, every_match=False)
    np.testing.assert_allclose(gated.itc, every.itc, atol=1e-6)
    suspicious = np.hstack([np.ones((10, 1), bool), every.itc[:, 1:] < every.itc[:, :1]])
    assert np.array_equal(np.isfinite(gated.itm), suspicious)
    np.testing.assert_allclose(gated.itm[suspicious], every.itm[suspicious], atol=1e-5)
    assert 10 < suspicious.sum() < 90


@torch.inference_mode()
def test_the_bank_leaves_out_the_same_image_and_the_same_text(model: KLIP, material: Material) -> None:
    whole = encode_bank(model, material, np.arange(len(material)), chunk=5)
    twins = Bank(whole.vision, whole.text, whole.image_id.clone(), whole.text_hash.clone())
    twins.image_id[7], twins.text_hash[11] = 0, int(material.text_hash[0])
    others = torch.tensor([n for n in range(len(material)) if n not in (0, 7, 11)])
    smaller = Bank(*(part[others] for part in whole))
    np.testing.assert_allclose(
        batched(model, material, [0], twins).itc, batched(model, material, [0], smaller).itc, atol=1e-6
    )
    assert abs(batched(model, material, [0], whole).itc - batched(model, material, [0], twins).itc).max() > 1e-4


@torch.inference_mode()
def test_a_bank_without_a_single_negative_gives_no_loss_and_no_nan(model: KLIP, material: Material) -> None:
    own = encode_bank(model, material, np.array([0]), chunk=5)
    assert np.array_equal(batched(model, material, [0], own).itc, np.zeros((1, 9)))


def test_softplus_is_cross_entropy_over_the_pair_and_its_negatives_and_does_not_cancel() -> None:
    generator = torch.Generator().manual_seed(0)
    positive = 20 * torch.randn(50, generator=generator, dtype=torch.float64)
    negatives = 20 * torch.randn(50, 30, generator=generator, dtype=torch.float64)
    exact = F.cross_entropy(
        torch.cat([positive[:, None], negatives], 1), torch.zeros(50, dtype=torch.int64), reduction="none"
    )
    assert torch.allclose(F.softplus(negatives.logsumexp(1) - positive), exact, atol=1e-9)
    tiny = F.softplus(torch.tensor(-60.0))
    assert tiny > 0 and math.isclose(float(tiny), math.exp(-60), rel_tol=1e-3)


class Shifted(torch.nn.Module):
    """A model whose similarities all carry the same constant: one more coordinate, the same for everything."""

    def __init__(self, model: KLIP, constant: float) -> None:
        super().__init__()
        self.model, self.constant = model, constant
        self.eval()

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("model"), name)

    def encode_image(self, images: Tensor) -> object:
        state = self.model.encode_image(images)
        return state._replace(features=self._with(state.features))

    def text_feature(self, states: Tensor) -> Tensor:
        return self._with(self.model.text_feature(states))

    def _with(self, features: Tensor) -> Tensor:
        return torch.cat([features, torch.full_like(features[:, :1], self.constant)], dim=1)


@torch.inference_mode()
def test_a_constant_added_to_all_similarities_changes_nothing(model: KLIP, material: Material) -> None:
    rows = bank_rows(len(material), 12, 3)
    shifted: KLIP = Shifted(model, 1.5)  # type: ignore[assignment]
    plain = batched(model, material, list(range(6)), encode_bank(model, material, rows, chunk=5))
    moved = batched(shifted, material, list(range(6)), encode_bank(shifted, material, rows, chunk=5))
    np.testing.assert_allclose(moved.itc, plain.itc, atol=2e-5)


def test_a_model_in_training_mode_is_refused_and_frozen_puts_it_back(model: KLIP, material: Material) -> None:
    model.train()
    try:
        with frozen(model):
            assert not model.training and torch.is_inference_mode_enabled()
            bank = encode_bank(model, material, np.arange(4), chunk=2)
        assert model.training
        with pytest.raises(UsageError, match="training mode"):
            Scorer(model, bank)
    finally:
        model.eval()


@torch.inference_mode()
def test_half_precision_moves_scores_little_and_keeps_losses_in_fp32(model: KLIP, material: Material) -> None:
    rows = bank_rows(len(material), 12, 3)
    bank = encode_bank(model, material, rows, chunk=5, precision="bf16")
    index = np.arange(4)
    scorer = Scorer(model, bank, precision="bf16")
    seen = scorer.look(material.images(index, model.device), *material.hashes(index, model.device))
    assert seen.partition.dtype == torch.float32
    found = scorer.versions(material.packed(index, model.device), seen, every_match=True)
    exact = batched(model, material, [0, 1, 2, 3], encode_bank(model, material, rows, chunk=5))
    assert np.abs(found.itm - exact.itm).max() < 0.2 * np.ptp(exact.itm)
    coarse = torch.from_numpy(found.itm).to(torch.bfloat16).double().numpy()
    assert (coarse != found.itm).mean() > 0.9  # heads are fp32: no score is rounded to eight bits


def test_the_bank_is_drawn_from_a_generator_of_its_own_and_never_holds_everything() -> None:
    rows = bank_rows(100, 20, 7)
    assert len(set(rows.tolist())) == 20 and np.array_equal(rows, bank_rows(100, 20, 7))
    assert not np.array_equal(rows, bank_rows(100, 20, 8))
    assert len(bank_rows(10, 20_000, 0)) == 9
    with pytest.raises(CheckError, match="no negatives"):
        bank_rows(1, 5, 0)


def test_the_queue_of_a_training_is_a_bank_that_later_steps_do_not_change() -> None:
    queue = FeatureQueue(4, 3)
    ones, ids = torch.ones(2, 3), torch.tensor([5, 6])
    queue.enqueue(ones, ones, ids, ids)
    bank = bank_of_queue(queue)
    queue.enqueue(2 * ones, 2 * ones, ids, ids)
    queue.enqueue(3 * ones, 3 * ones, ids, ids)
    assert len(bank) == 2 and torch.equal(bank.vision, ones)


def test_a_pass_of_a_pretraining_takes_the_queue_as_it_is_then() -> None:
    from types import SimpleNamespace

    from klip.pretrain.run import _queue_bank

    queue = FeatureQueue(4, 3)
    ones, ids = torch.ones(2, 3), torch.tensor([5, 6])
    queue.enqueue(ones, ones, ids, ids)
    module = SimpleNamespace(module=SimpleNamespace(queue=queue))
    run: Any = SimpleNamespace(settings=toy_settings(scio={"negatives": "queue"}), objective=module)
    bank = _queue_bank(run)
    queue.enqueue(2 * ones, 2 * ones, ids, ids)
    queue.enqueue(3 * ones, 3 * ones, ids, ids)
    assert bank is not None and torch.equal(bank.vision, ones)
    run.settings = toy_settings()
    assert _queue_bank(run) is None


def test_a_text_over_the_length_is_refused_before_anything_is_scored(world: World, tmp_path: Path) -> None:
    from klip.scio.passes import screen

    short = toy_settings(text={"max_len": 20, "max_seg_len": 4})
    with pytest.raises(CheckError, match="longer than"):
        screen(untrained(world, short), world.material(), short, tmp_path, pass_id="p")
    assert list(tmp_path.iterdir()) == []
