"""Ranks: per column, over shared columns, and what must not be ranked together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from foundation.errors import CheckError, MissingError
from leaderboard.bundle import pack
from leaderboard.rank import Ranking, rank, shared_ranks
from leaderboard.verify import Verdict, verify
from results.rows import rounded

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Forger, Runs


def submitted(runs: Runs, model: str, submitter: str = "A. Author") -> Verdict:
    path = runs.root.parent / f"{model}-{submitter}.zip"
    pack(runs.root, model, path, submitter)
    return verify(path)


def order(ranking: Ranking, column: str) -> list[tuple[str, float]]:
    (found,) = [ranked for ranked in ranking.columns if ranked.column.column == column]
    return [(place.label, place.rank) for place in found.places]


def test_the_better_one_is_first_in_every_column_and_over_all(runs: Runs) -> None:
    for model, right in (("low", 0.2), ("high", 1.0), ("middle", 0.6)):
        runs.add(model=model, right=right)
        runs.add(model=model, dataset="fusar_air", right=right)
    ranking = rank([submitted(runs, model) for model in ("low", "high", "middle")])
    assert [column.column.column for column in ranking.columns] == [
        "fusar_air_top1",
        "fusar_air_top3",
        "sar_acd_top1",
        "sar_acd_top3",
    ]
    assert order(ranking, "sar_acd_top1") == [("high", 1), ("middle", 2), ("low", 3)]
    assert [standing.label for standing in ranking.standings] == ["high", "middle", "low"]
    assert ranking.standings[0].mean_rank == 1


def test_the_mean_rank_is_over_shared_columns_only(runs: Runs) -> None:
    runs.add(model="broad", right=0.2)
    runs.add(model="broad", dataset="fusar_air", right=1.0)
    runs.add(model="narrow", right=1.0)
    ranking = rank([submitted(runs, "broad"), submitted(runs, "narrow")])
    assert ranking.shared == ("sar_acd_top1", "sar_acd_top3")
    assert {standing.label: standing.filled for standing in ranking.standings} == {"broad": 4, "narrow": 2}
    assert order(ranking, "fusar_air_top1") == [("broad", 1)]
    assert ranking.standings[0].label == "narrow"


def test_without_a_shared_column_there_is_no_mean_rank(runs: Runs) -> None:
    runs.add(model="air", dataset="fusar_air")
    runs.add(model="ship", dataset="fusar_ship")
    ranking = rank([submitted(runs, "air"), submitted(runs, "ship")])
    assert ranking.shared == ()
    assert [standing.mean_rank for standing in ranking.standings] == [None, None]


def test_several_seeds_of_a_cell_count_with_their_mean(runs: Runs) -> None:
    for seed, right in enumerate((0.2, 1.0)):
        runs.add(model="uneven", seed=seed, right=right)
    runs.add(model="even", right=0.9)
    ranking = rank([submitted(runs, "uneven"), submitted(runs, "even")])
    (top1,) = [column for column in ranking.columns if column.column.column == "sar_acd_top1"]
    assert [(place.label, place.summary.seeds) for place in top1.places] == [("even", (0,)), ("uneven", (0, 1))]


@given(st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=20))
def test_ranks_are_scipys_of_the_printed_numbers(values: list[float]) -> None:
    printed = [float(rounded(value)) for value in values]
    assert shared_ranks(values) == rankdata([-value for value in printed], method="average").tolist()


def test_numbers_that_are_printed_alike_share_the_mean_of_their_places() -> None:
    assert shared_ranks([80.001, 90.0, 80.004, 70.0]) == [2.5, 1.0, 2.5, 4.0]


def test_synthetic_data_is_marked(runs: Runs) -> None:
    runs.add(world="ci")
    runs.add(dataset="fusar_ship", world=None)
    ranking = rank([submitted(runs, "mine")])
    marks = {column.column.column: column.synthetic for column in ranking.columns}
    assert marks == {"fusar_ship_top1": False, "fusar_ship_top3": False, "sar_acd_top1": True, "sar_acd_top3": True}
    assert "synthetic data" in ranking.standings[0].notes


def test_a_submission_that_does_not_hold_is_refused(forger: Forger, runs: Runs, tmp_path: Path) -> None:
    runs.add(model="other")
    forged = forger.change("record.json", lambda record: record["metrics"]["top1"].update(value=100.0))
    verdict = verify(forged.sealed_again().write(tmp_path / "forged.zip"))
    with pytest.raises(CheckError) as caught:
        rank([submitted(runs, "other"), verdict])
    assert "not verified" in caught.value.what
    assert caught.value.where == str(tmp_path / "forged.zip")


@pytest.mark.parametrize(
    ("changes", "mixed"),
    [
        ({"profile": "paper"}, "profiles"),
        ({"epochs": 100}, "settings"),
        ({"data": "other data"}, "data"),
    ],
)
def test_what_was_run_otherwise_is_not_ranked_together(runs: Runs, changes: dict[str, Any], mixed: str) -> None:
    runs.add(model="mine")
    runs.add(model="other", **changes)
    with pytest.raises(CheckError, match=f"would mix {mixed}"):
        rank([submitted(runs, "mine"), submitted(runs, "other")])


def test_two_truths_of_the_same_data_are_not_ranked_together(forger: Forger, runs: Runs, tmp_path: Path) -> None:
    runs.add(model="other")

    def swap(truth: dict[str, Any]) -> None:
        first, second = truth["test"][-1], truth["test"][-2]
        first["label"], second["label"] = second["label"], first["label"]

    forged = forger.change("truth.json", swap).scored_again().sealed_again().write(tmp_path / "forged.zip")
    with pytest.raises(CheckError, match="would mix truths"):
        rank([submitted(runs, "other"), verify(forged)])


def test_other_scoring_code_is_no_hindrance_because_the_numbers_were_made_again(runs: Runs) -> None:
    runs.add(model="mine")
    runs.add(model="other", scoring="0" * 64)
    assert len(rank([submitted(runs, "mine"), submitted(runs, "other")]).standings) == 2


def test_two_people_may_submit_the_same_model_and_one_person_may_not(runs: Runs) -> None:
    runs.add()
    first, second = submitted(runs, "mine", "A. Author"), submitted(runs, "mine", "B. Author")
    labels = {standing.label for standing in rank([first, second]).standings}
    assert labels == {"mine (A. Author)", "mine (B. Author)"}
    with pytest.raises(CheckError, match="two submissions"):
        rank([first, first])


def test_submissions_outside_of_table_4_have_no_ranking(runs: Runs) -> None:
    runs.add(dataset="rs_captions")
    with pytest.raises(MissingError):
        rank([submitted(runs, "mine")])
