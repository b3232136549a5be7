"""The floor of the house: small, knows no room, notices strangers; and the cache that can be thrown away."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from foundation import cache
from foundation.cache import VARIABLE, cache_root, cached_file_hash
from foundation.hashing import hash_bytes
from foundation.progress import Progress, silent
from foundation.rooms import FLOORS, foreign_rooms, require_own_rooms

ROOT = Path(__file__).resolve().parents[2]


def _python(code: str, *path: Path, cwd: Path, bare: bool = False) -> subprocess.CompletedProcess[str]:
    """Runs code with `path` searched first; `bare` leaves out what is installed, this project among it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    flags = ["-S"] if bare else []
    return subprocess.run(
        [sys.executable, *flags, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_the_foundation_stays_under_four_hundred_lines() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "foundation").glob("*.py"))
    assert lines <= 400


def test_the_foundation_loads_no_room_and_nothing_but_the_standard_library(tmp_path: Path) -> None:
    modules = ", ".join(f"foundation.{path.stem}" for path in (ROOT / "foundation").glob("[a-z]*.py"))
    code = f"import sys; before = set(sys.modules); import {modules}; print(*(set(sys.modules) - before))"
    done = _python(code, ROOT, cwd=tmp_path)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "foundation" in loaded, done.stderr
    assert loaded - {"foundation"} <= set(sys.stdlib_module_names)


def test_our_own_rooms_are_no_strangers() -> None:
    assert foreign_rooms() == {}
    require_own_rooms()


def test_a_foreign_package_of_a_room_s_name_is_named_and_never_imported(tmp_path: Path) -> None:
    stranger = tmp_path / "site" / "adapters" / "__init__.py"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("raise SystemExit('imported')\n")
    code = (
        "from foundation.commandline import run_app\n"
        "from foundation.rooms import foreign_rooms\n"
        "print(sorted(foreign_rooms()))\n"
        "run_app(lambda: print('ran'))"
    )
    done = _python(code, tmp_path / "site", ROOT, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == "['adapters']\n"
    assert str(stranger) in done.stderr and "way out" in done.stderr and "Traceback" not in done.stderr


def test_a_missing_room_is_named(tmp_path: Path) -> None:
    (tmp_path / "foundation").symlink_to(ROOT / "foundation")
    done = _python(
        "from foundation.rooms import foreign_rooms; print(foreign_rooms())", tmp_path, cwd=tmp_path, bare=True
    )
    assert set(FLOORS) - {"foundation"} <= set(ast.literal_eval(done.stdout))


def test_the_cache_is_where_the_variable_says_else_where_the_user_s_caches_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv(VARIABLE, "~/own")
    assert cache_root() == Path.home() / "own"
    monkeypatch.delenv(VARIABLE)
    assert cache_root() == tmp_path / "xdg" / "fusar-klip-bench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "fusar-klip-bench"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of its own with a cache of its own."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    path = tmp_path / "weights.bin"
    path.write_bytes(b"first")
    return path


def test_a_file_is_hashed_once_while_it_stays_the_same(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached_file_hash(weights) == hash_bytes(b"first")

    def read_again(path: Path) -> str:
        raise AssertionError("read again")

    monkeypatch.setattr(cache, "hash_file", read_again)
    assert cached_file_hash(weights) == hash_bytes(b"first")
    assert cached_file_hash(weights.parent / "." / "weights.bin") == hash_bytes(b"first")


@pytest.mark.parametrize("content", [b"other", b"longer than before"])
def test_a_changed_file_is_hashed_again(weights: Path, content: bytes) -> None:
    cached_file_hash(weights)
    status = weights.stat()
    weights.write_bytes(content)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert cached_file_hash(weights) == hash_bytes(content)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"path": "x"}'])
def test_a_damaged_note_is_made_again(weights: Path, content: bytes) -> None:
    cached_file_hash(weights)
    (note,) = (cache_root() / "hashes").iterdir()
    note.write_bytes(content)
    assert cached_file_hash(weights) == hash_bytes(b"first")
    note.unlink()
    assert cached_file_hash(weights) == hash_bytes(b"first")


def test_progress_that_nobody_watches_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Progress = silent
    progress(1, 2, "halfway")
    assert capsys.readouterr() == ("", "")
