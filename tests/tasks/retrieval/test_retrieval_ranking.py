"""Two stages against what they are defined as, pair by pair; and that nothing is done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from klip.model.klip import KLIP
from klip.settings import SIZES, PretrainingSettings
from klip.tokens.vocabulary import Specials
from tasks.language.tokens import Pieces, reading
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
    settings = PretrainingSettings.model_validate({**SIZES["tiny"], **values})
    return KLIP(settings, 60, Specials(0, 1, 2, 3, 4, 5, 58, 59))


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
    np.put_along_axis(matrix, found.candidates, found.scores, axis=1)
    return matrix


@pytest.mark.parametrize("fusion", ["blip", "albef"])
@pytest.mark.parametrize("rerank", [1, 4, 100])
def test_two_stages_are_what_each_pair_on_its_own_gives(fusion: str, rerank: int) -> None:
    model = _model(fusion=fusion)
    cosine, match = _pair_by_pair(model)
    found = _ranked(model, rerank)
    for way, first, second in ((found.i2t, cosine, match), (found.t2i, cosine.T, match.T)):
        k = min(rerank, first.shape[1])
        wanted = np.full(first.shape, -np.inf, dtype=np.float32)
        for query, scores in enumerate(first):
            # Equal captions have equal cosines; which of them is taken at the edge is the first one.
            best = np.lexsort((np.arange(len(scores)), -np.round(scores, 5)))[:k]
            wanted[query, best] = scores[best] + second[query, best]
        assert np.allclose(_matrix(way, first.shape[1]), wanted, atol=1e-4)
        assert way.scores.shape == (len(first), k)
        assert (np.diff(way.scores, axis=1) <= 0).all()


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
    assert (first.i2t.scores == second.i2t.scores).all()


def test_what_is_no_number_comes_last_and_stays_one() -> None:
    model = _model()
    with torch.no_grad():
        model.vision_proj.bias.fill_(torch.nan)
    found = _ranked(model, 4)
    assert np.isnan(found.i2t.scores).all() and found.i2t.scores.shape == (IMAGES, 4)


def test_progress_is_told_by_image() -> None:
    told: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    model = _model()
    rank(model, look(model, _to_input, _squares()), read(model, _captions()), 2, tell)
    assert told == [(number + 1, IMAGES) for number in range(IMAGES)]
