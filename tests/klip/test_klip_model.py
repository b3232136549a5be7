"""The three modes of the text stack: what each may see, what they share, how large they are (sections 2, 13.1)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from klip.model.klip import KLIP
from klip.model.pretrainer import Pretrainer
from klip.model.text_stack import DecoderCache, Memory
from klip.settings import preset
from klip.tokens.batch import TokenBatch, joined
from tests.klip.toy_pairs import SPECIALS, VOCABULARY, random_texts, small_model, small_settings, tokens_of

FUSIONS = ["blip", "albef"]


def seen(model: KLIP, count: int = 4, seed: int = 0) -> tuple[Tensor, TokenBatch]:
    """Memory tokens of images, and texts."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 16, 16, generator=generator)
    return model.encode_image(images).memory, tokens_of(random_texts(count, seed))


@pytest.mark.parametrize(
    ("size", "vocabulary", "trained", "twins"),
    [("tiny", 2000, 2.5, 2.2), ("base", 30_524, 252, 223), ("large", 30_524, 470, 440)],
)
def test_sizes_have_as_many_weights_as_the_table_says(size: str, vocabulary: int, trained: float, twins: float) -> None:
    with torch.device("meta"):
        pretrainer = Pretrainer(preset(size=size), vocabulary, SPECIALS)
    millions = [sum(p.numel() for p in part.parameters()) / 1e6 for part in (pretrainer.online, pretrainer.twin)]
    assert millions == pytest.approx([trained, twins], rel=0.012)
    online = sum(parameter.numel() for parameter in pretrainer.parameters() if parameter.requires_grad)
    assert online == sum(parameter.numel() for parameter in pretrainer.online.parameters())


def test_building_a_model_takes_no_numbers_from_the_global_generator_and_depends_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    first, second = (KLIP(small_settings(), VOCABULARY, SPECIALS).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = KLIP(small_settings().model_copy(update={"seed": 1}), VOCABULARY, SPECIALS).state_dict()
    assert not torch.equal(first["text.words.weight"], other["text.words.weight"])
    assert first["text.norm.weight"].eq(1).all()
    assert first["language_head.norm.weight"].eq(1).all()
    assert first["text.words.weight"].std() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_reading_alone_knows_no_image_and_reading_together_does(fusion: str) -> None:
    model = small_model(model={"fusion": fusion})
    tokens = tokens_of(random_texts(3))
    generator = torch.Generator().manual_seed(0)
    first, second = (model.encode_image(torch.randn(3, 3, 16, 16, generator=generator)).memory for _ in range(2))
    scores = [model.match_score(tokens, model.visual_memory(memory)) for memory in (first, second)]
    assert (scores[0] - scores[1]).abs().max() > 1e-4
    feature = model.encode_text(tokens)
    with torch.no_grad():
        for name, parameter in model.text.named_parameters():  # cross-attention has no part in the feature of a text
            if ".cross." in name:
                parameter.zero_()
    assert torch.equal(model.encode_text(tokens), feature)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_padding_changes_nothing(fusion: str) -> None:
    model = small_model(model={"fusion": fusion})
    memory, tokens = seen(model)
    keys = model.visual_memory(memory)
    wide = tokens.padded(tokens.width + 9, SPECIALS.pad)
    scribbled = TokenBatch(torch.where(wide.mask, wide.ids, 33), wide.slot, wide.kind)
    mask = tokens.mask[..., None]
    for other in (wide, scribbled):
        torch.testing.assert_close(model.encode_text(other), model.encode_text(tokens), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            model.match_score(other, keys), model.match_score(tokens, keys), rtol=1e-5, atol=1e-5
        )
        short, long = model.decode(tokens.ids, keys), model.decode(other.ids, keys)[:, : tokens.width]
        torch.testing.assert_close(long * mask, short * mask, rtol=0, atol=2e-5)


def test_the_first_token_alone_costs_less_and_says_the_same() -> None:
    model = small_model()
    memory, tokens = seen(model)
    keys = model.visual_memory(memory)
    whole = model.text.text(tokens.ids, tokens.mask, first_only=False)[:, :1]
    torch.testing.assert_close(model.text.text(tokens.ids, tokens.mask), whole, rtol=0, atol=1e-5)
    fused = model.fused(tokens, keys)[:, :1]
    torch.testing.assert_close(model.fused(tokens, keys, first_only=True), fused, rtol=0, atol=1e-5)


def test_an_index_into_the_memory_equals_rows_given_one_by_one() -> None:
    model = small_model()
    memory, tokens = seen(model)
    index = torch.tensor([2, 0, 0, 3])
    keys = model.visual_memory(memory)
    expected = model.match_score(tokens, model.visual_memory(memory[index]))
    torch.testing.assert_close(model.match_score(tokens, keys, index), expected)
    torch.testing.assert_close(model.match_score(tokens, keys.rows(index)), expected)
    # Rounds over all rows need no index; the texts behind them have one.
    more = joined([tokens, tokens.rows(index), tokens.rows(index.flip(0))], SPECIALS.pad)
    everyone = torch.cat([torch.arange(4), torch.arange(4), index])
    for first_only in (True, False):
        expected = model.fused(more, keys, everyone, first_only=first_only)
        found = model.fused(more, keys, index, rounds=2, first_only=first_only)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        found = model.fused(more.rows(torch.arange(8)), keys, rounds=2, first_only=first_only)
        torch.testing.assert_close(found, expected[:8], rtol=1e-5, atol=1e-5)
    hidden = model.decode(tokens.ids, model.visual_memory(memory[index]))
    torch.testing.assert_close(model.decode(tokens.ids, keys, index), hidden)


def test_writing_learns_nothing_about_reading_and_the_other_way_round() -> None:
    model = small_model()
    memory, tokens = seen(model)
    keys = model.visual_memory(memory.detach())
    model.lm_logits(model.decode(tokens.ids, keys)).square().sum().backward()  # type: ignore[no-untyped-call]
    found = {name for name, parameter in model.text.named_parameters() if parameter.grad is not None}
    assert found
    assert not any("self_enc" in name for name in found)
    assert {name.split(".")[2] for name in found if name.startswith("layers.")} == {"self_dec", "cross", "ffn"}
    model.zero_grad(set_to_none=True)
    model.itm_logits(tokens, model.visual_memory(memory.detach())).square().sum().backward()  # type: ignore[no-untyped-call]
    assert not any("self_dec" in name for name, parameter in model.named_parameters() if parameter.grad is not None)


def test_what_is_written_first_does_not_depend_on_what_comes_later() -> None:
    model = small_model()
    memory, tokens = seen(model)
    keys = model.visual_memory(memory)
    before = model.lm_logits(model.decode(tokens.ids, keys))
    for place in (1, 5, tokens.width - 1):
        changed = tokens.ids.clone()
        changed[:, place] = 41
        after = model.lm_logits(model.decode(changed, keys))
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.allclose(after[:, place], before[:, place])


@pytest.mark.parametrize("memory_kind", ["fused+image", "image", "fused"])
def test_token_by_token_with_a_cache_equals_all_at_once(memory_kind: str) -> None:
    model = small_model(model={"decoder_memory": memory_kind})
    memory, tokens = seen(model)
    keys = model.visual_memory(memory)
    looked = model.decoder_memory(model.fused(tokens, keys), tokens.mask, keys)
    whole = model.decode(tokens.ids, looked)
    cache = DecoderCache()
    pieces = [
        model.decode(part, looked, cache=cache) for part in torch.split(tokens.ids, [1, 3, 1, tokens.width - 5], dim=1)
    ]
    assert cache.length == tokens.width
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-5, atol=1e-5)


def test_prefixes_padded_on_the_left_are_continued_as_each_alone() -> None:
    model = small_model()
    memory, tokens = seen(model)
    keys = model.visual_memory(memory)
    lengths, steps = [2, 7, 4, 5], 3
    longest = max(lengths)
    prefix = torch.full((4, longest), SPECIALS.pad)
    for row, length in enumerate(lengths):
        prefix[row, longest - length :] = tokens.ids[row, :length]
    real = torch.arange(longest)[None] >= longest - torch.tensor(lengths)[:, None]
    positions = (real.cumsum(1) - 1).clamp(min=0)
    cache = DecoderCache()
    model.decode(prefix, keys, mask=real, positions=positions, cache=cache)
    together = []
    for step in range(steps):
        real = torch.cat([real, torch.ones(4, 1, dtype=torch.bool)], dim=1)
        place = torch.tensor(lengths)[:, None] + step
        new = tokens.ids.gather(1, place)
        together.append(model.decode(new, keys, mask=real, positions=place, cache=cache)[:, 0])
    for row, length in enumerate(lengths):
        alone = model.decode(tokens.ids[row : row + 1, : length + steps], keys.rows(torch.tensor([row])))
        torch.testing.assert_close(torch.stack(together, 1)[row], alone[0, length:], rtol=1e-5, atol=1e-5)


def test_the_memory_of_the_decoder_is_image_text_or_both() -> None:
    for kind, sees_image, sees_text in (("image", True, False), ("fused", False, True), ("fused+image", True, True)):
        model = small_model(model={"decoder_memory": kind})
        memory, tokens = seen(model)
        keys, other = model.visual_memory(memory), model.visual_memory(memory.flip(0))
        fused = model.fused(tokens, keys)
        base = model.decode(tokens.ids, model.decoder_memory(fused, tokens.mask, keys))
        image = model.decode(tokens.ids, model.decoder_memory(fused, tokens.mask, other))
        text = model.decode(tokens.ids, model.decoder_memory(fused.flip(0), tokens.mask.flip(0), keys))
        assert torch.equal(base, image) is not sees_image, kind
        assert torch.equal(base, text) is not sees_text, kind


def test_padding_of_the_fused_text_is_not_looked_at() -> None:
    model = small_model()
    memory, tokens = seen(model)
    keys = model.visual_memory(memory)
    fused = model.fused(tokens, keys)
    scribbled = torch.where(tokens.mask[..., None], fused, 9.0)
    found = [model.decode(tokens.ids, model.decoder_memory(each, tokens.mask, keys)) for each in (fused, scribbled)]
    assert torch.equal(*found)


def test_with_albef_the_upper_half_goes_on_from_the_states_of_the_text_alone() -> None:
    model = small_model(model={"fusion": "albef", "text_layers": 4})
    assert [layer.cross is not None for layer in model.text.layers] == [False, False, True, True]
    memory, tokens = seen(model)
    keys = model.visual_memory(memory)
    assert len(keys.keys) == 2
    states = model.text.text(tokens.ids, tokens.mask, first_only=False)
    expected = model.text.fused_from(states, tokens.mask, keys, None)
    torch.testing.assert_close(model.fused(tokens, keys), expected)  # what is scored is what was trained
    # The feature of the text comes from the lower half: the upper one may be anything.
    feature = model.encode_text(tokens)
    with torch.no_grad():
        for layer in model.text.layers[2:]:
            for parameter in layer.parameters():
                parameter.zero_()
    assert torch.equal(model.encode_text(tokens), feature)


@pytest.mark.parametrize("where", ["text", "vision"])
def test_states_computed_twice_give_the_same_gradients(where: str) -> None:
    def gradients(**changes: Any) -> dict[str, Tensor]:
        model = small_model(dropout=0.1, **changes).train()
        torch.manual_seed(3)
        generator = torch.Generator().manual_seed(0)
        state = model.encode_image(torch.randn(4, 3, 16, 16, generator=generator))
        tokens = tokens_of(random_texts(4))
        keys: Memory = model.visual_memory(state.memory)
        fused = model.fused(tokens, keys)
        hidden = model.decode(tokens.ids, model.decoder_memory(fused, tokens.mask, keys))
        (model.lm_logits(hidden).square().mean() + model.encode_text(tokens)[:, 0].sum()).backward()  # type: ignore[no-untyped-call]
        return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}

    plain, again = gradients(), gradients(**{where: {"grad_ckpt": 2}})
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


def test_scores_under_half_precision_are_single() -> None:
    model = small_model()
    memory, tokens = seen(model)
    with torch.autocast("cpu", torch.bfloat16):
        keys = model.visual_memory(memory)
        assert model.itm_logits(tokens, keys).dtype == torch.float32
        assert model.encode_text(tokens).dtype == torch.float32
