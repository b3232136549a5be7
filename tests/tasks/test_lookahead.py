"""Work done ahead: the same results in the same order, a bounded distance ahead, errors where they belong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tasks import lookahead as module
from tasks.lookahead import each_opened, lookahead


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_results_come_in_order_whatever_the_threads(threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(lookahead(work, range(20), threads=threads)) == [item * item for item in range(20)]


def test_only_a_bounded_number_of_items_is_taken_ahead() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    results = lookahead(lambda item: item, items(), threads=2)
    next(results)
    assert taken <= 6
    assert list(results)[-1] == 99


@pytest.mark.parametrize("cores", [1, 4])
def test_files_are_opened_in_order_and_told_of_every_fifty(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(module, "OPENERS", cores)
    told: list[tuple[int, int, str]] = []
    found = each_opened(lambda file: -file, range(120), lambda *said: told.append(said), "opening")
    assert list(found) == [-file for file in range(120)]
    assert told == [(0, 120, "opening"), (50, 120, "opening"), (100, 120, "opening")]


def test_without_threads_nothing_runs_elsewhere() -> None:
    seen = list(lookahead(lambda _: threading.current_thread(), range(3), threads=0))
    assert set(seen) == {threading.current_thread()}


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_arrives_at_its_place(threads: int) -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = lookahead(work, range(6), threads=threads)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
