"""Plain data as TOML; the standard library only reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def toml_document(tables: Mapping[str, Any]) -> str:
    """Tables, and lists of tables, each with its values on lines of their own; what lies deeper stands inline."""
    parts = []
    for name, content in tables.items():
        several = isinstance(content, list)
        for table in content if several else [content]:
            head = f"[[{name}]]" if several else f"[{name}]"
            lines = [f"{_key(key)} = {_inline(value)}" for key, value in table.items() if value is not None]
            parts.append("\n".join([head, *lines]) + "\n")
    return "\n".join(parts)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_inline(part)}" for key, part in value.items() if part is not None)
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_inline(part) for part in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    # Strings of JSON are strings of TOML, but for one character that TOML wants escaped too.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name)
