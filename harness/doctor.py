"""Looks at the machine: can everything that a run needs be had here?"""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from adapters.weights import default_weights_root, weights_root_of
from foundation.cache import VARIABLE, cache_root
from foundation.errors import BenchError
from foundation.files import require_writable
from foundation.rooms import foreign_rooms
from harness.provenance import LIBRARIES, installed_version

NEEDED_GIB = 2.0
"""Disk that the cache and the records of a run on the embedded default may take, with room to spare."""


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    verdict: Literal["ok", "note", "problem"]
    text: str
    way_out: str = ""


def examine(out: Path, data_root: Path | None, weights_root: Path | None) -> list[Finding]:
    """Everything worth knowing before a run; a problem stops one, a note does not."""
    checks: list[Callable[[], Finding]] = [
        _python,
        _rooms,
        _libraries,
        _torch,
        lambda: _folder("output folder", out),
        lambda: _folder("cache folder", cache_root()),
        lambda: _disk(out),
        lambda: _root("data root", data_root, "without it the synthetic world is used"),
        lambda: _root("weights root", weights_root, f"default: {default_weights_root()}"),
        lambda: _bert(weights_root),
        _java,
        _corenlp,
        _spice_memory,
        _catalogue,
    ]
    return [check() for check in checks]


def _python() -> Finding:
    text = f"Python {platform.python_version()} at {sys.prefix}"
    return Finding("python", "ok", text)


def _rooms() -> Finding:
    foreign = foreign_rooms()
    if foreign:
        text = ", ".join(f"{room} comes from {place}" for room, place in foreign.items())
        return Finding("packages", "problem", text, "use an environment of its own for this project")
    return Finding("packages", "ok", "no foreign package stands in for one of ours")


def _libraries() -> Finding:
    missing = [name for name in LIBRARIES if installed_version(name) == "not installed"]
    if missing:
        return Finding("libraries", "problem", f"not installed: {', '.join(missing)}", "run make setup")
    return Finding("libraries", "ok", ", ".join(f"{name} {installed_version(name)}" for name in LIBRARIES))


def _torch() -> Finding:
    try:
        import torch
        import torchvision

        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:  # a broken build raises anything
        return Finding("torch", "problem", f"does not work: {error}", "install torch and torchvision of one release")
    if torch.cuda.is_available():
        return Finding("torch", "ok", f"{torch.__version__} on {torch.cuda.get_device_name()}")
    return Finding("torch", "note", f"{torch.__version__}, no GPU: cells run on the CPU in fp32")


def _folder(name: str, folder: Path) -> Finding:
    try:
        require_writable(folder)
    except BenchError as error:
        hint = f"; the cache is chosen by {VARIABLE}" if name == "cache folder" else ""
        return Finding(name, "problem", f"{folder}: {error.what}", error.way_out + hint)
    return Finding(name, "ok", str(folder))


def _disk(folder: Path) -> Finding:
    there = next((parent for parent in (folder, *folder.absolute().parents) if parent.exists()), Path("/"))
    free = shutil.disk_usage(there).free / 2**30
    if free < NEEDED_GIB:
        return Finding("disk", "problem", f"{free:.1f} GiB free", f"free at least {NEEDED_GIB:.0f} GiB")
    return Finding("disk", "ok", f"{free:.1f} GiB free")


def _root(name: str, folder: Path | None, otherwise: str) -> Finding:
    if folder is None:
        return Finding(name, "note", f"not given; {otherwise}")
    if not folder.is_dir():
        return Finding(name, "problem", f"{folder} is not a folder", "correct the path")
    return Finding(name, "ok", f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir())[:12]) or 'empty'}")


def _bert(weights_root: Path | None) -> Finding:
    from tasks.language.start import BERT, bert_folder

    try:
        folder = bert_folder(weights_root_of(weights_root))
    except BenchError as error:
        return Finding("bert", "note", f"{BERT} is not here; language tasks of profile paper need it", error.way_out)
    return Finding("bert", "ok", str(folder))


def _java() -> Finding:
    from tasks.metrics.java_scorers import JAVA_SWITCH, find_java, java_is_off

    without = "captions are scored without METEOR and SPICE, their BLEU and CIDEr are marked"
    try:
        if java_is_off():
            return Finding("java", "note", f"switched off by {JAVA_SWITCH}: {without}", f"unset {JAVA_SWITCH}")
    except BenchError as error:
        return Finding("java", "problem", error.what, error.way_out)
    java = find_java()
    if java is None:
        return Finding("java", "note", f"not here: {without}", "install a Java runtime (8 or newer)")
    return Finding("java", "ok", f"version {java.major} at {java.path}")


def _corenlp() -> Finding:
    from tasks.metrics.java_scorers import CORENLP, corenlp_folder, missing_jars

    folder = corenlp_folder()
    if folder is None:
        hint = f"name the folder with the jars of Stanford CoreNLP 3.6.0 in {CORENLP}"
        return Finding("corenlp", "note", "not given: captions are scored without SPICE", hint)
    if missing := missing_jars(folder):
        text = f"{CORENLP} is {folder}, {' and '.join(missing)} not in it: captions are scored without SPICE"
        return Finding("corenlp", "note", text, "put the jars of Stanford CoreNLP 3.6.0 there")
    return Finding("corenlp", "ok", str(folder))


def _spice_memory() -> Finding:
    from tasks.metrics.java_scorers import SPICE_MEMORY, spice_memory

    try:
        return Finding("spice memory", "ok", f"{spice_memory()} of heap, chosen by {SPICE_MEMORY}")
    except BenchError as error:
        return Finding("spice memory", "problem", error.what, error.way_out)


def _catalogue() -> Finding:
    from adapters.registry import catalog, catalog_problems

    problems = catalog_problems()
    if problems:
        return Finding("models", "problem", "; ".join(problems), "mend or uninstall that package; other models go on")
    return Finding("models", "ok", f"{len(catalog())} in the catalogue")
