"""What a stage is trained on: segments left out, mirrored texts, the ramp of alpha, and texts that must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import CheckError
from foundation.progress import silent
from klip.configuration import pretraining_settings
from klip.model.pretrainer import PairBatch, Pretrainer
from klip.pretrain.mirror import flipped, mirrored
from klip.pretrain.objective import KlipObjective, alpha_at, trained_rows
from klip.pretrain.prepare import Source, prepare
from klip.pretrain.segments import drop_segments, dropped
from klip.scio.readiness import held_out_rows
from klip.text import SegmentedText, parse_record
from klip.training.distributed import single
from klip.training.position import Position
from tests.klip.pretraining import small_settings
from tests.klip.small_corpus import record
from tests.klip.toy_corpus import write_toy_corpus
from tests.klip.toy_pairs import SPECIALS, random_texts, tokens_of

PLACE = Position(epoch=0, batch=0, step=0, steps_per_epoch=5, total_steps=15, seed=1)


@given(st.integers(0, 2**32), st.floats(0.01, 0.99))
def test_three_segments_stay_and_absent_ones_are_never_dropped(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(6, 8, generator=generator) < 0.7
    found = dropped(present, share, generator)
    kept = present & ~found
    assert not (found & ~present).any()
    assert bool((kept.sum(1) >= present.sum(1).clamp(max=3)).all())


def test_segments_leave_as_often_as_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [dropped(torch.ones(6, 8, dtype=torch.bool), 0.15, generator) for _ in range(6000)]
    assert float(torch.stack(batches).float().mean()) == pytest.approx(0.15, abs=0.005)
    assert torch.stack(batches).float().mean((0, 1)).numpy() == pytest.approx(0.15, abs=0.01), "every segment alike"


def test_segments_of_texts_with_gaps_leave_no_oftener() -> None:
    generator = torch.Generator().manual_seed(0)
    present = torch.ones(2, 8, dtype=torch.bool)
    present[1, 5:] = False
    share = torch.stack([dropped(present, 0.15, generator) for _ in range(6000)]).float().mean(0)
    assert share[0].numpy() == pytest.approx(0.15, abs=0.015)
    # Of five segments two may leave, which is hardly ever too few.
    assert share[1, :5].numpy() == pytest.approx(0.15, abs=0.015)


def test_the_texts_of_a_batch_lose_as_many_segments_but_not_the_same() -> None:
    found = dropped(torch.ones(50, 8, dtype=torch.bool), 0.4, torch.Generator().manual_seed(1))
    assert len(set(found.sum(1).tolist())) == 1
    assert len({tuple(row) for row in found.tolist()}) > 10


def test_a_dropped_segment_takes_label_and_end_with_it() -> None:
    texts = random_texts(12, missing=0.0)
    tokens = tokens_of(texts)
    generator = torch.Generator().manual_seed(3)
    gone = dropped(tokens.present, 0.5, torch.Generator().manual_seed(3))
    expected = tokens_of(
        [tuple(None if gone[n, k] else slot for k, slot in enumerate(text)) for n, text in enumerate(texts)]
    )
    assert torch.equal(drop_segments(tokens, 0.5, generator, SPECIALS.pad).trimmed().ids, expected.ids)


def a_text(**values: str) -> SegmentedText:
    return parse_record(record(0, **values))


def test_left_and_right_change_places_in_mirrored_texts_and_nothing_else_does() -> None:
    text = a_text(
        Location="upper Left, two on the right-hand side; LEFTMOST pier; eastern quay",
        Environment="a bright strip, leftover snow, brightly lit",
    )
    values = {segment.field: segment.value for segment in mirrored(text).segments}
    assert values["Location"] == "upper Right, two on the left-hand side; RIGHTMOST pier; eastern quay"
    assert values["Environment"] == "a bright strip, leftover snow, brightly lit"
    assert mirrored(mirrored(text)) == text


def test_a_mirrored_image_has_the_mirrored_text() -> None:
    images = torch.arange(10 * 4.0).reshape(10, 1, 4).expand(10, 4, 4)
    own, other = tokens_of(random_texts(10, 1)), tokens_of(random_texts(10, 2))
    turned, texts = flipped(images, own, other, PLACE, SPECIALS.pad)
    chosen = [n for n in range(10) if not torch.equal(turned[n], images[n])]
    assert 0 < len(chosen) < 10
    for n in range(10):
        source = other if n in chosen else own
        assert texts.ids[n][texts.mask[n]].tolist() == source.ids[n][source.mask[n]].tolist()
        if n in chosen:
            assert torch.equal(turned[n], images[n].flip(-1))


@pytest.mark.parametrize(("step", "alpha"), [(0, 0.0), (50, 0.2), (100, 0.4), (5000, 0.4)])
def test_alpha_rises_over_two_epochs_of_the_optimiser_s_steps(step: int, alpha: float) -> None:
    assert alpha_at(pretraining_settings(), step, steps_per_epoch=50) == pytest.approx(alpha)


def test_without_a_ramp_alpha_is_there_at_once() -> None:
    assert alpha_at(pretraining_settings(changes=["itc.alpha_ramp_epochs=0"]), 0, 50) == 0.4


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("objective")
    corpus = write_toy_corpus(folder / "corpus", 24, wrong=0.2)
    return prepare(Source(corpus, vocabulary_size=200), folder / "run", small_settings(), single(), silent)


def objective_of(prepared: Any, *changes: str) -> KlipObjective:
    settings = small_settings(*changes)
    vocabulary = prepared.store.vocabulary
    module = Pretrainer(settings, vocabulary.size, vocabulary.specials, queue_size=8)
    return KlipObjective(module, prepared.images, prepared.stage_texts(0, None, settings), settings, single())


class Caught(torch.nn.Module):
    """Takes the place of the model and keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[PairBatch] = []

    def forward(self, pairs: PairBatch, _context: Any) -> dict[str, torch.Tensor]:
        self.pairs.append(pairs)
        return {"loss": torch.zeros(())}


def test_noise_reaches_infilling_and_leaves_images_and_texts_alone(prepared: Any) -> None:
    # Contradiction C6: contrast and matching go on with the complete original text.
    noise = np.zeros((24, 8), dtype=np.bool_)
    noise[:, 2] = True
    caught = Caught()
    for pool in (None, noise):
        objective = objective_of(prepared)
        objective.begin_stage(prepared.stage_texts(0, pool, small_settings()), segment_dropout=0.0)
        objective.loss(caught, next(objective.batches(0, 0)), PLACE)
    without, with_noise = caught.pairs
    assert torch.equal(without.tokens.ids, with_noise.tokens.ids)
    assert torch.equal(without.images, with_noise.images)
    assert not without.noise.any()
    assert with_noise.noise[:, 2].all() and int(with_noise.noise.sum()) == len(with_noise)


def test_segments_are_dropped_in_the_stages_that_ask_for_it_alone(prepared: Any) -> None:
    caught = Caught()
    for share in (0.0, 0.6):
        objective = objective_of(prepared)
        objective.begin_stage(objective.texts, segment_dropout=share)
        objective.loss(caught, next(objective.batches(0, 0)), PLACE)
    assert bool(caught.pairs[0].tokens.present.all())
    assert not bool(caught.pairs[1].tokens.present.all())


def test_a_stage_goes_on_with_its_own_texts_only(prepared: Any) -> None:
    objective = objective_of(prepared)
    saved = objective.state()
    noise = np.zeros((24, 8), dtype=np.bool_)
    noise[3, 1] = True
    other = prepared.stage_texts(0, noise, small_settings())
    objective.load_state(saved)
    with pytest.raises(CheckError, match="not those that its checkpoint was trained with"):
        objective.begin_stage(other, segment_dropout=0.0)
    objective.forget_stage()
    objective.begin_stage(other, segment_dropout=0.0)


def test_rows_that_show_the_same_image_have_the_same_id(tmp_path: Path) -> None:
    corpus = write_toy_corpus(tmp_path / "corpus", 24)
    (corpus / "images" / "0007.png").write_bytes((corpus / "images" / "0003.png").read_bytes())
    found = prepare(Source(corpus, vocabulary_size=200), tmp_path / "run", small_settings(), single(), silent)
    assert found.image_id[7] == found.image_id[3] == 3
    assert len(set(found.image_id.tolist())) == 23


def test_training_leaves_the_held_out_pairs_and_their_twins_out() -> None:
    settings = small_settings()
    image_id = torch.arange(200)
    held_out = held_out_rows(200, settings.scio.held_out, settings.seed)
    assert len(held_out) == 20, "2 % would be four: too few to ask, so a tenth"
    image_id[7] = image_id[int(held_out[0])]
    trained = set(trained_rows(image_id, settings).tolist())
    assert trained == set(range(200)) - set(held_out.tolist()) - {7}


def test_batches_never_hold_a_held_out_pair(prepared: Any) -> None:
    objective = objective_of(prepared)
    held_out = set(held_out_rows(24, small_settings().scio.held_out, small_settings().seed).tolist())
    seen = {int(row) for epoch in range(30) for batch in objective.batches(epoch, 0) for row in batch.image_id}
    assert len(held_out) == 2
    assert seen == set(range(24)) - held_out


@pytest.mark.parametrize(
    ("count", "share", "asked"), [(10, 0.02, 0), (30, 0.02, 3), (1500, 0.02, 64), (9000, 0.02, 180)]
)
def test_how_many_pairs_are_held_out(count: int, share: float, asked: int) -> None:
    assert len(held_out_rows(count, share, seed=0)) == asked
    assert len(held_out_rows(count, 0.0, seed=0)) == 0
