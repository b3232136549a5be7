"""One small world for all tests of this folder, built once for all workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.sarworld.build import build


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set in the size ci; not to be changed."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the same for all workers; the build's own lock lets one of them work
    build(folder / "ci-world", "ci")
    return folder / "ci-world"
