"""The three parts of the caption metrics that are Java programs: PTB tokenizer, METEOR and SPICE.

The first two come with pycocoevalcap and need any Java; they are driven here and not through that package's own
drivers, which write into the folder where the package is installed, lose a last empty line, and read characters as the
locale says. The numbers are the same. SPICE also needs the two jars of CoreNLP 3.6.0, which no package brings.

Three environment variables say what may be used here: `FUSAR_KLIP_JAVA`, `FUSAR_KLIP_CORENLP` and
`FUSAR_KLIP_SPICE_MEMORY`.
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
from typing import NamedTuple

from foundation.errors import CellError, MissingError, UsageError

JAVA_SWITCH = "FUSAR_KLIP_JAVA"
"""Environment variable: `off` scores as where there is no Java."""
CORENLP = "FUSAR_KLIP_CORENLP"
"""Environment variable: the folder with the two jars that SPICE needs (`--corenlp-dir` of section 11.4)."""
SPICE_MEMORY = "FUSAR_KLIP_SPICE_MEMORY"
"""Environment variable: the heap of SPICE, as Java writes it."""
DEFAULT_SPICE_MEMORY = "8G"  # what SPICE asks for (section 11.4)
CORENLP_JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
"""Section 11.4: what `--corenlp-dir` points at."""
WITHOUT_JAVA = f"score without Java ({JAVA_SWITCH}=off)"
WITHOUT_SPICE = f"score without SPICE (unset {CORENLP})"
_BRACKETS = ("-LRB-", "-RRB-", "-LCB-", "-RCB-")
PUNCTUATION = frozenset({"''", "'", "``", "`", *_BRACKETS, ".", "?", "!", ",", ":", "-", "--", "...", ";"})
"""Tokens that coco-caption drops. Brackets come out in lower case and so stay, there as here."""
_OPENED = ("java.lang", "java.math", "java.net", "java.nio", "java.text", "java.util", "java.util.concurrent")


class Java(NamedTuple):
    """A runtime that starts."""

    path: str
    major: int


def java_is_off() -> bool:
    """Whether Java is not to be used, though it may be there."""
    said = os.environ.get(JAVA_SWITCH, "")
    if said.lower() not in ("", "on", "off"):
        raise UsageError(f"{JAVA_SWITCH} is {said!r}", where="environment", way_out='set it to "on" or "off", or not')
    return said.lower() == "off"


def corenlp_folder() -> Path | None:
    """Where the jars for SPICE should lie; None where no folder is named."""
    named = os.environ.get(CORENLP)
    return Path(named) if named else None


def spice_memory() -> str:
    """The heap for SPICE."""
    said = os.environ.get(SPICE_MEMORY) or DEFAULT_SPICE_MEMORY
    if not re.fullmatch(r"[1-9][0-9]{0,6}[kmgtKMGT]", said):
        raise UsageError(
            f"{SPICE_MEMORY} is {said!r}, which is no amount of memory",
            where="environment",
            way_out="write a whole number and its unit, as 8G or 512M",
        )
    return said


def find_java(command: str = "java") -> Java | None:
    """The runtime on the search path; None if it is switched off or not there, or only a stub that does not start."""
    if java_is_off():
        return None
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
            way_out=f"look at the Java runtime, or {WITHOUT_JAVA}",
        )
    tokenised = iter(" ".join(word for word in line.split(" ") if word not in PUNCTUATION) for line in lines)
    return [next(tokenised) if text.strip() else "" for text in texts]


class Meteor:
    """METEOR 1.5 as one process for any number of sets of captions.

    It reads tables for seconds when it starts, so start it before its texts are ready.
    """

    def __init__(self, java: Java) -> None:
        command = [java.path, "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", "meteor-1.5.jar"]
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process is)
        self._process = subprocess.Popen(
            [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
            cwd=_package() / "meteor",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            encoding="utf-8",
        )

    def __enter__(self) -> Meteor:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def score(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> float:
        """Of tokenised texts, 0 to 1: from statistics over all of them, not a mean over sentences."""
        try:
            statistics = [
                self._asked(" ||| ".join(("SCORE", *own, hypothesis)))
                for hypothesis, own in zip(hypotheses, references, strict=True)
            ]
            self._say(" ||| ".join(("EVAL", *statistics)))
            for _ in statistics:
                self._answer()  # one score per sentence
            return float(self._answer())
        except (OSError, ValueError) as error:
            self._complaints.seek(0)
            raise CellError(
                "METEOR stopped before its end",
                where=_last_line(self._complaints.read()),
                way_out=f"look at the Java runtime, or {WITHOUT_JAVA}",
            ) from error

    def _asked(self, line: str) -> str:
        self._say(line)
        return self._answer()

    def _say(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(f"{line}\n")
        pipe.flush()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ValueError("the program has ended")
        return line.strip()


def spice(
    java: Java,
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    corenlp_dir: Path,
    memory: str = DEFAULT_SPICE_MEMORY,
) -> list[float | None]:
    """SPICE 1.0 of each image, 0 to 1, from tokenised texts; None where the score is not a number.

    Args:
        java: the runtime; on 9 and newer the packages that SPICE reaches into are opened to it.
        hypotheses: one per image.
        references: those of each image.
        corenlp_dir: the folder that holds `CORENLP_JARS`.
        memory: heap of the program, as Java writes it.
    """
    jars = corenlp_jars(corenlp_dir)
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
                way_out=f"use Java 8 or 11, give it more memory ({SPICE_MEMORY}, now {memory}), or {WITHOUT_SPICE}",
            )
        found = [item["scores"]["All"]["f"] for item in json.loads(answered.read_text(encoding="utf-8"))]
    if len(found) != len(rows):
        raise CellError(
            f"SPICE gave {len(found)} scores for {len(rows)} captions",
            where=_last_line(done.stderr),
            way_out=f"use Java 8 or 11, or {WITHOUT_SPICE}",
        )
    return [float(value) if isinstance(value, int | float) and math.isfinite(value) else None for value in found]


def corenlp_jars(folder: Path) -> list[Path]:
    """The two jars that SPICE needs; an error that names what is missing."""
    if missing := missing_jars(folder):
        raise MissingError(
            f"SPICE needs {' and '.join(missing)}",
            where=str(folder),
            way_out=f"put the jars of Stanford CoreNLP 3.6.0 there, or {WITHOUT_SPICE}",
        )
    return [folder / name for name in CORENLP_JARS]


def missing_jars(folder: Path) -> list[str]:
    """Which of the jars that SPICE needs are not there."""
    return [name for name in CORENLP_JARS if not (folder / name).is_file()]


def _package() -> Path:
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        raise MissingError("pycocoevalcap is not installed", way_out="install the package's dependencies again")
    return Path(next(iter(found.submodule_search_locations)))


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
