"""The stack in use: `HOME/stack.json`, which `mlflow-init` writes and `mlflow-remove` deletes.

The file holds addresses but no secrets: the password of the study database stays in the environment file that it names,
or in the cluster's Secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import ClassVar, TypeAlias

from winnow.config.addresses import with_password
from winnow.config.atomic_write import replace_text
from winnow.config.env_file import read_variables
from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag

FILE = "stack.json"
PASSWORD = "WINNOW_DB_PASSWORD"
OWN_STORAGE, OWN_WORKER_STORAGE = "WINNOW_STORAGE", "WINNOW_WORKER_STORAGE"
_CLUSTER = "kubernetes"
"""The value of `kind` in the record of a stack on a cluster. The record of a stack on Docker has no `kind`."""


@dataclass(frozen=True)
class StackRecord:
    """A stack on a Docker engine.

    `storage_url` and `worker_storage_url` are None if studies are in another database, whose address is
    `WINNOW_STORAGE` in the environment file.
    """

    platform: ClassVar[str] = "docker"
    reachable_from: ClassVar[str] = "those of a Docker network"
    """Where its host names are valid, for messages."""

    project: str
    network: str
    compose_file: str
    env_file: str
    tracking_url: str
    worker_tracking_url: str
    storage_url: str | None = None
    worker_storage_url: str | None = None

    @property
    def shown(self) -> str:
        """The stack in messages."""
        return f"the stack at {self.tracking_url}"

    @property
    def ending(self) -> str:
        """The command that removes it."""
        return next_command("mlflow-remove")

    def storage(self) -> tuple[str, str]:
        """The study database's addresses for this terminal and for workers elsewhere, including the password.

        Raises:
            InputError: the environment file is missing, or lacks a variable.
        """
        try:
            variables = read_variables(Path(self.env_file).read_text(encoding="utf-8"))
        except OSError as error:
            raise self._unopenable(error.strerror or str(error)) from error
        name = PASSWORD if self.storage_url and self.worker_storage_url else OWN_STORAGE
        value = variables.get(name)
        if not value:
            raise self._unopenable(f"a file without {name}")
        if self.storage_url and self.worker_storage_url:
            return with_password(self.storage_url, value), with_password(self.worker_storage_url, value)
        return value, variables.get(OWN_WORKER_STORAGE) or value

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
    """A stack on a Kubernetes cluster. Its addresses are valid only inside the cluster.

    Attributes:
        context: the cluster's name in kubeconfig.
        storage_url: the study database, without a password.
        is_own_storage: studies are in another database, whose address is in the Secret.
        identity: distinguishes clusters with the same name; empty in records of older versions.
    """

    platform: ClassVar[str] = _CLUSTER
    reachable_from: ClassVar[str] = "those of the cluster, which its own pods reach"
    network: ClassVar[None] = None

    context: str
    namespace: str
    tracking_url: str
    storage_url: str
    is_own_storage: bool = False
    identity: str = ""

    @property
    def shown(self) -> str:
        """The stack in messages."""
        return f"the stack in namespace {self.namespace} of the cluster {self.context}"

    @property
    def ending(self) -> str:
        """The command that removes it."""
        return next_command("mlflow-remove", platform="kubernetes")

    @property
    def worker_tracking_url(self) -> str:
        """MLflow's address for workers."""
        return self.tracking_url

    @property
    def worker_storage_url(self) -> str:
        """The study database's address for workers, without a password."""
        return self.storage_url

    def storage(self) -> tuple[str, str]:
        """Like `StackRecord.storage`, but both addresses are those inside the cluster, without a password."""
        return self.storage_url, self.storage_url


AnyStack: TypeAlias = StackRecord | ClusterStackRecord


def read_stack(home: Path) -> AnyStack | None:
    """The stack in use, or None. Does not contact it. Raises InputError where the record cannot be read."""
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
    """Make later commands use this stack."""
    replace_text(home / FILE, render(record))


def forget_stack(home: Path, is_meant: Callable[[AnyStack], bool]) -> None:
    """Make later commands use files again. Does nothing if another stack, or none, is in use.

    Args:
        is_meant: whether a record is that of the removed stack. An unreadable record is always deleted.
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
    """The file's text."""
    kind = {"kind": _CLUSTER} if isinstance(record, ClusterStackRecord) else {}
    return json.dumps({**kind, **asdict(record)}, indent=2) + "\n"


def _unreadable(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        expected="the record of a stack, as `mlflow-init` writes it",
        found=found,
        remedy=f"Run `{next_command('mlflow-init')}` again, or remove the file to keep everything in files.",
    )
