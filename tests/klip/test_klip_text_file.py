"""The text side as a file: the model that wrote it, whatever encoder it is put behind, and refusals of other files."""

from __future__ import annotations

import json
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from adapters import shipped
from adapters.encoder import build_vit
from adapters.load import load
from adapters.registry import load_model_file
from foundation.errors import BenchError, CellError, CheckError, MissingError, UsageError
from foundation.files import write_json
from foundation.hashing import hash_file
from klip import zoo
from klip.baseline_commands import export_app
from klip.export import export_vision
from klip.generate import KlipWriter, Writing, forbidden_tokens, write
from klip.model.klip import KLIP, vision_architecture
from klip.model.pretrainer import Pretrainer
from klip.settings import PretrainingSettings, as_data
from klip.text_file import TextSide, export_text_side, read_text_side, text_file_beside
from klip.tokens.vocabulary import Vocabulary
from klip.training import checkpoint
from klip.training.checkpoint import Checkpoint, Place
from klip.zoo import Built, Order
from tasks.language.tokens import encode, reading
from tests.klip.pretraining import small_pretraining
from tests.klip.small_corpus import record, write_corpus
from tests.klip.small_run import checkpoint_of, small_klip
from tests.klip.structured_images import seeded

TEXTS = ("one ship lies in the top-left", "two ships lie in the bottom-right", "no ship can be found", "3 aircraft")


class Run(NamedTuple):
    """A folder as `klip pretrain` leaves it, and the model in it."""

    folder: Path
    model: KLIP
    vocabulary: Vocabulary
    settings: PretrainingSettings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return _run(tmp_path_factory.mktemp("run"))


def _run(folder: Path, change: Callable[[dict[str, Tensor]], None] = lambda _: None) -> Run:
    settings, vocabulary = small_klip(), Vocabulary.train(TEXTS, size=200)
    pretrainer = Pretrainer(settings, vocabulary.size, vocabulary.specials, queue_size=8)
    with torch.no_grad():  # neither the twin nor a start by the rule must be taken for the trained model
        for parameter in pretrainer.online.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded()))
    state = pretrainer.state_dict()
    change(state)
    about = {"kind": "klip", "settings": as_data(settings), "mean": [0.3] * 3, "std": [0.2] * 3}
    about |= {"pieces": list(vocabulary.pieces), "vocabulary": vocabulary.digest}
    checkpoint.write(folder, Checkpoint(folder, Place(epoch=3, step=30), {}, about, state, {}, {}, {}, {}))
    return Run(folder, pretrainer.online.eval(), vocabulary, settings)


def _behind(side: TextSide, settings: PretrainingSettings, vision: KLIP | None = None, *, width: int = 32) -> KLIP:
    """Another model with this text side; its image tower is that of `vision`, or one of a width of its own."""
    model = settings.model.model_copy(update={"vision_width": width, "vision_heads": 2})
    tower = build_vit(vision_architecture(settings.model_copy(update={"model": model})), image_size=64, seed=11)
    other = KLIP(
        settings.model_copy(update={"seed": 5, "model": side.model}),
        side.vocabulary.size,
        side.vocabulary.specials,
        tower=tower,
    )
    if vision is not None:
        tower.load_state_dict(vision.vision.state_dict())  # type: ignore[attr-defined]  # a module
    side.fill(other)
    return other.eval()


def _answers(model: KLIP, vocabulary: Vocabulary) -> dict[str, Tensor]:
    """What a task sees of a model: features of both sides, matching, next tokens."""
    tokens = reading(encode(TEXTS, vocabulary, 24), vocabulary.specials)
    images = torch.randn(len(TEXTS), 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        state = model.encode_image(images)
        memory = model.visual_memory(state.memory)
        fused = model.fused(tokens, memory)
        hidden = model.decode(tokens.ids, model.decoder_memory(fused, tokens.mask, memory))
        return {
            "image": state.features,
            "text": model.encode_text(tokens),
            "match": model.match_score(tokens, memory),
            "next": model.lm_logits(hidden),
        }


def _written(model: KLIP, vocabulary: Vocabulary) -> list[tuple[int, ...]]:
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    specials = vocabulary.specials
    with torch.inference_mode():
        memory = model.decoder_memory(None, None, model.visual_memory(model.encode_image(images).memory))
        prefix = torch.full((3, 1), specials.dec)
        banned = forbidden_tokens(specials, vocabulary.size, stop=specials.sep)
        how = Writing(most=12, beams=2)
        found = write(
            KlipWriter(model, memory),
            prefix,
            torch.ones_like(prefix, dtype=torch.bool),
            stop=specials.sep,
            how=how,
            banned=banned,
        )
    return [texts[0].ids for texts in found]


def test_behind_its_own_tower_it_is_the_model_of_the_run(run: Run, tmp_path: Path) -> None:
    checksum = export_text_side(run.folder, tmp_path / "side.safetensors")
    assert checksum == hash_file(tmp_path / "side.safetensors")
    side = read_text_side(tmp_path / "side.safetensors")
    assert side.vocabulary.pieces == run.vocabulary.pieces and side.model == run.settings.model
    again = _behind(side, run.settings, run.model)
    for name, expected in _answers(run.model, run.vocabulary).items():
        assert torch.equal(_answers(again, side.vocabulary)[name], expected), name
    assert _written(again, side.vocabulary) == _written(run.model, run.vocabulary)


def test_half_precision_takes_half_the_room_and_says_nearly_the_same(run: Run, tmp_path: Path) -> None:
    export_text_side(run.folder, tmp_path / "whole.safetensors")
    export_text_side(run.folder, tmp_path / "half.safetensors", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "whole.safetensors").stat().st_size
    again = _behind(read_text_side(tmp_path / "half.safetensors"), run.settings, run.model)
    assert {value.dtype for value in again.parameters()} == {torch.float32}  # only the file is short
    found = _answers(again, run.vocabulary)
    for name, expected in _answers(run.model, run.vocabulary).items():
        assert not torch.equal(found[name], expected) or name == "image"
        torch.testing.assert_close(found[name], expected, atol=2e-2, rtol=1e-2)


def test_the_file_holds_no_tower_and_nothing_that_stays_random(run: Run, tmp_path: Path) -> None:
    export_text_side(run.folder, tmp_path / "side.safetensors")
    names = set(load_file(tmp_path / "side.safetensors"))
    own = dict(run.model.named_parameters())
    assert names == {name for name in own if not name.startswith("vision.")}


def test_an_encoder_of_another_width_keeps_everything_that_does_not_hang_on_it(run: Run, tmp_path: Path) -> None:
    export_text_side(run.folder, tmp_path / "side.safetensors")
    side = read_text_side(tmp_path / "side.safetensors")
    other = _behind(side, run.settings, width=48)
    assert set(side.fill(other)) == {"vision_proj.weight"}
    texts = reading(encode(TEXTS, run.vocabulary, 24), run.vocabulary.specials)
    with torch.inference_mode():
        assert torch.equal(other.encode_text(texts), run.model.encode_text(texts))
    found, expected = dict(other.named_parameters()), dict(run.model.named_parameters())
    kept = [name for name in expected if not name.startswith(("vision", "vis_to_txt"))]
    assert kept and all(torch.equal(found[name], expected[name]) for name in kept)


@pytest.mark.parametrize("cut", ["text.words.weight", "language_head.bias", "temperature"])
def test_a_file_that_lacks_a_part_is_refused(run: Run, tmp_path: Path, cut: str) -> None:
    side = _changed(run, tmp_path, lambda state: state.pop(cut))
    with pytest.raises(CellError, match=f"lacks {cut}"):
        _behind(side, run.settings)


def test_a_part_of_another_size_or_name_is_refused(run: Run, tmp_path: Path) -> None:
    def longer(state: dict[str, Tensor]) -> None:
        state["itm_head.bias"] = torch.zeros(3)

    with pytest.raises(CellError, match=r"itm_head\.bias .* does not fit"):
        _behind(_changed(run, tmp_path, longer), run.settings)

    def stranger(state: dict[str, Tensor]) -> None:
        state["pooler.weight"] = torch.zeros(3)

    with pytest.raises(CellError, match=r"pooler\.weight .* does not fit"):
        _behind(_changed(run, tmp_path, stranger), run.settings)


def test_values_that_are_no_numbers_are_refused_on_both_ways(run: Run, tmp_path: Path) -> None:
    def broken(state: dict[str, Tensor]) -> None:
        state["itm_head.bias"] = torch.full((2,), float("nan"))

    with pytest.raises(CellError, match="no numbers"):
        _changed(run, tmp_path, broken)

    def too_large(state: dict[str, Tensor]) -> None:
        state["online.itm_head.bias"] = torch.full((2,), 1e6)

    large = _run(tmp_path / "large", too_large)
    export_text_side(large.folder, tmp_path / "whole.safetensors")
    with pytest.raises(CheckError, match="fp16 cannot hold"):
        export_text_side(large.folder, tmp_path / "half.safetensors", half=True)
    assert not (tmp_path / "half.safetensors").exists()


def test_files_that_are_no_text_side_are_refused_with_the_way_out(run: Run, tmp_path: Path) -> None:
    tower = export_vision(run.folder, tmp_path / "tower.safetensors").weights
    with pytest.raises(CellError, match="no text side") as caught:
        read_text_side(tower)
    assert "klip export text" in caught.value.way_out
    text = tmp_path / "side.safetensors"
    export_text_side(run.folder, text)
    whole = text.read_bytes()
    for damaged in (b"", b"no such file", whole[:100], whole[:-4]):
        text.write_bytes(damaged)
        with pytest.raises(CellError, match="cannot read"):
            read_text_side(text)
    with pytest.raises(CellError, match="cannot read"):
        read_text_side(tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize("part", ["vocabulary", "model", "format"])
@pytest.mark.parametrize("value", [None, "", ["a"], {"text_width": -1}])
def test_a_damaged_header_is_refused(run: Run, tmp_path: Path, part: str, value: object) -> None:
    text = tmp_path / "side.safetensors"
    export_text_side(run.folder, text)
    header = json.loads(_header(text)["klip_text_side"])
    del header[part]
    if value is not None:
        header[part] = value
    save_file(load_file(text), text, metadata={"klip_text_side": json.dumps(header)})
    with pytest.raises(BenchError) as caught:
        read_text_side(text)
    assert str(text) in caught.value.where
    save_file(load_file(text), text, metadata={"klip_text_side": json.dumps(header)[:-1]})
    with pytest.raises(CellError, match="header of the text side is damaged"):
        read_text_side(text)


def test_the_same_run_gives_the_same_bytes_every_time(run: Run, tmp_path: Path) -> None:
    assert len({export_text_side(run.folder, tmp_path / "side.safetensors") for _ in range(8)}) == 1


def test_a_run_of_a_baseline_has_no_text_side(tmp_path: Path) -> None:
    folder, _ = checkpoint_of("mae", tmp_path / "run")
    with pytest.raises(UsageError, match="klip pretrain"):
        export_text_side(folder, tmp_path / "side.safetensors")
    with pytest.raises(UsageError, match="klip pretrain"):
        export_vision(folder, tmp_path / "m.safetensors", with_text=True)
    assert not list(tmp_path.glob("m*"))
    with pytest.raises(UsageError, match="safetensors"):
        export_text_side(folder, tmp_path / "side.pt")


@pytest.mark.parametrize("shipped", [False, True])
def test_a_card_names_its_text_side_and_the_model_brings_it_along(
    run: Run, tmp_path: Path, shipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.shipped.ZOO", tmp_path / "zoo")
    done = export_vision(run.folder, tmp_path / "zoo" / "own.safetensors", shipped=shipped, with_text=True)
    place = text_file_beside(done.weights)
    (entry,) = tomllib.loads(done.card.read_text())["model"]
    assert entry["text"] == {"filename": "own-text.safetensors", "sha256": hash_file(place)}
    assert done.size_mb == round((done.weights.stat().st_size + place.stat().st_size) / 1e6, 2)
    (card,) = load_model_file(done.card)
    assert card.text is not None
    assert load(card, image_size=64, seed=0).text_file == place
    save_file({"x": torch.zeros(1)}, place)
    with pytest.raises(MissingError, match="text side is not the one"):
        load(card, image_size=64, seed=0)


def test_without_the_text_side_the_card_names_none(run: Run, tmp_path: Path) -> None:
    done = export_vision(run.folder, tmp_path / "own.safetensors")
    (card,) = load_model_file(done.card)
    assert card.text is None and not text_file_beside(done.weights).exists()


def test_the_command_writes_the_file_and_says_what_belongs_in_the_card(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "side.safetensors"
    said = CliRunner().invoke(export_app, ["text", str(run.folder), "--out", str(out)])
    assert said.exit_code == 0, said.output
    line = said.output.splitlines()[-1]
    assert tomllib.loads(line)["text"] == {"filename": out.name, "sha256": hash_file(out)}
    again = CliRunner().invoke(export_app, ["text", str(run.folder), "--out", str(out), "--format", "fp16", "--json"])
    assert json.loads(again.stdout)["sha256"] == hash_file(out)
    assert isinstance(
        CliRunner().invoke(export_app, ["text", "x", "--out", "y", "--format", "int8"]).exception, UsageError
    )
    both = ["vision", str(run.folder), "--out", str(tmp_path / "own.safetensors"), "--with-text"]
    assert CliRunner().invoke(export_app, both).exit_code == 0
    assert text_file_beside(tmp_path / "own.safetensors").is_file()


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Order:
    """A zoo whose models are there at once: the training is the run of this file's tests."""
    (tmp_path / "corpus").mkdir()
    write_json(tmp_path / "corpus/synthetic.json", {"dataset": "corpus", "world_version": 2, "size": "ci", "seed": 0})
    trained: list[str] = []

    def train(name: str, command: object, order: Order, *, quiet: bool) -> None:
        trained.append(name)
        _run(order.work / name)

    monkeypatch.setattr(zoo, "_run", train)
    monkeypatch.setattr(shipped, "ZOO", tmp_path / "zoo")
    return Order(tmp_path / "corpus", tmp_path / "zoo", tmp_path / "runs", device="cpu")


def _built(order: Order) -> Built:
    (done,) = zoo.build(["klip-mini"], order, say=lambda _line: None)
    return done


def test_the_zoo_ships_the_text_side_of_a_klip_model_in_half_precision(order: Order) -> None:
    done = _built(order)
    place = order.out / "klip-mini-text.safetensors"
    assert {value.dtype for value in load_file(place).values()} == {torch.float16}
    assert done.size_mb == round(sum(path.stat().st_size for path in order.out.glob("*.safetensors")) / 1e6, 2)
    (card,) = load_model_file(order.out / "klip-mini.toml")
    assert card.weights.kind == "shipped" and card.text is not None and card.text.sha256 == hash_file(place)
    assert load(card, image_size=64, seed=0).text_file == place
    again = _built(order)
    assert not again.trained and again.size_mb == done.size_mb


def test_a_missing_or_foreign_text_side_is_written_again(order: Order) -> None:
    _built(order)
    place, card = order.out / "klip-mini-text.safetensors", order.out / "klip-mini.toml"
    whole = place.read_bytes()

    def lose() -> None:
        place.unlink()

    def damage() -> None:
        place.write_bytes(whole[:-1])

    def unname() -> None:  # a card from before text sides were shipped
        card.write_text("".join(line for line in card.read_text().splitlines(True) if not line.startswith("text =")))

    for harm in (lose, damage, unname):
        harm()
        assert _built(order).trained, harm
        assert place.read_bytes() == whole and "klip-mini-text" in card.read_text()
        assert not _built(order).trained


def test_text_sides_count_among_what_may_be_shipped(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    done = _built(order)
    tower = (order.out / "klip-mini.safetensors").stat().st_size / 1e6
    assert tower < done.size_mb
    monkeypatch.setattr(zoo, "LARGEST_MB", (tower + done.size_mb) / 2)
    with pytest.raises(CellError, match="at most are shipped"):
        _built(order)


@pytest.mark.slow  # trains for a few seconds
def test_what_a_pre_training_leaves_can_be_exported(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", [record(number, Count=f"{number} ships") for number in range(8)])
    small_pretraining(corpus, tmp_path / "run", "scio.enabled=false", "epochs=1", "batch_size_per_device=4")
    export_text_side(tmp_path / "run", tmp_path / "side.safetensors")
    side = read_text_side(tmp_path / "side.safetensors")
    kept = checkpoint.read(checkpoint.find(tmp_path / "run"))
    settings = PretrainingSettings.model_validate(kept.about["settings"])
    assert side.vocabulary.digest == kept.about["vocabulary"] and side.model == settings.model
    model = KLIP(settings, side.vocabulary.size, side.vocabulary.specials)
    side.fill(model)
    for name, value in model.named_parameters():
        assert name.startswith("vision.") or torch.equal(value, kept.module[f"online.{name}"])


def _changed(run: Run, folder: Path, change: Callable[[dict[str, Tensor]], object]) -> TextSide:
    text = folder / "side.safetensors"
    export_text_side(run.folder, text)
    state, header = load_file(text), _header(text)
    change(state)
    save_file(state, text, metadata=header)
    return read_text_side(text)


def _header(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    found: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return found
