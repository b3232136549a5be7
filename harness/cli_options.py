"""Options that several commands share, each with its help, once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="machine-readable output on standard output")]
Out = Annotated[Path, typer.Option("--out", help="folder of the records", show_default=True)]
WeightsRoot = Annotated[
    Path | None,
    typer.Option(
        "--weights-root", help="folder of published weights; without it: FUSAR_KLIP_WEIGHTS, else in the cache"
    ),
]
DataRoot = Annotated[
    Path | None, typer.Option("--data-root", help="folder of the real data sets; without it: the synthetic world")
]
World = Annotated[str, typer.Option(help="size of the synthetic world: ci, mini, default")]

Models = Annotated[str, typer.Option("--models", "-m", help="all, groups, ids, name=path:architecture, timm:NAME")]
Tasks = Annotated[str, typer.Option("--tasks", "-t", help="all, vision, language, tasks, data sets; with commas")]
Profile = Annotated[str, typer.Option(help="paper, released or mini")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="TASK.KEY=VALUE", help="another value than the profile's; the record and the table say so"
    ),
]
Seeds = Annotated[str, typer.Option(help="e.g. 0 or 0,1,2 or 0-2")]
ModelFile = Annotated[
    list[Path] | None, typer.Option("--model-file", help="TOML file with further model cards; repeatable")
]
Limit = Annotated[int | None, typer.Option(min=1, help="at most this many images per part")]
AllowBad = Annotated[bool, typer.Option("--allow-bad", help="go on with many unreadable images")]
Twin = Annotated[str, typer.Option(help="sanity twin: none, shuffled_labels, noise_images")]
LoadMode = Annotated[
    str, typer.Option("--load-mode", help="published weights as they are (native), resampled16, paper_plain")
]
Implementation = Annotated[
    str, typer.Option(help="own, or openmmlab: the same protocol through mmdet and mmsegmentation")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="cells at a time; 0: as the machine allows")]
Threads = Annotated[int, typer.Option(min=0, help="CPU threads per cell; 0: 1 for mini, else all")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]

Ablation = Annotated[
    str | None, typer.Option(metavar="NAME", help="table8: pre-train with other texts, then ask the six questions")
]
Work = Annotated[
    Path | None, typer.Option(help="folder of the ablation's trainings and models; without it: OUT/ablation")
]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="of every pre-training of the ablation; by default what its recipe says")
]
Size = Annotated[str | None, typer.Option(help="of the ablation's models: tiny or base; by default tiny")]
Corpus = Annotated[Path | None, typer.Option(help="of the ablation's texts; without it: that of the synthetic world")]

# How a data set is read: for all data sets or for one, repeatable.
VALUE = "[DATA-SET=]VALUE"
LabelMap = Annotated[
    list[str] | None,
    typer.Option(metavar="DATA-SET=NAME", help="e.g. fusar_ship=ship7; repeatable, and so are the next ones"),
]
Split = Annotated[list[str] | None, typer.Option(metavar=VALUE, help="official or a ratio, e.g. fusar_map=7:3")]
SplitFile = Annotated[
    list[str] | None, typer.Option(metavar=VALUE, help="a split written by harness data audit --emit")
]
Group = Annotated[
    list[str] | None, typer.Option(metavar=VALUE, help="what a split may not divide, e.g. fusar_map=scene")
]
GroupNearDuplicates = Annotated[
    list[str] | None, typer.Option(metavar=VALUE, help="yes: a split does not divide images of the same ground")
]
Pool = Annotated[list[str] | None, typer.Option(metavar=VALUE, help="parts AIR-F trains with: train, trainval")]
VocOrigin = Annotated[list[str] | None, typer.Option(metavar=VALUE, help="first pixel in VOC boxes: 0 or 1")]
Polarisation = Annotated[
    list[str] | None, typer.Option("--polarisation", "--pol", metavar=VALUE, help="each, pseudo, or one such as HH")
]
ClassOrder = Annotated[
    list[str] | None, typer.Option(metavar=VALUE, help="classes of AIR-PolSAR-Seg in another order, with commas")
]


def examples(*lines: str) -> str:
    """Examples below a command's options, kept line by line."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {line}" for line in lines)
