"""Whether a model can judge texts at all, asked before it does (section 6.10 of the KLIP specification).

A model that was hardly trained flags 12 to 16 % of the right segments, no better than by lot. Two numbers tell: how
well matching separates pairs from hard mismatches of their batch, and how often an image finds its own text.

Training leaves the pairs out that are asked, so a model that knows its corpus by heart does not pass for one that can
judge. A corpus of fewer than twenty images has none to spare: it is then asked about what it was trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from foundation.seeds import derive_seed
from klip.losses.matching import Negatives, draw_negatives, negative_weights
from klip.scio.ranking import area_under_curve
from klip.scio.score import encode_pairs, numbers

if TYPE_CHECKING:
    from torch import Tensor

    from klip.model.klip import KLIP
    from klip.scio.material import Material

FEWEST = 64
"""Pairs that are held out at least, if that is not more than a tenth of the corpus: 2 % of a small one say nothing."""
TENTH = 10
MOST = 2048
FLAG_RATES = (0.005, 0.4)
"""Section 6.10: a screening that flags less or more is suspicious."""


class Readiness(NamedTuple):
    """How well the model tells pairs from mismatches."""

    itm_auc: float
    """Probability that a pair matches better than a hard mismatch of its batch; 0.5 is chance."""
    recall_at_1: float
    """Share of images whose own text is the nearest of all asked."""
    pairs: int

    @property
    def chance(self) -> float:
        """Recall at 1 by lot."""
        return 1 / self.pairs


def held_out_rows(count: int, share: float, seed: int) -> NDArray[np.int64]:
    """Rows that training leaves out: `share` of the corpus (`scio.held_out`), none where there are not two to spare."""
    wanted = min(MOST, max(round(share * count), min(FEWEST, count // TENTH)))
    if not share or wanted < 2:
        return np.zeros(0, dtype=np.int64)
    generator = np.random.default_rng(derive_seed("scio held out", seed))
    return np.sort(generator.permutation(count)[:wanted])


def asked_rows(count: int, share: float, seed: int) -> NDArray[np.int64]:
    """Rows that the model is asked about: those held out, else the first ones."""
    held_out = held_out_rows(count, share, seed)
    return held_out if len(held_out) else np.arange(min(count, FEWEST))


def readiness(
    model: KLIP, material: Material, *, share: float, seed: int, batch: int, chunk: int, precision: str = "fp32"
) -> Readiness:
    """Asks the model about held-out pairs and, for each image, a hard text of another one.

    Drawn by similarity among the pairs of a batch (section 4.2), whatever `itm.hardness` was trained with. The hardest
    of all would be the one that the model is most mistaken about, and no model stands above chance there.
    """
    rows = asked_rows(len(material), share, seed)
    parts = [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
    features = [encode_pairs(model, material, part, precision) for part in parts]
    similarity = torch.cat([pair[0] for pair in features]) @ torch.cat([pair[1] for pair in features]).T
    image_id, text_hash = material.hashes(rows, model.device)
    same = (image_id[:, None] == image_id) | (text_hash[:, None] == text_hash)
    best = similarity.argmax(dim=1, keepdim=True)
    recall = same.gather(1, best).float().mean()
    wrong = _hard_texts(similarity / model.temperature, same, batch, seed)
    valid = wrong.valid.cpu().numpy()
    hard = rows[wrong.partner.cpu().numpy()]
    matches, mismatches = [], []
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        memory = model.visual_memory(model.encode_image(material.images(part, model.device)).memory)
        index = torch.arange(len(part), device=model.device)
        matches.append(numbers(model.match_score(material.packed(part, model.device), memory, index)))
        mismatches.append(
            numbers(model.match_score(material.packed(hard[start : start + chunk], model.device), memory, index))
        )
    auc = area_under_curve(np.concatenate(matches), np.concatenate(mismatches)[valid])
    return Readiness(auc, float(recall), len(rows))


def _hard_texts(similarity: Tensor, same: Tensor, batch: int, seed: int) -> Negatives:
    """For each image the text of another one of its batch; the rows are asked in random order, so batches are mixed."""
    generator = torch.Generator().manual_seed(derive_seed("scio readiness", seed))
    partners, valid = [], []
    # A last batch of one has no other image: it joins the one before.
    starts = range(0, max(len(similarity) - 1, 1), batch)
    order = torch.randperm(len(similarity), generator=generator).to(similarity.device)
    for start in starts:
        end = len(order) if start == starts[-1] else start + batch
        chosen = order[start:end]
        draw = torch.rand(len(chosen), generator=generator).to(similarity.device)
        weights = negative_weights(similarity[chosen][:, chosen], same[chosen][:, chosen])
        drawn = draw_negatives(weights, draw)
        partners.append(chosen[drawn.partner])
        valid.append(drawn.valid)
    back = order.argsort()
    return Negatives(torch.cat(partners)[back], torch.cat(valid)[back])


def warnings_of(found: Readiness, least_auc: float) -> list[str]:
    """What is wrong with the model, in sentences."""
    warnings = []
    if not found.itm_auc >= least_auc:
        warnings.append(
            f"matching separates held-out pairs with an AUC of {found.itm_auc:.2f}, less than scio.min_itm_auc = "
            f"{least_auc}: a model trained so little flags right segments as often as wrong ones"
        )
    if found.recall_at_1 <= 2 * found.chance:
        warnings.append(
            f"{found.recall_at_1:.1%} of the held-out images find their own text, by lot it would be {found.chance:.1%}"
        )
    return warnings


def rate_warnings(rate: float) -> list[str]:
    """What is wrong with a share of flagged segments."""
    low, high = FLAG_RATES
    if low <= rate <= high:
        return []
    return [f"{rate:.1%} of the segments are flagged, outside of {low:.1%} to {high:.0%}"]
