"""The stack that `mlflow-init` has brought up, as every later command finds it: `HOME/stack.json`.

It holds addresses and no secret: the study database's password stays in the environment file that it names, or in the
cluster's own Secret. Writing it is left to `winnow.platforms.stack_record`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TypeAlias

from winnow.config.addresses import with_password
from winnow.config.env_file import read_variables
from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag

FILE = "stack.json"
PASSWORD = "WINNOW_DB_PASSWORD"
OWN_STORAGE, OWN_WORKER_STORAGE = "WINNOW_STORAGE", "WINNOW_WORKER_STORAGE"


@dataclass(frozen=True)
class StackRecord:
    """The facts of a stack on a Docker engine.

    `storage_url` and `worker_storage_url` are None where studies are kept in a database of the person's own, whose
    address is the environment file's `WINNOW_STORAGE`.
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
        """Where it runs."""
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
            InputError: the environment file is gone, or lacks what is needed.
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
    """The facts of a stack on a Kubernetes cluster: where it is, and its addresses inside, which no terminal reaches.

    Attributes:
        context: what kubeconfig calls the cluster.
        storage_url: the studies' database, without a password.
        is_own_storage: studies are kept in a database of the person's own, whose address is in the Secret.
        identity: tells the cluster from another that kubeconfig calls the same; empty where it was not written down.
    """

    context: str
    namespace: str
    tracking_url: str
    storage_url: str
    is_own_storage: bool = False
    identity: str = ""

    @property
    def platform(self) -> str:
        """Where it runs."""
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
        """No network of Docker's."""
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
        """The studies' database as `StackRecord.storage` has it, but without a password and for workers alone."""
        return self.storage_url, self.storage_url


AnyStack: TypeAlias = StackRecord | ClusterStackRecord


def read_stack(home: Path) -> AnyStack | None:
    """The stack that is in use, or None; whether it answers is not asked.

    Raises:
        InputError: the record is not readable as one.
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


def render(record: AnyStack) -> str:
    """The record as the file's text."""
    kind = {"kind": _CLUSTER} if isinstance(record, ClusterStackRecord) else {}
    return json.dumps({**kind, **asdict(record)}, indent=2) + "\n"


_CLUSTER = "kubernetes"
"""What `kind` is in the record of a stack on a cluster; that of one on Docker has none."""


def _unreadable(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        expected="the record of a stack, as `mlflow-init` writes it",
        found=found,
        remedy=f"Run `{next_command('mlflow-init')}` again, or remove the file to keep everything in files.",
    )
