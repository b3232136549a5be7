"""What the measured peer writes with the same weights: the text is the same, so the speeds may be compared."""

from __future__ import annotations

import pytest

from tests.bench.caption_generation import LONGEST, Case


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


@pytest.mark.parametrize("beams", [1, 3])
def test_the_library_writes_the_same_with_the_same_weights(case: Case, beams: int) -> None:
    fused, image = case.seen()
    ours, theirs = case.ours(fused, image, beams), case.theirs(fused, image, beams)
    # With several beams and no room left the library compares what ended with what did not; we prefer what ended.
    ended = [row for row, text in enumerate(theirs) if beams == 1 or len(text) < LONGEST]
    assert len(ended) > len(theirs) / 2
    assert [ours[row] for row in ended] == [theirs[row] for row in ended]
