"""Which names timm knows, read from its sources: planning must refuse a wrong name without importing torch.

timm registers its models while it is imported, and importing it imports torch (seconds). Its sources say the same in
a tenth of a second. Where a tag leaves a doubt, timm itself is asked; `tests/adapters/test_library_models.py` holds the
architectures against those that timm has registered.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from foundation.names import unknown_name

SEE = "the model list in timm's documentation"

_REGISTERED = re.compile(r"^@register_model\s+def (\w+)\(", re.MULTILINE)
_DEPRECATED_TABLE = re.compile(r"^register_model_deprecations\(__name__, \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_DEPRECATED = re.compile(r"^\s+['\"]([\w.]+)['\"]\s*:", re.MULTILINE)
_TAGGED = re.compile(r"['\"](\w+\.[\w.-]+)\*?['\"]\s*:")


class TimmNames(NamedTuple):
    """What timm's sources name."""

    architectures: frozenset[str]
    tagged: frozenset[str]
    """Architecture and tag of weights, `resnet18.a1_in1k`; some are made by code and are not among these."""


@cache
def timm_names() -> TimmNames:
    """The names in the sources of the installed timm."""
    spec = find_spec("timm")
    architectures: set[str] = set()
    tagged: set[str] = set()
    for home in (spec.submodule_search_locations or ()) if spec is not None else ():
        for source in sorted(Path(home, "models").glob("*.py")):
            text = source.read_text(encoding="utf-8")
            architectures.update(_REGISTERED.findall(text))
            for table in _DEPRECATED_TABLE.findall(text):
                architectures.update(_DEPRECATED.findall(table))
            tagged.update(_TAGGED.findall(text))
    return TimmNames(frozenset(architectures), frozenset(tagged))


def require_timm_name(name: str) -> None:
    """Raises for a name, or a name and tag of weights, that timm does not know; says which are near."""
    architecture, _, tag = name.partition(".")
    known = timm_names()
    if architecture not in known.architectures:
        raise unknown_name("timm architecture", architecture, known.architectures, see=SEE)
    if tag and name not in known.tagged:
        import timm  # slow, but a few tags are made by code

        tags = timm.list_models(f"{architecture}.*", pretrained=True)
        if name not in tags:
            raise unknown_name("timm weights", name, [architecture, *tags], see=SEE)
