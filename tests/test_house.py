"""The rules of the house, held against every file of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from foundation.rooms import FLOORS

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE = 500
LONGEST_FUNCTION = 80
NAMES_OF_NOTHING = {"utils", "util", "helpers", "helper", "misc", "common"}


@cache
def _files(*suffixes: str) -> tuple[Path, ...]:
    """Files of the rooms and of the tests, without what tools leave behind."""
    found = []
    for folder in (*FLOORS, "tests"):
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.is_file() and path.suffix in suffixes and not any(p[0] == "." or p == "__pycache__" for p in parts):
                found.append(path)
    return tuple(found)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0]


def _rooms_imported(source: str) -> set[str]:
    """Rooms that a source imports, at its top, inside functions, and by name through importlib."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where something comes from"
            found.add(node.module or "")
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"importlib.import_module", "import_module"}:
            found.update(str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))
    return {name.partition(".")[0] for name in found} & set(FLOORS)


def _upward(room: str, source: str) -> set[str]:
    """Rooms that a room may not know: on its own floor or above."""
    return {other for other in _rooms_imported(source) if other != room and FLOORS[other] >= FLOORS[room]}


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


@cache
def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _direct_dependencies() -> list[str]:
    project = _pyproject()["project"]
    extras = [entry for extra in project["optional-dependencies"].values() for entry in extra]
    entries = [*project["dependencies"], *extras, *_pyproject()["build-system"]["requires"]]
    return [re.split(r"[^A-Za-z0-9._-]", entry)[0].lower() for entry in entries]


def test_there_is_something_to_hold_the_rules_against() -> None:
    assert {_room(path) for path in _files(".py")} == {*FLOORS, "tests"}
    assert len(_files(".py")) > 50


def test_imports_run_one_way_down() -> None:
    wrong = {
        _name(path): upward
        for path in _files(".py")
        if _room(path) in FLOORS and (upward := _upward(_room(path), path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("adapters", "import results.record"),
        ("results", "from adapters.card import ModelCard"),
        ("foundation", "def late():\n    from tasks import catalog"),
        ("klip", "if True:\n    import tasks.splits as s"),
        ("harness", "import importlib\nimportlib.import_module('leaderboard.rank')"),
        ("tasks", "from harness import plan"),
    ],
)
def test_a_planted_import_up_or_sideways_would_be_found(room: str, source: str) -> None:
    assert _upward(room, source)


def test_imports_down_are_allowed() -> None:
    assert _upward("tasks", "from adapters.load import load\nimport klip, results.record, tasks.splits, numpy") == set()


@pytest.mark.parametrize("room", FLOORS)
def test_every_room_says_what_it_is_for(room: str) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    assert docstring is not None and len(docstring.split(".")) >= 3, "three sentences in __init__.py"


@pytest.mark.parametrize("room", FLOORS)
def test_every_room_has_a_readme(room: str) -> None:
    readme = ROOT / room / "README.md"
    assert readme.is_file() and readme.read_text(encoding="utf-8").startswith("# ")


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in _files(".py")}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_function_is_longer_than_eighty_lines() -> None:
    lengths = {
        f"{_name(path)}: {function.name}": _length(function)
        for path in _files(".py")
        for function in _functions(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION} == {}


def test_names_of_files_say_something() -> None:
    said = {part for path in _files(".py") for part in (path.stem, *path.relative_to(ROOT).parts[:-1])}
    assert said & NAMES_OF_NOTHING == set()


def test_names_of_test_files_are_unique_and_their_folders_are_no_packages() -> None:
    # Folders of tests are no packages, so pytest knows a test file by its name alone; the topmost one is, because
    # mmsegmentation installs a package `tests` that would otherwise be found in its place.
    tests = [path for path in _files(".py") if _room(path) == "tests"]
    names = [path.name for path in tests if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
    packages = [_name(path) for path in tests if path.name == "__init__.py"]
    programs = "tests/bench/"
    assert [name for name in packages if not name.startswith(programs)] == ["tests/__init__.py"]


def test_every_dependency_gives_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    entries = [line.strip() for line in block.splitlines() if line.strip().startswith('"')]
    assert len(entries) == len(_pyproject()["project"]["dependencies"])
    bare = [entry for entry in entries if not re.search(r'",\s*# \w.{5,}', entry)]
    assert bare == []


def test_every_direct_dependency_is_pinned() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9._-]+)==\d[\w.]*", pins, re.MULTILINE))
    assert set(_direct_dependencies()) - pinned == set()


def test_the_pins_hold_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    odd = [line for line in lines if not re.fullmatch(r"#.*|[a-z0-9._-]+==[\w.]+( ; [^@]+)?( #.*)?", line)]
    assert odd == []
    assert [line for line in lines if "://" in line or "@" in line] == []


def test_every_minimum_version_is_met_by_its_pin() -> None:
    from packaging.requirements import Requirement

    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    project = _pyproject()["project"]
    for entry in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        wanted = Requirement(entry)
        versions = re.findall(rf"^{re.escape(wanted.name)}==([\w.]+)", pins, re.MULTILINE)
        assert versions and all(wanted.specifier.contains(version) for version in versions), entry


@pytest.mark.parametrize("command", _pyproject()["project"]["scripts"])
def test_console_commands_point_to_functions(command: str) -> None:
    module, _, name = _pyproject()["project"]["scripts"][command].partition(":")
    source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text(encoding="utf-8")
    body = ast.parse(source).body
    (function,) = [node for node in body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert not function.args.args, "a console command is called without arguments"


def test_the_wheel_holds_the_seven_rooms_and_their_data_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in held} == set(FLOORS)
    data = {".toml", ".csv", ".safetensors"}  # cards and settings, the paper's numbers, the weights of the small models
    assert {Path(name).suffix for name in held} - {".py", ".md", ".typed"} - data == set()
    expected = {_name(path) for path in _files(".py", *data) if _room(path) != "tests"}
    assert {name for name in held if Path(name).suffix in {".py", *data}} == expected
