"""Writes a table as Markdown, CSV, LaTeX or plain text; the same table gives the same bytes.

Nothing is decided here: marks, reasons and footnotes come with the table.
"""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from results.rows import TableRow, rounded
from results.tables import Mark, Table, TableCell, TableColumn, TableLine, beside_words

Columns = Literal["all", "filled"]
"""Every column of the paper, or those with a number of ours."""

CSV_FIELDS = (
    *("table", "column", "header", "task", "dataset", "metric", "unit", "model", "name", "backbone", "paper_model"),
    *("value", "std", "low", "high", "n", "seeds", "mark"),
    *("reported", "reported_mark", "difference", "verdict", "reason"),
    *("synthetic", "profile", "settings_hash", "data_hash", "split_hash"),
)
"""Columns of the long form: one line per row and column of the table."""

_EMPTY = "No number of ours stands in this table yet."
_TEXT_WIDTH = 150
_TEXT_MARKS: dict[Mark, str] = {"": "", "best": "*", "second": "+"}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "†": r"$^{\dagger}$",
        "\n": " ",
    }
)
_MARKDOWN = str.maketrans({character: f"\\{character}" for character in "\\`*_[]|~#"} | {"<": "&lt;", "\n": " "})


class _Style(NamedTuple):
    marks: dict[Mark, Callable[[str], str]]
    note: Callable[[int], str]
    escape: Callable[[str], str]


_MARKDOWN_STYLE = _Style(
    marks={"": str, "best": "**{}**".format, "second": "<u>{}</u>".format},
    note="<sup>{}</sup>".format,
    escape=lambda text: text.translate(_MARKDOWN),
)
_LATEX_STYLE = _Style(
    marks={"": str, "best": r"\textbf{{{}}}".format, "second": r"\underline{{{}}}".format},
    note=r"\textsuperscript{{{}}}".format,
    escape=lambda text: text.translate(_LATEX),
)


def to_markdown(table: Table, columns: Columns = "all") -> str:
    """GitHub Markdown: best of each group bold, second best underlined, reasons as a numbered list."""
    table = table.filled() if columns == "filled" else table
    style = _MARKDOWN_STYLE
    pieces = [f"**{style.escape(table.title)}**"]
    if table.banner:
        pieces.append(f"> **{style.escape(table.banner)}**")
    if table.columns:
        headers = ["<br>".join(style.escape(text) for text in _headers(column)) for column in table.columns]
        lines = [_piped(["Backbone", "Model", *headers]), _piped(["---", "---", *["---:"] * len(headers)])]
        for backbone, group in _groups(table):
            for place, line in enumerate(group):
                names = [style.escape(backbone) if place == 0 else "", style.escape(line.row.name)]
                lines.append(_piped(names + [_styled(cell, style) for cell in line.cells]))
        pieces.append("\n".join(lines))
    else:
        pieces.append(_EMPTY)
    if table.footnotes:
        pieces.append("\n".join(f"{place}. {style.escape(text)}" for place, text in enumerate(table.footnotes, 1)))
    if intervals := [*_intervals(table)]:
        pieces.append("95 % intervals:\n\n" + "\n".join(f"- {style.escape(text)}" for text in intervals))
    if words := beside_words(table):
        pieces.append("Beside the table:\n\n" + "\n".join(f"- {style.escape(text)}" for text in words))
    pieces.append("\n".join(f"- {style.escape(text)}" for text in table.remarks))
    return "\n\n".join(pieces) + "\n"


def to_csv(table: Table) -> str:
    """Long form with every digit: one line per row and column, see `CSV_FIELDS`.

    What stands beside the table follows, with the same columns and other metrics.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for line in table.lines:
        for column, cell, provenance in zip(table.columns, line.cells, table.provenance, strict=True):
            writer.writerow(_csv_row(table.number, line.row, column, cell, provenance))
    origin = dict(zip((column.column.column for column in table.columns), table.provenance, strict=True))
    for entry in table.beside:
        source = entry.column.column
        row = _csv_row(table.number, entry.row, entry.column, entry.cell, origin[source.column])
        writer.writerow({**row, "metric": entry.metric, "unit": "percent"})
    return stream.getvalue()


def to_latex(table: Table, columns: Columns = "all") -> str:
    r"""A `table*` that needs the packages booktabs and multirow; \textbf for best, \underline for second best."""
    table = table.filled() if columns == "filled" else table
    style = _LATEX_STYLE
    # LaTeX numbers tables itself, so the paper's number moves behind the words.
    place, _, words = table.title.partition(": ")
    caption = style.escape(f"{words} ({place} of the paper)" if words else place) + (
        rf". \textbf{{{style.escape(table.banner)}}}" if table.banner else ""
    )
    head = ["% needs \\usepackage{booktabs,multirow}", r"\begin{table*}", r"\centering", r"\scriptsize"]
    head += [r"\setlength{\tabcolsep}{3pt}", rf"\caption{{{caption}}}"]
    body = [*_latex_tabular(table, style)] if table.columns else [_EMPTY]
    notes = [rf"\par {style.note(place)} {style.escape(text)}" for place, text in enumerate(table.footnotes, 1)] + [
        rf"\par {style.escape(text)}" for text in (*beside_words(table), *table.remarks)
    ]
    return "\n".join([*head, *body, r"\par\medskip\raggedright", *notes, r"\end{table*}"]) + "\n"


def to_text(table: Table, columns: Columns = "filled") -> str:
    """Plain text in columns of one width per column; `*` best and `+` second best of its group."""
    table = table.filled() if columns == "filled" else table
    pieces = [table.title, *([table.banner] if table.banner else []), ""]
    counts = {len(cell.seeds) for line in table.lines for cell in line.cells if cell.std is not None}
    if table.columns:
        pieces += _text_grids(table, show_counts=len(counts) > 1)
    else:
        pieces.append(_EMPTY)
    remarks = [*beside_words(table), *table.remarks, "* best, + second best of its group, as printed."]
    if len(counts) == 1:
        remarks.append(f"± is over {counts.pop()} seeds.")
    notes = [f"{_superscript(place)} {text}" for place, text in enumerate(table.footnotes, 1)]
    for text in ["", *notes, *remarks]:
        pieces.append(textwrap.fill(" ".join(text.split()), _TEXT_WIDTH, subsequent_indent="  "))
    return "\n".join(piece.rstrip() for piece in "\n".join(pieces).split("\n")) + "\n"


def _intervals(table: Table) -> Iterator[str]:
    """One line per model with the interval of each of its numbers: a table holds no more than the numbers."""
    for line in table.lines:
        found = [
            f"{' '.join(column.headers[-2:])} {rounded(cell.low)} to {rounded(cell.high)}"
            for column, cell in zip(table.columns, line.cells, strict=True)
            if cell.low is not None and cell.high is not None
        ]
        if found:
            yield f"{line.row.name} ({line.row.backbone}): {'; '.join(found)}"


def _headers(column: TableColumn) -> tuple[str, ...]:
    """The headers with the mark of synthetic data on the innermost."""
    return (*column.headers[:-1], column.headers[-1] + ("†" if column.synthetic else ""))


def _groups(table: Table) -> Iterator[tuple[str, list[TableLine]]]:
    for backbone, lines in groupby(table.lines, key=lambda line: line.row.backbone):
        yield backbone, list(lines)


def _styled(cell: TableCell, style: _Style) -> str:
    if cell.value is None:
        text = "-"
    else:
        text = style.marks[cell.mark](str(rounded(cell.value)))
        if cell.std is not None:
            text += style.escape(f" ± {rounded(cell.std)} ({len(cell.seeds)})")
    if cell.note is not None:
        text += style.note(cell.note)
    if cell.reported is not None:
        text += f" [{style.marks[cell.reported_mark](str(cell.reported))}]"
    return text


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _csv_row(
    number: int, row: TableRow, column: TableColumn, cell: TableCell, provenance: tuple[str, str, str, str]
) -> dict[str, object]:
    source = column.column
    ran = cell.value is not None or cell.n > 0
    profile, settings_hash, data_hash, split_hash = provenance if ran else ("", "", "", "")
    return {
        "table": number,
        "column": source.column,
        "header": source.paper_header,
        "task": source.task_id,
        "dataset": source.dataset_id,
        "metric": source.metric_id,
        "unit": source.unit,
        "model": row.model,
        "name": row.name,
        "backbone": row.backbone,
        "paper_model": row.paper_model or "",
        **{field: _number(getattr(cell, field)) for field in ("value", "std", "low", "high", "difference")},
        "n": cell.n or "",
        "seeds": ";".join(str(seed) for seed in cell.seeds),
        "mark": cell.mark,
        "reported": "" if cell.reported is None else str(cell.reported),
        "reported_mark": cell.reported_mark,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "synthetic": ("yes" if column.synthetic else "no") if ran else "",
        "profile": profile,
        "settings_hash": settings_hash,
        "data_hash": data_hash,
        "split_hash": split_hash,
    }


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _runs(columns: Sequence[TableColumn], level: int) -> list[tuple[str, int]]:
    """Neighbours under one header of this level, with how many they are."""
    return [
        (prefix[-1], len(list(members)))
        for prefix, members in groupby(columns, key=lambda column: _headers(column)[: level + 1])
    ]


def _latex_tabular(table: Table, style: _Style) -> Iterator[str]:
    depth = len(table.columns[0].headers)
    yield rf"\begin{{tabular}}{{ll{'c' * len(table.columns)}}}"
    yield r"\toprule"
    for level in range(depth):
        first = rf"\multirow{{{depth}}}{{*}}{{Backbone}} & \multirow{{{depth}}}{{*}}{{Model}}" if level == 0 else " & "
        if level == depth - 1:
            yield _latex_row([first, *(style.escape(_headers(column)[level]) for column in table.columns)])
            continue
        cells, rules, start = [first], [], 3
        for text, width in _runs(table.columns, level):
            cells.append(rf"\multicolumn{{{width}}}{{c}}{{{style.escape(text)}}}")
            rules.append(rf"\cmidrule(lr){{{start}-{start + width - 1}}}")
            start += width
        yield _latex_row(cells)
        yield " ".join(rules)
    for backbone, lines in _groups(table):
        yield r"\midrule"
        for place, line in enumerate(lines):
            group = rf"\multirow{{{len(lines)}}}{{*}}{{{style.escape(backbone)}}}" if place == 0 else ""
            yield _latex_row([group, style.escape(line.row.name), *(_styled(cell, style) for cell in line.cells)])
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _superscript(number: int) -> str:
    return str(number).translate(_SUPERSCRIPTS)


def _text_column(cells: Sequence[TableCell], show_counts: bool) -> list[str]:
    """The texts of one column, so padded that decimal points stand under each other."""
    values = ["-" if cell.value is None else str(rounded(cell.value)) for cell in cells]
    width = max(len(text) for text in values)
    ours = []
    for value, cell in zip(values, cells, strict=True):
        text = value.rjust(width) + _TEXT_MARKS[cell.mark]
        if cell.std is not None:
            text += f"±{rounded(cell.std)}" + (f"({len(cell.seeds)})" if show_counts else "")
        ours.append(text + (_superscript(cell.note) if cell.note is not None else ""))
    left = max(len(text) for text in ours)
    printed = max((len(str(cell.reported)) for cell in cells if cell.reported is not None), default=0)
    return [
        text
        if cell.reported is None
        else f"{text.ljust(left)} [{str(cell.reported).rjust(printed)}]{_TEXT_MARKS[cell.reported_mark]}"
        for text, cell in zip(ours, cells, strict=True)
    ]


def _text_grids(table: Table, show_counts: bool) -> list[str]:
    """The grid, one task below the other where all of them beside each other would be too wide to read."""
    whole = _text_grid(table, show_counts)
    tasks = [
        [place for place, _ in members]
        for _, members in groupby(enumerate(table.columns), key=lambda entry: entry[1].headers[0])
    ]
    if len(whole[-1]) <= _TEXT_WIDTH or len(tasks) == 1:
        return whole
    pieces = []
    for places in tasks:
        lines = [line._replace(cells=tuple(line.cells[place] for place in places)) for line in table.lines]
        part = table._replace(columns=tuple(table.columns[place] for place in places), lines=tuple(lines))
        pieces += [*_text_grid(part, show_counts), ""]
    return pieces[:-1]


def _text_grid(table: Table, show_counts: bool) -> list[str]:
    texts = [
        _text_column([line.cells[place] for line in table.lines], show_counts) for place in range(len(table.columns))
    ]
    widths = [max(len(text) for text in column) for column in texts]
    depth = len(table.columns[0].headers)
    for level in range(depth):
        start = 0
        for text, span in _runs(table.columns, level):
            lacking = len(text) - (sum(widths[start : start + span]) + 2 * (span - 1))
            widths[start + span - 1] += max(0, lacking)
            start += span
    names = [" ".join(line.row.name.split()) for line in table.lines]
    first = max(len("Model"), *map(len, names)) + 1
    lines = []
    for level in range(depth):
        cells, start = [("Model" if level == depth - 1 else "").ljust(first)], 0
        for text, span in _runs(table.columns, level):
            cells.append(text.ljust(sum(widths[start : start + span]) + 2 * (span - 1)))
            start += span
        lines.append("  ".join(cells))
    rule = "-" * (first + sum(widths) + 2 * len(widths))
    place = 0
    for backbone, group in _groups(table):
        lines.append(f"{backbone} ".ljust(len(rule), "-"))
        for _ in group:
            cells = [f" {names[place]}".ljust(first)]
            cells += [column[place].ljust(width) for column, width in zip(texts, widths, strict=True)]
            lines.append("  ".join(cells))
            place += 1
    return [*lines, rule]
