"""What is told before captions are learnt."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from foundation.errors import UsageError
from tasks.caption.data import build
from tasks.datasets.records import DatasetIndex
from tasks.protocol import CaptionSettings


@pytest.mark.parametrize(("variable", "said"), [("FUSAR_KLIP_JAVA", "never"), ("FUSAR_KLIP_SPICE_MEMORY", "much")])
def test_a_wrong_word_about_the_scorers_is_told_before_the_training(
    scenes: DatasetIndex,
    make_settings: Callable[..., CaptionSettings],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    said: str,
) -> None:
    assert build(scenes, make_settings()).test
    monkeypatch.setenv(variable, said)
    with pytest.raises(UsageError, match=f"{variable} is '{said}'") as caught:
        build(scenes, make_settings())
    assert caught.value.way_out
