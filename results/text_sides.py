"""What a table says of the parts that read and write texts: where they started, for each model where it matters.

Retrieval, captioning and questions give every encoder such parts. A model that brings trained ones along has a head
start over one that does not, so a table must say who had which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.record import Record

Groups = Mapping[str, Sequence[Record]]
"""Records of one column by model."""


def text_side_remarks(columns: Sequence[Groups]) -> list[str]:
    """One line for the foot of a table; none where no record has a text side.

    It is as short as the records allow: one start, or the models of each start, or the same for each task.
    """
    by_place: dict[str, dict[str, list[str]]] = {}
    for groups in columns:
        for model, records in groups.items():
            for record in records:
                if start := record.model.text_start:
                    place = f"{record.cell.task}/{record.cell.dataset}"
                    models = by_place.setdefault(place, {}).setdefault(start, [])
                    if model not in models:
                        models.append(model)
    if not by_place:
        return []
    starts = {start for found in by_place.values() for start in found}
    if len(starts) == 1:
        return [f"Text side: {starts.pop()}."]
    whole: dict[str, list[str]] = {}
    for found in by_place.values():
        for start, models in found.items():
            whole.setdefault(start, []).extend(name for name in models if name not in whole[start])
    names = [name for models in whole.values() for name in models]
    if len(set(names)) == len(names):  # every model has the same start wherever it stands
        return [f"Text side: {_words(whole)}."]
    return ["Text side: " + "; ".join(f"of {place} {_words(found)}" for place, found in by_place.items()) + "."]


def _words(found: Mapping[str, Sequence[str]]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{start} ({' '.join(models)})" for start, models in found.items())
