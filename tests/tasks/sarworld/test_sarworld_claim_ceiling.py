"""The supervised judge of claims: what it asks, how it doubts, and how its judgements are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.sarworld.texts.claims import FIELDS, VAGUE, claims_of
from tasks.sarworld.truth import Truth
from tests.bench.claim_ceiling import Answers, Judged, Network, answers_of, measure, precision_at, table


@pytest.fixture(scope="module")
def corpus(world: Path) -> Path:
    return world / "corpus"


@pytest.fixture(scope="module")
def truths(corpus: Path) -> list[Truth]:
    return [Truth.from_json(json.loads(line)) for line in (corpus / "truth.jsonl").read_text().splitlines()]


def test_every_true_claim_gives_answers_and_a_vague_one_none(truths: list[Truth]) -> None:
    for truth in truths:
        for field, claim in claims_of(truth).items():
            assert answers_of(truth.domain, field, claim)
            assert answers_of(truth.domain, field, dict(VAGUE)) == {}


def test_planted_claims_answer_otherwise_than_the_truth_but_for_rounding(corpus: Path, truths: list[Truth]) -> None:
    domains = {truth.image_id: truth.domain for truth in truths}
    errors = [json.loads(line) for line in (corpus / "planted.jsonl").read_text().splitlines()]
    stating = [error for error in errors if error["kind"] != "vague"]
    assert len(stating) > 10
    differ = 0
    for error in stating:
        said, true = (
            answers_of(domains[error["image_id"]], error["field"], error[key]) for key in ("stated_value", "true_value")
        )
        differ += said != true
    assert differ >= 0.9 * len(stating)  # eight of a type and five of it are one answer, as are 40 m and 43 m


@pytest.mark.parametrize(
    ("field", "claim", "name", "answer"),
    [
        ("Count", {"count": 30}, "count", "12"),
        ("Location", {"top-left": 2}, "top-right", "0"),
        ("Location", {"top-left": 9}, "top-left", "5"),
        ("Category", {"A330": 3}, "A330", "3"),
        ("Feature", {"features": ["radar disc"]}, "radar disc", "True"),
        ("Environment", {"surroundings": []}, "apron", "False"),
        ("Size", {"length_m": [16, 64]}, "longest", "12"),
        ("Distribution", {"arrangement": "row", "toward": None}, "toward", "None"),
    ],
)
def test_a_claim_about_targets_as_an_answer(field: str, claim: dict[str, Any], name: str, answer: str) -> None:
    assert answers_of("aircraft", field, claim)["target", field, name] == answer


def test_images_of_ships_have_no_answers_about_land(truths: list[Truth]) -> None:
    answers = Answers(truths)
    targets = answers.targets()
    for row, truth in enumerate(truths):
        asked = {answers.questions[at][0] for at in (targets[row] >= 0).nonzero().flatten().tolist()}
        assert asked == {"landform" if truth.domain == "landform" else "target"}


def test_doubt_is_nought_for_the_likeliest_answers_and_grows_with_what_speaks_against(truths: list[Truth]) -> None:
    answers = Answers(truths)
    landform = next(truth for truth in truths if truth.domain == "landform")
    stated = answers_of("landform", "Terrain", claims_of(landform)["Terrain"])
    (question,) = stated
    place = answers.spans[question].start + answers.places[question][stated[question]]
    logits = torch.zeros(answers.logits)
    logits[place] = 3.0
    assert answers.doubt(logits, stated) == 0.0
    logits[place] = -3.0
    assert answers.doubt(logits, stated) == pytest.approx(3.0)
    assert answers.doubt(logits, {question: "never said"}) > answers.doubt(logits, stated)


def test_precision_is_that_counted_by_hand() -> None:
    right, wrong = [0.0, 1.0, 2.0], [1.0, 3.0]
    judged = [Judged("a", None, value) for value in right] + [Judged("a", "wrong", value) for value in wrong]
    assert precision_at(judged, 0.5) == 1.0
    assert "AUC 0.750" in table(judged)  # of six pairs four in order, one tie
    assert precision_at(judged, 1.0) == 0.5  # of equally doubtful claims the right one counts first


@pytest.mark.slow  # trains a network for an epoch
@pytest.mark.parametrize("tower", [None, "random-mini"])
def test_a_corpus_is_judged_claim_by_claim(corpus: Path, tower: str | None) -> None:
    held_out = 9
    judged = measure(corpus, 1, tower=tower, held_out=held_out)
    errors = [json.loads(line) for line in (corpus / "planted.jsonl").read_text().splitlines()]
    vague = sum(error["kind"] == "vague" for error in errors)
    claims = held_out * len(FIELDS["ship"])
    assert claims - vague <= len(judged) <= claims
    assert all(claim.doubt >= 0 for claim in judged)
    assert "precision at recall 0.4" in table(judged)


def test_the_network_answers_every_question_at_once() -> None:
    told = Network(17).eval()(torch.zeros(2, 1, 128, 128))
    assert told.shape == (2, 17)
    assert torch.equal(told[0], told[1])
