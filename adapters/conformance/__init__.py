"""Does a model keep what the tasks rely on? A suite of checks, and a report that the model's author can act on.

`check_model` loads a model by its card, tries it on tiny random data and says for each promise of the interface
whether it holds: what was expected, what was seen, what to change. It knows no task; `harness models check` adds those.
Importing this package does not import torch.
"""

from adapters.conformance.report import Finding, Report
from adapters.conformance.suite import check_model

__all__ = ["Finding", "Report", "check_model"]
