"""SHA-256 of bytes, files, values and source code."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from foundation.files import canonical_json


def hash_bytes(data: bytes) -> str:
    """Lower-case hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def hash_value(value: Any) -> str:
    """Hash of a JSON-able value, independent of key order."""
    return hash_bytes(canonical_json(value))


def hash_file(path: Path) -> str:
    """Hash of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_lines(lines: Iterable[str]) -> str:
    """Hash of text lines, each ended by a newline."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def hash_sources(paths: Iterable[Path]) -> str:
    """Hash of what Python files *do*: comments, docstrings and layout do not count."""
    return hash_lines(f"{path.name} {hash_bytes(_meaning(path).encode())}" for path in sorted(paths))


def _meaning(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            kept = node.body[1:] if node.body and _is_text(node.body[0]) else node.body
            node.body = kept or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
