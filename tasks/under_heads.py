"""An encoder with something on top of it, as the optimiser wants to know it: whose layer, and what is not decayed."""

from __future__ import annotations

from typing import ClassVar, cast

from torch import nn

from adapters.interface import Encoder


class UnderHeads(nn.Module):
    """A network that holds an encoder; everything else in it comes after the encoder's last layer."""

    encoder_path: ClassVar[str] = "encoder"
    """Where in the network the encoder is."""
    undecayed: ClassVar[frozenset[str]] = frozenset()
    """Parameters besides the encoder's own that are exempt from decay."""

    @property
    def layer_count(self) -> int:
        """Layers of the encoder."""
        return self._held.layer_count

    def layer_id(self, parameter_name: str) -> int:
        """The encoder's layer of a parameter; layer_count + 1 for all that is not the encoder's."""
        prefix = f"{self.encoder_path}."
        if parameter_name.startswith(prefix):
            return self._held.layer_id(parameter_name.removeprefix(prefix))
        return self.layer_count + 1

    def no_weight_decay(self) -> set[str]:
        """What is exempt from decay, under the names that the parameters have here."""
        return {*(f"{self.encoder_path}.{name}" for name in self._held.no_weight_decay()), *self.undecayed}

    @property
    def _held(self) -> Encoder:
        return cast(Encoder, self.get_submodule(self.encoder_path))
