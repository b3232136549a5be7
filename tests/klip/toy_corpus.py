"""A corpus whose texts can be told from its images: every field has a cell of the image, every value a pattern."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from klip.text import TARGET_FIELDS

VALUES = ("dark", "bright")
SIDE = 32


def write_toy_corpus(folder: Path, count: int, *, wrong: float = 0.0, seed: int = 0) -> Path:
    """`count` images of 32 x 32 with eight words each, a share of them wrong (and noted in `planted.jsonl`)."""
    generator = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    texts, clean, planted = [], [], []
    for number in range(count):
        true = generator.integers(len(VALUES), size=len(TARGET_FIELDS))
        said = true.copy()
        for slot in np.flatnonzero(generator.random(len(TARGET_FIELDS)) < wrong):
            said[slot] = (true[slot] + generator.integers(1, len(VALUES))) % len(VALUES)
            planted.append({"image_id": f"images/{number:04d}.png", "field": TARGET_FIELDS[slot], "kind": "wrong"})
        Image.fromarray(_picture(true, generator)).save(folder / "images" / f"{number:04d}.png")
        texts.append(_record(number, said))
        clean.append(_record(number, true))
    for name, records in (("texts", texts), ("texts_clean", clean), ("texts_template", clean), ("planted", planted)):
        lines = "".join(f"{json.dumps(record)}\n" for record in records)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def _picture(values: Any, generator: np.random.Generator) -> Any:
    rows = np.zeros((SIDE // 2, SIDE // 4))
    patterns = (np.full(rows.shape, 40), np.full(rows.shape, 210))
    cells = [patterns[value] for value in values]
    image = np.vstack([np.hstack(cells[:4]), np.hstack(cells[4:])])
    return np.clip(image + generator.normal(0, 12, image.shape), 0, 255).astype(np.uint8)


def _record(number: int, values: Any) -> dict[str, str]:
    words = (f"{VALUES[value]}{slot}" for slot, value in enumerate(values))  # every field has words of its own
    return {"id": f"images/{number:04d}.png", **dict(zip(TARGET_FIELDS, words, strict=True))}
