"""Captions of section 6.2 word by word, and that nothing is lost when they are read back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import CheckError
from tasks.builders.captions import (
    NOUNS,
    NUMBER_WORDS,
    Caption,
    Domain,
    Statement,
    Target,
    captions,
    mean_tuple_f1,
    number_word,
    parse_caption,
    tuple_f1,
)
from tasks.builders.geometry import Box, Size, quadrant

SIZE = Size(200, 100)
SPOTS = {"top-left": (20, 20), "top-right": (120, 20), "bottom-left": (20, 70), "bottom-right": (120, 70)}


def _target(place: str, name: str | None = None) -> Target:
    return Target(Box(*SPOTS[place], 10, 10), name)


def _texts(targets: Sequence[Target], domain: Domain = "aircraft") -> dict[str, str]:
    return {caption.template: caption.text for caption in captions("i", targets, SIZE, domain)}


THREE = [_target("top-left", "Boeing737"), _target("bottom-left", "A330"), _target("top-left", "Boeing737")]


def test_several_targets_of_several_types() -> None:
    assert _texts(THREE) == {
        "C1": "This scene holds three aircraft, namely two Boeing737 and one A330; "
        "two in the top-left and one in the bottom-left.",
        "C2": "Three aircraft can be seen: two Boeing737 and one A330, "
        "with two in the top-left and one in the bottom-left.",
        "C3": "A radar survey of this area reports three aircraft, made up of two Boeing737 and one A330, "
        "and two in the top-left and one in the bottom-left.",
        "C4": "In the SAR image, two Boeing737 and one A330 are visible, three aircraft in all: "
        "two in the top-left and one in the bottom-left.",
        "C5": "The SAR image shows three aircraft, that is two Boeing737 and one A330.",
    }


def test_one_target_is_and_lies() -> None:
    assert _texts([_target("top-right", "Cargo")], "ship") == {
        "C1": "This scene holds one ship, namely one Cargo; it lies in the top-right.",
        "C2": "One ship can be seen: one Cargo, and it lies in the top-right.",
        "C3": "A radar survey of this area reports one ship, which is one Cargo, and it lies in the top-right.",
        "C4": "In the SAR image, one Cargo is visible, one ship in all: it lies in the top-right.",
        "C5": "The SAR image shows one ship, that is one Cargo.",
    }


def test_class_agnostic_labels_say_number_and_noun_once() -> None:
    assert _texts([_target("top-left"), _target("top-right")], "ship") == {
        "C1": "This scene holds two ships; one in the top-left and one in the top-right.",
        "C2": "Two ships can be seen, with one in the top-left and one in the top-right.",
        "C3": "A radar survey of this area reports two ships, one in the top-left and one in the top-right.",
        "C4": "In the SAR image, two ships are visible: one in the top-left and one in the top-right.",
        "C5": "The SAR image shows two ships.",
    }
    assert (
        _texts([_target("top-left")], "ship")["C4"] == "In the SAR image, one ship is visible: it lies in the top-left."
    )


def test_without_targets_there_are_five_fixed_sentences() -> None:
    aircraft, ships = _texts([]), _texts([], "ship")
    assert list(aircraft) == list(ships) == ["N1", "N2", "N3", "N4", "N5"]
    assert aircraft["N1"] == "No aircraft can be found in this scene."
    assert ships["N1"] == "No ships can be found in this scene."
    assert len(set(aircraft.values()) | set(ships.values())) == 10


def test_types_come_by_falling_number_then_name_and_places_in_reading_order() -> None:
    targets = [
        _target("bottom-right", "B"),
        _target("bottom-left", "C"),
        _target("top-right", "A"),
        _target("top-left", "C"),
    ]
    text = _texts(targets)["C1"]
    assert "namely two C, one A and one B;" in text
    assert text.endswith(
        "one in the top-left, one in the top-right, one in the bottom-left and one in the bottom-right."
    )


@pytest.mark.parametrize(
    ("number", "word"), [(1, "one"), (2, "two"), (12, "twelve"), (13, "13"), (120, "120"), (0, "0")]
)
def test_numbers_are_words_up_to_twelve(number: int, word: str) -> None:
    assert number_word(number) == word


def test_large_numbers_start_a_sentence_as_digits() -> None:
    assert _texts([_target("top-left", "A")] * 13)["C2"] == "13 aircraft can be seen: 13 A, with 13 in the top-left."


def test_records_name_image_and_template() -> None:
    first = captions("a/b.png", THREE, SIZE, "aircraft")[0]
    assert first == Caption("a/b.png", "a/b.png#C1", "C1", first.text)
    assert len({caption.caption_id for caption in captions("a", THREE, SIZE, "aircraft")}) == 5


def test_types_of_all_boxes_or_of_none() -> None:
    with pytest.raises(CheckError, match="1 of 2 boxes have a type"):
        captions("i", [_target("top-left", "A"), _target("top-left")], SIZE, "aircraft")


@pytest.mark.parametrize(
    "name",
    [
        "",
        " A",
        "A  B",
        "A\nB",
        "A, two B",
        "A and three B",
        "and two B",
        "A and One",
        "X AND 3 y",
        ";",
        "- A",
        "A， two B",
    ],
)
def test_a_type_name_that_would_make_a_list_ambiguous_is_refused(name: str) -> None:
    with pytest.raises(CheckError, match="cannot stand in a caption") as caught:
        captions("image 7", [_target("top-left", name)], SIZE, "aircraft")
    assert caught.value.where == "image 7"


TRICKY_WORDS = (
    *("one", "two", "13", "and", "with", "are", "is", "visible", "that", "namely", "ship", "ships", "aircraft", "in"),
    *(
        "all:",
        "the",
        "top-left",
        "it",
        "lies",
        "visible,",
        "seen:",
        "and,",
        ";",
        ",",
        ".",
        "A330.",
        "A320/321",
        "Ⅷ",
        "ſ",
    ),
)
type_names = st.one_of(
    st.sampled_from(["Boeing737", "A320/321", "transport aircraft", "Search and Rescue", "Dredging, or other"]),
    st.lists(st.sampled_from(TRICKY_WORDS), min_size=1, max_size=7).map(" ".join),
    st.text(min_size=1, max_size=12).map(lambda text: " ".join(text.split())),
)
places = st.tuples(st.integers(0, 190), st.integers(0, 90))


@st.composite
def scenes(draw: st.DrawFn) -> list[Target]:
    names = draw(st.lists(type_names, min_size=1, max_size=4))
    typed = draw(st.booleans())
    spots = draw(st.lists(places, max_size=30))
    return [Target(Box(x, y, 10, 10), draw(st.sampled_from(names)) if typed else None) for x, y in spots]


def _said(targets: Sequence[Target], domain: Domain, template: str) -> set[Statement]:
    types = Counter(target.type for target in targets if target.type is not None)
    spots = Counter(quadrant(target.box.centre, SIZE) for target in targets)
    said = {Statement("noun", domain, len(targets))}
    said |= {Statement("type", name, count) for name, count in types.items()}
    if template != "C5":
        said |= {Statement("quadrant", name, count) for name, count in spots.items()}
    return said


@settings(deadline=None)
@given(scenes(), st.sampled_from(sorted(NOUNS)))
def test_every_caption_is_read_back_without_loss(targets: list[Target], domain: Domain) -> None:
    try:
        made = captions("i", targets, SIZE, domain)
    except CheckError:
        return
    for caption in made:
        assert parse_caption(caption.text) == _said(targets, domain, caption.template)
        if caption.template != "C5":
            assert tuple_f1(caption.text, [one.text for one in made]) == 100.0


@settings(deadline=None)
@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_of_the_boxes_changes_no_byte(targets: list[Target], shuffle: random.Random) -> None:
    try:
        before = captions("i", targets, SIZE, "ship")
    except CheckError:
        return
    shuffle.shuffle(targets)
    assert captions("i", targets, SIZE, "ship") == before


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_other_text_says_nothing_and_does_no_harm(text: str) -> None:
    assert parse_caption(text) == frozenset()
    assert tuple_f1(text, ["The SAR image shows two ships."]) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "This scene holds many ships; two in the top-left.",
        "This scene holds two ſhips; two in the top-left.",
        "The SAR image shows two boats.",
        "The SAR image shows two ships. The SAR image shows two ships.",
        f"The SAR image shows {'9' * 5000} ships.",
        "The SAR image shows two ships, that is Cargo.",
    ],
)
def test_a_text_close_to_the_templates_is_not_one_of_them(text: str) -> None:
    assert parse_caption(text) == frozenset()


def test_a_long_wrong_text_is_given_up_quickly() -> None:
    text = "In the SAR image, one " + "A are visible, one ship in all: one in the top-left, " * 500
    assert parse_caption(text) == frozenset()


def test_number_words_are_read_as_numbers() -> None:
    for number, word in enumerate(NUMBER_WORDS, start=1):
        assert Statement("noun", "aircraft", number) in parse_caption(f"The SAR image shows {word} aircraft.")


REFERENCES = list(_texts(THREE).values())


def test_each_of_the_first_four_templates_says_all_that_the_references_say() -> None:
    assert [tuple_f1(text, REFERENCES) for text in REFERENCES[:4]] == [100.0] * 4


def test_leaving_the_places_out_costs_recall() -> None:
    # Three of five statements, none wrong: 2 * 3 / (3 + 5).
    assert tuple_f1(REFERENCES[4], REFERENCES) == 75.0


def test_a_wrong_number_is_a_wrong_statement() -> None:
    # Noun and both places wrong, both types right: 2 * 2 / (5 + 5).
    wrong = (
        "This scene holds four aircraft, namely two Boeing737 and one A330; "
        "one in the top-left and two in the bottom-left."
    )
    assert tuple_f1(wrong, REFERENCES) == 40.0


def test_how_a_decoder_spaces_a_text_does_not_count() -> None:
    decoded = (
        "in the sar image , two boeing737 and one a330 are visible , three aircraft in all : "
        "two in the top - left and one in the bottom - left"
    )
    assert tuple_f1(decoded, REFERENCES) == 100.0


def test_unreadable_texts_score_nothing_and_unreadable_references_leave_it_undefined() -> None:
    assert tuple_f1("", REFERENCES) == 0.0
    assert tuple_f1("three aircraft", REFERENCES) == 0.0
    assert tuple_f1(REFERENCES[0], ["An airport."]) is None
    assert tuple_f1(REFERENCES[0], ["An airport.", REFERENCES[0]]) == 100.0


def test_the_mean_is_over_images_and_says_what_it_left_out() -> None:
    references = {"a": REFERENCES, "b": REFERENCES, "c": ["An airport."]}
    mean = mean_tuple_f1({"a": REFERENCES[0], "b": "no idea", "c": "An airport."}, references)
    assert (mean.value, mean.n) == (50.0, 2)
    assert mean.reason.startswith("1 images")
    nothing = mean_tuple_f1({"c": "An airport."}, {"c": ["An airport."]})
    assert nothing.value is None and "grammar" in nothing.reason
    assert mean_tuple_f1({}, {}).value is None


def test_the_mean_needs_one_caption_for_every_image() -> None:
    with pytest.raises(CheckError, match="different images"):
        mean_tuple_f1({"a": "x"}, {"a": REFERENCES, "b": REFERENCES})
