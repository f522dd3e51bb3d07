"""Which stack is in use: the record that `mlflow-init` writes and `mlflow-remove` deletes.

Its form, and how settings read it, is `winnow.config.stack_record`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError
from winnow.config.stack_record import FILE, AnyStack, read_stack, render


def keep(home: Path, record: AnyStack) -> None:
    """Let every later verb use this stack."""
    replace_text(home / FILE, render(record))


def forget(home: Path, is_meant: Callable[[AnyStack], bool]) -> None:
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
