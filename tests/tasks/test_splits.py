"""The split rule of section 2.4: 4:1 per class, test rounded up, ordered by hash, units never divided."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UsageError
from tasks.splits import Item, Split, split, split_key

# Measured counts of the public part, section 3.4.
SAR_ACD = {"A220": 464, "A320321": 510, "A330": 512, "ARJ21": 514, "Boeing737": 528, "Boeing787": 504}


def _chips(counts: dict[str, int] = SAR_ACD) -> list[Item]:
    names = [
        (f"images/{name}/{number:03d}.jpg", label)
        for label, (name, count) in enumerate(counts.items())
        for number in range(1, count + 1)
    ]
    return [Item(name, name, label) for name, label in names]


def _singles(labels: Sequence[int | None]) -> list[Item]:
    return [Item(f"i{number}", f"i{number}", label) for number, label in enumerate(labels)]


def test_the_hash_is_the_check_value_of_the_specification() -> None:
    assert split_key("sar_acd", "images/A220/001.jpg").startswith("0761720cfb62e6ea")


def test_a_seed_enters_the_salt() -> None:
    expected = hashlib.sha256(b"split-v1#7|sar_acd|images/A220/001.jpg").hexdigest()
    assert split_key("sar_acd", "images/A220/001.jpg", 7) == expected


def test_the_test_part_of_sar_acd_is_the_one_of_the_specification() -> None:
    test = split("sar_acd", _chips()).test
    counts = Counter(name.split("/")[1] for name in test)
    assert [counts[name] for name in SAR_ACD] == [93, 102, 103, 103, 106, 101]
    assert len(test) == 608
    first = [name for name in test if "/A220/" in name][:3]
    assert first == ["images/A220/039.jpg", "images/A220/094.jpg", "images/A220/020.jpg"]


def test_sar_acd_is_the_plain_reading_of_the_rule() -> None:
    """The same parts from a second, naive implementation."""
    test: set[str] = set()
    for name, count in SAR_ACD.items():
        ids = [f"images/{name}/{number:03d}.jpg" for number in range(1, count + 1)]
        ids.sort(key=lambda unit: (hashlib.sha256(f"split-v1|sar_acd|{unit}".encode()).hexdigest(), unit))
        test.update(ids[: math.ceil(count / 5)])
    parts = split("sar_acd", _chips())
    assert set(parts.test) == test
    assert set(parts.train) == {item.image_id for item in _chips()} - test
    assert parts.dropped == ()


def test_seven_to_three_gives_the_landform_test_size_of_the_paper() -> None:
    tiles = [Item(f"tile{number}", f"tile{number}") for number in range(610)]
    assert len(split("fusar_map", tiles, ratio=(7, 3)).test) == 183  # 0.3 x 610, errata D
    assert len(split("fusar_map", tiles).test) == 122


def test_other_seeds_give_other_parts_of_the_same_size() -> None:
    tests = {seed: split("sar_acd", _chips(), seed=seed).test for seed in range(3)}
    assert len({frozenset(test) for test in tests.values()}) == 3
    assert {len(test) for test in tests.values()} == {608}


def test_other_data_sets_give_other_parts() -> None:
    items = _singles([0] * 50)
    assert set(split("fusar_air", items).test) != set(split("fusar_ship", items).test)


def test_classes_under_five_images_are_dropped_and_named() -> None:
    items = _singles([0] * 5 + [1] * 4 + [2] * 6)
    parts = split("fusar_ship", items)
    assert parts.dropped == (1,)
    kept = {item.image_id for item in items if item.label != 1}
    assert set(parts.train) | set(parts.test) == kept
    assert len(parts.test) == 1 + 2


def test_a_group_is_taken_whole_until_there_is_enough() -> None:
    # Three groups of four: the first in hash order already holds more than ceil(12 / 5) = 3 images.
    items = [Item(f"g{group}/{image}", f"g{group}", 0) for group in range(3) for image in range(4)]
    first = min(range(3), key=lambda group: split_key("fusar_ship", f"g{group}"))
    assert split("fusar_ship", items).test == tuple(f"g{first}/{image}" for image in range(4))


def test_a_mixed_group_counts_for_the_class_of_most_of_its_images() -> None:
    items = [Item(f"a{number}", f"a{number}", 0) for number in range(8)]
    items += [Item(f"b{number}", f"b{number}", 1) for number in range(8)]
    items += [Item("m0", "mixed", 0), Item("m1", "mixed", 1), Item("m2", "mixed", 1)]
    ordered = sorted(
        [*(f"b{number}" for number in range(8)), "mixed"], key=lambda unit: (split_key("fusar_ship", unit), unit)
    )
    expected: list[str] = []
    for unit in ordered:  # eleven images stand in the units of class 1: at least ceil(11 / 5) = 3 are tested
        if len(expected) < 3:
            expected += ["m0", "m1", "m2"] if unit == "mixed" else [unit]
    parts = split("fusar_ship", items)
    assert {name for name in parts.test if name[0] in "bm"} == set(expected)
    assert sum(name[0] == "a" for name in parts.test) == 2


def test_an_image_id_that_occurs_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="twice: same") as caught:
        split("fusar_air", [Item("same", "u1", 0), Item("same", "u2", 0)])
    assert caught.value.where == "fusar_air" and caught.value.way_out


@pytest.mark.parametrize("ratio", [(4, 0), (0, 1), (-1, 5)])
def test_a_ratio_without_two_parts_is_refused(ratio: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="ratio"):
        split("fusar_air", _singles([0] * 10), ratio=ratio)


def test_nothing_can_be_split_into_nothing() -> None:
    assert split("fusar_air", []) == Split((), (), ())


def test_the_hash_of_a_split_knows_both_parts_and_their_order() -> None:
    hashes = {
        Split(("a", "b"), ("c",)).hash,
        Split(("b", "a"), ("c",)).hash,
        Split(("a",), ("b", "c")).hash,
        Split(("a", "b", "c"), ()).hash,
        Split(("a", "b"), ("d",)).hash,
    }
    assert len(hashes) == 5
    assert split("sar_acd", _chips()).hash == split("sar_acd", _chips()[::-1]).hash


LABELS = st.lists(st.integers(0, 4) | st.none(), max_size=60)
RATIOS = st.sampled_from([(4, 1), (7, 3), (1, 1), (9, 1)])


@given(LABELS, st.integers(0, 3), RATIOS)
def test_single_images_are_divided_exactly_by_the_rounded_up_share(
    labels: list[int | None], seed: int, ratio: tuple[int, int]
) -> None:
    items = _singles(labels)
    parts = split("fusar_air", items, seed=seed, ratio=ratio)
    sizes = Counter(labels)
    label_of = {item.image_id: item.label for item in items}
    dropped = {label for label, size in sizes.items() if label is not None and size < 5}
    assert set(parts.dropped) == dropped
    assert sorted([*parts.train, *parts.test]) == sorted(name for name in label_of if label_of[name] not in dropped)
    tested = Counter(label_of[name] for name in parts.test)
    for label in set(sizes) - dropped:
        assert tested[label] == math.ceil(sizes[label] * ratio[1] / sum(ratio))


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=60),
    st.randoms(use_true_random=False),
    st.integers(0, 2),
)
def test_groups_never_straddle_and_the_order_never_matters(
    pairs: list[tuple[int, int]], shuffler: random.Random, seed: int
) -> None:
    items = [Item(f"i{number}", f"u{unit}", label) for number, (unit, label) in enumerate(pairs)]
    parts = split("fusar_ship", items, seed=seed)
    shuffled = list(items)
    shuffler.shuffle(shuffled)
    assert split("fusar_ship", shuffled, seed=seed) == parts
    unit_of = {item.image_id: item.unit for item in items}
    assert not {unit_of[name] for name in parts.train} & {unit_of[name] for name in parts.test}
    assert len({*parts.train, *parts.test}) == len(parts.train) + len(parts.test)
    # With groups, every class that is left has at least its share in test: of the units that count for it.
    members: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if item.label not in parts.dropped:
            members[item.unit].append(item)
    by_class: dict[int | None, list[str]] = defaultdict(list)
    for unit, group in members.items():
        counts = Counter(item.label for item in group)
        by_class[min(counts, key=lambda label: (-counts[label], label or 0))].append(unit)
    for units in by_class.values():
        images = [item.image_id for unit in units for item in members[unit]]
        assert sum(name in parts.test for name in images) >= math.ceil(len(images) / 5)
