"""One family of errors: what, where, way out; names with a guess at what was meant."""

from __future__ import annotations

import pickle
from multiprocessing import get_context

import pytest

from foundation.commandline import run_app
from foundation.errors import BenchError, CellError, CheckError, MissingError, StorageError, UsageError
from foundation.names import unknown_name

KINDS = {BenchError: 4, UsageError: 2, MissingError: 3, CellError: 4, StorageError: 4, CheckError: 5}


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_exit_codes_are_those_of_the_command_line(kind: type[BenchError], code: int) -> None:
    assert kind("x").exit_code == code


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_process_boundaries_whole(kind: type[BenchError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what", where="there", way_out="do this")))
    assert type(error) is kind
    assert (error.what, error.where, error.way_out) == ("what", "there", "do this")
    assert str(error) == "what\n  where: there\n  way out: do this"


def _fail(text: str) -> None:
    raise MissingError(text, where="worker", way_out="give it data")


def test_errors_come_back_from_a_worker_process() -> None:
    with get_context("fork").Pool(1) as pool, pytest.raises(MissingError, match="no data") as caught:
        pool.apply(_fail, ("no data",))
    assert caught.value.way_out == "give it data"


def test_parts_that_are_not_known_are_not_printed() -> None:
    assert str(UsageError("only this")) == "only this"
    assert str(UsageError("this", way_out="so")) == "this\n  way out: so"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("sar_adc", "sar_acd"), ("SAR-ACD", "sar_acd"), ("fusar-ship", "fusar_ship"), ("fusarship", "fusar_ship")],
)
def test_a_slip_is_answered_with_what_was_meant(typed: str, meant: str) -> None:
    error = unknown_name("data set", typed, ["sar_acd", "fusar_ship", "fusar_air"], see="harness list tasks")
    assert f"did you mean {meant}" in error.way_out and "`harness list tasks`" in error.way_out
    assert repr(typed) in error.what and error.exit_code == 2


def test_without_a_near_name_the_list_is_named_alone() -> None:
    error = unknown_name("model", "xyzzy", ["mae-vit-b-16"], see="harness list models")
    assert error.way_out == "see `harness list models`"
    assert unknown_name("model", "", [], see="here").way_out == "see `here`"


@pytest.mark.parametrize(("kind", "code"), KINDS.items())
def test_a_command_line_ends_in_a_message_and_a_code(
    kind: type[BenchError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def application() -> None:
        raise kind("it did not work", way_out="try this")

    with pytest.raises(SystemExit) as caught:
        run_app(application)
    assert caught.value.code == code
    printed = capsys.readouterr()
    assert printed.err == "error: it did not work\n  way out: try this\n" and printed.out == ""


def test_an_interrupted_command_line_says_that_it_can_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    def application() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as caught:
        run_app(application)
    assert caught.value.code == 130 and "run the same command again" in capsys.readouterr().err
