"""The stack that `mlflow-init` has brought up, as every later command finds it: `HOME/stack.json`.

It holds addresses and no secret: the study database's password stays in the environment file that it names. Writing it
is left to `winnow.stack.record`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from winnow.config.addresses import with_password
from winnow.config.env_file import read_variables
from winnow.config.errors import InputError

FILE = "stack.json"
PASSWORD = "WINNOW_DB_PASSWORD"
OWN_STORAGE, OWN_WORKER_STORAGE = "WINNOW_STORAGE", "WINNOW_WORKER_STORAGE"


@dataclass(frozen=True)
class StackRecord:
    """A stack's facts. `storage_url` and `worker_storage_url` are None where studies are kept in a database of the
    person's own, whose address is the environment file's `WINNOW_STORAGE`."""

    project: str
    network: str
    compose_file: str
    env_file: str
    tracking_url: str
    worker_tracking_url: str
    storage_url: str | None = None
    worker_storage_url: str | None = None

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
            expected=f"the secrets of the stack at {self.tracking_url}",
            found=found,
            remedy="Bring the file back, or end the stack with `make mlflow-remove` (VOLUMES=1 deletes its data too).",
        )


def read_stack(home: Path) -> StackRecord | None:
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
        return StackRecord(**{name: value for name, value in json.loads(text).items() if name in _NAMES})
    except (ValueError, TypeError, AttributeError) as error:
        raise _unreadable(path, f"'{text[:40]}'") from error


def render(record: StackRecord) -> str:
    """The record as the file's text."""
    return json.dumps(asdict(record), indent=2) + "\n"


_NAMES = frozenset(field.name for field in fields(StackRecord))


def _unreadable(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        expected="the record of a stack, as `make mlflow-init` writes it",
        found=found,
        remedy="Run `make mlflow-init` again, or remove the file to keep everything in files.",
    )
