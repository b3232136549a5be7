"""Where the text side of a language cell starts: planned before anything is loaded, keyed by what it is, recorded."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.card import ModelCard, TextSide
from adapters.registry import catalog
from foundation.errors import CellError, MissingError
from foundation.hashing import hash_file
from harness.cell import Job, compute
from harness.commands import print_left_out
from harness.plan import PlannedCell, State, make_plan
from harness.request import RunRequest
from klip.toml_text import toml_document
from tasks.language.start import BERT, LACKING, RANDOM, bert_folder, text_origin
from tasks.protocol import task_settings
from tasks.protocol.settings import LanguageSettings
from tests.harness.conftest import HOME, environment

FROM_BERT = (("vqa.init_text", "bert"),)
FROM_MODEL = (("vqa.init_text", "model"),)


def settings(init_text: str) -> LanguageSettings:
    found = task_settings("mini", "vqa_main_land", "mini", (("vqa.init_text", init_text),))
    assert isinstance(found, LanguageSettings)
    return found


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weights root with BERT's two files, as far as a plan looks at them."""
    folder = tmp_path / "weights" / BERT
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("[PAD]\n")
    (folder / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "weights"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def own_card(folder: Path, text: bytes | None = b"text side") -> ModelCard:
    """A model of the user that brings a text side along; None: its card names one that is not there."""
    folder.mkdir(exist_ok=True)
    side = folder / "own-text.safetensors"
    if text is not None:
        side.write_bytes(text)
    checksum = hash_file(side) if side.exists() else "0" * 64
    source = catalog()["random-mini"].weights.model_copy(
        update={"kind": "file", "path": str(folder / "own.safetensors")}
    )
    named = TextSide(filename=side.name, sha256=checksum)
    return catalog()["random-mini"].model_copy(update={"id": "own", "weights": source, "text": named})


def plan(root: Path, weights_root: Path, *by_hand: tuple[str, str], models: str = "random-mini", **more: Any) -> Any:
    request = RunRequest(models=models, data_root=root, weights_root=weights_root, by_hand=by_hand, **more)
    return make_plan(request, build_world=False)


def planned(root: Path, weights_root: Path, *by_hand: tuple[str, str], **more: Any) -> PlannedCell:
    (cell,) = plan(root, weights_root, *by_hand, tasks="vqa_main_land", **more).cells
    assert isinstance(cell, PlannedCell)
    return cell


# ---- what it is


def test_every_start_has_a_name_and_a_hash_of_what_it_starts_from(weights: Path, tmp_path: Path) -> None:
    random, own = catalog()["random-mini"], own_card(tmp_path / "own")
    assert text_origin(random, settings("random"), weights) == (RANDOM, "random")
    assert text_origin(own, settings("random"), weights) == (RANDOM, "random")
    assert text_origin(random, settings("model"), weights) == (LACKING, "random")
    assert text_origin(own, settings("model"), weights).name == "the model's own"
    assert text_origin(own, settings("model"), weights).digest == hash_file(tmp_path / "own/own-text.safetensors")
    assert text_origin(own, settings("bert"), weights).name == f"from {BERT}"
    assert len({text_origin(own, settings(start), weights).digest for start in ("random", "model", "bert")}) == 3


@pytest.mark.parametrize("start", ["bert", "model", "random"])
def test_hand_made_features_read_nothing_and_need_nothing(start: str, empty: Path) -> None:
    assert text_origin(catalog()["simple-features"], settings(start), empty) == ("", "none")


@pytest.mark.parametrize("missing", ["vocab.txt", "model.safetensors", ""])
def test_bert_is_there_with_vocabulary_and_weights_or_not_at_all(weights: Path, missing: str) -> None:
    if not missing:
        shutil.rmtree(weights / BERT)
    else:
        (weights / BERT / missing).unlink()
    with pytest.raises(MissingError, match="BERT") as caught:
        bert_folder(weights)
    assert caught.value.where == str(weights / BERT)
    assert "vocab.txt and model.safetensors" in caught.value.way_out and "init_text" in caught.value.way_out


def test_the_older_form_of_berts_weights_will_do(weights: Path) -> None:
    (weights / BERT / "model.safetensors").rename(weights / BERT / "pytorch_model.bin")
    assert bert_folder(weights) == weights / BERT


def test_a_text_side_that_the_card_names_must_be_there(tmp_path: Path, weights: Path) -> None:
    card = own_card(tmp_path / "own", text=None)
    with pytest.raises(MissingError, match="not beside its weights") as caught:
        text_origin(card, settings("model"), weights)
    assert (
        caught.value.where == str(tmp_path / "own/own-text.safetensors") and "klip export text" in caught.value.way_out
    )
    assert text_origin(card, settings("random"), weights).name == RANDOM  # it is not asked for


# ---- plans


def test_without_bert_language_cells_wait_for_it_and_vision_cells_do_not(tiny_vision_root: Path, empty: Path) -> None:
    found = plan(
        tiny_vision_root, empty, *FROM_BERT, tasks="sar_acd,vqa_main_land", models="random-mini,simple-features"
    )
    states = {(cell.cell.task, cell.cell.model): cell for cell in found.cells}
    waiting = states["vqa_main_land", "random-mini"]
    assert waiting.state is State.WEIGHTS and "BERT" in waiting.reason and str(empty / BERT) in waiting.reason
    assert "vocab.txt" in waiting.way_out and waiting not in found.runnable()
    others = [cell for cell in found.cells if cell is not waiting]
    assert len(others) == 3 and {cell.state for cell in others} == {State.TODO}


def test_what_is_waited_for_is_printed_and_not_blamed_on_the_model(
    tiny_vision_root: Path, empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_left_out(plan(tiny_vision_root, empty, *FROM_BERT, tasks="vqa_main_land,vqa_all_land"))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("2 cells wait: the text side starts from BERT") and "vocab.txt" in line
    print_left_out(plan(tiny_vision_root, empty, tasks="vqa_main_land"))
    assert not capsys.readouterr().out


def test_with_bert_they_are_to_be_done_and_their_key_holds_its_files(tiny_vision_root: Path, weights: Path) -> None:
    keys = {planned(tiny_vision_root, weights, *FROM_BERT).key}
    assert planned(tiny_vision_root, weights, *FROM_BERT).state is State.TODO
    for name in ("vocab.txt", "model.safetensors"):
        (weights / BERT / name).write_bytes(b"another one")
        keys.add(planned(tiny_vision_root, weights, *FROM_BERT).key)
    assert len(keys) == 3 and "" not in keys
    moved = weights.rename(weights.with_name("elsewhere"))
    assert planned(tiny_vision_root, moved, *FROM_BERT).key in keys, "where it lies changes nothing"


def test_a_start_at_random_is_a_word_in_the_key(tiny_vision_root: Path, weights: Path, empty: Path) -> None:
    at_random = planned(tiny_vision_root, empty)
    assert at_random.key_parts["text_start"] == "random"
    assert at_random.key == planned(tiny_vision_root, weights).key, "BERT lies there and is not used"


def test_vision_cells_keep_their_keys(tiny_vision_root: Path, empty: Path) -> None:
    (cell,) = plan(tiny_vision_root, empty, tasks="sar_acd").cells
    assert cell.key and "text_start" not in cell.key_parts


def test_a_models_own_text_side_is_part_of_the_key(tiny_vision_root: Path, tmp_path: Path, empty: Path) -> None:
    def cell(text: bytes | None, *by_hand: tuple[str, str]) -> PlannedCell:
        card = own_card(tmp_path / "own", text)
        (tmp_path / "own/own.safetensors").write_bytes(b"the tower is the same")
        entry = card.model_dump(mode="json", exclude_defaults=True) | {"layout": "timm"}
        (tmp_path / "own/own.toml").write_text(toml_document({"model": [entry]}))
        files = (tmp_path / "own/own.toml",)
        return planned(tiny_vision_root, empty, *by_hand, models="own", model_files=files)

    one, other = (cell(text, *FROM_MODEL) for text in (b"one", b"another"))
    assert one.state is other.state is State.TODO and one.key != other.key
    assert other.key_parts["text_start"] == hash_file(tmp_path / "own/own-text.safetensors")
    assert cell(b"one").key == cell(b"another").key, "at random it is not looked at"
    (tmp_path / "own/own-text.safetensors").unlink()
    waiting = cell(None, *FROM_MODEL)
    assert waiting.state is State.WEIGHTS and "klip export text" in waiting.way_out


def test_planning_language_cells_imports_no_torch(tiny_vision_root: Path, weights: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from harness.plan import make_plan; from harness.request import RunRequest\n"
        f"request = RunRequest(models='random-mini', tasks='vqa', data_root=Path({str(tiny_vision_root)!r}),"
        f" weights_root=Path({str(weights)!r}), by_hand={FROM_BERT!r})\n"
        "cells = make_plan(request, build_world=False).cells\n"
        "assert any(cell.key for cell in cells)\n"
        "assert not {'torch', 'tokenizers'} & set(sys.modules), 'too much is imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- records

QUICK = (("vqa.training.epochs", "1"), ("vqa.image_size", "32"))


def computed(cell: PlannedCell, root: Path, weights_root: Path, out: Path, *by_hand: tuple[str, str]) -> Any:
    request = RunRequest(
        models="random-mini",
        tasks="vqa_main_land",
        data_root=root,
        weights_root=weights_root,
        by_hand=tuple(sorted((*QUICK, *by_hand))),
        device="cpu",
        out=out,
    )
    return compute(Job(cell, request))


def test_the_record_says_where_the_text_side_started(tiny_vision_root: Path, tmp_path: Path, empty: Path) -> None:
    by_hand = tuple(sorted((*QUICK, *FROM_MODEL)))
    cell = planned(tiny_vision_root, empty, *by_hand)
    record = computed(cell, tiny_vision_root, empty, tmp_path / "out", *FROM_MODEL)
    assert record.model.text_start == LACKING
    assert record.settings["init_text"] == "model" and record.key_parts["text_start"] == "random"


def test_a_start_that_changes_during_the_run_ends_the_cell(
    tiny_vision_root: Path, tmp_path: Path, weights: Path
) -> None:
    by_hand = tuple(sorted((*QUICK, *FROM_BERT)))
    cell = planned(tiny_vision_root, weights, *by_hand)
    (weights / BERT / "vocab.txt").write_text("another one\n")
    with pytest.raises(CellError, match="text side starts from changed"):
        computed(cell, tiny_vision_root, weights, tmp_path / "out", *FROM_BERT)
