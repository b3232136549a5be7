"""From tiles to masks: it learns what is there to learn, nothing else, and the same every time."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adapters.card import Architecture
from adapters.encoder import build_vit
from adapters.interface import LoadedModel
from adapters.load import load
from adapters.registry import catalog
from adapters.sar_input import encoder_input
from foundation.errors import CellError, MissingError, UsageError
from foundation.progress import silent
from tasks.datasets import DataOptions, DatasetIndex, DataSource, read_index
from tasks.datasets.images import read_pixels
from tasks.datasets.masks import read_mask
from tasks.datasets.records import IGNORE
from tasks.input_path import input_path
from tasks.protocol import SegmentationSettings, task_settings
from tasks.segmentation import fit, tiling
from tasks.segmentation.data import SegmentationData, build, truth_of
from tasks.segmentation.fit import Batch, TileTraining, fit_and_predict, turned
from tasks.segmentation.mask_text import mask_from_text, mask_to_text
from tasks.segmentation.network import Segmenter
from tasks.segmentation.score import score
from tasks.segmentation.tiling import MaskTiles, Tiling, load_mask_tiles, load_tiles
from tasks.task import Outcome

TILE = 16
TINY = Architecture(kind="vit", width=32, depth=2, heads=2, patch=4, activation="gelu", image_size=TILE)
CPU = torch.device("cpu")


def settings_of(epochs: int = 6, **changes: Any) -> SegmentationSettings:
    values = task_settings("mini", "segmentation").model_dump()
    values.update(tile=TILE, stride=TILE)
    values["training"].update(epochs=epochs, batch=16, micro_batch=16)
    values["training"]["optimiser"]["rate"] = 0.002
    values["training"]["schedule"].update(warmup_epochs=1 if epochs > 1 else 0, warmup_factor=0.1, floor=0.0)
    return SegmentationSettings.model_validate({**values, **changes})


def model_of(seed: int = 0, dropout: float = 0.0, channels: int = 3) -> LoadedModel:
    card = catalog()["random-mini"]
    contract = load(card, image_size=64, seed=0).contract
    if channels == 1:
        contract = contract.model_copy(update={"channels": 1, "mean": (0.5,), "std": (0.5,)})
    architecture = TINY.model_copy(update={"in_channels": channels})
    return LoadedModel(card, build_vit(architecture, image_size=TILE, seed=seed, dropout=dropout), contract)


def fitted_to(data: SegmentationData, seed: int = 0, *, epochs: int = 6, **options: Any) -> Outcome:
    settings = options.pop("settings", None) or settings_of(epochs)
    loaded = options.pop("loaded", None) or model_of(seed, options.pop("dropout", 0.0))
    return fit_and_predict(loaded, data, settings, seed=seed, **options)


def value(data: SegmentationData, outcome: Outcome, metric: str = "oa") -> float:
    found = score(outcome.predictions, truth_of(data))["metrics"][metric].value
    assert found is not None
    return found


def majority(data: SegmentationData, outcome: Outcome, metric: str = "oa") -> float:
    return score(outcome.predictions, truth_of(data))["baselines"].majority[metric] or 0.0


@pytest.fixture(scope="module")
def data(map_index: DatasetIndex) -> SegmentationData:
    """Twenty-four images to learn from, six to be asked about."""
    return build(map_index, settings_of())


@pytest.fixture(scope="module")
def fitted(data: SegmentationData) -> Outcome:
    """One run that several tests look at."""
    return fitted_to(data, epochs=12)


def test_the_loss_falls_and_the_score_is_far_above_the_baselines(data: SegmentationData, fitted: Outcome) -> None:
    assert len(fitted.losses) == 12 and fitted.losses[-1] < 0.6 * fitted.losses[0]
    for metric in ("oa", "miou"):
        assert value(data, fitted, metric) > majority(data, fitted, metric) + 15


def test_every_test_image_gets_a_mask_of_its_size_in_order(data: SegmentationData, fitted: Outcome) -> None:
    assert [row["image_id"] for row in fitted.predictions] == [entry.image_id for entry in data.test]
    for row, entry in zip(json.loads(json.dumps(fitted.predictions)), data.test, strict=True):
        mask = mask_from_text(row["mask"], what="it", size=(entry.height, entry.width))
        assert mask.max() < len(data.classes)


def test_the_run_says_how_it_went(fitted: Outcome) -> None:
    assert fitted.precision == "fp32" and fitted.resumed_from_epoch is None and fitted.warnings == []
    whole = Segmenter(build_vit(TINY, image_size=TILE, seed=0), 4, blocks=2, dropout=0.0, seed=0)
    assert fitted.parameters == sum(parameter.numel() for parameter in whole.parameters())


def test_a_class_that_is_nowhere_stays_and_is_named(data: SegmentationData, fitted: Outcome) -> None:
    assert data.classes[3] == "road" and data.counts("train")[3] == data.counts("test")[3] == 0
    assert data.dropped_classes == ()
    assert score(fitted.predictions, truth_of(data))["warnings"] == [
        "no training pixels of road",
        "no test pixels of road",
    ]


def test_counts_are_labelled_pixels(data: SegmentationData) -> None:
    for part, entries in (("train", data.train), ("test", data.test)):
        masks = np.concatenate([read_mask(data.index, entry).ravel() for entry in entries])
        expected = np.bincount(masks[masks != IGNORE], minlength=4)
        assert data.counts(part) == tuple(expected)  # type: ignore[arg-type]


def test_the_truth_is_enough_to_score_and_the_same_every_time(data: SegmentationData) -> None:
    truth = json.loads(json.dumps(truth_of(data)))
    assert truth == truth_of(data)
    assert truth["train_counts"] == list(data.counts("train"))
    assert [row["image_id"] for row in truth["test"]] == list(data.split.test)
    perfect = [{"image_id": row["image_id"], "mask": row["mask"]} for row in truth["test"]]
    for row in perfect:  # the ignore label is nobody's answer
        mask = mask_from_text(row["mask"], what="it")
        row["mask"] = mask_to_text(np.where(mask == IGNORE, 0, mask).astype(np.uint8))
    assert {metric.value for metric in score(perfect, truth)["metrics"].values()} == {100.0}


def test_a_tiny_network_learns_four_tiles_by_heart() -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (4, TILE, TILE), dtype=np.uint8)
    coarse = rng.integers(0, 4, (4, 4, 4), dtype=np.uint8)
    masks = MaskTiles(coarse.repeat(4, axis=1).repeat(4, axis=2), np.arange(4))
    loaded, settings = model_of(), settings_of()
    model = Segmenter(loaded.encoder, 4, blocks=2, dropout=0.0, seed=0)  # type: ignore[arg-type]
    task = TileTraining(model, input_path(loaded, settings.normalisation), settings, tiles, masks, seed=0, device=CPU)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.003)
    model.train()
    losses = []
    for epoch in range(100):
        for (micro,) in task.batches(epoch):
            optimiser.zero_grad()
            loss = task.loss(micro)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
    model.eval()
    with torch.no_grad():
        answers = model(task.to_input(torch.from_numpy(tiles))).argmax(dim=-1)
    assert losses[-1] < 0.45 * losses[0]
    assert float((answers.numpy() == coarse).mean()) > 0.95


def test_the_same_seed_gives_the_same_answers(data: SegmentationData) -> None:
    outcomes = []
    for elsewhere in (1, 2):
        torch.manual_seed(elsewhere)
        outcomes.append(fitted_to(data, 5, epochs=2, dropout=0.1, settings=settings_of(2, augment=True)))
    assert outcomes[0].predictions == outcomes[1].predictions and outcomes[0].losses == outcomes[1].losses
    other = fit_and_predict(model_of(5, 0.1), data, settings_of(2, augment=True), seed=6)
    assert other.losses != outcomes[0].losses


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_was_stopped_gives_the_same_answers(data: SegmentationData, tmp_path: Path, epoch: int) -> None:
    class StoppedError(Exception):
        pass

    def stop(done: int, total: int, note: str = "") -> None:
        if note.startswith(f"epoch {epoch + 1}/"):
            raise StoppedError

    settings = settings_of(3, augment=True)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(StoppedError):
        fitted_to(data, settings=settings, dropout=0.1, checkpoint=checkpoint, key="k", progress=stop)
    resumed = fitted_to(data, settings=settings, dropout=0.1, checkpoint=checkpoint, key="k")
    whole = fitted_to(data, settings=settings, dropout=0.1)
    assert resumed.resumed_from_epoch == epoch
    assert (resumed.predictions, resumed.losses) == (whole.predictions, whole.losses)


@pytest.mark.parametrize("twin", ["shuffled_labels", "noise_images"])
def test_destroyed_data_teach_nothing(data: SegmentationData, fitted: Outcome, twin: Any) -> None:
    outcome = fitted_to(data, epochs=4, twin=twin)
    assert value(data, outcome, "miou") < value(data, fitted, "miou") - 15
    control = fit_and_predict(_control(), data, settings_of(), seed=0, twin=twin)
    assert value(data, control, "miou") < value(data, fitted, "miou") - 15


def test_the_noise_twin_never_opens_an_image(data: SegmentationData, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("an image was read")

    for module in (fit, tiling):
        monkeypatch.setattr(module, "read_pixels", opened)
    for loaded in (_control(), model_of()):
        outcome = fit_and_predict(loaded, data, settings_of(1), seed=0, twin="noise_images")
        assert len(outcome.predictions) == len(data.test)


def test_shuffling_moves_masks_between_tiles_and_loses_none(data: SegmentationData) -> None:
    grid = Tiling(TILE, TILE)
    plain, moved = (fit._masks(data, grid, twin, 0, silent) for twin in ("none", "shuffled_labels"))
    assert not np.array_equal(plain.rows, moved.rows)
    assert sorted(plain.rows) == sorted(moved.rows) and np.array_equal(plain.masks, moved.masks)


def _control() -> LoadedModel:
    return load(catalog()["simple-features"], image_size=TILE, seed=0)


def test_hand_made_features_are_fitted_without_training(data: SegmentationData) -> None:
    outcome = fit_and_predict(_control(), data, settings_of(), seed=0)
    assert outcome.losses == [] and outcome.parameters == 2 * 18 * 3 + 3  # of the four classes the road never occurs
    assert value(data, outcome) > majority(data, outcome) + 15


def test_the_control_of_a_huge_training_part_learns_from_some_tiles(
    data: SegmentationData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "_MOST_PATCHES", 64)
    outcome = fit_and_predict(_control(), data, settings_of(), seed=0)
    assert value(data, outcome) > majority(data, outcome)


def _training(data: SegmentationData, **changes: Any) -> TileTraining:
    settings = settings_of(3, **changes)
    loaded = model_of()
    grid = Tiling(TILE, TILE)
    tiles, masks = load_tiles(data.index, data.train, grid).pixels, load_mask_tiles(data.index, data.train, grid)
    model = Segmenter(loaded.encoder, 4, blocks=1, dropout=0.0, seed=0)  # type: ignore[arg-type]
    return TileTraining(model, input_path(loaded, settings.normalisation), settings, tiles, masks, seed=0, device=CPU)


def test_an_epoch_shows_every_tile_once_with_its_own_mask(data: SegmentationData) -> None:
    task = _training(data)
    seen = [micro for micros in task.batches(0) for micro in micros]
    tiles = np.concatenate([micro.tiles.numpy() for micro in seen])
    assert sorted(tile.tobytes() for tile in tiles) == sorted(tile.tobytes() for tile in task.tiles)
    own = {tile.tobytes(): int(row) for tile, row in zip(task.tiles, task.masks.rows, strict=True)}
    for micro in seen:
        for position, tile in enumerate(micro.tiles.numpy()):
            mask = task.masks.masks[own[tile.tobytes()]]
            assert torch.equal(micro.targets[position], task.targets[own[tile.tobytes()]])
            if micro.valid is not None:
                assert np.array_equal(micro.valid[position].numpy(), mask != IGNORE)
            else:
                assert (mask != IGNORE).all()
    orders = [[micro.tiles for micros in task.batches(epoch) for micro in micros] for epoch in (0, 0, 1)]
    assert torch.equal(orders[0][0], orders[1][0]) and not torch.equal(orders[0][0], orders[2][0])


def test_tiles_and_masks_turn_together(data: SegmentationData) -> None:
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 256, (8, 8, 8), dtype=np.uint8)
    batch = Batch(torch.from_numpy(tiles), torch.from_numpy(tiles[..., None] / 1.0), torch.from_numpy(tiles > 99))
    out = turned(batch, np.arange(8))
    ways = {
        tile.numpy().tobytes()
        for tile in turned(Batch(batch.tiles[:1].repeat(8, 1, 1), batch.targets, None), np.arange(8)).tiles
    }
    expected = {np.rot90(side, k).tobytes() for side in (tiles[0], tiles[0].T) for k in range(4)}
    assert ways == expected
    assert torch.equal(out.targets[..., 0], out.tiles.double())
    assert out.valid is not None and torch.equal(out.valid, out.tiles > 99)
    task = _training(data, augment=True)
    moved = [micro for micros in task.batches(0) for micro in micros]
    assert not torch.equal(moved[0].tiles, next(iter(_training(data).batches(0)))[0].tiles)


def test_masks_without_any_label_are_refused(data: SegmentationData) -> None:
    empty = tuple(entry._replace(class_pixels=(0, 0, 0, 0)) for entry in data.train)
    with pytest.raises(CellError, match="no labelled pixels"):
        fitted_to(replace(data, train=empty))


def test_tiles_without_any_label_train_without_harm(tmp_path: Path, write_map: Any, own_cache: Path) -> None:
    grounds = []
    for number in range(10):
        mask = np.full((TILE, TILE), IGNORE if number % 2 else number % 4, dtype=np.uint8)
        grounds.append((np.random.default_rng(number).integers(0, 256, mask.shape, dtype=np.uint8), mask))
    index = read_index(DataSource("fusar_map", write_map(tmp_path, grounds)), DataOptions(label_map="map4_labelled"))
    values = settings_of(2).model_dump()
    values["training"].update(batch=2, micro_batch=1)
    settings = SegmentationSettings.model_validate(values)
    data = build(index, settings)
    empty = [entry for entry in data.train if not any(entry.class_pixels)]
    assert 0 < len(empty) < len(data.train)
    outcome = fitted_to(data, settings=settings)
    assert all(np.isfinite(outcome.losses)) and len(outcome.predictions) == len(data.test)


def test_a_corrupt_file_is_left_out_and_the_rest_is_learnt(tmp_path: Path, write_map: Any, own_cache: Path) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[4:] = 1
    grounds = [(rng.integers(0, 256, (8, 8), dtype=np.uint8), mask) for _ in range(100)]
    root = write_map(tmp_path / "map", grounds)
    broken = sorted((root / "sar_32").iterdir())[50]
    broken.write_bytes(broken.read_bytes()[:60])
    data = build(read_index(DataSource("fusar_map", root)), settings_of(1))
    assert len(data.index.bad) == 1 and len(data.train) + len(data.test) == 99
    assert len(fitted_to(data, epochs=1).predictions) == len(data.test)


def test_a_limit_cuts_both_parts(map_index: DatasetIndex) -> None:
    whole, cut = build(map_index, settings_of()), build(map_index, settings_of(), limit=3)
    assert cut.cut and not whole.cut
    assert cut.split.train == whole.split.train[:3] and cut.split.test == whole.split.test[:3]
    assert [entry.image_id for entry in cut.train] == list(cut.split.train)


def test_overlapping_windows_are_a_setting(data: SegmentationData) -> None:
    outcome = fitted_to(data, epochs=1, settings=settings_of(1, stride=TILE // 2))
    assert len(outcome.predictions) == len(data.test)


def test_data_without_masks_and_other_ignore_labels_are_refused(map_index: DatasetIndex) -> None:
    bare = replace(map_index, images=tuple(image._replace(mask="") for image in map_index.images))
    with pytest.raises(MissingError, match="without a mask"):
        build(bare, settings_of())
    with pytest.raises(UsageError, match="ignore_label"):
        build(map_index, settings_of(ignore_label=0))


# ---- polarisations


def test_polarisations_of_a_place_stay_in_one_part(polarised: DataSource) -> None:
    data = build(read_index(polarised), settings_of())
    parts = [{entry.group for entry in entries} for entries in (data.train, data.test)]
    assert not parts[0] & parts[1] and len(data.train) == 32 and len(data.test) == 8
    texts = {row["unit"]: row["mask"] for row in truth_of(data)["test"]}
    assert len(texts) == 2 and len({row["mask"] for row in truth_of(data)["test"]}) <= 2


@pytest.mark.parametrize("polarisation", ["each", "pseudo", "HH"])
def test_every_use_of_the_polarisations_is_learnt(polarised: DataSource, polarisation: str) -> None:
    data = build(read_index(polarised, DataOptions(polarisation=polarisation)), settings_of())
    outcome = fitted_to(data, epochs=25 if polarisation != "each" else 10)
    assert outcome.losses[-1] < 0.8 * outcome.losses[0]
    assert value(data, outcome) > 60
    control = fit_and_predict(_control(), data, settings_of(), seed=0)
    assert value(data, control) > 60


def test_channels_of_a_composite_go_through_the_path_of_grey(polarised: DataSource) -> None:
    index = read_index(polarised, DataOptions(polarisation="pseudo"))
    pixels = torch.from_numpy(np.stack([read_pixels(index, entry) for entry in index.images[:3]]))
    loaded, settings = model_of(), settings_of()
    for changes in ({}, {"normalisation": {"source": "task", "mean": (10.0, 20.0, 30.0), "std": (50.0, 60.0, 70.0)}}):
        chosen = SegmentationSettings.model_validate({**settings.model_dump(), **changes})
        norm = chosen.normalisation
        whole = input_path(loaded, chosen.normalisation)(pixels)
        assert whole.shape == (3, 3, 16, 32)
        for channel in range(3):
            grey = encoder_input(pixels[..., channel], loaded.contract, norm.mean, norm.std)
            assert torch.equal(whole[:, channel], grey[:, channel])


def test_an_encoder_of_one_channel_sees_one_polarisation_and_says_so(polarised: DataSource) -> None:
    data = build(read_index(polarised, DataOptions(polarisation="pseudo")), settings_of())
    outcome = fitted_to(data, epochs=1, loaded=model_of(channels=1))
    assert outcome.warnings == ["the model does not take three channels: of each composite it saw HH alone"]
