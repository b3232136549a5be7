"""Hashes and seeds: the same everywhere, changed by everything that matters and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.hashing import hash_bytes, hash_file, hash_lines, hash_sources, hash_value
from foundation.seeds import derive_seed

ROOT = Path(__file__).resolve().parents[2]
# `printf abc | sha256sum`
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

BEFORE = '''"""A module."""
import math

def area(radius: float, scale=1) -> float:
    """Area of a circle."""
    # well known
    return math.pi * radius**2 * scale
'''

SAME_MEANING = {
    "another comment": BEFORE.replace("# well known", "# of antiquity"),
    "no comment": BEFORE.replace("    # well known\n", ""),
    "another docstring": BEFORE.replace("Area of a circle.", "What a circle covers."),
    "no docstring of the function": BEFORE.replace('    """Area of a circle."""\n', ""),
    "no docstring of the module": BEFORE.replace('"""A module."""\n', ""),
    "blank lines": BEFORE.replace("import math\n", "import math\n\n\n"),
    "layout": BEFORE.replace("math.pi * radius**2 * scale", "(\n        math.pi * radius ** 2\n        * scale\n    )"),
}
OTHER_MEANING = {
    "a constant": BEFORE.replace("**2", "**3"),
    "an operator": BEFORE.replace("* radius", "+ radius"),
    "brackets": BEFORE.replace("math.pi * radius**2", "(math.pi * radius)**2"),
    "a name": BEFORE.replace("def area", "def surface"),
    "a default": BEFORE.replace("scale=1", "scale=2"),
    "a type of number": BEFORE.replace("scale=1", "scale=1.0"),
    "a decorator": BEFORE.replace("def area", "@staticmethod\ndef area"),
    "a text that is no docstring": BEFORE.replace("    # well known\n", "    note = 'x'\n"),
    "an import": BEFORE.replace("import math", "import cmath as math"),
    "a statement more": BEFORE + "\narea(1.0)\n",
}


def _hash(folder: Path, source: str, name: str = "module.py") -> str:
    path = folder / name
    path.write_text(source, encoding="utf-8")
    return hash_sources([path])


@pytest.mark.parametrize("change", SAME_MEANING)
def test_what_does_not_change_the_meaning_keeps_the_hash(tmp_path: Path, change: str) -> None:
    assert SAME_MEANING[change] != BEFORE
    assert _hash(tmp_path, SAME_MEANING[change]) == _hash(tmp_path, BEFORE)


@pytest.mark.parametrize("change", OTHER_MEANING)
def test_every_change_of_meaning_changes_the_hash(tmp_path: Path, change: str) -> None:
    assert OTHER_MEANING[change] != BEFORE
    assert _hash(tmp_path, OTHER_MEANING[change]) != _hash(tmp_path, BEFORE)


def test_a_function_of_nothing_but_a_docstring_can_be_hashed(tmp_path: Path) -> None:
    assert _hash(tmp_path, 'def f():\n    """Nothing."""\n') == _hash(tmp_path, "def f(): pass\n")


def test_the_order_of_the_files_does_not_matter_but_their_names_do(tmp_path: Path) -> None:
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("x = 1\n")
    second.write_text("x = 2\n")
    assert hash_sources([first, second]) == hash_sources([second, first])
    assert hash_sources([first, second]) != hash_sources([first])
    assert _hash(tmp_path, "x = 1\n", "c.py") != hash_sources([first])


def test_hashes_are_plain_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert hash_bytes(b"abc") == hash_file(tmp_path / "abc") == ABC
    assert hash_lines(["a", "b"]) == hash_bytes(b"a\nb\n")
    assert hash_value({"b": 1, "a": None}) == hash_bytes(b'{"a":null,"b":1}')


def test_a_large_file_is_hashed_whole(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "large").write_bytes(data)
    (tmp_path / "other").write_bytes(data[:-1] + b"\x00")
    assert hash_file(tmp_path / "large") == hash_bytes(data) != hash_file(tmp_path / "other")


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_keys_does_not_matter(value: dict[str, int]) -> None:
    assert hash_value(dict(reversed(value.items()))) == hash_value(value)


@pytest.mark.parametrize(
    ("parts", "seed"),
    [
        # The first eight bytes of SHA-256 of the joined text, halved; taken with sha256sum.
        (("epoch", 0, 3), 2785206302956349545),
        (("head", 1), 2136793699712537840),
        (("world", 1.5, None), 3603698269519476087),
        (("",), 8203414616412130826),
    ],
)
def test_seeds_never_change(parts: tuple[object, ...], seed: int) -> None:
    assert derive_seed(*parts) == seed


def test_seeds_do_not_hang_on_the_process() -> None:
    code = "from foundation.seeds import derive_seed; print(derive_seed('epoch', 0, 3))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == 2785206302956349545


@given(st.lists(st.integers() | st.text(), min_size=1, max_size=4))
def test_seeds_fit_every_generator(parts: list[object]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63


def test_each_part_of_a_name_counts() -> None:
    names = [("a",), ("b",), ("a", 0), ("a", 1), (0, "a"), ("a", 0, 0), ("a", "00")]
    assert len({derive_seed(*parts) for parts in names}) == len(names)
