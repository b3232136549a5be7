"""Texts with planted errors: the books are right, the rates are met, and nothing else changes (section 14.5)."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest

from foundation.errors import CheckError, UsageError
from foundation.seeds import derive_seed
from klip.text import parse_record
from tasks.sarworld.texts import DEFAULT_RATES, KINDS, Corpus, claims_of, parse_value, plant
from tasks.sarworld.texts.claims import AIRCRAFT_TYPES, FIELDS, SHIP_TYPES
from tasks.sarworld.truth import (
    AIRCRAFT_CONTEXTS,
    FUNCTIONS,
    LAND_COVERS,
    LANDFORMS,
    QUADRANTS,
    SHIP_CONTEXTS,
    Domain,
    Facts,
    Shares,
    TrueObject,
    Truth,
)

DOMAINS: tuple[Domain, ...] = ("aircraft", "ship", "landform")
SURROUNDINGS = {
    "aircraft": ("apron", "runway", "taxiway", "grass", "terminal", "buildings", "farmland"),
    "ship": ("calm water", "swell", "quay", "cranes", "breakwater", "buildings"),
    "landform": (),
}


def record(number: int, domain: Domain) -> Truth:
    """An image as a data set has it: 0 to 8 targets of few types, shares that add up, facts that go together."""
    rng = np.random.default_rng(derive_seed("records", domain, number))

    def one(options: tuple[Any, ...]) -> Any:
        return options[int(rng.integers(len(options)))]

    objects: list[TrueObject] = []
    if domain != "landform":
        known = AIRCRAFT_TYPES if domain == "aircraft" else SHIP_TYPES
        types = [one(known) for _ in range(int(rng.integers(1, 5)))]
        contexts = AIRCRAFT_CONTEXTS if domain == "aircraft" else SHIP_CONTEXTS
        for _ in range(int(rng.integers(1, 9)) if rng.random() > 0.1 else 0):
            length, corners = float(rng.uniform(20, 60 if domain == "aircraft" else 240)), ((0.0, 0.0),) * 4
            kind, quadrant = one(tuple(types)), one(QUADRANTS)
            objects.append(TrueObject(kind, (0, 0, 1, 1), corners, quadrant, 1, length, 5.0, 0.0, one(contexts)))
    covers = rng.dirichlet([0.5, 1.0, 0.5, 0.2, 1.0], size=4) * (rng.random(5) > 0.2)
    quadrants = {
        name: {cover: float(value) for cover, value in zip(LAND_COVERS, row, strict=False)}
        for name, row in zip(QUADRANTS, covers, strict=True)
    }
    tile = {cover: sum(part[cover] for part in quadrants.values()) / 4 for cover in LAND_COVERS}
    roads = int(rng.integers(0, 5))
    count = len(objects)
    facts = Facts(
        landform=one(LANDFORMS),
        function=one(FUNCTIONS),
        pattern=one(("grid", "irregular", "none")),
        boundary=one(("sharp", "gradual")),
        roads=roads,
        road_course=one(("straight", "winding")) if roads else "none",
        water=one(("river", "lake", "canal", "sea")) if tile["water"] > 0 else "none",
        buildings=3,
        arrangement=("none", "single", "pair")[count] if count < 3 else one(("row", "cluster", "scattered")),
        surroundings=tuple(name for name in SURROUNDINGS[domain] if rng.random() < 0.5),
    )
    shares = Shares(tile, quadrants, (tile,) * 9)
    return Truth(f"images/{domain}_{number:05d}.png", domain, "s", "site_000", 128, 128, 1.0, "gf3", 1, 35.0,
                 tuple(objects), shares, facts)  # fmt: skip


def records(count: int, domains: tuple[Domain, ...] = DOMAINS) -> list[Truth]:
    """A data set whose domains take turns."""
    return [record(number, domains[number % len(domains)]) for number in range(count)]


@pytest.fixture(scope="module")
def images() -> list[Truth]:
    return records(2000)


@pytest.fixture(scope="module")
def corpus(images: list[Truth]) -> Corpus:
    return plant(images)


def differences(images: list[Truth], corpus: Corpus) -> dict[tuple[str, str], tuple[Any, Any]]:
    """What the noisy texts state otherwise than the clean ones, found by reading both."""
    found = {}
    for truth, noisy, clean in zip(images, corpus.noisy, corpus.clean, strict=True):
        for field in FIELDS[truth.domain]:
            claims = [parse_value(truth.domain, field, row[field]) for row in (clean, noisy)]
            if claims[0] != claims[1]:
                found[truth.image_id, field] = (claims[0], claims[1])
    return found


def by_place(corpus: Corpus) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["image_id"], row["field"]): row for row in corpus.planted}


@pytest.mark.parametrize("rate", [None, 0.05, 0.5, 1.0])
def test_the_planted_rows_are_what_a_reader_of_both_versions_finds(images: list[Truth], rate: float | None) -> None:
    some = images[:600]
    corpus = plant(some, rate, seed=1)
    planted = {place: (row["true_value"], row["stated_value"]) for place, row in by_place(corpus).items()}
    assert len(planted) == len(corpus.planted)
    assert differences(some, corpus) == planted


def test_a_forged_book_would_be_found(images: list[Truth]) -> None:
    some = images[:60]
    corpus = plant(some, 0.3)
    row = corpus.planted[0]
    corpus.noisy[[truth.image_id for truth in some].index(row["image_id"])][row["field"]] = "Remark: nothing"
    assert differences(some, corpus)[row["image_id"], row["field"]][1] is None


def test_without_errors_the_texts_say_the_truth(images: list[Truth]) -> None:
    corpus = plant(images, 0.0)
    assert corpus.planted == [] and corpus.noisy == corpus.clean
    for truth, row in zip(images, corpus.noisy, strict=True):
        claims = {field: parse_value(truth.domain, field, row[field]) for field in FIELDS[truth.domain]}
        assert claims == claims_of(truth)


def test_with_an_error_everywhere_no_sentence_is_left_true(images: list[Truth]) -> None:
    corpus = plant(images[:300], 1.0)
    assert len(corpus.planted) == 300 * 8
    assert all(row["stated_value"] != row["true_value"] for row in corpus.planted)


def test_sentences_change_only_where_an_error_is_planted(corpus: Corpus) -> None:
    changed = {
        (clean["id"], name)
        for noisy, clean in zip(corpus.noisy, corpus.clean, strict=True)
        for name in clean
        if noisy[name] != clean[name]
    }
    assert changed == set(by_place(corpus))
    assert [list(row) for row in corpus.noisy] == [list(row) for row in corpus.clean]


def test_clean_texts_do_not_depend_on_the_rates(images: list[Truth], corpus: Corpus) -> None:
    assert plant(images[:100], 0.7).clean == corpus.clean[:100]


# --- kinds and rates -------------------------------------------------------------------------------------------------


def test_every_kind_occurs_and_every_field_can_be_wrong_in_more_than_one_way(corpus: Corpus) -> None:
    assert {row["kind"] for row in corpus.planted} == set(KINDS)
    domains = {row["id"]: next(d for d in DOMAINS if d in row["id"]) for row in corpus.clean}
    found = {(domains[row["image_id"]], row["field"], row["kind"]) for row in corpus.planted}
    for domain in DOMAINS:
        for field in FIELDS[domain]:
            kinds = {kind for d, f, kind in found if (d, f) == (domain, field)}
            assert {"vague", "swapped_from_other_image"} < kinds, (domain, field)


def test_kinds_do_what_they_are_called(corpus: Corpus) -> None:
    for row in corpus.planted:
        true, stated, kind = row["true_value"], row["stated_value"], row["kind"]
        assert (stated == {"vague": True}) == (kind == "vague")
        assert (row["from_image"] is not None) == (kind == "swapped_from_other_image")
        if kind == "invented_object" and row["field"] == "Environment":
            assert set(true["surroundings"]) < set(stated["surroundings"])
        if kind == "denied_object" and row["field"] == "Environment":
            assert set(stated["surroundings"]) < set(true["surroundings"])
        if kind == "invented_object" and row["field"] == "Water":
            assert true["body"] == "none" != stated["body"]
        if kind == "wrong_place" and row["field"] == "Water":
            assert {**true, "most": None} == {**stated, "most": None}
        if kind == "wrong_layout" and row["field"] == "Road":
            assert true["roads"] == stated["roads"]


def test_moved_targets_keep_their_number_in_all(corpus: Corpus) -> None:
    moved = [r for r in corpus.planted if r["kind"] == "wrong_place" and r["field"] in ("Location", "Region")]
    moved = [row for row in moved if "landform" not in row["image_id"]]
    assert moved
    assert all(sum(row["true_value"].values()) == sum(row["stated_value"].values()) for row in moved)


def test_swapped_sentences_stand_in_the_clean_texts_of_the_image_that_they_come_from(corpus: Corpus) -> None:
    clean = {row["id"]: row for row in corpus.clean}
    noisy = {row["id"]: row for row in corpus.noisy}
    swapped = [row for row in corpus.planted if row["from_image"]]
    assert len(swapped) > 300
    for row in swapped:
        assert noisy[row["image_id"]][row["field"]] == clean[row["from_image"]][row["field"]]
        assert row["image_id"].split("_")[0] == row["from_image"].split("_")[0], "of the same domain"


def test_swapped_sentences_come_from_many_images(corpus: Corpus) -> None:
    donors = Counter(row["from_image"] for row in corpus.planted if row["from_image"])
    assert len(donors) > 0.5 * donors.total()
    assert max(donors.values()) < 0.03 * donors.total()


def test_default_rates_are_those_of_the_figure() -> None:
    # Section 14.5 of the task specification: per cent right, fields 1 to 8.
    assert {d: [round(100 * (1 - rate)) for rate in DEFAULT_RATES[d].values()] for d in DOMAINS} == {
        "aircraft": [73, 65, 70, 72, 79, 76, 80, 81],
        "ship": [78, 74, 86, 79, 80, 85, 89, 87],
        "landform": [79, 84, 87, 83, 84, 82, 84, 90],
    }


@pytest.mark.parametrize("domain", DOMAINS)
def test_rates_are_met_within_three_standard_errors(domain: Domain) -> None:
    count = 2000
    found = Counter(row["field"] for row in plant(records(count, (domain,))).planted)
    for field, rate in DEFAULT_RATES[domain].items():
        assert abs(found[field] / count - rate) < 3 * math.sqrt(rate * (1 - rate) / count), field


def test_a_rate_of_one_field_leaves_the_others_at_their_defaults(images: list[Truth], corpus: Corpus) -> None:
    part = plant(images[:300], {"ship": {"Count": 1.0}, "landform": {"Water": 0.0}})
    usual = set(by_place(plant(images[:300])))
    given = set(by_place(part))
    ships = {(truth.image_id, "Count") for truth in images[:300] if truth.domain == "ship"}
    waters = {(truth.image_id, "Water") for truth in images[:300] if truth.domain == "landform"}
    assert given == (usual | ships) - waters


def test_errors_of_a_lower_rate_are_among_those_of_a_higher_one(images: list[Truth]) -> None:
    low, high = (plant(images[:200], rate) for rate in (0.1, 0.4))
    few, many = by_place(low), by_place(high)
    assert 0 < len(few) < len(many)
    assert all(many[place] == row for place, row in few.items())


@pytest.mark.parametrize(
    ("rates", "what"),
    [
        (1.5, "error rate 1.5 is no probability"),
        (float("nan"), "is no probability"),
        ({"ship": {"Count": -0.1}}, "error rate -0.1"),
        ({"boat": {}}, "unknown domain: 'boat'"),
        ({"ship": {"Water": 0.1}}, "unknown field of ship texts: 'Water'"),
    ],
)
def test_wrong_rates_are_refused(rates: Any, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        plant(records(3), rates)


def test_ids_that_occur_twice_are_refused() -> None:
    with pytest.raises(CheckError, match="two images have the id"):
        plant([record(0, "ship"), record(0, "ship")])


# --- determinism -----------------------------------------------------------------------------------------------------


def test_the_order_of_the_images_matters_to_the_donors_alone(images: list[Truth]) -> None:
    forward, backward = plant(images[:200]), plant(images[:200][::-1])
    assert forward.clean == backward.clean[::-1]
    one, other = by_place(forward), by_place(backward)
    assert set(one) == set(other)
    assert all(
        other[place] == row for place, row in one.items() if not (row["from_image"] or other[place]["from_image"])
    )


def test_swapped_sentences_come_from_images_before(corpus: Corpus) -> None:
    place = {row["id"]: number for number, row in enumerate(corpus.clean)}
    swapped = [row for row in corpus.planted if row["from_image"]]
    assert swapped and all(place[row["from_image"]] < place[row["image_id"]] for row in swapped)


def test_another_seed_gives_other_words_and_other_errors(images: list[Truth]) -> None:
    first, again, other = plant(images[:50], seed=0), plant(images[:50], seed=0), plant(images[:50], seed=1)
    assert first == again
    assert set(by_place(first)) != set(by_place(other))
    assert sum(a["Location"] == b["Location"] for a, b in zip(first.clean, other.clean, strict=True)) < 10


def test_more_images_change_nothing_about_the_first_ones(images: list[Truth]) -> None:
    small, large = plant(images[:1000]), plant(images[:1010])
    assert small.clean == large.clean[:1000]
    assert small.noisy == large.noisy[:1000]
    assert small.planted == large.planted[: len(small.planted)]


def test_a_single_image_has_errors_too_but_none_from_another() -> None:
    corpus = plant([record(0, "ship")], 1.0)
    assert len(corpus.planted) == 8
    assert {row["from_image"] for row in corpus.planted} == {None}


def test_rows_do_not_depend_on_how_a_process_hashes_strings() -> None:
    found = set()
    for hashing in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", _PRINT_ROWS, json.dumps([truth.to_json() for truth in records(30)])],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert found == {json.dumps(plant(records(30)), sort_keys=True) + "\n"}


_PRINT_ROWS = """
import json, sys
from tasks.sarworld.texts import plant
from tasks.sarworld.truth import Truth
print(json.dumps(plant([Truth.from_json(row) for row in json.loads(sys.argv[1])]), sort_keys=True))
"""


def test_reading_and_planning_texts_needs_no_array_library() -> None:
    source = "import sys, tasks.sarworld.texts; print('numpy' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


# --- as texts --------------------------------------------------------------------------------------------------------


def test_rows_are_records_of_the_text_reader(corpus: Corpus) -> None:
    for row in (*corpus.noisy, *corpus.clean):
        text = parse_record(json.loads(json.dumps(row)))
        assert text.domain == ("terrain" if "landform" in row["id"] else "target")
        assert [segment.value for segment in text.segments] == list(row.values())[1:]


@pytest.mark.parametrize("domains", [("aircraft", "ship"), ("landform",), DOMAINS], ids=["target", "landform", "mixed"])
def test_the_texts_are_lexically_rich(domains: tuple[Domain, ...]) -> None:
    """MTLD of 1,000 concatenated texts in the order of their ids (sections 12 and 14.5 of the task specification)."""
    richness = pytest.importorskip("lexicalrichness")
    rows = sorted(plant(records(1000, domains)).clean, key=lambda row: str(row["id"]))
    values = " ".join(str(value) for row in rows for name, value in row.items() if name != "id")
    assert richness.LexicalRichness(values).mtld(threshold=0.72) >= 60


def test_texts_have_the_length_of_those_of_the_paper(corpus: Corpus) -> None:
    # Section 12: 106 words per record on average in the authors' sample; section 3.4 of the KLIP specification: 160
    # tokens with labels and specials, counted here as words, signs, eight labels with colon and ten specials.
    words = [sum(len(value.split()) for name, value in row.items() if name != "id") for row in corpus.clean]
    assert 75 <= sum(words) / len(words) <= 110
    lengths = sorted(sum(count_tokens(v) for n, v in row.items() if n != "id") + 16 + 10 for row in corpus.noisy)
    assert lengths[int(0.95 * len(lengths))] <= 160


def count_tokens(value: str) -> int:
    words = value.split()
    return len(words) + sum(not sign.isalnum() for word in words for sign in word)
