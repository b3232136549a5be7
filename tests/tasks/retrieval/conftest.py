"""Data that the tests of retrieval look at."""

from __future__ import annotations

import pytest

from tasks.datasets.records import DatasetIndex
from tasks.language.texts import CaptionedData
from tasks.retrieval.data import build
from tests.tasks.captioned_pictures import WriteImage, lit_index, tiny_language


@pytest.fixture(scope="session")
def lit(tmp_path_factory: pytest.TempPathFactory, write_image: WriteImage) -> DatasetIndex:
    """A hundred and twenty pictures of one to six ships in a quadrant."""
    return lit_index(tmp_path_factory.mktemp("lit"), write_image)


@pytest.fixture(scope="session")
def data(lit: DatasetIndex) -> CaptionedData:
    """Ninety-six pictures to learn from, twenty-four to be asked about."""
    return build(lit, tiny_language("retrieval", 1))
