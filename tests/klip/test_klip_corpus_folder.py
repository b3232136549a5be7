"""A corpus of images and texts: what is wrong with it is said before anything is trained on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foundation.errors import BenchError, CheckError, MissingError
from klip.corpus import read_corpus_folder, text_hash
from klip.pixels import load_pixels, statistics
from klip.text import Segment, SegmentedText, parse_record
from tests.klip.small_corpus import record, small_corpus, write_corpus, write_lines


def refusal(folder: Path) -> BenchError:
    with pytest.raises(BenchError) as caught:
        read_corpus_folder(folder)
    assert caught.value.way_out
    return caught.value


def test_rows_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    assert corpus.ids == ("images/0.png", "images/1.png", "images/2.png", "images/3.png")
    assert corpus.texts[2].segments[0].value == "2 ships"
    assert corpus.image_path(3) == tmp_path / "corpus" / "images" / "3.png"
    assert len(read_corpus_folder(corpus.folder, limit=2)) == 2


def test_the_digest_hangs_on_texts_images_and_order(tmp_path: Path) -> None:
    records = [record(0), record(1, Count="two")]
    folder = write_corpus(tmp_path / "a", records)
    digests = [read_corpus_folder(folder).digest]
    assert read_corpus_folder(write_corpus(tmp_path / "b", records)).digest == digests[0]  # not on where it lies
    write_lines(folder / "texts.jsonl", records[::-1])
    digests.append(read_corpus_folder(folder).digest)
    write_lines(folder / "texts.jsonl", [records[0], {**records[1], "Size": ""}])
    digests.append(read_corpus_folder(folder).digest)
    write_lines(folder / "texts.jsonl", records)
    Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(folder / "images" / "1.png")
    digests.append(read_corpus_folder(folder).digest)
    digests.append(read_corpus_folder(folder, limit=1).digest)
    assert len(set(digests)) == 5


def test_other_texts_about_the_same_images_can_be_read(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path, [record(0), record(1)])
    template = write_lines(tmp_path / "texts_template.jsonl", [record(1, Count="Count is 1")])
    corpus = read_corpus_folder(folder, texts=template)
    assert corpus.ids == ("images/1.png",)
    assert corpus.source == template


def test_a_folder_without_a_corpus_is_refused(tmp_path: Path) -> None:
    assert isinstance(refusal(tmp_path / "none"), MissingError)
    assert isinstance(refusal(tmp_path), MissingError)
    (tmp_path / "texts.jsonl").touch()
    assert "no records" in refusal(tmp_path).what


def test_duplicate_ids_and_broken_records_are_refused_with_their_line(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path, [record(0), record(0)])
    assert refusal(folder).where == f"{folder / 'texts.jsonl'}:2"
    (folder / "texts.jsonl").write_text(json.dumps({"id": "images/0.png", "Counts": "one"}), encoding="utf-8")
    assert "unknown field: 'Counts'" in refusal(folder).what


def test_an_absent_image_is_refused(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path, [record(0), record(1)])
    (folder / "images" / "1.png").unlink()
    error = refusal(folder)
    assert isinstance(error, MissingError)
    assert error.where == str(folder / "images" / "1.png")


@pytest.mark.parametrize("damage", ["cut off", "no image", "empty", "one byte"])
def test_an_unreadable_image_is_refused(tmp_path: Path, damage: str) -> None:
    folder = write_corpus(tmp_path, [record(0), record(1)])
    path = folder / "images" / "1.png"
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "cut off": data[:middle],
            "no image": b"Not found\n",
            "empty": b"",
            "one byte": data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :],
        }[damage]
    )
    error = refusal(folder)
    assert error.where == str(path)
    assert error.what.startswith("unreadable image")


@pytest.mark.parametrize("image_id", ["/etc/passwd", "../outside.png", "images/../../outside.png"])
def test_an_id_that_leads_out_of_the_folder_is_refused(tmp_path: Path, image_id: str) -> None:
    folder = write_corpus(tmp_path / "corpus", [record(0)])
    Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / "outside.png")
    write_lines(folder / "texts.jsonl", [{**record(0), "id": image_id}])
    assert "leads out" in refusal(folder).what


def test_pixels_are_those_of_the_files(tmp_path: Path) -> None:
    corpus = small_corpus(tmp_path)
    pixels = load_pixels(corpus, 16)
    for row in range(len(corpus)):
        assert np.array_equal(pixels[row], np.asarray(Image.open(corpus.image_path(row))))
    assert not pixels.flags.writeable


def test_pixels_are_resized_and_taken_from_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    write_corpus(folder, [record(0), record(1)])
    shades = np.full((40, 20), 100, dtype=np.uint8)
    Image.fromarray(shades).save(folder / "images" / "0.png")
    corpus = read_corpus_folder(folder)
    steps: list[int] = []

    def progress(done: int, total: int, note: str = "") -> None:
        steps.append(done)

    pixels = load_pixels(corpus, 8, progress)
    assert pixels.shape == (2, 8, 8)
    assert (pixels[0] == 100).all()
    assert steps == [1, 2]
    again = load_pixels(corpus, 8, progress)
    assert np.array_equal(pixels, again)
    assert steps == [1, 2]  # nothing was decoded again


def test_an_image_that_is_no_grey_one_is_refused_when_it_is_decoded(tmp_path: Path) -> None:
    folder = write_corpus(tmp_path, [record(0), record(1)])
    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(colours).save(folder / "images" / "1.png")
    with pytest.raises(CheckError, match="colour image") as caught:
        load_pixels(read_corpus_folder(folder), 16)
    assert caught.value.where == str(folder / "images" / "1.png")


def test_statistics_are_those_of_all_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("klip.pixels._AT_ONCE", 3)
    pixels = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    found = statistics(pixels)
    assert found.mean == pytest.approx(pixels.mean() / 255)
    assert found.std == pytest.approx(pixels.std() / 255)


def text(**values: str) -> SegmentedText:
    return parse_record(record(0, **values))


def test_the_hash_of_a_text_is_that_of_what_the_model_reads() -> None:
    one = text()
    assert text_hash(one) == text_hash(parse_record({**record(0), "id": "images/9.png"}))
    assert text_hash(one) == text_hash(text(Count="THREE  ships"))
    assert text_hash(one) != text_hash(text(Count="four ships"))
    assert text_hash(one) != text_hash(text(Count=""))
    assert text_hash(text(Count="a", Location="")) != text_hash(text(Count="", Location="a"))
    assert 0 <= text_hash(one) < 2**63


def test_a_dropped_segment_is_not_hashed() -> None:
    one = text()
    dropped = SegmentedText(one.image_id, one.domain, (Segment("Count", "three ships", "dropped"), *one.segments[1:]))
    assert text_hash(dropped) == text_hash(text(Count=""))
