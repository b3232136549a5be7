"""Random draws by what they are for: world version, seed, scene and layer (section 14.7 of the task specification).

No scene depends on another, and a change of one layer leaves the others as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from foundation.seeds import derive_seed

if TYPE_CHECKING:
    import numpy as np

WORLD_VERSION = 2
"""Rises with any visible change of anything that is rendered or written (section 14.7)."""


class Draws(NamedTuple):
    """Where the random numbers of one scene come from."""

    seed: int
    """The world's."""
    scene: str

    def generator(self, layer: str) -> np.random.Generator:
        """The generator of one layer, always from its start."""
        import numpy as np  # here: planning a world must not cost the import of the array libraries

        return np.random.default_rng(derive_seed("sarworld", WORLD_VERSION, self.seed, self.scene, layer))
