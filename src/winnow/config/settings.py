"""Where winnow keeps things, read once from the environment.

Only places and addresses are settings: nothing here changes what is computed, which the experiment file alone decides.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from winnow.config.errors import InputError

DATABASES = ("sqlite", "postgresql")
"""What studies can be kept in: a claim needs a database's own clock and transactions, which differ between them."""


@dataclass(frozen=True)
class Variable:
    """The environment variable behind a setting, for the reference that is made from these types."""

    name: str
    default: str
    description: str


@dataclass(frozen=True)
class Settings:
    """Absolute places and addresses; nothing is created or contacted by making one."""

    home: Annotated[
        Path,
        Variable("WINNOW_HOME", "`.winnow`", "Folder for everything that winnow keeps: studies, runs, models, logs."),
    ]
    tracking_uri: Annotated[
        str,
        Variable(
            "MLFLOW_TRACKING_URI", "`sqlite:///HOME/mlflow.db`", "MLflow's tracking store: a database or a server."
        ),
    ]
    storage_url: Annotated[
        str, Variable("WINNOW_STORAGE", "`sqlite:///HOME/studies.db`", "SQLAlchemy URL of the studies' database.")
    ]
    worker_tracking_uri: Annotated[
        str,
        Variable(
            "WINNOW_WORKER_TRACKING_URI",
            "`MLFLOW_TRACKING_URI`",
            "MLflow's address as workers in containers and pods reach it, where it differs from this terminal's.",
        ),
    ]
    worker_storage_url: Annotated[
        str,
        Variable("WINNOW_WORKER_STORAGE", "`WINNOW_STORAGE`", "The studies' database as workers elsewhere reach it."),
    ]
    network: str | None = None
    """The Docker network on which workers reach the stack; None: Docker's own."""

    @property
    def artifact_root(self) -> Path:
        """Where MLflow puts files when the tracking store is a database of ours."""
        return self.home / "artifacts"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; an empty variable counts as one that is not set.

        Raises:
            InputError: the home is no folder or cannot stand in a database URL, or `WINNOW_STORAGE` is no URL of
                a database that studies can be kept in.
        """
        home = Path(env.get("WINNOW_HOME") or ".winnow").expanduser().absolute()
        if any(character in str(home) for character in "?#%"):
            raise InputError(
                "WINNOW_HOME",
                expected="a path without '?', '#' and '%', which mean something else in a database URL",
                found=f"'{home}'",
                remedy="Set WINNOW_HOME to another folder.",
            )
        file = next((place for place in (home, *home.parents) if place.is_file()), None)
        if file is not None:
            raise InputError(
                "WINNOW_HOME",
                expected="a folder, or a path where one can be made",
                found=f"'{home}', {'which' if file == home else f'where {file}'} is a file",
                remedy="Set WINNOW_HOME to another folder.",
            )
        storage_url = env.get("WINNOW_STORAGE") or f"sqlite:///{home}/studies.db"
        scheme, separator, _ = storage_url.partition("://")
        if not separator or scheme.partition("+")[0] not in DATABASES:
            raise InputError(
                "WINNOW_STORAGE",
                expected=f"a database URL that begins with {' or '.join(f'{name}://' for name in DATABASES)}",
                found=f"'{storage_url}'",
                remedy="Correct it, or unset it to use a file below WINNOW_HOME.",
            )
        tracking_uri = env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home}/mlflow.db"
        return cls(
            home=home,
            tracking_uri=tracking_uri,
            storage_url=storage_url,
            worker_tracking_uri=env.get("WINNOW_WORKER_TRACKING_URI") or tracking_uri,
            worker_storage_url=env.get("WINNOW_WORKER_STORAGE") or storage_url,
        )
