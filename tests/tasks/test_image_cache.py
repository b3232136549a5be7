"""The test transform of section 3.1, and decoded images that are made once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from adapters.decode import read_grey
from foundation.hashing import hash_bytes
from tasks.images import ImageSource, centre_square, load_originals, load_squares

pytestmark = pytest.mark.usefixtures("own_cache")

Grey = NDArray[np.uint8]
WriteImage = Callable[[Path, NDArray[Any]], Path]
Texture = Callable[..., Grey]


def _reference(grey: Grey, size: int) -> Grey:
    """Short side to `size`, then the centre square, in Pillow's own words."""
    image = Image.fromarray(grey)
    scale = size / min(image.size)
    image = image.resize(
        tuple(size if side == min(image.size) else round(side * scale) for side in image.size),  # type: ignore[arg-type]
        Image.Resampling.BICUBIC,
    )
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("shape", [(32, 32), (20, 35), (35, 20), (64, 64), (200, 32), (33, 150), (7, 9)])
@pytest.mark.parametrize("size", [32, 64])
def test_the_square_is_pillow_s(texture: Texture, shape: tuple[int, int], size: int) -> None:
    grey = texture(1, *shape)
    assert (centre_square(grey, size) == _reference(grey, size)).all()


def test_a_square_of_the_right_size_stays_as_it_is(texture: Texture) -> None:
    grey = texture(1, 24, 24)
    assert (centre_square(grey, 24) == grey).all()


def test_of_a_longer_side_the_middle_is_kept() -> None:
    grey = np.zeros((16, 48), dtype=np.uint8)
    grey[:, 16:32] = 200
    assert (centre_square(grey, 16) == 200).all()
    assert (centre_square(grey.T, 16) == 200).all()


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 8, 13]))
def test_every_size_gives_a_square(height: int, width: int, size: int) -> None:
    grey = np.full((height, width), 77, dtype=np.uint8)
    square = centre_square(grey, size)
    assert square.shape == (size, size) and square.dtype == np.uint8
    assert (square == 77).all()


@pytest.fixture
def sources(tmp_path: Path, write_image: WriteImage, texture: Texture) -> list[ImageSource]:
    """Six chips, each of its own size."""
    found = []
    for number in range(6):
        grey = texture(number, 10 + number, 14 - number)
        path = write_image(tmp_path / f"{number}.png", grey)
        found.append(ImageSource(path, hash_bytes(grey.tobytes())))
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were decoded, in order."""
    seen: list[Path] = []

    def counted(path: Path) -> Grey:
        seen.append(path)
        return read_grey(path)

    monkeypatch.setattr("tasks.images.read_grey", counted)
    return seen


def test_squares_are_those_of_the_files_in_order(sources: list[ImageSource]) -> None:
    squares = load_squares(sources, 8)
    assert squares.shape == (6, 8, 8) and squares.dtype == np.uint8
    for source, square in zip(sources, squares, strict=True):
        assert (square == centre_square(np.asarray(Image.open(source.path)), 8)).all()


def test_images_are_decoded_once(sources: list[ImageSource], decoded: list[Path]) -> None:
    first = load_squares(sources, 8)
    assert decoded == [source.path for source in sources]
    assert (load_squares(sources, 8) == first).all()
    assert len(decoded) == 6


def test_another_size_or_order_or_content_is_another_array(sources: list[ImageSource], decoded: list[Path]) -> None:
    load_squares(sources, 8)
    assert load_squares(sources, 9).shape == (6, 9, 9)
    backwards = load_squares(sources[::-1], 8)
    assert (backwards[::-1] == load_squares(sources, 8)).all()
    changed = [sources[0]._replace(pixel_hash="other"), *sources[1:]]
    load_squares(changed, 8)
    assert len(decoded) == 4 * 6


def test_the_same_content_elsewhere_is_not_decoded_again(sources: list[ImageSource], decoded: list[Path]) -> None:
    load_squares(sources, 8)
    load_squares([source._replace(path=Path("/nowhere")) for source in sources], 8)
    assert len(decoded) == 6


def test_workers_that_ask_at_once_decode_once_and_get_the_same(sources: list[ImageSource], decoded: list[Path]) -> None:
    start = threading.Barrier(4)

    def ask(_: int) -> Grey:
        start.wait()
        return load_squares(sources, 8)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert len(decoded) == 6
    assert all((answer == answers[0]).all() for answer in answers)


@pytest.mark.parametrize("damage", ["empty", "cut", "garbage", "of another shape"])
def test_damaged_squares_are_made_again(
    sources: list[ImageSource], decoded: list[Path], own_cache: Path, damage: str
) -> None:
    first = np.array(load_squares(sources, 8))
    (stored,) = (own_cache / "images").glob("*.npy")
    whole = stored.read_bytes()
    if damage == "of another shape":
        np.save(stored, np.zeros((5, 8, 8), dtype=np.uint8))
    else:
        stored.write_bytes({"empty": b"", "cut": whole[:-100], "garbage": b"x" * len(whole)}[damage])
    assert (load_squares(sources, 8) == first).all()
    assert len(decoded) == 12


def test_an_interrupted_decoding_leaves_nothing_half_done(
    sources: list[ImageSource], own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path) -> Grey:
        if path == sources[3].path:
            raise KeyboardInterrupt
        return read_grey(path)

    with monkeypatch.context() as patch:
        patch.setattr("tasks.images.read_grey", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_squares(sources, 8)
    assert list((own_cache / "images").glob("*.npy")) == []
    assert load_squares(sources, 8).shape == (6, 8, 8)


def test_squares_cannot_be_changed_by_accident(sources: list[ImageSource]) -> None:
    squares = load_squares(sources, 8)
    with pytest.raises(ValueError, match="read-only"):
        squares[0] = 0


def test_originals_keep_their_sizes(sources: list[ImageSource], texture: Texture) -> None:
    for number, grey in enumerate(load_originals(sources)):
        assert (grey == texture(number, 10 + number, 14 - number)).all()


def test_no_images_are_an_empty_array() -> None:
    assert load_squares([], 8).shape == (0, 8, 8)
    assert load_originals([]) == []


def test_progress_is_told(sources: list[ImageSource]) -> None:
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int, note: str = "") -> None:
        told.append((done, total))

    load_squares(sources, 8, progress)
    assert told and all(0 <= done <= total == 6 for done, total in told)
