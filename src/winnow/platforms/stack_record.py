"""Which stack is in use: the record that `mlflow-init` leaves and `mlflow-remove` takes away, for other parts to ask.

Its form, and how settings read it, is `winnow.config.stack_record`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError
from winnow.config.stack_record import FILE, AnyStack, ClusterStackRecord, StackRecord, read_stack, render

__all__ = ["ClusterStackRecord", "StackRecord", "forget", "forget_cluster", "keep", "read_stack"]


def keep(home: Path, record: AnyStack) -> None:
    """Let every later verb use this stack."""
    replace_text(home / FILE, render(record))


def forget(home: Path, project: str) -> None:
    """Let later verbs use files again; harmless where another stack, or none, is in use."""
    _forget(home, lambda record: isinstance(record, StackRecord) and record.project == project)


def forget_cluster(home: Path, context: str, namespace: str, identity: str = "") -> None:
    """The same for the stack of a cluster's namespace; `identity` tells it from another of that name."""

    def is_meant(record: AnyStack) -> bool:
        if not isinstance(record, ClusterStackRecord) or (record.context, record.namespace) != (context, namespace):
            return False
        return record.identity in ("", identity)

    _forget(home, is_meant)


def _forget(home: Path, is_meant: Callable[[AnyStack], bool]) -> None:
    path = home / FILE
    try:
        record = read_stack(home)
    except InputError:
        path.unlink(missing_ok=True)
        return
    if record is not None and is_meant(record):
        path.unlink()
