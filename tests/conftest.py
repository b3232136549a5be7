"""For all tests: what can be made again goes into a folder of this test process, never into the user's cache."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foundation.cache import VARIABLE


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One empty cache per worker and session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield
