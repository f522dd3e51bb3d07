"""The tracking stack: MLflow, its database and its artifact store, under the same names on every platform."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from winnow.config.errors import WinnowError

MLFLOW, POSTGRES, MINIO = "mlflow", "postgres", "minio"
"""Names of its services."""

LOG_LINES = 15
"""How many lines of a service's log an error shows."""

ChoosePort: TypeAlias = Callable[[], int]
"""Picks a port of this machine to listen on; 0 stands for any free one. Called only where a port is needed."""


def any_port() -> int:
    """Leave the choice to the system."""
    return 0


class StackError(WinnowError):
    """The stack was started and did not become what it should, although nothing was wrong with the request."""
