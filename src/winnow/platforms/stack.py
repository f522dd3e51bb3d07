"""The tracking stack: MLflow, its database and its artifact store, under the same names on every platform."""

from __future__ import annotations

from winnow.config.errors import WinnowError

MLFLOW, POSTGRES, MINIO = "mlflow", "postgres", "minio"
"""Names of its services."""

LOG_LINES = 15
"""How many lines of a service's log an error shows."""


class StackError(WinnowError):
    """The stack was started and did not become what it should, although nothing was wrong with the request."""
