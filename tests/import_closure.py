"""Which sources of this project a source hangs on."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent


def imported_from(start: str) -> set[str]:
    """Sources of this project that a source imports, directly or not, inside functions too."""
    waiting, seen = [HOME / start], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += _imported(path)
    return {path.relative_to(HOME).as_posix() for path in seen}


@cache
def _imported(path: Path) -> frozenset[Path]:
    """What stands behind the imports of one source, with the packages around it."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            place = HOME.joinpath(*name.split("."))
            for candidate in (place.with_suffix(".py"), place / "__init__.py"):
                if candidate.is_file():
                    found.add(candidate)
                    found |= {
                        parent / "__init__.py"
                        for parent in candidate.parents
                        if parent != HOME and HOME in parent.parents and (parent / "__init__.py").is_file()
                    }
    return frozenset(found)
