"""The zoo: its commands make what the adapters ship, again only where needed, and a model of it learns."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from adapters import catalogue, shipped
from adapters.load import load
from adapters.registry import catalog, groups, select, weight_state
from foundation.errors import BenchError, MissingError, UsageError
from foundation.files import write_json
from klip import zoo
from klip.corpus import read_corpus_folder
from klip.export import export_vision
from klip.training.log import read_log
from klip.zoo import RECIPES, Order, build, command_of, finished
from tests.klip.small_corpus import record, write_corpus, write_lines
from tests.klip.small_run import checkpoint_of
from tests.klip.structured_images import structured

IDS = ("clip-mini", "klip-mini", "klip-mini-noscio", "mae-mini", "moco-v3-mini", "random-mini", "sar-jepa-mini")
"""The seven models of the mini zoo; random-mini starts from a seed and needs no file."""


@pytest.fixture()
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """A corpus of twelve images with a marker of a synthetic world, and empty folders."""
    monkeypatch.setenv("FUSAR_KLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    records = [record(number, Count=f"{number} ships") for number in range(12)]
    corpus = write_corpus(tmp_path / "corpus", records)
    for entry, pixels in zip(records, structured(12, 64, speckle=0.0), strict=True):
        Image.fromarray(pixels).save(corpus / entry["id"])
    write_lines(corpus / "texts_template.jsonl", records)
    write_json(corpus / "synthetic.json", {"dataset": "corpus", "world_version": 2, "size": "ci", "seed": 0})
    return Order(corpus, tmp_path / "zoo", tmp_path / "runs", device="cpu")


@pytest.fixture()
def empty_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The catalogue reads its shipped cards from here."""
    zoo = tmp_path / "zoo"
    monkeypatch.setattr(shipped, "ZOO", zoo)
    catalogue.shipped_cards.cache_clear()
    yield zoo
    catalogue.shipped_cards.cache_clear()


def test_the_zoo_has_the_seven_models() -> None:
    assert sorted([*RECIPES, "random-mini"]) == list(IDS)


@pytest.mark.parametrize("identifier", RECIPES)
def test_every_command_is_one_that_can_be_typed(identifier: str, order: Order) -> None:
    command = command_of(identifier, Order(order.corpus, order.out, order.work, epochs=6, seed=3))
    assert command[0] in ("pretrain", "baseline")
    changes = [after for before, after in pairwise(command) if before == "--set"]
    assert "seed=3" in changes
    if command[0] == "pretrain":
        from klip.configuration import pretraining_settings

        settings = pretraining_settings("recommended", "tiny", None, changes)
        assert settings.epochs == 6
        assert settings.scio.enabled == (identifier == "klip-mini")
    else:
        from klip.unimodal.settings import settings_of

        assert settings_of(command[1], "tiny", changes=changes).seed == 3
        assert "--epochs 6" in " ".join(command)


def test_fewer_epochs_than_stages_of_scio_are_refused(order: Order) -> None:
    with pytest.raises(UsageError, match="too few for the stages"):
        command_of("klip-mini", Order(order.corpus, order.out, order.work, epochs=2))


def test_an_unknown_model_is_refused_before_anything_is_trained(order: Order) -> None:
    with pytest.raises(UsageError, match="mae-mni"):
        build(["klip-mini", "mae-mni"], order, say=lambda _line: None)
    assert not order.work.exists()


def quick(order: Order, *changes: str, epochs: int = 2) -> Order:
    small = ("tower.width=32", "tower.heads=2", "tower.depth=2", "batch_size_per_device=4", *changes)
    return Order(order.corpus, order.out, order.work, device="cpu", epochs=epochs, changes=small)


@pytest.mark.slow  # starts a process
def test_one_model_from_its_command_to_the_catalogue(order: Order, empty_zoo: Path) -> None:
    wanted, said = quick(order), list[str]()
    (done,) = build(["mae-mini"], wanted, say=said.append)
    assert done.trained and done.size_mb < 1
    made = shipped.how_made("mae-mini")
    assert made["command"].startswith("klip baseline mae CORPUS --out RUN --size tiny")
    assert made["data"]["synthetic"]["world_version"] == 2 and len(made["data"]["sha256"]) == 64
    assert made["seed"] == 0 and made["seconds"] > 0 and made["code"]["sources"] and made["machine"]["torch"]
    assert {value.dtype for value in load_file(empty_zoo / "mae-mini.safetensors").values()} == {torch.float16}
    # The same order again finds it there, another one does not.
    (again,) = build(["mae-mini"], wanted, say=said.append)
    assert not again.trained and said[-1] == "mae-mini: is there"

    catalogue.shipped_cards.cache_clear()
    assert "mae-mini" in groups()["all"] and "mae-mini" in groups()["mini"]
    (card,) = select("mae-mini")
    assert weight_state(card, None).state == "ready"
    assert card.input is not None and card.input.mean != (0.5, 0.5, 0.5)  # as it was pre-trained
    loaded = load(card, image_size=32, seed=0)
    assert loaded.trainable and loaded.weights_hash == card.weights.sha256

    (empty_zoo / "mae-mini.safetensors").unlink()
    state = weight_state(card, None)
    assert (state.state, "klip zoo build mae-mini" in state.way_out) == ("missing", True)
    with pytest.raises(MissingError):
        load(card, image_size=32, seed=0)


@pytest.mark.slow  # trains a model for about ten seconds
def test_a_model_trained_anew_at_reduced_size_learns(order: Order) -> None:
    changes = ("mae.normalise_target=false", "mae.keep=0.5", "views.scale=[0.6, 1.0]", "optim.rate=0.12")
    build(["mae-mini"], quick(order, *changes, epochs=80), say=lambda _line: None)
    lines = [line["loss"] for line in read_log(order.work / "mae-mini") if "loss" in line]
    assert len(lines) > 5 and all(map(math.isfinite, lines))
    variance = float((structured(12, 64, speckle=0.0) / 255).var())
    assert lines[-1] < 0.6 * variance  # a constant would have all of it
    card = tomllib.loads((order.out / "mae-mini.toml").read_text())
    assert card["made"]["epochs"] == 80


@pytest.mark.slow  # starts a process
def test_a_failing_command_ends_the_build_and_says_how_to_go_on(order: Order) -> None:
    (order.corpus / "images/3.png").write_bytes(b"no image")
    with pytest.raises(BenchError, match="exit code 5") as caught:
        build(["mae-mini"], quick(order), say=lambda _line: None)
    assert "goes on where it stopped" in caught.value.way_out
    assert not list(order.out.glob("*")) if order.out.exists() else True


@pytest.mark.parametrize(
    ("identifier", "more", "texts"),
    [
        ("klip-mini", (), "texts.jsonl"),
        ("klip-mini", ("--set", "data.text=template"), "texts_template.jsonl"),
        ("klip-mini", ("--set", "data.text=template", "--texts", "CORPUS/texts_clean.jsonl"), "texts_clean.jsonl"),
        ("mae-mini", (), "texts.jsonl"),
        ("clip-mini", (), "texts_template.jsonl"),
        ("clip-mini", ("--set", "clip.texts=texts.jsonl"), "texts.jsonl"),
    ],
)
def test_the_texts_of_a_command_are_those_that_its_training_reads(
    identifier: str, more: tuple[str, ...], texts: str, order: Order
) -> None:
    command = (*command_of(identifier, order), *more)
    arguments = zoo.typed(identifier, command, order)
    assert zoo._texts_of(arguments, order.corpus) == order.corpus / texts
    assert arguments.count(str(order.corpus)) == 1 and not any("CORPUS" in part for part in arguments)


@pytest.mark.parametrize("kind", ["mae", "clip"])
def test_a_model_of_a_real_corpus_is_there_as_long_as_the_corpus_is_the_same(order: Order, kind: str) -> None:
    (order.corpus / "synthetic.json").unlink()  # no marker: a real corpus
    name = f"{kind}-mini"
    texts = order.corpus / ("texts.jsonl" if kind == "mae" else "texts_template.jsonl")
    command = command_of(name, order)
    run, _ = checkpoint_of(kind, order.work / "run")

    def export(digest: str | None) -> None:
        made = {"command": f"klip {' '.join(command)}", "data": {"sha256": digest}}
        export_vision(run, order.out / f"{name}.safetensors", identifier=name, shipped=False, made=made)

    def is_there() -> bool:
        return finished(name, command, order) is not None

    export(read_corpus_folder(order.corpus, texts=texts).digest)
    assert is_there() and is_there(), "the second time by the hash that was kept"
    kept = texts.read_text()
    texts.write_text(kept.replace("three ships", "four ships").replace("harbour", "open sea"))
    assert not is_there(), "other texts"
    texts.write_text(kept)
    assert is_there()
    image = order.corpus / "images/3.png"
    pixels = image.read_bytes()
    Image.fromarray(structured(1, 64, speckle=0.5)[0]).save(image)
    assert not is_there(), "another image"
    image.unlink()
    assert not is_there(), "an image that is gone is told of by the training"
    image.write_bytes(pixels)
    assert is_there()
    limited = Order(order.corpus, order.out, order.work, device="cpu", limit=4)
    assert finished(name, command, limited) is None, "fewer records"
    export("0" * 64)
    assert not is_there()


def test_a_model_of_a_synthetic_corpus_is_there_as_long_as_its_world_is_the_same(order: Order) -> None:
    run, _ = checkpoint_of("mae", order.work / "run")
    command = command_of("mae-mini", order)
    world = {"dataset": "corpus", "world_version": 2, "size": "ci", "seed": 0}
    for told, there in ((world, True), ({**world, "seed": 1}, False)):
        made = {"command": f"klip {' '.join(command)}", "data": {"synthetic": told}}
        export_vision(run, order.out / "mae-mini.safetensors", identifier="mae-mini", made=made)
        assert (finished("mae-mini", command, order) is not None) == there


def test_a_damaged_shipped_file_is_noticed(empty_zoo: Path, order: Order) -> None:
    run, _ = checkpoint_of("mae", order.work / "run")
    done = export_vision(run, empty_zoo / "mae-mini.safetensors", identifier="mae-mini", shipped=True)
    save_file({name: value + 1 for name, value in load_file(done.weights).items()}, done.weights)
    catalogue.shipped_cards.cache_clear()
    with pytest.raises(MissingError, match="SHA-256"):
        load(catalog()["mae-mini"], image_size=32, seed=0)
