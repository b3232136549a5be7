"""BLEU-4, METEOR, CIDEr and SPICE of captions (section 11.4 of the task specification).

BLEU and CIDEr are computed by pycocoevalcap from tokens. With Java the tokens are those of the PTB tokenizer; without
it a regular expression makes them, and every number carries the variant `tokenizer=fallback`, because the two must
never be compared. METEOR and SPICE are Java programs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import CheckError
from foundation.seeds import derive_seed
from results.record import Metric
from results.statistics import bootstrap
from tasks.metrics.java_scorers import (
    CORENLP,
    DEFAULT_SPICE_MEMORY,
    JAVA_SWITCH,
    Java,
    Meteor,
    missing_jars,
    ptb_tokens,
    spice,
)

FALLBACK = "tokenizer=fallback"
# One text for both: a record made without Java is the same wherever it is scored again, and by whatever way.
NO_JAVA = f"needs a Java runtime, which is not there or is switched off ({JAVA_SWITCH}=off)"
NO_CORENLP = f"needs the jars of Stanford CoreNLP 3.6.0; name their folder in {CORENLP}"
_METRICS = ("bleu_4", "meteor", "cider", "spice")
_GRAMS = 4  # section 11.4: BLEU-4, and CIDEr of n = 1..4
_TINY, _SMALL = 1e-15, 1e-9  # what the library adds above and below a fraction, to divide nothing by nothing
_WORD = re.compile(r"\w+(?:[-/'.]\w+)*")


class Hypothesis(NamedTuple):
    """What a model says of one image."""

    image_id: str
    text: str


@dataclass(frozen=True)
class CaptionScores:
    """What the captions are worth."""

    metrics: dict[str, Metric]
    """`bleu_4`, `meteor`, `cider` and `spice`, each times 100."""
    cider_by_image: dict[str, float] = field(default_factory=dict)
    """Of the images in order of their names; empty where CIDEr is undefined."""
    tokenizer: str = ""
    """`ptb` or `fallback`."""
    warnings: tuple[str, ...] = ()


class _Tokens(NamedTuple):
    images: list[str]
    hypotheses: list[str]
    references: list[list[str]]


def score(
    hypotheses: Sequence[Hypothesis],
    references: Mapping[str, Sequence[str]],
    *,
    java: Java | None = None,
    corenlp_dir: Path | None = None,
    spice_memory: str = DEFAULT_SPICE_MEMORY,
    intervals: bool = True,
) -> CaptionScores:
    """All four metrics; what cannot be computed here is None and says why.

    The intervals of BLEU and CIDEr are over images; document frequencies stay those of all test references.

    Args:
        hypotheses: exactly one per image of `references`, in any order; an empty text is an answer.
        references: at least one per image.
        java: the runtime (see `java_scorers.find_java`); None scores without Java.
        corenlp_dir: where the two jars for SPICE lie; without them SPICE is None.
        spice_memory: heap for SPICE, as Java writes it.
        intervals: resample images for the intervals.
    """
    sets = {"": hypotheses}
    (scores,) = score_sets(
        sets, references, java=java, corenlp_dir=corenlp_dir, spice_memory=spice_memory, intervals=intervals
    ).values()
    return scores


def score_sets(
    sets: Mapping[str, Sequence[Hypothesis]],
    references: Mapping[str, Sequence[str]],
    *,
    java: Java | None = None,
    corenlp_dir: Path | None = None,
    spice_memory: str = DEFAULT_SPICE_MEMORY,
    intervals: bool | Collection[str] = True,
) -> dict[str, CaptionScores]:
    """`score` of several sets of captions of the same images: every Java program starts once for all of them.

    Args:
        sets: by name.
        references: as for `score`.
        java: as for `score`.
        corenlp_dir: as for `score`.
        spice_memory: as for `score`.
        intervals: the sets that are given intervals; True: all.
    """
    for hypotheses in sets.values():
        _check(hypotheses, references)
    variant = "" if java else FALLBACK
    if not references:
        nothing = Metric(value=None, reason="no test images", variant=variant)
        return {name: CaptionScores(dict.fromkeys(_METRICS, nothing)) for name in sets}
    with ExitStack() as closing:
        # METEOR reads its tables while the others compute.
        meteor = closing.enter_context(Meteor(java)) if java else None
        tokens = _tokenised(sets, references, java)
        metrics: dict[str, dict[str, Metric]] = {name: {} for name in sets}
        by_image = {}
        for name, own in tokens.items():
            resampled = intervals if isinstance(intervals, bool) else name in intervals
            metrics[name]["bleu_4"] = _bleu(own, variant, resampled)
            metrics[name]["cider"], by_image[name] = _cider(own, variant, resampled)
        spices = _spice(tokens, java, corenlp_dir, spice_memory)
        for name, own in tokens.items():
            metrics[name]["meteor"] = _meteor(own, meteor)
            metrics[name]["spice"] = spices[name]
    return {
        name: CaptionScores(
            {metric: metrics[name][metric] for metric in _METRICS},
            by_image[name],
            "ptb" if java else "fallback",
            _warnings(own),
        )
        for name, own in tokens.items()
    }


def cleaned(text: str) -> str:
    """One line without `|||`: both have a meaning to the programs behind the metrics."""
    return " ".join(text.replace("|||", " ").split())


def fallback_tokens(text: str) -> str:
    """Words in lower case without punctuation; hyphens, slashes, points and apostrophes within a word stay."""
    return " ".join(_WORD.findall(text.lower()))


def _tokenised(
    sets: Mapping[str, Sequence[Hypothesis]], references: Mapping[str, Sequence[str]], java: Java | None
) -> dict[str, _Tokens]:
    """The texts of all sets in one go; references once."""
    images = sorted(references)
    said = {name: {hypothesis.image_id: hypothesis.text for hypothesis in own} for name, own in sets.items()}
    texts = [cleaned(text) for image in images for text in references[image]]
    texts += [cleaned(own[image]) for own in said.values() for image in images]
    tokenised = iter(ptb_tokens(java, texts) if java else map(fallback_tokens, texts))
    right = [[next(tokenised) for _ in references[image]] for image in images]
    return {name: _Tokens(images, [next(tokenised) for _ in images], right) for name in sets}


def _meteor(tokens: _Tokens, process: Meteor | None) -> Metric:
    if process is None:
        return Metric(value=None, reason=NO_JAVA)
    return Metric(value=100.0 * process.score(tokens.hypotheses, tokens.references), n=len(tokens.images))


def _spice(
    tokens: Mapping[str, _Tokens], java: Java | None, corenlp_dir: Path | None, memory: str
) -> dict[str, Metric]:
    if not java or not corenlp_dir:
        return dict.fromkeys(tokens, Metric(value=None, reason=NO_CORENLP if java else NO_JAVA))
    if missing := missing_jars(corenlp_dir):
        return dict.fromkeys(tokens, Metric(value=None, reason=_no_jars(missing)))
    hypotheses = [text for own in tokens.values() for text in own.hypotheses]
    references = [texts for own in tokens.values() for texts in own.references]
    values = iter(spice(java, hypotheses, references, corenlp_dir=corenlp_dir, memory=memory))
    metrics = {}
    for name, own in tokens.items():
        each = [next(values) for _ in own.images]
        found = [value for value in each if value is not None]
        lost = len(each) - len(found)
        metrics[name] = Metric(
            value=100.0 * math.fsum(found) / len(found) if found else None,
            n=len(found),
            reason=f"{lost} of {len(each)} images have no score" if lost else "",
        )
    return metrics


def _no_jars(missing: Sequence[str]) -> str:
    # The path is left out: records go to other people and are scored again elsewhere.
    return (
        f"needs {' and '.join(missing)} of Stanford CoreNLP 3.6.0, not in the folder that {CORENLP} names; "
        "put them there before the captions are scored"
    )


def _warnings(tokens: _Tokens) -> tuple[str, ...]:
    empty = sum(not text for text in tokens.hypotheses)
    return (f"{empty} of {len(tokens.images)} captions are empty",) if empty else ()


def _bleu(tokens: _Tokens, variant: str, intervals: bool) -> Metric:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=_GRAMS)
    for hypothesis, own in zip(tokens.hypotheses, tokens.references, strict=True):
        scorer += (hypothesis, own)
    value = 100.0 * float(scorer.compute_score(option="closest", verbose=0)[0][-1])
    count = len(tokens.images)
    if not intervals:
        return Metric(value=value, n=count, variant=variant)
    low, high = bootstrap(_ResampledBleu(tokens), count, seed=derive_seed("bleu_4", count))
    return Metric(value=value, low=low, high=high, interval="bootstrap(1000)", n=count, variant=variant)


class _ResampledBleu:
    """BLEU-4 as a function of which images are in the test part."""

    def __init__(self, tokens: _Tokens) -> None:
        self._counts: NDArray[np.float64] = np.array(
            [_bleu_counts(h, own) for h, own in zip(tokens.hypotheses, tokens.references, strict=True)]
        )

    def __call__(self, chosen: NDArray[np.int64]) -> float:
        copies = np.bincount(chosen, minlength=len(self._counts)).astype(np.float64)
        said, closest, *grams = (copies @ self._counts).tolist()
        right, made = grams[:_GRAMS], grams[_GRAMS:]
        ratios = ((r + _TINY) / (m + _SMALL) for r, m in zip(right, made, strict=True))
        precision = float(math.prod(ratios) ** (1 / _GRAMS))
        return 100.0 * precision * math.exp(min(0.0, 1 - (closest + _SMALL) / (said + _TINY)))


def _bleu_counts(hypothesis: str, references: Sequence[str]) -> list[int]:
    """Length, closest reference length (the shorter of two), and by n the n-grams that are right and that are made."""
    words = hypothesis.split()
    closest = min((abs(len(own.split()) - len(words)), len(own.split())) for own in references)[1]
    right, made = [], []
    for n in range(1, _GRAMS + 1):
        said = _grams(words, n)
        allowed = [_grams(own.split(), n) for own in references]
        right.append(sum(min(count, max(own.get(gram, 0) for own in allowed)) for gram, count in said.items()))
        made.append(sum(said.values()))
    return [len(words), closest, *right, *made]


def _grams(words: Sequence[str], n: int) -> dict[tuple[str, ...], int]:
    counts: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - n + 1):
        gram = tuple(words[start : start + n])
        counts[gram] = counts.get(gram, 0) + 1
    return counts


def _cider(tokens: _Tokens, variant: str, intervals: bool) -> tuple[Metric, dict[str, float]]:
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    count = len(tokens.images)
    if count < 2:
        reason = "document frequencies need at least 2 images"
        return Metric(value=None, n=count, reason=reason, variant=variant), {}
    if not any(text for own in tokens.references for text in own):
        return Metric(value=None, n=count, reason="all references are empty", variant=variant), {}
    scorer = CiderScorer(n=_GRAMS)
    for hypothesis, own in zip(tokens.hypotheses, tokens.references, strict=True):
        scorer += (hypothesis, own)
    mean, each = scorer.compute_score()
    values = 100.0 * np.asarray(each, dtype=np.float64)
    by_image = dict(zip(tokens.images, values.tolist(), strict=True))
    if not intervals:
        return Metric(value=100.0 * float(mean), unit="none", n=count, variant=variant), by_image
    low, high = bootstrap(lambda chosen: float(values[chosen].mean()), count, seed=derive_seed("cider", count))
    metric = Metric(
        value=100.0 * float(mean),
        unit="none",
        low=low,
        high=high,
        interval="bootstrap(1000)",
        n=count,
        variant=variant,
    )
    return metric, by_image


def _check(hypotheses: Sequence[Hypothesis], references: Mapping[str, Sequence[str]]) -> None:
    said = [hypothesis.image_id for hypothesis in hypotheses]
    if len(set(said)) != len(said):
        twice = next(image for index, image in enumerate(said) if image in said[:index])
        raise CheckError("an image has more than one caption", where=twice, way_out="give one caption per image")
    odd = sorted(set(said) ^ set(references))
    if odd:
        raise CheckError(
            f"captions and references name different images, {len(odd)} in all",
            where=odd[0],
            way_out="caption exactly the test images; an empty text is an answer",
        )
    bare = sorted(image for image, own in references.items() if not own)
    if bare:
        raise CheckError("an image has no reference", where=bare[0], way_out="leave it out of the test part")
