"""Rich texts are rich and template captions are poor, on the same thousand images (section 14.5)."""

from __future__ import annotations

import pytest

from tasks.builders import geometry
from tasks.builders.captions import Target, captions
from tasks.sarworld.plan import plan
from tasks.sarworld.sets.catalogue import maker_of
from tasks.sarworld.sets.maker import truth
from tasks.sarworld.texts import plant
from tasks.sarworld.truth import Truth

lexicalrichness = pytest.importorskip("lexicalrichness")
RECORDS = 1000  # section 14.5
THRESHOLD = 0.72  # section 12

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def targets() -> list[Truth]:
    """A thousand images of the default seed with aircraft and ships, not rendered."""
    items = [item for item in plan("corpus", "mini") if item.label != "landform"][:RECORDS]
    return [truth(item, 0, maker_of("corpus").ground(item, 0)) for item in items]


def mtld(texts: list[str]) -> float:
    return float(lexicalrichness.LexicalRichness(" ".join(texts)).mtld(threshold=THRESHOLD))


def test_template_captions_are_poor_and_rich_texts_rich(targets: list[Truth]) -> None:
    assert len(targets) == RECORDS
    templates = [_captions(row) for row in targets]
    assert mtld([" ".join(texts) for texts in templates]) <= 25
    for number in range(5):
        assert mtld([texts[number] for texts in templates]) <= 25
    for rates in (0.0, None):
        rows = plant(targets, rates=rates).noisy
        assert mtld([" ".join(value for name, value in row.items() if name != "id") for row in rows]) >= 60


def _captions(row: Truth) -> list[str]:
    objects = [Target(geometry.Box(*item.box), item.type) for item in row.objects]
    size = geometry.Size(row.width, row.height)
    return [c.text for c in captions(row.image_id, objects, size, "ship" if row.domain == "ship" else "aircraft")]
