"""The few-shot rule of section 2.5: a share of the pool in hash order, every class present, shares nested."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UsageError
from tasks.few_shot import LADDER, few_shot, few_shot_key

POOLS = st.lists(st.frozensets(st.integers(0, 6), max_size=3), min_size=1, max_size=70).map(
    lambda classes: {f"JPEGImages/{number:07d}.jpg": found for number, found in enumerate(classes)}
)
DATASET = "sar_aircraft_few"


def _order(pool: Mapping[str, object]) -> list[str]:
    return sorted(pool, key=lambda name: (hashlib.sha256(f"few-v1|{DATASET}|{name}".encode()).hexdigest(), name))


def _size(share: float, images: int) -> int:
    """ceil(share x images) in whole hundredths: floats would make 4 of 0.1 x 30."""
    return -(-round(share * 100) * images // 100)


def _plain(pool: Mapping[str, frozenset[int]], share: float) -> set[str]:
    """The rule to the letter, without the clause about nesting."""
    order = _order(pool)
    kept = order[: _size(share, len(order))]
    for label in sorted({label for found in pool.values() for label in found}):
        if any(label in pool[name] for name in kept):
            continue
        kept.append(next(name for name in order if label in pool[name]))
        present = {mine for name in kept for mine in pool[name]}
        for name in reversed(kept):
            if {mine for other in kept if other != name for mine in pool[other]} == present:
                kept.remove(name)
                break
    return set(kept)


def test_the_order_is_by_hash_with_its_own_salt() -> None:
    assert few_shot_key("a", "b") == hashlib.sha256(b"few-v1|a|b").hexdigest()


@pytest.mark.parametrize(("share", "kept"), [(0.05, 2), (0.1, 3), (0.2, 6), (0.5, 15), (1, 30), (0.3, 9)])
def test_the_first_images_are_kept_and_their_number_is_rounded_up(share: float, kept: int) -> None:
    pool = {f"{number}": {0} for number in range(30)}
    assert few_shot(DATASET, pool, share) == tuple(_order(pool)[:kept])


def test_a_class_that_comes_late_brings_its_first_image_and_another_goes() -> None:
    order = _order({f"{number}": () for number in range(10)})
    pool = {name: {0} for name in order} | {order[6]: {0, 1}, order[8]: {1}}
    assert few_shot(DATASET, pool, 0.2) == (order[0], order[6])


def test_both_stay_where_none_can_go() -> None:
    order = _order({f"{number}": () for number in range(10)})
    pool = {name: set[int]() for name in order} | {order[0]: {0}, order[1]: {1}, order[9]: {2}}
    assert few_shot(DATASET, pool, 0.2) == (order[0], order[1], order[9])


def test_an_image_of_a_smaller_share_never_goes() -> None:
    """To the letter, a fifth would give up image 1, which a tenth had to take in."""
    order = _order({f"{number}": () for number in range(10)})
    pool = {name: frozenset[int]() for name in order}
    pool |= {order[0]: frozenset({1}), order[1]: frozenset({0, 1}), order[4]: frozenset({0, 2})}
    assert _plain(pool, 0.1) == {order[1], order[4]} and _plain(pool, 0.2) == {order[0], order[4]}
    assert few_shot(DATASET, pool, 0.1) == few_shot(DATASET, pool, 0.2) == (order[1], order[4])


@given(POOLS)
def test_shares_are_nested(pool: dict[str, frozenset[int]]) -> None:
    kept = [set(few_shot(DATASET, pool, share)) for share in LADDER]
    for smaller, larger in pairwise(kept):
        assert smaller <= larger
    assert kept[-1] == set(pool)


@given(POOLS, st.sampled_from(LADDER))
def test_every_class_of_the_pool_is_present_and_no_more_is_kept_than_classes_need(
    pool: dict[str, frozenset[int]], share: float
) -> None:
    kept = few_shot(DATASET, pool, share)
    classes = {label for found in pool.values() for label in found}
    assert {label for name in kept for label in pool[name]} == classes
    assert _size(share, len(pool)) <= len(kept) <= _size(share, len(pool)) + len(classes)
    assert list(kept) == [name for name in _order(pool) if name in set(kept)]


@given(POOLS)
def test_the_smallest_share_is_the_rule_to_the_letter(pool: dict[str, frozenset[int]]) -> None:
    assert set(few_shot(DATASET, pool, 0.05)) == _plain(pool, 0.05)


@given(POOLS, st.sampled_from(LADDER))
def test_larger_shares_are_the_rule_to_the_letter_where_that_is_nested(
    pool: dict[str, frozenset[int]], share: float
) -> None:
    literal = [_plain(pool, step) for step in LADDER if step <= share]
    if all(smaller <= larger for smaller, larger in pairwise(literal)):
        assert set(few_shot(DATASET, pool, share)) == literal[-1]


@pytest.mark.parametrize("share", [0, -0.1, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="share"):
        few_shot(DATASET, {"a": {0}}, share)


def test_nothing_to_choose_from_gives_nothing() -> None:
    assert few_shot(DATASET, {}, 0.2) == ()
