"""With an empty cache an image is decoded once: what the index has decoded is there for the first that asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters import decode
from tasks import lookahead
from tasks.datasets import DataSource, read_index
from tasks.datasets.just_decoded import JustDecoded
from tasks.datasets.options import DataOptions
from tasks.images import ImageSource, load_originals, load_squares

pytestmark = pytest.mark.usefixtures("own_cache")

WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., NDArray[np.uint8]]


def _image(number: int, side: int = 4) -> NDArray[np.uint8]:
    return np.full((side, side), number, dtype=np.uint8)


def _none() -> NDArray[np.uint8]:
    raise AssertionError("it is remembered")


def test_what_was_kept_is_handed_out_once() -> None:
    memory = JustDecoded()
    memory.keep("a", _image(1))
    assert (memory.take("a", _none) == 1).all()
    assert (memory.take("a", lambda: _image(2)) == 2).all(), "the second time it is decoded"
    assert memory.held == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=30))
def test_no_more_is_held_than_the_budget_and_the_newest_stay(kept: list[tuple[int, int]]) -> None:
    memory = JustDecoded(budget=100)
    for name, side in kept:
        memory.keep(str(name), _image(name, side))
        assert memory.held <= 100
    left: dict[str, int] = {}
    for name, side in kept:
        left.pop(str(name), None)
        left[str(name)] = side * side
        while sum(left.values()) > 100:
            left.pop(next(iter(left)))
    for held, area in left.items():
        assert memory.take(held, _none).size == area
    assert memory.held == 0


@pytest.fixture
def source(tmp_path: Path, write_image: WriteImage, texture: Texture) -> DataSource:
    """Two classes of six chips; two of them are alike."""
    for number in range(12):
        write_image(tmp_path / "chips" / f"class{number % 2}" / f"{number}.png", texture(number % 11, 10, 12))
    return DataSource("fusar_air", tmp_path / "chips")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in order."""
    seen: list[Path] = []
    read_raw = decode.read_raw

    def counted(path: Path) -> NDArray[Any]:
        seen.append(path)
        return read_raw(path)

    monkeypatch.setattr(decode, "read_raw", counted)
    return seen


def test_index_and_squares_of_an_empty_cache_decode_an_image_once(source: DataSource, opened: list[Path]) -> None:
    index = read_index(source)
    assert len(opened) == 12
    sources = [ImageSource(index.root / entry.path, entry.pixel_hash) for entry in index.images]
    squares = load_squares(sources, 8)
    assert len(opened) == 13, "of two that are alike the second is decoded again"
    for entry, original in zip(sources, load_originals(sources), strict=True):
        assert (original == decode.read_grey(entry.path)).all()
    again = load_squares([entry._replace(pixel_hash=f"{entry.pixel_hash} anew") for entry in sources], 8)
    assert (squares == again).all(), "as if they had been decoded"


def test_the_index_is_the_same_on_one_core_and_on_many(
    source: DataSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "chips" / "class1" / "broken.png").write_bytes(b"no picture")
    found = []
    for cores in (1, 4):
        monkeypatch.setattr(lookahead, "OPENERS", cores)
        monkeypatch.setenv("FUSAR_KLIP_CACHE", str(tmp_path / f"cache{cores}"))
        found.append(read_index(source, DataOptions(allow_bad=True)))
    assert found[0] == found[1]
    assert len(found[0].images) == 12
    assert [bad.path for bad in found[0].bad] == ["class1/broken.png"]
