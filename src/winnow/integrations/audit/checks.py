"""What an audit looks at, and what it says of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class CheckState(Enum):
    """How a check ended."""

    CLEAN = "clean"
    FINDINGS = "findings"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Check:
    """One check of an audit.

    Attributes:
        name: what was checked, and by what.
        state: how it ended.
        says: the result in a sentence, or why it did not run.
        findings: what was found, one a line.
        file: the report, in the audit's folder; None if there is none.
    """

    name: str
    state: CheckState
    says: str
    findings: tuple[str, ...] = ()
    file: Path | None = None


@dataclass(frozen=True)
class Audit:
    """The checks of an audit.

    Attributes:
        folder: the folder with the reports.
        checks: in the order in which they ran.
        is_strict: whether a check that did not run counts as a failure.
    """

    folder: Path
    checks: tuple[Check, ...]
    is_strict: bool

    @property
    def is_passed(self) -> bool:
        """Whether no check found anything, and, of a strict audit, whether all ran."""
        failing = {CheckState.FINDINGS, *([CheckState.NOT_RUN] if self.is_strict else [])}
        return not any(each.state in failing for each in self.checks)
