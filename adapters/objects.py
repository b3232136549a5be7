"""Models that a package builds itself: from the import path in a card to an encoder that is known to be one.

The factory is called with the card's architecture, the image size, a seed, and the two rates of dropout. It runs with a
random state made from the seed, so that a package need not care; the state outside is left as it was.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, cast

from adapters.interface import Encoder
from foundation.errors import BenchError, CellError
from foundation.seeds import derive_seed

if TYPE_CHECKING:
    from adapters.card import Architecture

_PARTS = ("width", "stride", "layer_count", "in_channels", "forward", "maps", "layer_id", "no_weight_decay")


def build_object(
    architecture: Architecture,
    factory: str,
    *,
    image_size: int,
    seed: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> Encoder:
    """Calls the factory `module:function`, and refuses what is no encoder."""
    import torch

    owner = owner_of(factory)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("object", factory, seed))
            built = _function(factory)(
                architecture, image_size=image_size, seed=seed, dropout=dropout, drop_path=drop_path
            )
    except BenchError:
        raise
    except (Exception, SystemExit) as error:  # a foreign package may raise anything
        raise CellError(
            f"the factory of {owner} raised {type(error).__name__}: {error}",
            where=factory,
            way_out=f"mend it, or update {owner}; it is called as factory(architecture, image_size=, seed=, dropout=, "
            "drop_path=)",
        ) from error
    lacking = [name for name in _PARTS if not hasattr(built, name)]
    if lacking or not isinstance(built, torch.nn.Module):
        what = f"lacks {', '.join(lacking)}" if lacking else "is no nn.Module"
        raise CellError(
            f"the factory of {owner} gave {type(built).__name__}, which is no encoder: it {what}",
            where=factory,
            way_out=f"return what adapters.interface.Encoder names, or tell the authors of {owner}",
        )
    return cast(Encoder, built)


def owner_of(factory: str) -> str:
    """The installed package that a factory belongs to, else its module."""
    top = factory.partition(":")[0].partition(".")[0]
    found = metadata.packages_distributions().get(top)
    return found[0] if found else top


def _function(factory: str) -> Any:
    module, _, path = factory.partition(":")
    found: Any = import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found
