"""Where weights should lie and whether they do, said without torch, without a network, and with the way out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.card import ModelCard
from adapters.registry import catalog, select, weight_file, weight_state
from adapters.weight_files.fetch import by_hand, wanted_files
from adapters.weights import VARIABLE, default_weights_root, fetch_advice, further_files, weights_root_of
from foundation.cache import cache_root
from foundation.errors import UsageError

CARDS = catalog()
NETWORK = [card for card in CARDS.values() if card.weights.kind in ("hub", "url")]
BY_HAND = [card for card in CARDS.values() if card.weights.kind == "manual"]


@pytest.fixture(autouse=True)
def no_choice_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def lay(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# ---- the weights root


def test_the_root_is_the_one_named_else_the_variables_else_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_weights_root() == cache_root() / "weights"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "theirs"))
    assert weights_root_of(None) == tmp_path / "theirs"  # which need not be there yet
    assert weights_root_of(tmp_path) == tmp_path


def test_weights_are_found_under_the_default_root_without_any_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    path = lay(tmp_path / "mae-vit-b-16" / "mae_pretrain_vit_base.pth")
    state = weight_state(CARDS["mae-vit-b-16"], None)
    assert (state.state, state.path) == ("ready", str(path))


@pytest.mark.parametrize("model", ["mae-vit-b-16", "random-mini", "simple-features", "gpt-4o"])
def test_a_root_that_was_named_and_is_not_there_is_an_error_whatever_the_model(tmp_path: Path, model: str) -> None:
    with pytest.raises(UsageError, match="the weights root is not a folder") as caught:
        weight_state(CARDS[model], tmp_path / "nowhere")
    assert caught.value.exit_code == 2
    assert str(tmp_path / "nowhere") in caught.value.where
    file = lay(tmp_path / "file")
    with pytest.raises(UsageError):
        weights_root_of(file)


# ---- what is missing, and how to get it


@pytest.mark.parametrize("card", NETWORK, ids=lambda card: card.id)
def test_what_can_be_downloaded_names_the_command_and_the_way_by_hand(card: ModelCard, tmp_path: Path) -> None:
    state = weight_state(card, tmp_path)
    assert state.way_out.startswith(f"`harness weights fetch {card.id} --weights-root {tmp_path}`, or download ")
    assert str(weight_file(card, tmp_path)) in state.way_out
    assert "--weights-root" not in weight_state(card, None).way_out
    (main, *_) = wanted_files(card, tmp_path)
    address, save = by_hand(card, main)
    assert address.startswith("download https://")
    assert save.endswith(str(main.target))


@pytest.mark.parametrize("card", BY_HAND, ids=lambda card: card.id)
def test_what_must_be_fetched_by_hand_has_exact_steps(card: ModelCard, tmp_path: Path) -> None:
    assert card.weights.steps
    (main, *_) = wanted_files(card, tmp_path)
    *steps, save, check = by_hand(card, main)
    assert steps == list(card.weights.steps)
    assert str(main.target) in save and f"harness weights verify {card.id}" in check
    assert steps[0] in weight_state(card, tmp_path).way_out


def test_every_published_model_says_where_it_is_published() -> None:
    assert {card.id for card in BY_HAND} == {"changeclip-vit-b-16", "sar-jepa-vit-b-16", "bita-vit-l-14"}
    for card in NETWORK:
        assert card.weights.filename
        assert (card.weights.url or "").startswith("https://") or (card.weights.hub_id or "").count("/") == 1
    for card in CARDS.values():
        assert card.weights.licence or card.weights.kind in ("none", "random", "shipped")


def test_models_without_files_want_none(tmp_path: Path) -> None:
    for card in [*select("random-mini,simple-features,timm:resnet18,timm:resnet18@pretrained"), CARDS["gpt-4o"]]:
        assert wanted_files(card, tmp_path) == []


def test_a_revision_is_part_of_the_advice() -> None:
    source = CARDS["remoteclip-vit-b-32"].weights.model_copy(update={"revision": "abc"})
    assert "revision abc" in fetch_advice(source, "there")


# ---- models of several files


def test_a_model_is_incomplete_without_its_second_file(tmp_path: Path) -> None:
    card = CARDS["bita-vit-l-14"]
    main = lay(tmp_path / card.id / "checkpoint_best.pth")
    state = weight_state(card, tmp_path)
    assert state.state == "missing" and "clip_vit_L.pth is not beside checkpoint_best.pth" in state.reason
    lay(main.with_name("clip_vit_L.pth"))
    assert weight_state(card, tmp_path).state == "ready"


def test_of_a_sharded_model_the_shards_with_the_tower_are_needed_and_no_companion(tmp_path: Path) -> None:
    card = CARDS["geochat-vit-l-14-504"]
    tower, language = "model.vision_tower.vision_tower.x", "model.layers.0.x"
    index = lay(tmp_path / card.id / "pytorch_model.bin.index.json")
    index.write_text(json.dumps({"weight_map": {tower: "part-2.bin", language: "part-1.bin"}}), encoding="utf-8")
    assert [path.name for path in further_files(card, index)] == ["part-2.bin"]
    assert "part-2.bin is not beside" in weight_state(card, tmp_path).reason
    lay(index.with_name("part-2.bin"))
    assert weight_state(card, tmp_path).state == "ready"
    index.write_text(json.dumps({"weight_map": {language: "part-1.bin"}}), encoding="utf-8")
    assert [path.name for path in further_files(card, index)] == ["ViT-L-14-336px.pt"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"weight_map": 3}', b'{"weight_map": {"a": "../b.bin"}}'])
def test_a_damaged_list_of_shards_is_a_reason_and_no_crash(tmp_path: Path, content: bytes) -> None:
    card = CARDS["geochat-vit-l-14-504"]
    lay(tmp_path / card.id / "pytorch_model.bin.index.json", content)
    state = weight_state(card, tmp_path)
    assert state.state == "missing" and "index" in state.reason and state.way_out


def test_the_companion_of_a_model_is_fetched_from_its_own_address(tmp_path: Path) -> None:
    _, second = wanted_files(CARDS["bita-vit-l-14"], tmp_path)
    assert second.source == "url" and second.origin.endswith("/clip_vit_L.pth")
    assert second.licence and second.licence != CARDS["bita-vit-l-14"].weights.licence


def test_fetching_never_writes_without_being_asked_for(tmp_path: Path) -> None:
    for card in CARDS.values():
        weight_state(card, tmp_path)
        wanted_files(card, tmp_path)
    assert list(tmp_path.iterdir()) == []
