"""Links from a task's page to what its verb has made: the study's report, its runs in MLflow, the deployment.

Airflow asks for them in the task's own process, at its end, and keeps the answers. Its page shows web addresses alone:
no link where the report is a file of this machine, or the runs are in one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

_PATTERNS = {
    "Report": re.compile(r"https?://\S+?\.html"),
    "MLflow runs": re.compile(r"https?://\S+?/#/experiments/\S+"),
    "Deployment": re.compile(r"https?://[^\s\"']+(?=/predict)"),
}


@attrs.define()
class VerbLink(BaseOperatorLink):
    """One of the addresses that a verb has printed."""

    label: str = "Report"

    @property
    def name(self) -> str:
        """What the button says."""
        return self.label

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the address."""
        return f"winnow_link_{self.label.lower().replace(' ', '_')}"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address; empty where the verb has printed none."""
        del ti_key
        return str(getattr(operator, "links", {}).get(self.label, ""))


LINKS = tuple(VerbLink(label) for label in _PATTERNS)


def links_in(printed: str) -> dict[str, str]:
    """The addresses in what a verb has printed, by the names of their links."""
    return {label: match[0] for label, pattern in _PATTERNS.items() if (match := pattern.search(printed))}
