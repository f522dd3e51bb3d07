"""Which stack is in use: the record that `mlflow-init` leaves and `mlflow-remove` takes away, for other parts to ask.

Its form, and how settings read it, is `winnow.config.stack_record`.
"""

from __future__ import annotations

from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.stack_record import FILE, StackRecord, read_stack, render

__all__ = ["StackRecord", "forget", "keep", "read_stack"]


def keep(home: Path, record: StackRecord) -> None:
    """Let every later verb use this stack."""
    home.mkdir(parents=True, exist_ok=True)
    unfinished = home / f"{FILE}.new"
    unfinished.write_text(render(record), encoding="utf-8")
    unfinished.replace(home / FILE)


def forget(home: Path, project: str) -> None:
    """Let later verbs use files again; harmless where another stack, or none, is in use."""
    path = home / FILE
    try:
        record = read_stack(home)
    except InputError:
        path.unlink(missing_ok=True)
        return
    if record is not None and record.project == project:
        path.unlink()
