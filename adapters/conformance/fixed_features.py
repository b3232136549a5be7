"""Checks of hand-made features, which have no weights and are not trained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adapters.conformance.report import Unmet
from adapters.conformance.subject import Subject
from adapters.interface import FeatureExtractor
from foundation.seeds import derive_seed


def extractor(subject: Subject) -> str:
    """The object has what the interface names."""
    found = subject.encoder
    if not isinstance(found, FeatureExtractor) or not callable(getattr(found, "features", None)):
        raise Unmet(
            expected="width and features(images)",
            seen=type(found).__name__,
            change="add what adapters.interface.FeatureExtractor names",
        )
    return f"width {found.width}"


def values(subject: Subject) -> str:
    """One finite row of the stated width per image, whatever the sizes of the images."""
    images = _greys([(32, 32), (40, 25), (subject.size, subject.size)])
    found = subject.encoder.features(images)
    expected = (len(images), subject.encoder.width)
    if found.shape != expected or not np.isfinite(found).all():
        raise Unmet(
            expected=f"finite features of shape {expected} for images of several sizes",
            seen=f"shape {found.shape}" + ("" if np.isfinite(found).all() else ", not finite"),
            change="bring images to one size first, and guard logarithms and divisions against constant images",
        )
    return f"{found.shape[1]} per image"


def company(subject: Subject) -> str:
    """The same image gives the same row, alone, in company and again."""
    images = _greys([(32, 32), (32, 32), (32, 32)])
    together = subject.encoder.features(images)
    alone = np.concatenate([subject.encoder.features([image]) for image in images])
    if not (np.array_equal(together, subject.encoder.features(images)) and np.allclose(together, alone, atol=1e-9)):
        raise Unmet(
            expected="rows that hang on their own image alone",
            seen=f"differences up to {np.abs(together - alone).max():.1e}",
            change="no statistics over the batch, nothing random",
        )
    return "equal"


def _greys(shapes: list[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(derive_seed("conformance", "grey"))
    return [rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes]
