"""Start Feast's feature server on the repository that an experiment's features come from."""

from __future__ import annotations

import tempfile
from pathlib import Path

from winnow.config.experiment import DataConfig
from winnow.config.tools import tool_python
from winnow.orchestrators.feast_source import address, asked_feast


def feature_server(data: DataConfig, home: Path, host: str, port: int) -> list[str]:
    """The command that serves the online store, after a check that `feast apply` has registered the service.

    Raises:
        InputError: the source is none of Feast, is not applied, or Feast is not installed.
    """
    repository, service = address(data)
    python = tool_python("feast", home, "feature-server")
    with tempfile.TemporaryDirectory(prefix="winnow-feast-") as folder:
        asked_feast(python, Path(folder), repository, service)
    feast = [str(python.with_name("feast")), "--chdir", str(repository)]
    return [*feast, "serve", "--host", host, "--port", str(port), "--no-access-log"]
