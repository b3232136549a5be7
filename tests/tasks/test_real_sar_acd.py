"""The real SAR-ACD, where FUSAR_KLIP_REAL_DATA names a data root that holds it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from foundation.errors import MissingError
from tasks.classification.data import ClassificationData, build
from tasks.datasets import find_source, read_index

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def sar_acd() -> ClassificationData:
    root = os.environ.get("FUSAR_KLIP_REAL_DATA")
    if not root:
        pytest.skip("FUSAR_KLIP_REAL_DATA is not set")
    try:
        source = find_source("sar_acd", Path(root))
    except MissingError as error:
        pytest.skip(str(error))
    return build(read_index(source))


def test_the_split_gives_the_papers_608_test_chips(sar_acd: ClassificationData) -> None:
    """The printed percentages of Table 4 are multiples of 1/608 (errata, section D)."""
    assert len(sar_acd.test) == 608 and len(sar_acd.train) == 3032 - 608
    assert sar_acd.counts("test") == (93, 102, 103, 103, 106, 101)
    assert sar_acd.classes == ("A220", "A320321", "A330", "ARJ21", "Boeing737", "Boeing787")


def test_no_file_is_left_out(sar_acd: ClassificationData) -> None:
    assert not sar_acd.index.bad and not sar_acd.dropped_classes and not sar_acd.index.synthetic
    assert {image.dtype for image in sar_acd.index.images} == {"uint8"}
    assert min(image.width for image in sar_acd.index.images) == 35
    assert max(image.width for image in sar_acd.index.images) == 200
    assert min(image.height for image in sar_acd.index.images) == 32
    assert max(image.height for image in sar_acd.index.images) == 150
