"""The paper's printed results, as data, and how to read them.

The CSV files hold what the paper prints, figure by figure; `ERRATA.md` says where it contradicts itself.
Numbers of our own runs never enter this folder, and no printed number is ever corrected here.
"""

from results.reported.reported import (
    Column,
    PaperModel,
    ReportedRow,
    columns,
    is_underlined,
    paper_model,
    reported_models,
    reported_rows,
    reported_table,
    reported_value,
    tolerance,
)

__all__ = [
    "Column",
    "PaperModel",
    "ReportedRow",
    "columns",
    "is_underlined",
    "paper_model",
    "reported_models",
    "reported_rows",
    "reported_table",
    "reported_value",
    "tolerance",
]
