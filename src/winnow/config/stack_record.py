"""The stack that `mlflow-init` started, as every later command finds it: `HOME/stack.json`.

The file holds addresses and no secret: the study database's password stays in the environment file that it names, or
in the cluster's Secret. `mlflow-init` writes it and `mlflow-remove` deletes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeAlias

from winnow.config.addresses import with_password
from winnow.config.atomic_write import replace_text
from winnow.config.env_file import read_variables
from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag

FILE = "stack.json"
PASSWORD = "WINNOW_DB_PASSWORD"
OWN_STORAGE, OWN_WORKER_STORAGE = "WINNOW_STORAGE", "WINNOW_WORKER_STORAGE"


@dataclass(frozen=True)
class StackRecord:
    """A stack on a Docker engine.

    `storage_url` and `worker_storage_url` are None where studies are kept in another database, whose address is
    `WINNOW_STORAGE` in the environment file.
    """

    project: str
    network: str
    compose_file: str
    env_file: str
    tracking_url: str
    worker_tracking_url: str
    storage_url: str | None = None
    worker_storage_url: str | None = None

    @property
    def platform(self) -> str:
        """The platform that it runs on."""
        return "docker"

    @property
    def shown(self) -> str:
        """The stack as messages name it."""
        return f"the stack at {self.tracking_url}"

    @property
    def reachable_from(self) -> str:
        """Whose its names are, as messages about workers elsewhere say it."""
        return "those of a Docker network"

    @property
    def ending(self) -> str:
        """The command that ends its use."""
        return next_command("mlflow-remove")

    def storage(self) -> tuple[str, str]:
        """The studies' database as this terminal and as workers elsewhere reach it, password included.

        Raises:
            InputError: the environment file is missing, or lacks a variable.
        """
        variables = self._variables()
        if self.storage_url is None or self.worker_storage_url is None:
            own = self._from(variables, OWN_STORAGE)
            return own, variables.get(OWN_WORKER_STORAGE) or own
        password = self._from(variables, PASSWORD)
        return with_password(self.storage_url, password), with_password(self.worker_storage_url, password)

    def _variables(self) -> dict[str, str]:
        try:
            return read_variables(Path(self.env_file).read_text(encoding="utf-8"))
        except OSError as error:
            raise self._unopenable(error.strerror or str(error)) from error

    def _from(self, variables: dict[str, str], name: str) -> str:
        if not variables.get(name):
            raise self._unopenable(f"a file without {name}")
        return variables[name]

    def _unopenable(self, found: str) -> InputError:
        return InputError(
            self.env_file,
            expected=f"the secrets of {self.shown}",
            found=found,
            remedy=f"Bring the file back, or end the stack with `{self.ending}` "
            f"({next_flag('volumes', True)} deletes its data too).",
        )


@dataclass(frozen=True)
class ClusterStackRecord:
    """A stack on a Kubernetes cluster: where it is, and its addresses inside, which no terminal can reach.

    Attributes:
        context: what kubeconfig calls the cluster.
        storage_url: the studies' database, without a password.
        is_own_storage: studies are kept in another database, whose address is in the Secret.
        identity: tells the cluster from another of the same name; empty in records of older versions.
    """

    context: str
    namespace: str
    tracking_url: str
    storage_url: str
    is_own_storage: bool = False
    identity: str = ""

    @property
    def platform(self) -> str:
        """The platform that it runs on."""
        return _CLUSTER

    @property
    def shown(self) -> str:
        """The stack as messages name it."""
        return f"the stack in namespace {self.namespace} of the cluster {self.context}"

    @property
    def reachable_from(self) -> str:
        """Whose its names are, as messages about workers elsewhere say it."""
        return "those of the cluster, which its own pods reach"

    @property
    def ending(self) -> str:
        """The command that ends its use."""
        return next_command("mlflow-remove", platform="kubernetes")

    @property
    def network(self) -> None:
        """None: it has no Docker network."""
        return None

    @property
    def worker_tracking_url(self) -> str:
        """MLflow's address as workers reach it."""
        return self.tracking_url

    @property
    def worker_storage_url(self) -> str:
        """The studies' database as workers reach it, without a password."""
        return self.storage_url

    def storage(self) -> tuple[str, str]:
        """As `StackRecord.storage`, but without a password, and the address inside the cluster twice."""
        return self.storage_url, self.storage_url


AnyStack: TypeAlias = StackRecord | ClusterStackRecord


def read_stack(home: Path) -> AnyStack | None:
    """The stack in use, or None; it is not contacted.

    Raises:
        InputError: the record cannot be read.
    """
    path = home / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    try:
        found = json.loads(text)
        kind = ClusterStackRecord if found.get("kind") == _CLUSTER else StackRecord
        names = {field.name for field in fields(kind)}
        return kind(**{name: value for name, value in found.items() if name in names})
    except (ValueError, TypeError, AttributeError) as error:
        raise _unreadable(path, f"'{text[:40]}'") from error


def keep_stack(home: Path, record: AnyStack) -> None:
    """Let every later verb use this stack."""
    replace_text(home / FILE, render(record))


def forget_stack(home: Path, is_meant: Callable[[AnyStack], bool]) -> None:
    """Let later verbs use files again; harmless where another stack, or none, is in use.

    Args:
        is_meant: whether a record is the removed stack's. A record that cannot be read is deleted without asking.
    """
    path = home / FILE
    try:
        record = read_stack(home)
    except InputError:
        path.unlink(missing_ok=True)
        return
    if record is not None and is_meant(record):
        path.unlink()


def render(record: AnyStack) -> str:
    """The record as the file's text."""
    kind = {"kind": _CLUSTER} if isinstance(record, ClusterStackRecord) else {}
    return json.dumps({**kind, **asdict(record)}, indent=2) + "\n"


_CLUSTER = "kubernetes"
"""The value of `kind` in the record of a stack on a cluster; that of a stack on Docker has no `kind`."""


def _unreadable(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        expected="the record of a stack, as `mlflow-init` writes it",
        found=found,
        remedy=f"Run `{next_command('mlflow-init')}` again, or remove the file to keep everything in files.",
    )
