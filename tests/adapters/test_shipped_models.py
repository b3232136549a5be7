"""Models whose weights lie in the package: found by their cards, ready without a weights root, never fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adapters import catalogue, shipped
from adapters.card import ModelCard
from adapters.encoder import build_vit
from adapters.load import load
from adapters.registry import catalog, groups, load_model_file, select, weight_state
from adapters.weights import PUBLISHED
from foundation.errors import UsageError
from foundation.hashing import hash_file

CARD = """
[made]
command = "klip baseline mae CORPUS --out RUN"
seconds = 3.5

[[model]]
id = "{id}"
name = "A small one"
backbone = "mini"
kind = "vision_only_sar"
architecture = {{ kind = "vit", width = 16, depth = 1, heads = 2, patch = 8, activation = "gelu", image_size = 32 }}
input = {{ channels = 3, mean = [0.3, 0.3, 0.3], std = [0.2, 0.2, 0.2] }}
weights = {{ kind = "shipped", filename = "{id}.safetensors", sha256 = "{sha256}" }}
layout = "timm"
"""


@pytest.fixture()
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A zoo of one model in half precision, in the place of ours."""
    monkeypatch.setenv("FUSAR_KLIP_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "zoo"
    folder.mkdir()
    card = load_model_file(_card(folder, "small-one", "0" * 64))[0]
    assert card.architecture is not None
    encoder = build_vit(card.architecture, image_size=32, seed=5)
    weights = folder / "small-one.safetensors"
    save_file({name: value.half().contiguous() for name, value in encoder.state_dict().items()}, weights)
    _card(folder, "small-one", hash_file(weights))
    monkeypatch.setattr(shipped, "ZOO", folder)
    catalogue.shipped_cards.cache_clear()
    yield folder
    catalogue.shipped_cards.cache_clear()


def _card(folder: Path, identifier: str, sha256: str) -> Path:
    path = folder / f"{identifier}.toml"
    path.write_text(CARD.format(id=identifier, sha256=sha256))
    return path


def small_one() -> ModelCard:
    return catalog()["small-one"]


def test_it_is_one_of_all_and_stands_with_the_other_small_models(zoo: Path) -> None:
    assert "small-one" in groups()["all"]
    assert groups()["mini"] == ["small-one", "random-mini"]
    assert [card.id for card in select("random-mini,small-one")] == ["small-one", "random-mini"]


def test_it_is_ready_whatever_the_weights_root(zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    for root in (None, tmp_path / "root"):
        state = weight_state(small_one(), root)
        assert (state.state, state.path) == ("ready", str(zoo / "small-one.safetensors"))
    assert small_one().weights.kind not in PUBLISHED  # nothing to fetch


def test_it_is_loaded_in_single_precision_with_its_checksum(zoo: Path) -> None:
    loaded = load(small_one(), image_size=32, seed=0)
    assert loaded.weights_hash == small_one().weights.sha256
    assert loaded.contract.mean == (0.3, 0.3, 0.3)
    assert {parameter.dtype for _, parameter in loaded.encoder.named_parameters()} == {torch.float32}  # type: ignore[union-attr]


def test_how_it_was_made_is_kept(zoo: Path) -> None:
    assert shipped.how_made("small-one") == {"command": "klip baseline mae CORPUS --out RUN", "seconds": 3.5}
    assert shipped.how_made("random-mini") == {}


def test_without_its_file_it_keeps_its_row_and_says_what_to_do(zoo: Path) -> None:
    (zoo / "small-one.safetensors").unlink()
    state = weight_state(small_one(), None)
    assert state.state == "missing" and "not in this installation" in state.reason
    assert "klip zoo build small-one" in state.way_out


def test_an_id_that_is_taken_is_refused(zoo: Path) -> None:
    _card(zoo, "random-mini", "0" * 64)
    catalogue.shipped_cards.cache_clear()
    with pytest.raises(UsageError, match="used twice"):
        catalog()


def test_every_card_of_the_zoo_has_its_file_and_says_how_it_was_made() -> None:
    # Of what is really shipped; a card without its file, or a file without its card, is a broken release.
    cards = {path.stem for path in shipped.zoo_card_files()}
    sides = {card.text.filename for name in cards if (card := catalog()[name]).text is not None}
    files = {path.name for path in shipped.ZOO.glob("*.safetensors")}
    assert files == {f"{name}.safetensors" for name in cards} | sides
    for name in cards:
        made = shipped.how_made(name)
        assert {"command", "seed", "data", "code", "seconds", "machine"} <= made.keys(), name
        state = weight_state(catalog()[name], None)
        assert state.state == "ready" and hash_file(Path(str(state.path))) == catalog()[name].weights.sha256
        text = catalog()[name].text
        assert text is None or hash_file(shipped.ZOO / text.filename) == text.sha256
    assert sum(path.stat().st_size for path in shipped.ZOO.glob("*.safetensors")) <= 20e6


OURS = ("clip-mini", "klip-mini", "klip-mini-noscio", "mae-mini", "moco-v3-mini", "sar-jepa-mini")
LARGEST_MB = 20


def test_the_six_models_are_here_with_their_cards_and_take_little_room() -> None:
    assert sorted(path.stem for path in shipped.zoo_card_files()) == sorted(OURS)
    assert sum(path.stat().st_size for path in shipped.ZOO.glob("*.safetensors")) < LARGEST_MB * 1e6
    for identifier in OURS:
        made = shipped.how_made(identifier)
        assert made["command"].startswith("klip ") and made["data"]["sha256"] and made["code"]["commit"]
        assert made["seconds"] > 0 and made["machine"]


@pytest.mark.parametrize("identifier", OURS)
def test_each_of_the_six_fills_its_whole_encoder_and_knows_its_text_side(identifier: str) -> None:
    loaded = load(catalog()[identifier], image_size=64, seed=0)
    assert not loaded.report.missing and loaded.weights_hash == catalog()[identifier].weights.sha256
    assert (loaded.text_file is not None) == identifier.startswith("klip-")
    if loaded.text_file is not None:  # where a training started is a place on somebody's machine
        assert b"init" not in loaded.text_file.read_bytes()[:20_000].partition(b"vocabulary")[0]
