"""The three parts of the caption metrics that are Java programs: PTB tokenizer, METEOR and SPICE.

The first two come with pycocoevalcap and need any Java; they are driven here and not through that package's own
drivers, which write into the folder where the package is installed, lose a last empty line, and read characters as the
locale says. The numbers are the same. SPICE also needs the two jars of CoreNLP 3.6.0, which no package brings.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from foundation.errors import CellError, MissingError

CORENLP_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
"""Section 11.4: what `--corenlp-dir` points at."""
_BRACKETS = ("-LRB-", "-RRB-", "-LCB-", "-RCB-")
PUNCTUATION = frozenset({"''", "'", "``", "`", *_BRACKETS, ".", "?", "!", ",", ":", "-", "--", "...", ";"})
"""Tokens that coco-caption drops. Brackets come out in lower case and so stay, there as here."""
_OPENED = ("java.lang", "java.math", "java.net", "java.nio", "java.text", "java.util", "java.util.concurrent")


class Java(NamedTuple):
    """A runtime that starts."""

    path: str
    major: int


def find_java(command: str = "java") -> Java | None:
    """The runtime on the search path; None if there is none, or if it is only a stub that does not start."""
    path = shutil.which(command)
    if path is None:
        return None
    done = subprocess.run([path, "-version"], capture_output=True, text=True, errors="replace", check=False)
    version = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return Java(path, int(version.group(1))) if done.returncode == 0 and version else None


def ptb_tokens(java: Java, texts: Sequence[str]) -> list[str]:
    """The tokens of each text, lower case, without punctuation, joined by spaces.

    Texts hold no line breaks. Empty ones stay empty.
    """
    filled = [text for text in texts if text.strip()]
    if not filled:
        return ["" for _ in texts]
    jar = _package() / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    command = [java.path, "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
    done = subprocess.run(
        [*command, "-preserveLines", "-lowerCase"],
        input="".join(f"{text}\n" for text in filled).encode(),
        capture_output=True,
        check=False,
    )
    # A token may hold a space that does not break, as in fractions, so only the two real separators count.
    lines = [line.rstrip() for line in done.stdout.decode(errors="replace").split("\n")][:-1]
    if done.returncode or len(lines) != len(filled):
        raise CellError(
            f"the PTB tokenizer gave {len(lines)} lines for {len(filled)} texts",
            where=_last_line(done.stderr),
            way_out="look at the Java runtime, or score without Java",
        )
    tokenised = iter(" ".join(word for word in line.split(" ") if word not in PUNCTUATION) for line in lines)
    return [next(tokenised) if text.strip() else "" for text in texts]


def meteor(java: Java, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """METEOR 1.5 of tokenised texts, 0 to 1: from statistics over all of them, not a mean over sentences."""
    command = [java.path, "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", "meteor-1.5.jar"]
    arguments = ["-", "-", "-stdio", "-l", "en", "-norm"]
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=_package() / "meteor",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            encoding="utf-8",
        )
        try:
            assert process.stdin is not None and process.stdout is not None
            statistics = []
            for hypothesis, own in zip(hypotheses, references, strict=True):
                _say(process.stdin, " ||| ".join(("SCORE", *own, hypothesis)))
                statistics.append(_answer(process.stdout))
            _say(process.stdin, " ||| ".join(("EVAL", *statistics)))
            for _ in statistics:
                _answer(process.stdout)  # one score per sentence
            return float(_answer(process.stdout))
        except (OSError, ValueError) as error:
            complaints.seek(0)
            raise CellError(
                "METEOR stopped before its end",
                where=_last_line(complaints.read()),
                way_out="look at the Java runtime, or score without Java",
            ) from error
        finally:
            process.kill()
            process.communicate()


class Spice(NamedTuple):
    """SPICE over a set of images."""

    mean: float | None
    """0 to 1; None if no image has a score."""
    left_out: int
    """Images whose score is not a number."""


def spice(
    java: Java,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    corenlp_dir: Path,
    memory: str = "8G",
) -> Spice:
    """SPICE 1.0 of tokenised texts.

    Args:
        java: the runtime; on 9 and newer the packages that SPICE reaches into are opened to it.
        hypotheses: one per image.
        references: those of each image.
        corenlp_dir: the folder that holds `CORENLP_JARS`.
        memory: heap of the program, as Java writes it.
    """
    jars = [corenlp_dir / name for name in CORENLP_JARS]
    missing = [jar.name for jar in jars if not jar.is_file()]
    if missing:
        raise MissingError(
            f"SPICE needs {' and '.join(missing)}",
            where=str(corenlp_dir),
            way_out="put the jars of Stanford CoreNLP 3.6.0 there, or score without SPICE",
        )
    folder = _package() / "spice"
    path = [folder / "spice-1.0.jar", *jars, *sorted((folder / "lib").glob("*.jar"))]
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED] if java.major >= 9 else []
    rows = [
        {"image_id": index, "test": hypothesis, "refs": list(own)}
        for index, (hypothesis, own) in enumerate(zip(hypotheses, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch, "asked.json"), Path(scratch, "answered.json")
        asked.write_text(json.dumps(rows), encoding="utf-8")
        command = [java.path, f"-Xmx{memory}", *opened, "-cp", os.pathsep.join(map(str, path))]
        arguments = ["edu.anu.spice.SpiceScorer", str(asked), "-out", str(answered), "-subset", "-silent"]
        done = subprocess.run([*command, *arguments], capture_output=True, cwd=scratch, check=False)
        if done.returncode or not answered.is_file():
            raise CellError(
                "SPICE stopped before its end",
                where=_last_line(done.stderr),
                way_out="use Java 8 or 11, give it more memory, or score without SPICE",
            )
        found = [item["scores"]["All"]["f"] for item in json.loads(answered.read_text(encoding="utf-8"))]
    values = [float(value) for value in found if isinstance(value, int | float) and math.isfinite(value)]
    left_out = len(rows) - len(values)
    return Spice(math.fsum(values) / len(values) if values else None, left_out)


def _package() -> Path:
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise MissingError("pycocoevalcap is not installed", way_out="install the package's dependencies again")
    return Path(next(iter(found.submodule_search_locations)))


def _say(pipe: IO[str], line: str) -> None:
    pipe.write(f"{line}\n")
    pipe.flush()


def _answer(pipe: IO[str]) -> str:
    line = pipe.readline()
    if not line:
        raise ValueError("the program has ended")
    return line.strip()


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
