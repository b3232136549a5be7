"""How published weights are fitted is part of the key, and means nothing to models without weights."""

from __future__ import annotations

import pytest

from adapters.card import WeightSource
from adapters.registry import catalog
from foundation.errors import UsageError
from harness.plan import mode_of


def test_models_without_weights_are_what_they_are() -> None:
    for name in ("random-mini", "simple-features", "resnet18-scratch"):
        assert mode_of(catalog()[name], "paper_plain") == "native"


def test_our_own_shipped_weights_are_what_they_are() -> None:
    shipped = catalog()["random-mini"].model_copy(update={"weights": WeightSource(kind="shipped")})
    assert mode_of(shipped, "paper_plain") == "native"


@pytest.mark.parametrize("mode", ["native", "resampled16", "paper_plain"])
def test_published_vision_transformers_can_be_fitted_in_every_mode(mode: str) -> None:
    for name in ("remoteclip-vit-b-32", "ban-vit-b-16", "mae-vit-b-16", "bita-vit-l-14"):
        assert mode_of(catalog()[name], mode) == mode  # type: ignore[arg-type]


def test_a_mode_that_means_nothing_for_an_architecture_is_refused() -> None:
    with pytest.raises(UsageError, match="plain vision transformers"):
        mode_of(catalog()["saratr-x-hivit-b"], "paper_plain")
