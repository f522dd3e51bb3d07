"""Where winnow keeps things, read once from the environment.

Only places and addresses are settings. What is computed depends on the experiment file alone. An address that is not
set is the stack's if `mlflow-init` created one (`winnow.config.stack_record`), else a file in WINNOW_HOME.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

from winnow.config.addresses import without_password
from winnow.config.disk import home_of
from winnow.config.errors import InputError
from winnow.config.stack_record import AnyStack, read_stack

DATABASES = ("sqlite", "postgresql")
"""Databases that can hold studies: a claim uses the database's own clock and transactions, which differ."""


@dataclass(frozen=True)
class Variable:
    """An environment variable, as the documents show it.

    Attributes:
        name: the variable's name.
        default: its default, as text for the user; empty for none.
        description: what it sets.
    """

    name: str
    default: str
    description: str


@dataclass(frozen=True, repr=False)
class Settings:
    """Absolute paths and addresses. Creating one creates and contacts nothing; its repr has no passwords."""

    home: Annotated[
        Path,
        Variable("WINNOW_HOME", "`.winnow`", "Folder for everything that winnow stores: studies, runs, models, logs."),
    ]
    tracking_uri: Annotated[
        str,
        Variable(
            "MLFLOW_TRACKING_URI", "`sqlite:///HOME/mlflow.db`", "MLflow's tracking store: a database or a server."
        ),
    ]
    storage_url: Annotated[
        str, Variable("WINNOW_STORAGE", "`sqlite:///HOME/studies.db`", "SQLAlchemy URL of the study database.")
    ]
    worker_tracking_uri: Annotated[
        str,
        Variable(
            "WINNOW_WORKER_TRACKING_URI",
            "`MLFLOW_TRACKING_URI`",
            "MLflow's address for workers in containers and pods, if it differs from this terminal's.",
        ),
    ]
    worker_storage_url: Annotated[
        str,
        Variable("WINNOW_WORKER_STORAGE", "`WINNOW_STORAGE`", "The study database's URL for those workers."),
    ]
    network: Annotated[
        str | None,
        Variable("WINNOW_NETWORK", "the stack's, else Docker's default", "Docker network that worker containers join."),
    ] = None
    stack: AnyStack | None = None
    """The stack that `mlflow-init` created, even if the addresses above are not its own."""

    @property
    def artifact_root(self) -> Path:
        """Where MLflow stores files if the tracking store is a database in the home."""
        return self.home / "artifacts"

    @property
    def store(self) -> str | None:
        """Where runs and studies are stored, for messages; None without a stack."""
        if self.stack is None:
            return None
        stack = self.stack.shown
        runs = self.tracking_uri == self.stack.tracking_url
        try:
            studies = self.storage_url == self.stack.storage()[0]
        except InputError:  # the stack's secrets are gone
            studies = False
        if runs and studies:
            return f"{stack} (`{self.stack.ending}` ends it)"
        elsewhere = without_password(self.tracking_uri), without_password(self.storage_url)
        return f"runs in {stack if runs else elsewhere[0]}, studies in {stack if studies else elsewhere[1]}"

    def __repr__(self) -> str:
        values = ((field.name, getattr(self, field.name)) for field in fields(self))
        shown = (f"{name}={without_password(value) if isinstance(value, str) else value!r}" for name, value in values)
        return f"Settings({', '.join(shown)})"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings. A variable overrides the stack; an empty variable counts as not set.

        The addresses of a stack on a cluster are those inside it, without a password: `orchestrators.settings` forwards
        them to this machine.

        Raises:
            InputError: the home is not a folder or cannot be part of a database URL, `WINNOW_STORAGE` is not the URL of
                a database that can hold studies, or the stack's secrets are gone.
        """
        home = home_folder(env)
        stack = read_stack(home)
        tracking_uri, worker_tracking_uri = f"sqlite:///{home}/mlflow.db", None
        storage_url, worker_storage_url = f"sqlite:///{home}/studies.db", None
        given = env.get("MLFLOW_TRACKING_URI", "")
        # The variable may be set to the stack's address for the `mlflow` command.
        if stack is not None and given.rstrip("/") in ("", stack.tracking_url):
            tracking_uri, worker_tracking_uri = stack.tracking_url, stack.worker_tracking_url
        elif given:
            tracking_uri = given
        if env.get("WINNOW_STORAGE"):
            storage_url = env["WINNOW_STORAGE"]
        elif stack is not None:
            storage_url, worker_storage_url = stack.storage()
        scheme, separator, _ = storage_url.partition("://")
        if not separator or scheme.partition("+")[0] not in DATABASES:
            raise InputError(
                "WINNOW_STORAGE",
                expected=f"a database URL that begins with {' or '.join(f'{name}://' for name in DATABASES)}",
                found=f"'{without_password(storage_url)}'",
                remedy="Correct it, or unset it to use a file in WINNOW_HOME.",
            )
        return cls(
            home=home,
            tracking_uri=tracking_uri,
            storage_url=storage_url,
            worker_tracking_uri=env.get("WINNOW_WORKER_TRACKING_URI") or worker_tracking_uri or tracking_uri,
            worker_storage_url=env.get("WINNOW_WORKER_STORAGE") or worker_storage_url or storage_url,
            network=env.get("WINNOW_NETWORK") or (None if stack is None else stack.network),
            stack=stack,
        )


def home_folder(env: Mapping[str, str]) -> Path:
    """The absolute path of WINNOW_HOME, which need not exist.

    Raises:
        InputError: it is not a folder, or cannot be part of a database URL.
    """
    home = home_of(env)
    if any(character in str(home) for character in "?#%"):
        raise InputError(
            "WINNOW_HOME",
            expected="a path without '?', '#' and '%', which have a meaning in a database URL",
            found=f"'{home}'",
            remedy="Set WINNOW_HOME to another folder.",
        )
    file = next((place for place in (home, *home.parents) if place.is_file()), None)
    if file is not None:
        raise InputError(
            "WINNOW_HOME",
            expected="a folder, or a path where one can be created",
            found=f"'{home}', {'which' if file == home else f'where {file}'} is a file",
            remedy="Set WINNOW_HOME to another folder.",
        )
    return home
