"""The eleven tasks and their data sets by name. Plain data: knows neither torch nor files."""

from __future__ import annotations

from typing import NamedTuple

from foundation.names import unknown_name


class TaskInfo(NamedTuple):
    """One task."""

    id: str
    title: str
    group: str
    datasets: tuple[str, ...]
    metrics: tuple[str, ...]
    built: bool


class DatasetInfo(NamedTuple):
    """One data set of the paper, real or rendered by sarworld in the same layout."""

    id: str
    title: str
    task: str
    folder: str
    source: str


_VQA = ("accuracy",)

TASKS: dict[str, TaskInfo] = {
    task.id: task
    for task in (
        TaskInfo(
            "classification",
            "target classification",
            "vision",
            ("fusar_air", "fusar_ship", "sar_acd"),
            ("top1", "top3"),
            True,
        ),
        TaskInfo(
            "detection",
            "target detection",
            "vision",
            ("fusar_air_sense", "fusar_ship_sense", "sar_aircraft_few"),
            ("ap50",),
            True,
        ),
        TaskInfo("segmentation", "segmentation", "vision", ("fusar_map", "air_polarsar_seg"), ("oa", "miou"), True),
        TaskInfo(
            "retrieval",
            "image-text retrieval",
            "language",
            ("rs_captions",),
            ("i2t_r1", "i2t_r5", "i2t_r10", "t2i_r1", "t2i_r5", "t2i_r10", "r_mean"),
            True,
        ),
        TaskInfo("caption", "captioning", "language", ("rs_captions",), ("bleu_4", "meteor", "cider", "spice"), True),
        TaskInfo("vqa_target_count", "question: how many targets", "language", ("vqa_targets",), _VQA, True),
        TaskInfo("vqa_target_rec", "question: which type", "language", ("vqa_targets",), _VQA, True),
        TaskInfo("vqa_target_pos", "question: which cells", "language", ("vqa_targets",), _VQA, True),
        TaskInfo("vqa_main_land", "question: main land cover", "language", ("vqa_landform",), _VQA, True),
        TaskInfo("vqa_all_land", "question: all land covers", "language", ("vqa_landform",), _VQA, True),
        TaskInfo("vqa_reg_land", "question: land cover of a quarter", "language", ("vqa_landform",), _VQA, True),
    )
}

_FUDAN = "emwlab.fudan.edu.cn, resources page"
_AIRCAS = "github.com/AICyberTeam"

DATASETS: dict[str, DatasetInfo] = {
    data.id: data
    for data in (
        DatasetInfo("fusar_air", "FUSAR-AIR", "classification", "fusar_air", "no public copy known"),
        DatasetInfo("fusar_ship", "FUSAR-SHIP", "classification", "fusar_ship", _FUDAN),
        DatasetInfo("sar_acd", "SAR-ACD", "classification", "sar_acd", f"{_AIRCAS}/SAR-ACD"),
        DatasetInfo("fusar_air_sense", "FU-AS", "detection", "fusar_air_sense", "no public copy known"),
        DatasetInfo("fusar_ship_sense", "FU-SS", "detection", "fusar_ship_sense", "no public copy known"),
        DatasetInfo("sar_aircraft_few", "AIR-F", "detection", "SAR-AIRcraft-1.0", "radars.ac.cn, doi 10.12000/JR23043"),
        DatasetInfo("fusar_map", "FUSAR-MAP", "segmentation", "fusar_map", "github.com/fudanxu/FUSAR-Map"),
        DatasetInfo("air_polarsar_seg", "PoSAR-Seg", "segmentation", "AIR-PolSAR-Seg", f"{_AIRCAS}/AIR-PolSAR-Seg"),
    )
}


_WITH_BOXES = ("fusar_air_sense", "fusar_ship_sense", "sar_aircraft_few")

COMPOSED: dict[str, tuple[str, ...]] = {
    "rs_captions": _WITH_BOXES,
    "vqa_targets": _WITH_BOXES,
    "vqa_landform": ("fusar_map",),
}
"""Data sets of texts and questions, and those whose boxes and masks they are made from (section 6)."""


def task_groups() -> dict[str, list[str]]:
    """Group name to task ids, in the paper's order."""
    groups = {"all": list(TASKS)}
    for task in TASKS.values():
        groups.setdefault(task.group, []).append(task.id)
    groups["vqa"] = [task for task in TASKS if task.startswith("vqa_")]
    return groups


def select_columns(spec: str) -> list[tuple[str, str]]:
    """(task, data set) pairs named by `all`, a group, a task or a data set; mixed with commas."""
    groups = task_groups()
    wanted: set[tuple[str, str]] = set()
    for item in (part.strip() for part in spec.split(",")):
        if not item:
            continue
        if item in groups:
            wanted.update(_pairs(groups[item]))
        elif item in TASKS:
            wanted.update(_pairs([item]))
        elif any(item in task.datasets for task in TASKS.values()):
            wanted.update(pair for pair in _pairs(list(TASKS)) if pair[1] == item)
        else:
            known = [*groups, *TASKS, *(data for task in TASKS.values() for data in task.datasets)]
            raise unknown_name("task or data set", item, known, see="harness list tasks")
    if not wanted:
        raise unknown_name("task or data set", spec, [*groups, *TASKS], see="harness list tasks")
    return [pair for pair in _pairs(list(TASKS)) if pair in wanted]


def _pairs(tasks: list[str]) -> list[tuple[str, str]]:
    return [(task, dataset) for task in tasks for dataset in TASKS[task].datasets]
