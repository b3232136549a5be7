"""What the checks of a model found, for people and as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from foundation.errors import CheckError

State = Literal["ok", "failed", "skipped", "measured"]


class Unmet(Exception):  # noqa: N818 (not an error of this program: a check that did not hold)
    """Raised by a check that does not hold."""

    def __init__(self, *, expected: str, seen: str, change: str) -> None:
        super().__init__(seen)
        self.expected = expected
        self.seen = seen
        self.change = change


class NotApplicable(Exception):  # noqa: N818 (as above)
    """Raised by a check that says nothing about this model; its text is the reason."""


class Finding(NamedTuple):
    """One check and what came of it."""

    name: str
    state: State
    expected: str
    seen: str
    change: str = ""
    """What the author should do; empty unless the check failed."""

    def lines(self) -> list[str]:
        """For people: one line, or four where something is to be done."""
        if self.state != "failed":
            return [f"{self.state:9}{self.name}: {self.seen}"]
        return [
            f"{'FAILED':9}{self.name}",
            f"{'':9}  expected: {self.expected}",
            f"{'':9}  seen:     {self.seen}",
            f"{'':9}  change:   {self.change}",
        ]


@dataclass
class Report:
    """All findings about one model."""

    model: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def failed(self) -> list[Finding]:
        """The checks that did not hold."""
        return [finding for finding in self.findings if finding.state == "failed"]

    def lines(self) -> list[str]:
        """For people."""
        counts = {state: sum(one.state == state for one in self.findings) for state in ("ok", "failed", "skipped")}
        text = [line for finding in self.findings for line in finding.lines()]
        return [*text, f"{self.model}: {counts['ok']} ok, {counts['failed']} failed, {counts['skipped']} skipped"]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        findings = [finding._asdict() for finding in self.findings]
        return {"model": self.model, "passed": not self.failed, "findings": findings}

    def require_passed(self) -> None:
        """Raises with the findings when a check failed: for the tests of a package."""
        if self.failed:
            first = self.failed[0]
            raise CheckError(
                "\n".join([f"{len(self.failed)} checks of {self.model} failed", *self.lines()]),
                where=f"{self.model}, {first.name}",
                way_out=first.change,
            )
