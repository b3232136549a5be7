"""Claims, sentences that state them, and the parser that reads them back (section 14.5 of the task specification)."""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import UsageError
from tasks.sarworld.texts import (
    claims_of,
    landform_grammar,
    parse_claims,
    parse_value,
    phrases,
    target_grammar,
    write_texts,
)
from tasks.sarworld.texts.claims import (
    AIRCRAFT_TYPES,
    BUCKETS,
    FEATURES,
    FIELDS,
    SHIP_TYPES,
    SURROUNDINGS,
    TRAITS,
    UNLABELLED,
    VAGUE,
    Claim,
    bucket,
    features_of,
    main_cover,
)
from tasks.sarworld.texts.mistakes import MISTAKES, Case
from tasks.sarworld.texts.parse import Fact, lexicon, scan
from tasks.sarworld.texts.vocabulary import LANDFORM_POOLS, TARGET_POOLS
from tasks.sarworld.texts.write import write_claims
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
EVERY_FIELD = [(domain, field) for domain in DOMAINS for field in FIELDS[domain]]
ARRANGEMENTS = ("none", "single", "pair", "row", "cluster", "scattered")
TYPES = {"aircraft": AIRCRAFT_TYPES, "ship": SHIP_TYPES, "landform": ()}
CONTEXTS = {"aircraft": AIRCRAFT_CONTEXTS, "ship": SHIP_CONTEXTS, "landform": ()}


def shares() -> st.SearchStrategy[dict[str, float]]:
    part = st.sampled_from((0.0, 0.0005, 0.001, 0.05, 0.1, 0.15, 0.25))
    return st.fixed_dictionaries(dict.fromkeys(LAND_COVERS, part))


@st.composite
def truths(draw: st.DrawFn, domains: tuple[Domain, ...] = DOMAINS) -> Truth:
    """Any image, also odd ones: nothing on it, twelve targets, every context at once, facts that seldom meet."""
    domain = draw(st.sampled_from(domains))
    one = st.builds(
        TrueObject,
        type=st.sampled_from(TYPES[domain] or ("none",)),
        box=st.just((0.0, 0.0, 1.0, 1.0)),
        corners=st.just(((0.0, 0.0),) * 4),
        quadrant=st.sampled_from(QUADRANTS),
        cell=st.integers(1, 9),
        length_m=st.floats(8.0, 260.0),
        width_m=st.just(10.0),
        heading_deg=st.just(0.0),
        context=st.sampled_from(CONTEXTS[domain] or ("none",)),
    )
    objects = draw(st.lists(one, max_size=14)) if domain != "landform" else []
    roads = draw(st.integers(0, 14))
    facts = Facts(
        landform=draw(st.sampled_from(LANDFORMS)),
        function=draw(st.sampled_from(FUNCTIONS)),
        pattern=draw(st.sampled_from(("grid", "irregular", "none"))),
        boundary=draw(st.sampled_from(("sharp", "gradual"))),
        roads=roads,
        road_course=draw(st.sampled_from(("none", "straight", "winding"))),
        water=draw(st.sampled_from(("none", "river", "lake", "canal", "sea"))),
        buildings=draw(st.integers(0, 30)),
        arrangement=draw(st.sampled_from(ARRANGEMENTS)),
        surroundings=tuple(draw(st.lists(st.sampled_from(SURROUNDINGS), unique=True))),
    )
    whole = draw(shares())
    return Truth(
        "image", domain, "scene", "site_000", 128, 128, 1.0, "gf3", 1, 35.0, tuple(objects),
        Shares(whole, {quadrant: draw(shares()) for quadrant in QUADRANTS}, (whole,) * 9), facts,
    )  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(truths(), st.integers(0, 2**32))
def test_texts_are_read_back_without_loss(truth: Truth, seed: int) -> None:
    texts = write_texts(truth, np.random.default_rng(seed))
    assert parse_claims(truth.domain, texts) == claims_of(truth)


@settings(max_examples=250, deadline=None)
@given(truths(), st.integers(0, 2**32))
def test_false_claims_differ_from_the_true_one_and_are_read_back_too(truth: Truth, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for field, claim in claims_of(truth).items():
        for mistake in MISTAKES[truth.domain][field].values():
            stated = mistake(Case(truth.domain, claim, rng))
            if stated is not None:
                assert stated != claim
                assert read_back(truth.domain, field, stated, rng) == stated


def test_thousands_of_texts_are_read_back_without_loss() -> None:
    """The same as the first test, on plain draws: hypothesis likes small examples."""
    rng = np.random.default_rng(0)
    claims = [random_claims(domain, rng) for _ in range(1500) for domain in DOMAINS]
    wrong = [
        (field, claim, parsed)
        for domain, of_image in zip(DOMAINS * 1500, claims, strict=True)
        for field, sentence in write_claims(domain, of_image, rng).items()
        for claim, parsed in [(of_image[field], parse_value(domain, field, sentence))]
        if parsed != claim
    ]
    assert wrong == []


def read_back(domain: Domain, field: str, claim: Claim, rng: np.random.Generator) -> Claim | None:
    return parse_value(domain, field, write_claims(domain, {field: claim}, rng)[field])


def random_claims(domain: Domain, rng: np.random.Generator) -> dict[str, Claim]:
    """Any claim that can be stated, true or not; in each field by itself."""

    def one(options: tuple[object, ...]) -> object:
        return options[int(rng.integers(len(options)))]

    def some(options: tuple[str, ...]) -> list[str]:
        return [name for name in options if rng.random() < 0.4]

    def counts(options: tuple[str, ...]) -> Claim:
        return {name: int(rng.integers(1, 15)) for name in some(options)}

    share, body = one(BUCKETS), one(("none", "river", "lake", "canal", "sea"))
    low, roads = int(rng.integers(5, 300)), int(rng.integers(0, 15))
    place = (*QUADRANTS, None)
    every: dict[str, Claim] = {
        "Count": {"count": int(rng.integers(0, 20))},
        "Feature": {"features": some(FEATURES)[:3]},
        "Size": {"length_m": [low, low + int(rng.integers(0, 60))] if rng.random() < 0.9 else []},
        "Category": counts(TYPES[domain]),
        "Distribution": {"arrangement": one(ARRANGEMENTS), "toward": one(place)},
        "Region": counts(CONTEXTS[domain]),
        "Environment": {"surroundings": some(SURROUNDINGS)},
        "Terrain": {"landform": one(LANDFORMS)},
        "Functionality": {"function": one(FUNCTIONS)},
        "Layout": {"pattern": one(("grid", "irregular", "none"))},
        "Boundary": {"boundary": one(("sharp", "gradual"))},
        "Building": {"share": share, "most": None if share == "none" else one(place)},
        "Road": {"roads": roads, "course": one(("straight", "winding", "none")) if roads else "none"},
        "Water": {"body": body, "share": one(BUCKETS[1:]), "most": one(place)},
        "Location": counts(QUADRANTS),
    }
    if body == "none":
        every["Water"] = {"body": "none", "share": "none", "most": None}
    if domain == "landform":
        every["Location"] = {quadrant: one((*LAND_COVERS, UNLABELLED)) for quadrant in QUADRANTS}
    return {field: every[field] for field in FIELDS[domain]}


# --- the grammar -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("domain", DOMAINS)
def test_there_are_six_forms_per_field_and_more(domain: Domain) -> None:
    grammar = landform_grammar if domain == "landform" else target_grammar
    for field in FIELDS[domain]:
        assert len(set(grammar.FORMS[field])) >= 6
        assert len(set(grammar.VAGUE_FORMS[field])) >= 6
        if domain != "landform":
            assert len(set(target_grammar.EMPTY_FORMS[field])) >= 6


@pytest.mark.parametrize(("domain", "field"), EVERY_FIELD)
def test_every_form_states_its_claim(domain: Domain, field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    claims = [random_claims(domain, rng)[field] for _ in range(25)]
    grammar = landform_grammar if domain == "landform" else target_grammar
    tables = ["FORMS"] if domain == "landform" else ["FORMS", "EMPTY_FORMS"]
    for table in tables:
        forms = getattr(grammar, table)
        for form in forms[field]:
            monkeypatch.setattr(grammar, table, {**forms, field: (form,)})
            for claim in claims:
                assert read_back(domain, field, claim, rng) == claim, form
        monkeypatch.setattr(grammar, table, forms)


@pytest.mark.parametrize(("domain", "field"), EVERY_FIELD)
def test_vague_sentences_state_nothing(domain: Domain, field: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(150):
        assert read_back(domain, field, dict(VAGUE), rng) == VAGUE


@pytest.mark.parametrize(("domain", "field"), EVERY_FIELD)
def test_every_phrase_stands_for_one_value(domain: Domain, field: str) -> None:
    ways = [
        (phrases.without_article(way.lower().replace("-", " ")), slot, value)
        for slot, values in lexicon(domain, field).items()
        for value, said in values.items()
        for way in set(said)
    ]
    meanings = {way: {(s, v) for w, s, v in ways if w == way} for way, _, _ in ways}
    assert {way: found for way, found in meanings.items() if len(found) > 1} == {}
    for way, slot, value in ways:
        assert scan(domain, field, f"Here, {way}; so.") == [Fact(slot, value)]


@pytest.mark.parametrize(("domain", "field"), EVERY_FIELD)
def test_words_around_the_facts_carry_none(domain: Domain, field: str) -> None:
    grammar = landform_grammar if domain == "landform" else target_grammar
    pools = LANDFORM_POOLS if domain == "landform" else TARGET_POOLS
    empty = target_grammar.EMPTY_FORMS.get(field, ()) if domain != "landform" else ()
    forms = [*grammar.FORMS[field], *empty, *grammar.VAGUE_FORMS[field]]
    names = {name for form in forms for name in re.findall(r"\{[+;]?(\w+)\}", form)}
    fillers = [word for name in names for word in pools.get(name, ())]
    frames = [re.sub(r"\{[+;]?\w+\}", "|", form) for form in forms]
    assert {text: found for text in (*fillers, *frames) if (found := scan(domain, field, text))} == {}


def test_a_fact_among_the_words_around_would_be_found() -> None:
    assert scan("ship", "Count", "divided by two dark gaps") == [Fact("number", 2)]
    assert scan("landform", "Water", "the river bank was followed") == [Fact("body", "river")]


def test_values_are_single_sentences_that_the_parser_of_generated_texts_keeps() -> None:
    rng = np.random.default_rng(3)
    for domain in DOMAINS * 200:
        for value in write_claims(domain, random_claims(domain, rng), rng).values():
            assert value == " ".join(value.split()) and not value.endswith((".", ",", ";"))
            assert value[0] == value[0].upper() and "{" not in value
            assert not re.search(r"\b(cannot|as an AI)\b", value)  # refusals, section 10.5 of the KLIP specification
            assert len(value.split()) <= 45


def test_the_same_generator_gives_the_same_texts_and_another_one_others() -> None:
    claims = random_claims("ship", np.random.default_rng(4))
    first, again, other = (write_claims("ship", claims, np.random.default_rng(seed)) for seed in (5, 5, 6))
    assert first == again
    assert len(set(first.items()) - set(other.items())) >= 4


def test_modifiers_are_not_repeated_within_an_image() -> None:
    rng = np.random.default_rng(7)
    found: Counter[int] = Counter()
    for _ in range(100):
        whole = "|".join(write_claims("landform", random_claims("landform", rng), rng).values())
        found[max(whole.count(word) for word in LANDFORM_POOLS["judged"])] += 1
    assert set(found) <= {0, 1}


# --- claims ----------------------------------------------------------------------------------------------------------


def put(kind: str, quadrant: str, length: float, context: str) -> TrueObject:
    return TrueObject(kind, (0, 0, 1, 1), ((0, 0),) * 4, quadrant, 1, length, 5.0, 0.0, context)


def image(domain: Domain, *objects: TrueObject, **facts: object) -> Truth:
    usual = {
        "landform": "plain", "function": "port", "pattern": "grid", "boundary": "sharp", "roads": 2,
        "road_course": "winding", "water": "river", "buildings": 4, "arrangement": "row", "surroundings": ("quay",),
    }  # fmt: skip
    none = dict.fromkeys(LAND_COVERS, 0.0)
    quadrants = {
        "top-left": {**none, "building": 0.2, "vegetation": 0.2},
        "top-right": {**none, "water": 0.4, "building": 0.1},
        "bottom-left": {**none, "road": 0.009},
        "bottom-right": {**none, "vegetation": 0.5, "water": 0.05},
    }
    tile = {"building": 0.075, "vegetation": 0.175, "water": 0.1125, "road": 0.002}
    return Truth(
        "a", domain, "s", "site_001", 64, 64, 1.0, "gf3", 1, 35.0, objects, Shares(tile, quadrants, (tile,) * 9),
        Facts(**{**usual, **facts}),  # type: ignore[arg-type]
    )  # fmt: skip


def test_claims_of_targets_by_hand() -> None:
    claims = claims_of(
        image(
            "ship",
            put("Tug", "bottom-right", 24.4, "quay"),
            put("Cargo", "bottom-right", 181.6, "anchorage"),
            put("Tug", "top-left", 31.2, "quay"),
        )
    )
    assert claims == {
        "Count": {"count": 3},
        "Location": {"top-left": 1, "bottom-right": 2},
        "Feature": {"features": ["hatch rows", "forward wheelhouse"]},
        "Size": {"length_m": [24, 182]},
        "Category": {"Tug": 2, "Cargo": 1},
        "Distribution": {"arrangement": "row", "toward": "bottom-right"},
        "Region": {"anchorage": 1, "quay": 2},
        "Environment": {"surroundings": ["quay"]},
    }
    assert list(claims["Category"]) == ["Tug", "Cargo"]


def test_claims_of_an_image_without_targets_say_so() -> None:
    claims = claims_of(image("aircraft", arrangement="none", surroundings=()))
    assert claims == {
        "Count": {"count": 0},
        "Location": {},
        "Feature": {"features": []},
        "Size": {"length_m": []},
        "Category": {},
        "Distribution": {"arrangement": "none", "toward": None},
        "Region": {},
        "Environment": {"surroundings": []},
    }


def test_claims_of_landforms_by_hand() -> None:
    assert claims_of(image("landform")) == {
        "Terrain": {"landform": "plain"},
        "Functionality": {"function": "port"},
        "Location": {
            "top-left": "building",  # as much as vegetation, but earlier in the fixed order
            "top-right": "water",
            "bottom-left": UNLABELLED,  # under one per cent labelled
            "bottom-right": "vegetation",
        },
        "Layout": {"pattern": "grid"},
        "Boundary": {"boundary": "sharp"},
        "Building": {"share": "little", "most": "top-left"},
        "Road": {"roads": 2, "course": "winding"},
        "Water": {"body": "river", "share": "some", "most": "top-right"},
    }


def test_what_is_absent_has_neither_share_nor_place_nor_course() -> None:
    claims = claims_of(image("landform", water="none", roads=0))
    assert claims["Water"] == {"body": "none", "share": "none", "most": None}
    assert claims["Road"] == {"roads": 0, "course": "none"}


def test_share_buckets_begin_where_they_say() -> None:
    assert [bucket(share) for share in (0.0, 0.00099, 0.001, 0.0999, 0.1, 0.2999, 0.3, 1.0)] == [
        "none", "none", "little", "little", "some", "some", "much", "much",
    ]  # fmt: skip
    assert main_cover({"road": 0.01}) == "road" and main_cover({"road": 0.0099}) == UNLABELLED


def test_features_tell_all_of_one_type_and_one_thing_of_each_of_several() -> None:
    assert features_of(["tanker"]) == ["wide body", "tail boom"]
    assert features_of(["fighter", "A330", "tanker", "ARJ21"]) == ["large span", "delta wing", "tail boom"]
    assert all(features_of([name]) for name in TRAITS)
    with pytest.raises(UsageError, match="unknown target type"):
        features_of(["zeppelin"])


@given(truths())
@settings(max_examples=100, deadline=None)
def test_claims_survive_json(truth: Truth) -> None:
    claims = claims_of(truth)
    assert json.loads(json.dumps(claims)) == claims
    assert tuple(claims) == FIELDS[truth.domain]


# --- the parser on other texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "field", "value", "claim"),
    [
        ("ship", "Count", "THREE ships, moored", {"count": 3}),
        ("ship", "Count", "12 or 13 ships", None),
        ("ship", "Count", "many ships", None),
        ("ship", "Count", "the number is unclear, maybe two", None),
        ("ship", "Location", "two in the upper left and one at the bottom-right", {"top-left": 2, "bottom-right": 1}),
        ("ship", "Location", "two, one, in the upper left and at the bottom right", None),
        ("ship", "Location", "one in the upper left and one in the top left", None),
        ("ship", "Size", "roughly 120 m", {"length_m": [120, 120]}),
        ("ship", "Size", "120 to 140 feet", None),
        ("ship", "Category", "one tanker and 2 tugs", {"Tanker": 1, "Tug": 2}),
        ("aircraft", "Category", "one tanker aircraft, 2 A320/321", {"tanker": 1, "A320321": 2}),
        ("landform", "Terrain", "flat plain or hilly country", None),
        ("landform", "Building", "no buildings, mostly in the upper left", None),
        ("landform", "Road", "two roads", None),
        ("landform", "Location", "water in the upper half, buildings in the lower left", None),
        (
            "landform", "Location", "water in the upper half and roads elsewhere",
            {"top-left": "water", "top-right": "water", "bottom-left": "road", "bottom-right": "road"},
        ),
        ("landform", "Water", "a lake", None),
        ("landform", "Water", "no water in a river", None),
    ],
)  # fmt: skip
def test_sentences_of_others_are_read_or_refused(domain: Domain, field: str, value: str, claim: Claim | None) -> None:
    assert parse_value(domain, field, value) == claim


@pytest.mark.parametrize(
    "value", ["elsewhere", "all four quarters", "elsewhere elsewhere", "all four quarters elsewhere"]
)
def test_places_without_a_cover_state_nothing(value: str) -> None:
    assert parse_value("landform", "Location", value) is None


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_the_parser_answers_to_any_string(data: st.DataObject) -> None:
    domain, field = data.draw(st.sampled_from(EVERY_FIELD))
    known = [way for values in lexicon(domain, field).values() for said in values.values() for way in said]
    words = data.draw(st.lists(st.one_of(st.sampled_from(known), st.text(max_size=8)), max_size=8))
    claim = parse_value(domain, field, " ".join(words))
    if claim is not None and claim != VAGUE:
        assert read_back(domain, field, claim, np.random.default_rng(0)) == claim


def test_fields_of_another_domain_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="unknown field of landform texts: 'Count'"):
        parse_claims("landform", {"Count": "two"})


def test_all_combinations_of_covers_are_read_back() -> None:
    rng = np.random.default_rng(8)
    for covers in product((*LAND_COVERS, UNLABELLED), repeat=4):
        claim = dict(zip(QUADRANTS, covers, strict=True))
        assert read_back("landform", "Location", claim, rng) == claim
