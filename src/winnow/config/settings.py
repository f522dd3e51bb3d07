"""Where winnow keeps things, read once from the environment.

Only places and addresses are settings: nothing here changes what is computed, which the experiment file alone decides.
What is not set is the stack's, where `mlflow-init` has made one (`winnow.config.stack_record`), else a file below the
home.
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
"""What studies can be kept in: a claim needs a database's own clock and transactions, which differ between them."""


@dataclass(frozen=True)
class Variable:
    """An environment variable.

    Attributes:
        name: the variable's name.
        default: what holds where it is not set, for a person; empty for nothing.
        description: what it sets.
    """

    name: str
    default: str
    description: str


@dataclass(frozen=True, repr=False)
class Settings:
    """Absolute places and addresses; nothing is created or contacted by making one. Shown without passwords."""

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
    network: Annotated[
        str | None,
        Variable("WINNOW_NETWORK", "the stack's, else Docker's own", "Docker network that worker containers join."),
    ] = None
    stack: AnyStack | None = None
    """The stack that `mlflow-init` has made, whether or not the addresses above are its own."""

    @property
    def artifact_root(self) -> Path:
        """Where MLflow puts files when the tracking store is a database of ours."""
        return self.home / "artifacts"

    @property
    def store(self) -> str | None:
        """What a verb says of where runs and studies are kept; None where that is the files below the home."""
        if self.stack is None:
            return None
        stack = self.stack.shown
        runs = self.tracking_uri == self.stack.tracking_url
        studies = self.storage_url == _storage_of(self.stack)
        if runs and studies:
            return f"{stack} (`{self.stack.ending}` ends it)"
        elsewhere = without_password(self.tracking_uri), without_password(self.storage_url)
        return f"runs in {stack if runs else elsewhere[0]}, studies in {stack if studies else elsewhere[1]}"

    def __repr__(self) -> str:
        shown = (f"{field.name}={_shown(getattr(self, field.name))!r}" for field in fields(self))
        return f"Settings({', '.join(shown)})"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings; an empty variable counts as one that is not set. A variable wins over the stack.

        The addresses of a stack on a cluster are those inside it, without a password: `orchestrators.settings` has
        them answer here.

        Raises:
            InputError: the home is no folder or cannot stand in a database URL, `WINNOW_STORAGE` is no URL of a
                database that studies can be kept in, or the stack's secrets are gone.
        """
        home = home_folder(env)
        stack = read_stack(home)
        tracking_uri, worker_tracking_uri = f"sqlite:///{home}/mlflow.db", None
        storage_url, worker_storage_url = f"sqlite:///{home}/studies.db", None
        given = env.get("MLFLOW_TRACKING_URI", "")
        # Set to the stack's own address, as `mlflow` itself needs it, it still is the stack that is meant.
        if stack is not None and given.rstrip("/") in ("", stack.tracking_url):
            tracking_uri, worker_tracking_uri = stack.tracking_url, stack.worker_tracking_url
        elif given:
            tracking_uri = given
        if env.get("WINNOW_STORAGE"):
            storage_url = env["WINNOW_STORAGE"]
        elif stack is not None:
            storage_url, worker_storage_url = stack.storage()
        _check_storage(storage_url)
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
    """The folder for everything that winnow keeps, absolute; it need not exist.

    Raises:
        InputError: it is no folder, or cannot stand in a database URL.
    """
    home = home_of(env)
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
    return home


def _check_storage(url: str) -> None:
    scheme, separator, _ = url.partition("://")
    if not separator or scheme.partition("+")[0] not in DATABASES:
        raise InputError(
            "WINNOW_STORAGE",
            expected=f"a database URL that begins with {' or '.join(f'{name}://' for name in DATABASES)}",
            found=f"'{without_password(url)}'",
            remedy="Correct it, or unset it to use a file below WINNOW_HOME.",
        )


def _storage_of(stack: AnyStack) -> str | None:
    """The database of the stack's studies; None where its secrets are gone, and with them its address."""
    try:
        return stack.storage()[0]
    except InputError:
        return None


def _shown(value: object) -> object:
    return without_password(value) if isinstance(value, str) else value
