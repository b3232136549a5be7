"""The commands that make the small models which are shipped with this package, one after another.

Each model is a training command and an export. What is recorded in its card is the command with CORPUS, RUN and OUT in
the place of folders, so that it can be typed again elsewhere; the corpus is told by its hash and, where it is
synthetic, by what it was built from.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from adapters.registry import load_model_file
from foundation.cache import cache_root
from foundation.errors import BenchError, CellError, UsageError
from foundation.files import read_json, write_json
from foundation.hashing import hash_file, hash_value
from foundation.names import unknown_name
from klip.corpus import TEMPLATE_TEXTS, TEXTS, Corpus
from klip.run_record import HOME
from klip.text import read_corpus
from klip.text_file import text_file_beside

LARGEST_MB = 20
"""All files together."""
STAGES = 3
"""Of SCIO; the second and the third take a fifth of the epochs each."""
_DATA_MARKER = "synthetic.json"
_CORPUS_FILE = "CORPUS/"
"""How a file of the corpus starts in a command."""


@dataclass(frozen=True)
class Recipe:
    """One model of the zoo."""

    name: str
    """As tables print it."""
    arguments: tuple[str, ...]
    """Of the `klip` command, with CORPUS, RUN and OUT for the folders."""

    @property
    def is_klip(self) -> bool:
        """Whether it is made by `klip pretrain`, so that it has a text side."""
        return self.arguments[0] == "pretrain"


# One normalisation for all: the benchmark's small profile feeds every model the same statistics, and what SAR scenes
# have in common is nearer to those of the corpus than to ImageNet's. The image tower starts from MAE on the same
# images, as the paper's starts from ImageNet. The rest is what 1,870 steps ask for: a higher rate, texts that lose half
# of their segments, a first stage of more than half, since a model that cannot match yet has nothing to say about
# segments; and keys of the same batch only, by twins that keep up. With a queue the keys of the first hundred steps say
# nothing, and the temperature falls to its floor before anything is learnt. Wrong partners for matching are easy: hard
# ones leave it at its prior for as long as these models train. Ten epochs of 6,000 pairs and not forty of a quarter of
# them: these are learnt by heart, errors and all, and what a model knows by heart it cannot screen.
_KLIP_SETTINGS = (
    "model.init.vision=OUT/mae-mini.safetensors",
    "image.norm=dataset",
    "text.max_len=192",
    "text.segment_dropout=0.5",
    "text.dropout_stages=all",
    "queue.size=0",
    "ema.m=0.9",
    "itc.alpha=0",
    "itm.hardness=0",
    "itc.tau_clamp=[0.04,0.5]",
    "optim.lr=0.001",
    "optim.warmup_steps=100",
    "optim.decay=0.8",
    "epochs=10",
    "scio.stage_epochs=[6,2,2]",
    "precision=bf16",
)
_SETS = tuple(part for change in _KLIP_SETTINGS for part in ("--set", change))
_KLIP = ("pretrain", "CORPUS", "--out", "RUN", "--size", "tiny", "--preset", "recommended", *_SETS)


def _baseline(method: str, *changes: str) -> tuple[str, ...]:
    sets = [part for change in ("views.norm=dataset", "precision=bf16", *changes) for part in ("--set", change)]
    return ("baseline", method, "CORPUS", "--out", "RUN", "--size", "tiny", *sets)


RECIPES: dict[str, Recipe] = {
    # Patches normalised one by one are mostly speckle: it takes three times the epochs to see more in them.
    "mae-mini": Recipe("MAE mini", (*_baseline("mae"), "--epochs", "27")),
    "klip-mini": Recipe("KLIP mini", _KLIP),
    "klip-mini-noscio": Recipe("KLIP mini without SCIO", (*_KLIP, "--set", "scio.enabled=false")),
    "clip-mini": Recipe("CLIP mini, template texts", (*_baseline("clip"), "--epochs", "9")),
    "moco-v3-mini": Recipe("MoCo v3 mini", (*_baseline("moco-v3"), "--epochs", "9")),
    "sar-jepa-mini": Recipe("SAR-JEPA mini", (*_baseline("sar-jepa"), "--epochs", "9")),
}
"""Id to what makes it, in the order in which they are made.

random-mini, the seventh, is a seeded start and needs no file: every seed is another one."""


@dataclass(frozen=True)
class Order:
    """What is asked of the zoo."""

    corpus: Path
    out: Path
    work: Path
    """Run folders, one per model; what lies there is gone on with."""
    epochs: int | None = None
    seed: int = 0
    device: str = "auto"
    limit: int | None = None
    changes: tuple[str, ...] = ()
    """Further `--set` for every model; a key that a method does not know is an error of its command."""
    again: bool = False
    """Also what is there already."""
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)
    """What is known; other models than the zoo's are made in the same way."""
    shipped: bool = True
    """Cards of this package: fp16, and limited in size; else fp32 and files of the user."""
    vocabulary: Path | None = None
    """Stands for VOCABULARY in a command."""


@dataclass(frozen=True)
class Built:
    """One model that is there now."""

    id: str
    trained: bool
    """False where the file that was there is what was asked for."""
    seconds: float
    size_mb: float
    difference: float
    """Of features, by rounding to fp16."""


def command_of(identifier: str, order: Order) -> tuple[str, ...]:
    """The arguments of the training command, with CORPUS, RUN and OUT for the folders."""
    if identifier not in order.recipes:
        raise unknown_name("model of the zoo", identifier, order.recipes, see="klip zoo build --help")
    recipe = order.recipes[identifier]
    more: list[str] = []
    if order.epochs is not None:
        more += _length(recipe, order.epochs)
    if order.seed:
        more += ["--set", f"seed={order.seed}"]
    if order.limit is not None:
        more += ["--limit", str(order.limit)]
    for change in order.changes:
        more += ["--set", change]
    return (*recipe.arguments, *more)


def build(identifiers: Sequence[str], order: Order, *, say: Callable[[str], None], echo: bool = True) -> list[Built]:
    """Makes the models in the order of the recipes; one that fails ends it, and the same call goes on there."""
    wanted = [name for name in order.recipes if name in identifiers] if identifiers else list(order.recipes)
    commands = {name: command_of(name, order) for name in (*wanted, *identifiers)}
    built = []
    for name in wanted:
        command = commands[name]
        if not order.again and (found := finished(name, command, order)) is not None:
            say(f"{name}: is there")
            built.append(found)
            continue
        say(f"{name}: klip {shlex.join(command)}")
        _run(name, command, order, quiet=not echo)
        built.append(_exported(name, command, order))
    total = sum(path.stat().st_size for path in order.out.glob("*.safetensors")) / 1e6
    if order.shipped and total > LARGEST_MB:
        raise CellError(f"the zoo has {total:.1f} MB, {LARGEST_MB} at most are shipped", where=str(order.out))
    return built


def _length(recipe: Recipe, epochs: int) -> list[str]:
    if not recipe.is_klip:
        return ["--epochs", str(epochs)]
    if "scio.enabled=false" in recipe.arguments:
        return ["--set", f"epochs={epochs}"]
    if epochs < STAGES:
        raise UsageError(f"{epochs} epochs are too few for the stages of SCIO", way_out=f"take {STAGES} or more")
    later = max(1, epochs // 5)
    return ["--set", f"epochs={epochs}", "--set", f"scio.stage_epochs=[{epochs - 2 * later},{later},{later}]"]


def _run(name: str, command: Sequence[str], order: Order, *, quiet: bool) -> None:
    """The command in a process of its own: it is the very one that a user would type."""
    arguments = typed(name, command, order)
    search = os.pathsep.join(part for part in (str(HOME), os.environ.get("PYTHONPATH", "")) if part)
    environment = {**os.environ, "PYTHONPATH": search}
    line = [sys.executable, "-m", "klip.cli", *arguments, "--device", order.device]
    shown = subprocess.DEVNULL if quiet else sys.stderr
    with subprocess.Popen(line, env=environment, stdout=shown) as child, _passed_on(child):
        code = child.wait()
    if code:
        error = BenchError(
            f"making {name} ended with exit code {code}",
            where=f"klip {shlex.join(arguments)}",
            way_out="see the message above; the same command again goes on where it stopped",
        )
        error.exit_code = code if code > 0 else 128 - code
        raise error


def typed(name: str, command: Sequence[str], order: Order) -> list[str]:
    """The arguments with the folders and files of this order."""
    folders = {"CORPUS": str(order.corpus), "RUN": str(order.work / name), "VOCABULARY": str(order.vocabulary)}
    arguments = [folders.get(part, part).replace("=OUT/", f"={order.out}/") for part in command]
    return [
        str(order.corpus / part.removeprefix(_CORPUS_FILE)) if part.startswith(_CORPUS_FILE) else part
        for part in arguments
    ]


@contextmanager
def _passed_on(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGTERM goes to the training, which saves and ends; without this it would train on alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exported(name: str, command: Sequence[str], order: Order) -> Built:
    from klip.export import export_vision, record_of

    run = order.work / name
    record = record_of(run)
    made = {
        "command": f"klip {shlex.join(command)}",
        "seed": order.seed,
        "data": _data(order, record),
        "code": record.get("code", {}),
        "seconds": record.get("seconds", 0.0),
        "machine": record.get("machine", {}),
    }
    done = export_vision(
        run,
        order.out / f"{name}.safetensors",
        identifier=name,
        name=order.recipes[name].name,
        number_format="fp16" if order.shipped else "fp32",
        shipped=order.shipped,
        made=made,
        with_text=order.recipes[name].is_klip,
    )
    return Built(name, True, float(made["seconds"]), done.size_mb, done.difference)


def _data(order: Order, record: dict[str, Any]) -> dict[str, Any]:
    """The corpus by its hash, and by its world where it is a synthetic one."""
    found: dict[str, Any] = {"sha256": record.get("corpus")}
    marker = order.corpus / _DATA_MARKER
    if marker.is_file():
        facts = read_json(marker)
        kept = ("dataset", "world_version", "size", "seed", "images")
        found["synthetic"] = {key: facts[key] for key in kept if key in facts}
    if order.limit is not None:
        found["limit"] = order.limit
    return found


def finished(name: str, command: Sequence[str], order: Order) -> Built | None:
    """The model of the folder, if it was made by this command from this corpus and is whole."""
    card, weights = order.out / f"{name}.toml", order.out / f"{name}.safetensors"
    files = [weights, *([text_file_beside(weights)] if order.recipes[name].is_klip else [])]
    if not (card.is_file() and all(path.is_file() for path in files)):
        return None
    (found,) = load_model_file(card)
    named = [found.weights.sha256, *([found.text.sha256] if found.text is not None else [])]
    made = tomllib.loads(card.read_text(encoding="utf-8")).get("made", {})
    same = made.get("command") == f"klip {shlex.join(command)}" and named == [hash_file(path) for path in files]
    if not same or not _same_corpus(made.get("data", {}), name, command, order):
        return None  # its run folder knows whether anything is left to do
    size = sum(path.stat().st_size for path in files) / 1e6
    return Built(name, False, float(made.get("seconds", 0.0)), round(size, 2), 0.0)


def _same_corpus(recorded: Mapping[str, Any], name: str, command: Sequence[str], order: Order) -> bool:
    """Whether a card tells of the corpus that is there: by its world, or by its content where it has none."""
    synthetic = _data(order, {}).get("synthetic")
    if synthetic is not None:
        return bool(recorded.get("synthetic") == synthetic)
    try:
        digest = _corpus_digest(order.corpus, _texts_of(typed(name, command, order), order.corpus), order.limit)
    except (BenchError, OSError):
        return False  # the training says what is wrong with it
    return recorded.get("sha256") == digest


def _texts_of(arguments: Sequence[str], corpus: Path) -> Path:
    """The texts that a training reads."""
    sets = [after.partition("=") for before, after in pairwise(arguments) if before == "--set"]
    chosen = {key: value.strip("\"'") for key, _, value in sets}
    if arguments[0] == "pretrain":
        named = [after for before, after in pairwise(arguments) if before == "--texts"]
        if named:
            return Path(named[-1])
        return corpus / (TEMPLATE_TEXTS if chosen.get("data.text") == "template" else TEXTS)
    return corpus / (chosen.get("clip.texts", TEMPLATE_TEXTS) if arguments[1] == "clip" else TEXTS)


def _corpus_digest(folder: Path, texts: Path, limit: int | None) -> str:
    """The hash of a corpus as a training takes it; images are read again only where a size or a time has changed."""
    records = tuple(islice(read_corpus(texts), limit))
    images = [folder / text.image_id for text in records]
    found = [(text.image_id, path.stat()) for text, path in zip(records, images, strict=True)]
    state = [str(folder.resolve()), hash_file(texts), *([name, at.st_size, at.st_mtime_ns] for name, at in found)]
    note = cache_root() / "corpora" / f"{hash_value(state)[:24]}.json"
    if note.is_file():
        try:
            return str(read_json(note)["sha256"])
        except (BenchError, KeyError, TypeError):
            note.unlink(missing_ok=True)
    digest = Corpus(folder, records, tuple(map(hash_file, images)), texts).digest
    write_json(note, {"path": str(texts.resolve()), "sha256": digest})
    return digest
