"""Airflow beside a project: what its three forms share, and what a platform offers for it.

The forms are processes of this machine (`winnow.orchestrators.airflow`), containers on Docker, and manifests for
Kubernetes. All read airflow/config/airflow.cfg; here are folders and secrets, which Airflow takes from variables.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

from winnow.config.atomic_write import replace_text
from winnow.config.env_file import read_variables
from winnow.platforms.images import Show, silent
from winnow.platforms.stack import Plan, StackEnd, StackLogs

CONFIG, DAGS, PLUGINS = Path("airflow/config/airflow.cfg"), Path("airflow/dags"), Path("airflow/plugins")
"""Airflow's settings, a project's DAGs, and winnow's operators, in a clone of winnow."""
USER, PASSWORD, DATABASE_PASSWORD = "admin", "AIRFLOW_ADMIN_PASSWORD", "AIRFLOW_DB_PASSWORD"
SERVICES = ("api-server", "scheduler", "dag-processor", "triggerer")
"""Airflow's parts, which are its subcommands, too."""
SECRETS: Mapping[str, Callable[[], str]] = {
    # What Airflow encrypts connections with: 32 bytes (https://github.com/fernet/spec).
    "AIRFLOW__CORE__FERNET_KEY": lambda: base64.urlsafe_b64encode(os.urandom(32)).decode(),
    # All parts sign and check with the same two.
    "AIRFLOW__API_AUTH__JWT_SECRET": lambda: secrets.token_urlsafe(48),
    "AIRFLOW__API__SECRET_KEY": lambda: secrets.token_urlsafe(48),
    DATABASE_PASSWORD: lambda: secrets.token_urlsafe(24),
    PASSWORD: lambda: secrets.token_urlsafe(12),
}
"""How each secret is made, by the variable that holds it."""


@dataclass(frozen=True)
class AirflowRequest:
    """The port of this machine for page and REST API, and how many tasks run at once; deferred ones do not count."""

    port: int = 8080
    parallelism: int = 2


def secrets_file(home: Path, platform: str) -> Path:
    """The private file with the secrets of the Airflow of a home on a platform."""
    return home.absolute() / "airflow" / platform / "secrets.env"


def known_secrets(file: Path) -> dict[str, str]:
    """The secrets in a file, and new ones for those that it lacks."""
    found = read_variables(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {name: found.get(name) or make() for name, make in SECRETS.items()}


def keep_secrets(file: Path, values: Mapping[str, str]) -> None:
    """Write secrets for `known_secrets`, readable by this user alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_text(file, "".join(f"{name}={value}\n" for name, value in values.items()), mode=0o600)


def connection(project: PurePath, winnow: str) -> dict[str, str]:
    """The variable by which tasks find the command `winnow` and the project's folder: a connection of Airflow's."""
    extra = {"project": str(project), "winnow": winnow}
    return {"AIRFLOW_CONN_WINNOW_DEFAULT": json.dumps({"conn_type": "generic", "extra": extra})}


class AirflowStack(Protocol):
    """The Airflow of a platform, started or not. Making one contacts nothing.

    Every method raises InputError where the platform refuses, is not there, or leaves it to another program.
    """

    def plan(self, request: AirflowRequest, *, is_dry_run: bool = False) -> Plan:
        """Plan a start as `Stack.plan` does."""

    def start(self, plan: Any, timeout_s: float, show: Show = silent) -> None:
        """Build its image, start it, and wait until its services are healthy; harmless where they are already.

        Raises:
            BuildFailedError: the image was not built.
            StackError: a service does not become healthy.
        """

    def plan_end(self, *, volumes: bool) -> StackEnd:
        """Plan a removal, with `volumes` also of its data and its secrets; nothing is changed."""

    def end(self, *, volumes: bool) -> None:
        """Remove it. Raises StackError where that fails."""

    def logs(self, service: str | None, lines: int, *, follow: bool) -> StackLogs:
        """The last lines of one service or all. Raises InputError where there is no such service."""
