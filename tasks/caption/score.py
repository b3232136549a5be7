"""Scores of captions: a pure function of stored captions and truth (sections 11.4 and 11.8).

Pure but for what is installed: with Java the numbers are those of the paper's metrics, without it BLEU and CIDEr are
marked and METEOR is missing (`tasks.metrics.captions`). SPICE also needs the jars of CoreNLP. The environment says
whether Java is used, where the jars lie and how much memory SPICE is given (`tasks.metrics.java_scorers`).
"""

from __future__ import annotations

from collections.abc import Sequence

from foundation.errors import CheckError
from results.record import Baselines
from tasks.answer_rows import answers_by_image, require_unrepeated
from tasks.builders.captions import mean_tuple_f1, tuple_f1
from tasks.metrics.captions import CaptionScores, Hypothesis, score_sets
from tasks.metrics.java_scorers import corenlp_folder, find_java, spice_memory
from tasks.task import Row, Scored

METRICS = ("bleu_4", "meteor", "cider", "spice", "tuple_f1")
"""The first is the headline; the first four are the columns of the paper's Table 6."""
_MODEL, _MAJORITY = "model", "majority"


def score(predictions: Sequence[Row], truth: Row) -> Scored:
    """Metrics, baselines, details and warnings of one cell."""
    rows = truth["test"]
    require_unrepeated("image", [row["image_id"] for row in rows])
    references = {row["image_id"]: list(row["references"]) for row in rows}
    answers = answers_by_image(predictions, references, "caption")
    said = {image: _text(answers[image], image) for image in references}
    common: str = truth["most_common_caption"]
    sets = {_MODEL: said, _MAJORITY: dict.fromkeys(references, common)}
    found = score_sets(
        {name: [Hypothesis(*item) for item in own.items()] for name, own in sets.items()},
        references,
        java=find_java(),
        corenlp_dir=corenlp_folder(),
        spice_memory=spice_memory(),
        intervals=[_MODEL],
    )
    tuples = {name: mean_tuple_f1(own, references) for name, own in sets.items()}
    model = found[_MODEL]
    return {
        "metrics": {**model.metrics, "tuple_f1": tuples[_MODEL]},
        "baselines": Baselines(
            chance=dict.fromkeys(METRICS),
            majority={**_values(found[_MAJORITY]), "tuple_f1": tuples[_MAJORITY].value},
        ),
        "details": {
            "tokenizer": model.tokenizer,
            "different_captions": len(set(said.values())),
            "readable": sum(tuple_f1(text, [text]) is not None for text in said.values()),
            "cider_by_image": model.cider_by_image,
            "most_common_caption": common,
        },
        "warnings": list(model.warnings),
    }


def _text(answer: object, image: str) -> str:
    if not isinstance(answer, str):
        raise CheckError(
            f"the caption of {image} is no text but {type(answer).__name__}",
            way_out="give one text per image; an empty one is an answer",
        )
    try:
        answer.encode()
    except UnicodeEncodeError as error:
        raise CheckError(
            f"the caption of {image} holds half of a character at place {error.start + 1}",
            way_out="write the predictions as UTF-8",
        ) from error
    return answer


def _values(scores: CaptionScores) -> dict[str, float | None]:
    return {name: metric.value for name, metric in scores.metrics.items()}
