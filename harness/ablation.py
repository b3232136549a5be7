"""The ablation of Table 8: the same images with other texts, each pre-trained alike, then asked the six questions.

Every row is a model of its own: a training command and an export, as for the models of the zoo. Its cells are ordinary
cells with ordinary records. What is done is not done again, neither trainings nor cells.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from adapters.registry import load_model_file
from foundation.errors import MissingError, UsageError
from foundation.files import require_writable
from foundation.names import unknown_name
from foundation.progress import Progress, silent
from harness.ablation_notes import Note, Place, write_note
from harness.ablation_rows import (
    INIT_TEXT,
    MODELS,
    NAME,
    ROWS,
    TextRow,
    absent_rows,
    fit_records,
    rows_of,
    table_of,
)
from harness.execute import Outcome, execute
from harness.plan import make_plan
from harness.report import Written, write_table
from harness.report import table_name as name_of_table
from harness.request import RunRequest
from harness.sources import data_source
from results.record import Record
from results.store import Store
from tasks.catalog import select_columns, task_groups
from tasks.datasets.catalogue import ANY_SPLIT

if TYPE_CHECKING:
    from klip import zoo

NAMES = (NAME,)
SIZES = ("tiny", "base")
_VOCABULARY_SIZE = 2000
_CORPUS = "corpus"
_PLAIN_TEXTS = "table8-hcot"
"""The row that reads the texts of the corpus as they are."""


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

    cells_of(request, choices)  # refuses what is no ablation before anything is written
    require_writable(request.out)
    require_writable(_work(request, choices))
    corpus = prepare_data(request, choices)
    asked, order = cells_of(request, choices, corpus), _order(request, choices, corpus)
    _share_vocabulary(order, say=_say(quiet))
    built = zoo.build((), order, say=_say(quiet), echo=not quiet)
    store = Store(request.out)
    note = _note(order, choices)
    write_note(store, NAME, note)  # before any record that it is needed for
    outcome = execute(asked, quiet=quiet, tables=False)
    planned = [(cell.cell, cell.key) for cell in outcome.plan.cells if cell.key]
    records = [record for cell, key in planned if (record := store.read(cell, key)) is not None]
    records += _further(asked, outcome, store)
    table = table_of(records, outcome.failures, told=note.told, absent=note.absent)
    written = write_table(table, store, table_name(asked))
    return Ablated(outcome, written, tuple(one.id for one in built if one.trained))


def prepare(request: RunRequest, choices: Choices) -> tuple[list[Preparation], RunRequest | None]:
    """Which models are there, and the request for the cells where all are; nothing is trained or rendered."""
    from klip import zoo

    cells_of(request, choices)
    corpus = _corpus(request, choices, silent, build=False)
    asked = cells_of(request, choices, corpus)
    order = _order(request, choices, corpus or Path(_CORPUS))
    found = []
    for name, recipe in order.recipes.items():
        command = zoo.command_of(name, order)
        ready = corpus is not None and zoo.finished(name, command, order) is not None
        found.append(Preparation(name, recipe.name, f"klip {shlex.join(command)}", ready))
    return found, asked if all(one.ready for one in found) else None


def cells_of(request: RunRequest, choices: Choices, corpus: Path | None = None) -> RunRequest:
    """The request for the cells of all rows that the corpus has texts for, of all rows where none is named.

    Options that would make another ablation are refused.
    """
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
    folder, rows = _models_folder(request, choices), rows_of(corpus)
    return request.model_copy(
        update={
            "models": ",".join(row.id for row in rows),
            "model_files": tuple(folder / f"{row.id}.toml" for row in rows),
            "tasks": tasks,
            "by_hand": tuple(sorted({*request.by_hand, INIT_TEXT})),
        }
    )


def table_name(request: RunRequest) -> str:
    """What was limited, set, destroyed, split or read otherwise on purpose never replaces the real one.

    As Tables 4 and 6: a split of the user's is `own-split`, and other choices are named as on the command line.
    """
    by_hand = tuple(change for change in request.by_hand if change != INIT_TEXT)
    chosen = [
        f"{option} {dataset} {value}"
        for option, values in sorted(request.data_choices.items())
        if option not in ANY_SPLIT
        for dataset, value in sorted(values.items())
    ]
    words = re.findall(r"[A-Za-z0-9]+", " ".join(chosen))
    return "-".join((name_of_table(8, request.model_copy(update={"by_hand": by_hand})), *words))


class ReadAs(NamedTuple):
    """How a data set was read: the options in force, and the world of synthetic data."""

    choices: Mapping[str, str]
    world: str | None


def _further(asked: RunRequest, outcome: Outcome, store: Store) -> list[Record]:
    """What is stored of the same models for questions that were not asked this time, if asked as these are."""
    if table_name(asked) != f"{NAME}-{asked.profile}":
        return []
    every = make_plan(asked.model_copy(update={"tasks": "vqa"}), build_world=False)
    usual = {
        place: ReadAs(dict(state.data.index.choices), state.data.index.world)
        for place, state in every.data.items()
        if state.data is not None
    }
    return further_records([stored.record for stored in fit_records(store, asked.profile)], outcome, usual)


def further_records(records: Sequence[Record], outcome: Outcome, usual: Mapping[Place, ReadAs]) -> list[Record]:
    """Of these records those that may stand beside the ones of a run: of its models, of data read as usual."""
    planned = {cell.cell.task for cell in outcome.plan.cells}
    weights = {cell.card.id: cell.weights_hash for cell in outcome.plan.cells if cell.weights_hash}
    return [
        record
        for record in records
        if record.cell.task not in planned
        and record.model.weights_hash is not None
        and record.model.weights_hash == weights.get(record.cell.model)
        and ReadAs(record.data.choices, record.data.world) == usual.get((record.cell.task, record.cell.dataset))
    ]


def recipes(size: str, rows: Sequence[TextRow] = ROWS) -> dict[str, zoo.Recipe]:
    """The training command of every row: that of KLIP mini, or of the paper's size, with other texts.

    What the image tower starts from, if it is a model of the zoo, is trained first, once for all rows.
    """
    from klip import zoo

    plain = ("pretrain", "CORPUS", "--out", "RUN", "--size", size, "--preset", "recommended")
    common = zoo.RECIPES["klip-mini"].arguments if size == "tiny" else plain
    starts = {name: recipe for name, recipe in zoo.RECIPES.items() if any(f"OUT/{name}." in part for part in common)}
    made = {row.id: zoo.Recipe(row.name, (*common, "--vocabulary", "VOCABULARY", *row.arguments)) for row in rows}
    return starts | made


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
        recipes=recipes(choices.size, rows_of(corpus)),
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
    """One vocabulary for all rows, as BERT's is in the paper: rows differ in texts alone.

    It is made from the texts that every corpus has, so that it does not hang on whether there are clean ones.
    """
    from klip.corpus import TEMPLATE_TEXTS, TEXTS
    from klip.text import corpus_strings, read_corpus
    from klip.tokens.vocabulary import Vocabulary

    assert order.vocabulary is not None
    template = order.corpus / TEMPLATE_TEXTS
    if not template.is_file():
        raise MissingError(
            "the corpus has no template texts",
            where=str(template),
            way_out=f"add {TEMPLATE_TEXTS}, or give --corpus a folder that has it",
        )
    texts = [text for name in (TEXTS, TEMPLATE_TEXTS) for text in read_corpus(order.corpus / name)]
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


def _note(order: zoo.Order, choices: Choices) -> Note:
    """Which models belong together: all of them are there, each made by the command of this order."""
    models = {}
    for name in order.recipes:
        if name in MODELS:
            (card,) = load_model_file(order.out / f"{name}.toml")
            models[name] = str(card.weights.sha256)
    return Note(models=models, told=tuple(_told(order, choices)), absent=absent_rows(order.corpus))


def _told(order: zoo.Order, choices: Choices) -> list[str]:
    """How the models were made."""
    from klip import zoo
    from klip.configuration import pretraining_settings

    first = ROWS[0]
    whole = zoo.command_of(first.id, order)
    common = shlex.join(part for place, part in enumerate(whole) if not _within(list(first.arguments), whole, place))
    changes = [after for before, after in pairwise(whole) if before == "--set"]
    settings = pretraining_settings("recommended", choices.size, None, changes)
    rows = "; ".join(f"{row.name}: {row.told}" for row in ROWS if row.id in order.recipes)
    starts = [name for name in order.recipes if name not in MODELS]
    tower = f" Their image towers start from {', '.join(starts)}." if starts else ""
    return [
        f"Every row is KLIP {choices.size}, pre-trained for {settings.epochs} epochs with seed {settings.seed} and one "
        f"vocabulary on {_corpus_told(order)}.",
        f"What differs: {rows}. The rest of the command: klip {common}.{tower}",
        "Fine-tuning starts from each row's own text side (vqa.init_text = model). The paper's rows are ViT-Base; its "
        "first one was trained on SARLANG, for which template texts about our own images stand in.",
    ]


def _corpus_told(order: zoo.Order) -> str:
    """What the models were trained on, as their cards record it."""
    made = tomllib.loads((order.out / f"{_PLAIN_TEXTS}.toml").read_text(encoding="utf-8"))["made"]
    data = made.get("data", {})
    world = data.get("synthetic")
    if world is None:
        return f"the corpus {str(data.get('sha256'))[:12]}"
    return f"a synthetic corpus ({', '.join(f'{key} {value}' for key, value in sorted(world.items()))})"


def _within(part: list[str], whole: tuple[str, ...], place: int) -> bool:
    """Whether `place` lies where `part` stands in `whole`."""
    starts = range(len(whole) - len(part) + 1)
    return any(
        list(whole[start : start + len(part)]) == part and start <= place < start + len(part) for start in starts
    )


def _say(quiet: bool) -> Callable[[str], None]:
    import sys

    return (lambda _line: None) if quiet else (lambda line: print(line, file=sys.stderr, flush=True))
