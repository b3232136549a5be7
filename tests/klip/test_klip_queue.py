"""The queue of earlier features against a list (sections 5.1 and 13.2)."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from foundation.errors import CheckError
from klip.model.queue import EMPTY, FeatureQueue, effective_size

WIDTH = 3


def batch(count: int, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rows that carry their number in every part."""
    ids = torch.arange(first, first + count)
    return ids[:, None].float().expand(-1, WIDTH), -ids[:, None].float().expand(-1, WIDTH), ids, ids + 10_000


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 9), st.lists(st.integers(0, 25), max_size=12))
def test_a_ring_of_any_size_holds_the_last_rows_in_the_places_of_a_list(size: int, counts: list[int]) -> None:
    queue = FeatureQueue(size, WIDTH)
    places: list[int | None] = [None] * size
    pointer = total = 0
    for count in counts:
        queue.enqueue(*batch(count, total))
        for n in range(max(0, count - size), count):
            places[pointer % size] = total + n
            pointer += 1
        total += count
        vision, text, ids, hashes = queue.rows()
        held = [place for place in places if place is not None]
        assert ids.tolist() == held
        assert vision.tolist() == [[float(n)] * WIDTH for n in held]
        assert text.tolist() == [[float(-n)] * WIDTH for n in held]
        assert hashes.tolist() == [n + 10_000 for n in held]
        assert sorted(held) == list(range(total))[-size:] if size else held == []  # first in, first out


def test_no_row_stands_in_an_empty_queue_and_ids_match_none() -> None:
    queue = FeatureQueue(4, WIDTH)
    assert all(len(part) == 0 for part in queue.rows())
    assert queue.image_id.tolist() == [EMPTY] * 4


def test_a_random_start_is_full_of_directions_of_no_image() -> None:
    queue = FeatureQueue(6, WIDTH, start="random", seed=1)
    vision, text, ids, hashes = queue.rows()
    torch.testing.assert_close(vision.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(text.norm(dim=1), torch.ones(6))
    assert not torch.allclose(vision, text)
    assert ids.tolist() == hashes.tolist() == [EMPTY] * 6
    assert torch.equal(FeatureQueue(6, WIDTH, start="random", seed=1).vision, queue.vision)


def test_what_was_read_before_does_not_change_when_copied() -> None:
    queue = FeatureQueue(4, WIDTH)
    queue.enqueue(*batch(4, 0))
    joined = torch.cat([queue.rows()[0], torch.zeros(1, WIDTH)])
    queue.enqueue(*batch(4, 10))
    assert joined[:4, 0].tolist() == [0, 1, 2, 3]


def test_a_checkpoint_brings_back_rows_and_counters() -> None:
    queue = FeatureQueue(5, WIDTH)
    queue.enqueue(*batch(7, 0))
    file = io.BytesIO()
    torch.save(queue.state_dict(), file)
    file.seek(0)
    other = FeatureQueue(5, WIDTH)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert (other.pointer, other.filled) == (queue.pointer, queue.filled)
    for mine in (queue, other):
        mine.enqueue(*batch(2, 7))
    assert torch.equal(other.image_id, queue.image_id)
    assert other.checksum() == queue.checksum()
    with pytest.raises(CheckError, match="queue has 5 rows"):
        FeatureQueue(6, WIDTH).load_state_dict(queue.state_dict())


def test_the_checksum_tells_queues_apart() -> None:
    first, second = FeatureQueue(4, WIDTH), FeatureQueue(4, WIDTH)
    first.enqueue(*batch(4, 0))
    second.enqueue(*batch(4, 0))
    assert first.checksum() == second.checksum()
    second.vision[[0, 1]] = second.vision[[1, 0]]
    assert first.checksum() != second.checksum()


def test_a_queue_never_holds_an_image_twice() -> None:
    assert effective_size(20_000, 120_000, 32) == 20_000
    assert effective_size(1024, 600, 32) == 568
    assert effective_size(1024, 20, 32) == 0
