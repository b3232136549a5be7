"""The ablation of Table 8: the same images with other texts, each pre-trained alike, then asked the six questions.

Every row is a model of its own: a training command and an export, as for the models of the zoo. Its cells are ordinary
cells with ordinary records. What is done is not done again, neither trainings nor cells.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from foundation.errors import MissingError, UsageError
from foundation.files import require_writable
from foundation.names import unknown_name
from foundation.progress import Progress, silent
from harness.ablation_rows import INIT_TEXT, MODELS, ROWS, stored_records, table_of
from harness.execute import Outcome, execute
from harness.report import Written, write_table
from harness.request import RunRequest
from harness.sources import data_source
from results.record import Record
from results.store import Store
from tasks.catalog import select_columns, task_groups

if TYPE_CHECKING:
    from klip import zoo

NAMES = ("table8",)
SIZES = ("tiny", "base")
_VOCABULARY_SIZE = 2000
_CORPUS = "corpus"


@dataclass(frozen=True)
class Choices:
    """What is asked of the pre-training."""

    name: str = "table8"
    work: Path | None = None
    """Run folders, models and their cards; None: beside the records."""
    epochs: int | None = None
    size: str = "tiny"
    corpus: Path | None = None
    """None: the synthetic one of the world, rendered where it is not there."""
    changes: tuple[str, ...] = ()
    """Further settings of every training."""


class Preparation(NamedTuple):
    """One model of the ablation, and whether it is there."""

    id: str
    name: str
    command: str
    ready: bool


@dataclass(frozen=True)
class Ablated:
    """How it ended."""

    outcome: Outcome
    written: Written
    trained: tuple[str, ...]
    """Rows that were pre-trained now; the others were there."""


def prepare_data(request: RunRequest, choices: Choices, progress: Progress = silent) -> Path:
    """Finds or renders the corpus and what is asked about; gives the corpus.

    First of all, since a long training for answers that nobody can ask for helps nobody.
    """
    asked = cells_of(request, choices)
    for _, dataset in select_columns(asked.tasks):
        data_source(request, dataset, build_world=True, progress=progress)
    corpus = _corpus(request, choices, progress, build=True)
    assert corpus is not None  # it was rendered where it was not there
    return corpus


def run(request: RunRequest, choices: Choices, *, quiet: bool) -> Ablated:
    """Pre-trains what is not there, answers the questions with every row, writes Table 8."""
    from klip import zoo

    asked = cells_of(request, choices)
    require_writable(request.out)
    require_writable(_work(request, choices))
    order = _order(request, choices, prepare_data(request, choices))
    _share_vocabulary(order, say=_say(quiet))
    built = zoo.build((), order, say=_say(quiet), echo=not quiet)
    outcome = execute(asked, quiet=quiet, tables=False)
    store = Store(request.out)
    planned = [(cell.cell, cell.key) for cell in outcome.plan.cells if cell.key]
    records = [record for cell, key in planned if (record := store.read(cell, key)) is not None]
    records += _further(asked, outcome, store)
    table = table_of(records, outcome.failures, told=_told(order, choices))
    written = write_table(table, store, table_name(asked))
    return Ablated(outcome, written, tuple(one.id for one in built if one.trained))


def prepare(request: RunRequest, choices: Choices) -> tuple[list[Preparation], RunRequest | None]:
    """Which models are there, and the request for the cells where all are; nothing is trained or rendered."""
    from klip import zoo

    asked = cells_of(request, choices)
    corpus = _corpus(request, choices, silent, build=False)
    order = _order(request, choices, corpus or Path(_CORPUS))
    found = []
    for name, recipe in order.recipes.items():
        command = zoo.command_of(name, order)
        ready = corpus is not None and zoo.finished(name, command, order) is not None
        found.append(Preparation(name, recipe.name, f"klip {shlex.join(command)}", ready))
    return found, asked if all(one.ready for one in found) else None


def cells_of(request: RunRequest, choices: Choices) -> RunRequest:
    """The request for the cells of all rows; options that would make another ablation are refused."""
    if choices.name not in NAMES:
        raise unknown_name("ablation", choices.name, NAMES, see="harness run --help")
    if choices.size not in SIZES:
        raise unknown_name("size", choices.size, SIZES, see="harness run --help")
    if request.models != "all" or request.model_files:
        raise UsageError(
            "an ablation has models of its own",
            way_out="leave --models and --model-file out, or run without --ablation",
        )
    if request.implementation != "own" or request.load_mode != "native":
        raise UsageError("an ablation is run as it is", way_out="leave --implementation and --load-mode out")
    if any(key == INIT_TEXT[0] and value != INIT_TEXT[1] for key, value in request.by_hand):
        raise UsageError(
            "every row of the ablation starts from its own text side", way_out=f"leave --set {INIT_TEXT[0]} out"
        )
    tasks = "vqa" if request.tasks == "vision" else request.tasks  # vision is what is asked for by default
    questions = task_groups()["vqa"]
    odd = sorted({task for task, _ in select_columns(tasks)} - set(questions))
    if odd:
        raise UsageError(
            f"Table 8 has questions alone, not {', '.join(odd)}", way_out=f"choose of {', '.join(questions)}"
        )
    folder = _models_folder(request, choices)
    return request.model_copy(
        update={
            "models": ",".join(row.id for row in ROWS),
            "model_files": tuple(folder / f"{row.id}.toml" for row in ROWS),
            "tasks": tasks,
            "by_hand": tuple(sorted({*request.by_hand, INIT_TEXT})),
        }
    )


def table_name(request: RunRequest) -> str:
    """What was limited or destroyed on purpose never replaces the real one."""
    limit = f"-limit{request.limit}" if request.limit is not None else ""
    twin = f"-{request.twin}" if request.twin != "none" else ""
    by_hand = "-by-hand" if set(request.by_hand) - {INIT_TEXT} else ""
    return f"table8-{request.profile}{limit}{by_hand}{twin}"


def _further(asked: RunRequest, outcome: Outcome, store: Store) -> list[Record]:
    """What is stored of the same models for questions that were not asked this time."""
    if table_name(asked) != f"table8-{asked.profile}":
        return []
    planned = {cell.cell.task for cell in outcome.plan.cells}
    weights = {cell.card.id: cell.weights_hash for cell in outcome.plan.cells if cell.weights_hash}
    return [
        record
        for stored in stored_records(store, asked.profile)
        for record in (stored.record,)
        if record.cell.task not in planned and record.model.weights_hash == weights.get(record.cell.model)
    ]


def recipes(size: str) -> dict[str, zoo.Recipe]:
    """The training command of every row: that of KLIP mini, or of the paper's size, with other texts.

    What the image tower starts from, if it is a model of the zoo, is trained first, once for all rows.
    """
    from klip import zoo

    plain = ("pretrain", "CORPUS", "--out", "RUN", "--size", size, "--preset", "recommended")
    common = zoo.RECIPES["klip-mini"].arguments if size == "tiny" else plain
    starts = {name: recipe for name, recipe in zoo.RECIPES.items() if any(f"OUT/{name}." in part for part in common)}
    rows = {
        row.id: zoo.Recipe(
            row.name,
            (*common, "--vocabulary", "VOCABULARY", *(part for change in row.settings for part in ("--set", change))),
        )
        for row in ROWS
    }
    return starts | rows


def _work(request: RunRequest, choices: Choices) -> Path:
    return (choices.work or request.out / "ablation").absolute() / f"{choices.name}-{choices.size}"


def _models_folder(request: RunRequest, choices: Choices) -> Path:
    return _work(request, choices) / "models"


def _order(request: RunRequest, choices: Choices, corpus: Path) -> zoo.Order:
    from klip import zoo

    work = _work(request, choices)
    return zoo.Order(
        corpus.absolute(),
        _models_folder(request, choices),
        work / "runs",
        epochs=choices.epochs,
        device=request.device,
        changes=choices.changes,
        recipes=recipes(choices.size),
        shipped=False,
        vocabulary=work / "vocabulary.txt",
    )


def _corpus(request: RunRequest, choices: Choices, progress: Progress, *, build: bool) -> Path | None:
    """The folder of the texts; None where it is synthetic and not rendered yet."""
    if choices.corpus is not None or request.data_root is not None:
        folder = choices.corpus or (request.data_root or Path()) / _CORPUS
        if not folder.is_dir():
            raise MissingError(
                "there is no corpus to pre-train with",
                where=str(folder),
                way_out="name a folder with --corpus, or leave --data-root out for synthetic data",
            )
        return folder
    from tasks.sarworld.cache import default_world, default_world_path, is_built

    if build:
        return default_world(request.world, workers=request.jobs, progress=progress, datasets=[_CORPUS]) / _CORPUS
    world = default_world_path(request.world)
    return world / _CORPUS if is_built(world, _CORPUS) else None


def _share_vocabulary(order: zoo.Order, say: Callable[[str], None]) -> None:
    """One vocabulary for all rows, from all of their texts, as BERT's is in the paper: rows differ in texts alone."""
    from klip.text import corpus_strings, read_corpus
    from klip.tokens.vocabulary import Vocabulary
    from tasks.sarworld.plan import TEMPLATE_TEXTS

    assert order.vocabulary is not None
    template = order.corpus / TEMPLATE_TEXTS
    if not template.is_file():
        raise MissingError(
            "the corpus has no template texts",
            where=str(template),
            way_out=f"add {TEMPLATE_TEXTS}, or give --corpus a folder that has it",
        )
    texts = [text for name in ("texts.jsonl", TEMPLATE_TEXTS) for text in read_corpus(order.corpus / name)]
    made = Vocabulary.train(corpus_strings(texts), _VOCABULARY_SIZE)
    if not order.vocabulary.is_file():
        made.save(order.vocabulary)
        say(f"one vocabulary for all rows: {order.vocabulary}")
    elif Vocabulary.read(order.vocabulary).pieces != made.pieces:
        raise UsageError(
            "the work folder holds an ablation on another corpus",
            where=str(order.vocabulary.parent),
            way_out="give the former --corpus to go on, or another --work folder",
        )


def _told(order: zoo.Order, choices: Choices) -> list[str]:
    """How the models were made."""
    from klip import zoo
    from klip.configuration import pretraining_settings

    first = ROWS[0]
    own = [part for change in first.settings for part in ("--set", change)]
    whole = zoo.command_of(first.id, order)
    common = shlex.join(part for place, part in enumerate(whole) if not _within(own, whole, place))
    changes = [after for before, after in pairwise(whole) if before == "--set"]
    epochs = pretraining_settings("recommended", choices.size, None, changes).epochs
    rows = "; ".join(f"{row.name}: {', '.join(row.settings)}" for row in ROWS)
    starts = [name for name in order.recipes if name not in MODELS]
    tower = f" Their image towers start from {', '.join(starts)}." if starts else ""
    return [
        f"Every row is KLIP {choices.size}, pre-trained for {epochs} epochs with one seed and one vocabulary.{tower} "
        f"Command: klip {common}.",
        f"What differs: {rows}.",
        "Fine-tuning starts from each row's own text side (vqa.init_text = model). The paper's rows are ViT-Base; its "
        "first one was trained on SARLANG, for which template texts about our own images stand in.",
    ]


def _within(part: list[str], whole: tuple[str, ...], place: int) -> bool:
    """Whether `place` lies where `part` stands in `whole`."""
    starts = range(len(whole) - len(part) + 1)
    return any(
        list(whole[start : start + len(part)]) == part and start <= place < start + len(part) for start in starts
    )


def _say(quiet: bool) -> Callable[[str], None]:
    import sys

    return (lambda _line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
