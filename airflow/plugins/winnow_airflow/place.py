"""Where winnow is: the connection `winnow_default`, or another of its form.

AIRFLOW_CONN_WINNOW_DEFAULT='{"conn_type": "generic", "extra": {"project": "/srv/churn", "winnow": "winnow"}}'
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

DEFAULT = "winnow_default"


class PlaceError(AirflowException):
    """The connection is missing, or says nothing usable."""


@dataclass(frozen=True)
class Place:
    """What a connection says.

    Attributes:
        project: the folder in which verbs run: that of the experiment files.
        winnow: winnow's command.
        env: variables for winnow besides those of Airflow's process.
    """

    project: Path
    winnow: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Winnow's own folder."""
        named = self.environment().get("WINNOW_HOME")
        return self.project / (named or ".winnow")

    def environment(self) -> dict[str, str]:
        """The whole environment of a verb. Airflow's interpreter is not winnow's."""
        own = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        return {**own, **self.env}


def place_of(connection: str) -> Place:
    """What a connection says.

    Raises:
        PlaceError: there is no such connection, its project is no folder, or winnow's command is not there.
    """
    try:
        extra: dict[str, Any] = BaseHook.get_connection(connection).extra_dejson
    except Exception as error:  # AirflowNotFoundException, and what secrets back-ends raise
        raise PlaceError(
            f"connection {connection!r}: expected where winnow is, found no such connection. Make it: airflow "
            f"connections add {connection} --conn-type generic --conn-extra "
            '\'{"project": "/path/of/experiments", "winnow": "/path/of/.venv/bin/winnow"}\''
        ) from error
    project, command = Path(str(extra.get("project", ""))), str(extra.get("winnow", "winnow"))
    if not extra.get("project") or not project.is_dir():
        raise PlaceError(
            f"connection {connection!r}: expected `project` in its extra to be the folder of the experiment files, "
            f"found {extra.get('project', 'nothing')!r} on this machine."
        )
    if shutil.which(command) is None:
        raise PlaceError(
            f"connection {connection!r}: expected `winnow` in its extra to be winnow's command, found {command!r}, "
            "which this machine does not have."
        )
    return Place(project, command, {str(name): str(value) for name, value in extra.get("env", {}).items()})
