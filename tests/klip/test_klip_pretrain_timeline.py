"""What happens in which order: section 6.1, and the ablations of section 9."""

from __future__ import annotations

from klip.configuration import pretraining_settings
from klip.pretrain.timeline import Rewrite, Screen, Step, Train, stage_ends, timeline


def planned(*changes: str) -> list[Step]:
    return timeline(pretraining_settings(changes=changes))


def epochs_of(steps: list[Step]) -> list[int]:
    return [epoch for step in steps if isinstance(step, Train) for epoch in step.epochs]


def test_three_stages_of_twelve_epochs_with_screenings_between_them() -> None:
    assert planned() == [
        Train(0, 1, range(12), version=0, pool=None),
        Screen("screen_012", 12, version=0),
        Train(0, 2, range(12, 24), version=0, pool="screen_012"),
        Screen("screen_024", 24, version=0),
        Rewrite("screen_024", 24, version=0, reconstruct=True),
        Train(0, 3, range(24, 36), version=1, pool="screen_024"),
        Screen("screen_036", 36, version=1, closing=True),
    ]


def test_more_iterations_begin_with_the_texts_of_the_one_before() -> None:
    steps = planned("scio.max_iter=2", "epochs=72", "scio.closing_screen=false")
    assert epochs_of(steps) == list(range(72))
    assert [(step.stage, step.version, step.pool) for step in steps if isinstance(step, Train)][3:] == [
        (1, 1, None),
        (2, 1, "screen_048"),
        (3, 2, "screen_060"),
    ]
    assert [step.version for step in steps if isinstance(step, Rewrite)] == [0, 1]


def test_stage_two_may_be_screened_again_and_again() -> None:
    steps = planned("scio.rescreen_every=5")
    stage = [step for step in steps if isinstance(step, Train) and step.stage == 2]
    assert [(step.epochs, step.pool, step.opens_stage) for step in stage] == [
        (range(12, 17), "screen_012", True),
        (range(17, 22), "screen_017", False),
        (range(22, 24), "screen_022", False),
    ]
    assert [step.epoch for step in steps if isinstance(step, Screen)] == [12, 17, 22, 24, 36]


def test_the_rows_of_table_8() -> None:
    assert planned("scio.enabled=false") == [
        Train(0, 1, range(12), version=0, pool=None),
        Train(0, 0, range(12, 36), version=0, pool=None, opens_stage=False),
    ]
    filtered = planned("scio.reconstruct=false")
    assert [step.reconstruct for step in filtered if isinstance(step, Rewrite)] == [False]
    plain = planned("scio.screen=false", "scio.reconstruct=false")
    assert [type(step) for step in plain] == [Train, Train, Train]
    assert {(step.version, step.pool) for step in plain if isinstance(step, Train)} == {(0, None)}
    for steps in (filtered, plain, planned()):
        assert epochs_of(steps) == list(range(36)), "the same epochs in every row"


def test_checkpoints_at_the_ends_of_stages_stay() -> None:
    assert stage_ends(pretraining_settings()) == {12, 24, 36}
