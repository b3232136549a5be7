"""Two stages against what they are defined as, pair by pair; and that nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from klip.model.klip import KLIP
from klip.settings import SIZES, PretrainingSettings
from klip.tokens.vocabulary import Specials
from tasks.language.tokens import Pieces, reading
from tasks.metrics.retrieval import score
from tasks.retrieval import ranking
from tasks.retrieval.ranking import Ranked, Rankings, look, rank, read

IMAGES = 7
SIDE = 16
SMALL: dict[str, Any] = {
    "model": dict(
        **dict.fromkeys(("vision_width", "text_width"), 16),
        **dict.fromkeys(("vision_heads", "text_heads", "text_layers"), 2),
        embed_dim=8,
        vision_depth=1,
        text_ffn=32,
    ),
    "image": {"size": SIDE, "patch": 8},
}


def _model(**changes: Any) -> KLIP:
    values = {group: {**SIZES["tiny"][group], **SMALL[group]} for group in SMALL}
    values["model"].update(changes)
    chosen = PretrainingSettings.model_validate({**SIZES["tiny"], **values})
    return KLIP(chosen, 60, Specials(0, 1, 2, 3, 4, 5, 58, 59))


def _captions() -> list[Pieces]:
    """Three of each image, of two to nine pieces; some stand under several images."""
    rng = np.random.default_rng(3)
    different = [tuple(rng.integers(6, 58, size=rng.integers(2, 10)).tolist()) for _ in range(15)]
    return [different[number] for number in rng.integers(0, 15, 3 * IMAGES)]


def _squares() -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (IMAGES, SIDE, SIDE), dtype=np.uint8)


def _to_input(pixels: torch.Tensor) -> torch.Tensor:
    return ((pixels.float() - 127.5) / 127.5)[:, None].expand(-1, 3, -1, -1)


def _ranked(model: KLIP, rerank: int) -> Rankings:
    return rank(model, look(model, _to_input, _squares()), read(model, _captions()), rerank)


@torch.no_grad()
def _pair_by_pair(model: KLIP) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosine and logit of "match" of every image with every caption, each pair on its own."""
    model.eval()
    cosine = np.zeros((IMAGES, 3 * IMAGES), dtype=np.float32)
    match = np.zeros_like(cosine)
    for image, square in enumerate(_squares()):
        state = model.encode_image(_to_input(torch.from_numpy(square)[None]))
        for caption, pieces in enumerate(_captions()):
            tokens = reading([pieces], model.specials)
            cosine[image, caption] = float((state.features * model.encode_text(tokens)).sum())
            states = model.fused(tokens, model.visual_memory(state.memory))
            match[image, caption] = float(model.itm_head(states[:, 0])[0, 1])
    return cosine, match


def _matrix(found: Ranked, gallery: int) -> NDArray[np.float32]:
    matrix = np.full((len(found.scores), gallery), -np.inf, dtype=np.float32)
    for row, candidates, scores in zip(matrix, found.candidates, found.scores, strict=True):
        row[candidates] = scores
    return matrix


def _best(scores: NDArray[np.floating[Any]], k: int, same: list[Any]) -> list[int]:
    """The columns among the k best, one by one as it is defined: a tie fits whole, or is one thing, or is left out."""
    chosen = []
    for column, own in enumerate(scores):
        before = int((scores > own).sum())
        tied = np.flatnonzero(scores == own)
        one_thing = len({same[other] for other in tied}) == 1
        if before + len(tied) <= k or (one_thing and before < k):
            chosen.append(column)
    return chosen


@pytest.mark.parametrize("fusion", ["blip", "albef"])
@pytest.mark.parametrize("rerank", [1, 4, 100])
def test_two_stages_are_what_each_pair_on_its_own_gives(fusion: str, rerank: int) -> None:
    model = _model(fusion=fusion)
    cosine, match = _pair_by_pair(model)
    found = _ranked(model, rerank)
    images: list[Any] = list(range(IMAGES))
    for way, first, second, same in ((found.i2t, cosine, match, _captions()), (found.t2i, cosine.T, match.T, images)):
        wanted = np.full(first.shape, -np.inf, dtype=np.float32)
        for query, scores in enumerate(first):
            best = _best(scores, rerank, same)
            wanted[query, best] = scores[best] + second[query, best]
        assert np.allclose(_matrix(way, first.shape[1]), wanted, atol=1e-4)
        assert all((np.diff(scores) <= 0).all() for scores in way.scores)


@settings(deadline=None)
@given(st.data(), st.integers(1, 8), st.integers(1, 12), st.integers(1, 14))
def test_a_tie_at_the_border_is_left_out_or_is_one_thing_and_whole(
    data: st.DataObject, rows: int, columns: int, k: int
) -> None:
    same = np.array(data.draw(st.lists(st.integers(0, 5), min_size=columns, max_size=columns)))
    levels = st.lists(st.integers(0, 3), min_size=6, max_size=6)
    scores = np.array([data.draw(levels) for _ in range(rows)], dtype=np.float32)[:, same]
    for row, chosen in zip(scores, ranking._nearest(scores, k, same), strict=True):
        assert sorted(chosen.tolist()) == _best(row, k, same.tolist())
        assert (np.diff(row[chosen]) <= 0).all()


def _blind(_model: Any, _memory: Any, _texts: Any, wanted: NDArray[np.bool_], _told: Any) -> NDArray[np.float32]:
    """A second stage that sees no difference."""
    return np.where(wanted, 0, np.nan).astype(np.float32)


def _recalls(images: torch.Tensor, texts: torch.Tensor, which: list[int], rerank: int) -> dict[str, float | None]:
    """Of images with a caption each, whose first stage is these features."""
    model = _model()
    pieces: list[Pieces] = [(6 + number % 50, 7 + number // 50) for number in range(len(texts))]
    written = read(model, pieces)._replace(features=texts, which=np.array(which, dtype=np.int64))
    found = rank(model, ranking.Looked(torch.zeros(len(images), 4, 16), images), written, rerank)
    i2t, t2i = (_matrix(way, len(images)) for way in found)
    scored = score(i2t, t2i, np.arange(len(images)), [f"text {number}" for number in which], intervals=False)
    return {name: metric.value for name, metric in scored.metrics.items()}


@pytest.mark.parametrize("rerank", [1, 10, 79, 80, 0])
def test_constant_scores_find_nothing(monkeypatch: pytest.MonkeyPatch, rerank: int) -> None:
    monkeypatch.setattr(ranking, "match_logits", _blind)
    same = torch.eye(8)[0].expand(80, 8)
    assert set(_recalls(same, same, list(range(80)), rerank).values()) == {0.0}


def test_copies_of_one_text_are_all_retrieved_and_stand_before_the_own_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty images are written of alike and are told from the other thirty; twelve candidates are read again."""
    monkeypatch.setattr(ranking, "match_logits", _blind)
    eyes = torch.eye(8)
    images = torch.cat([eyes[0].expand(30, 8), eyes[1].expand(30, 8)])
    texts = torch.cat([eyes[:1], eyes[2].expand(30, 8)])
    found = _recalls(images, texts, [0] * 30 + list(range(1, 31)), 12)
    # The first thirty find their text, of which 29 belong to others; the other thirty have only ties.
    assert (found["i2t_r10"], found["i2t_r10_eq"], found["i2t_r1_eq"]) == (0.0, 50.0, 50.0)
    # As images, thirty tie at the border of every text, and are left out.
    assert found["t2i_r10"] == 0.0 and found["t2i_r10_eq"] == 0.0


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_cosines_are_not_rounded_to_the_format_of_the_network(precision: torch.dtype) -> None:
    model = _model()
    looked, texts = look(model, _to_input, _squares()), read(model, _captions())
    with torch.autocast("cpu", dtype=precision):
        found = rank(model, looked, texts, 0)
    assert found.i2t.scores[0].dtype == np.float32
    assert all((a == b).all() for a, b in zip(found.i2t.scores, rank(model, looked, texts, 0).i2t.scores, strict=True))


def test_without_a_second_stage_everything_is_ranked_by_its_cosine() -> None:
    model = _model()
    cosine, _ = _pair_by_pair(model)
    found = _ranked(model, 0)
    assert np.allclose(_matrix(found.i2t, 3 * IMAGES), cosine, atol=1e-5)
    assert np.allclose(_matrix(found.t2i, IMAGES), cosine.T, atol=1e-5)


@pytest.mark.parametrize("room", [1, 12, 40])
def test_portions_change_nothing(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    whole = _ranked(model, 4)
    monkeypatch.setattr(ranking, "CPU_TOKENS", room)
    monkeypatch.setattr(ranking, "LOOK_BATCH", 2)
    for one, other in zip(whole, _ranked(model, 4), strict=True):
        assert np.allclose(_matrix(one, 3 * IMAGES), _matrix(other, 3 * IMAGES), atol=1e-5)


def test_equal_captions_tie_exactly() -> None:
    captions, found = _captions(), _matrix(_ranked(_model(), 100).i2t, 3 * IMAGES)
    assert len(set(captions)) < len(captions)
    for column, pieces in enumerate(captions):
        assert (found[:, column] == found[:, captions.index(pieces)]).all()


def _counting(function: Callable[..., Any], rows: list[int]) -> Callable[..., Any]:
    def counted(first: Any, *arguments: Any, **options: Any) -> Any:
        rows.append(len(first))
        return function(first, *arguments, **options)

    return counted


def test_an_image_is_projected_once_and_a_pair_matched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    projected: list[int] = []
    matched: list[int] = []
    compared: list[int] = []
    monkeypatch.setattr(model, "visual_memory", _counting(model.visual_memory, projected))
    monkeypatch.setattr(model, "itm_ahead", _counting(model.itm_ahead, matched))
    monkeypatch.setattr(model, "encode_text", _counting(model.encode_text, compared))
    _ranked(model, 100)
    different = len(set(_captions()))
    assert projected == [1] * IMAGES
    assert sum(matched) == IMAGES * different and sum(compared) == different


def test_nothing_is_dropped_while_ranking() -> None:
    model = _model().train()
    first, second = _ranked(model, 4), _ranked(model.train(), 4)
    assert all((one == other).all() for one, other in zip(first.i2t.scores, second.i2t.scores, strict=True))


def test_what_is_no_number_comes_last_and_stays_one() -> None:
    model = _model()
    with torch.no_grad():
        model.vision_proj.bias.fill_(torch.nan)
    found = _ranked(model, 4)
    assert all(np.isnan(scores).all() and len(scores) == 4 for scores in found.i2t.scores)


def test_progress_is_told_by_image() -> None:
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    model = _model()
    rank(model, look(model, _to_input, _squares()), read(model, _captions()), 2, tell)
    assert told == [(number + 1, IMAGES) for number in range(IMAGES)]
