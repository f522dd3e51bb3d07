"""Show a sweep's progress in a notebook: one output below the cell, replaced in place, without control characters."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from winnow.study.status import StudyStatus, failure_lines, status_lines, summary_line, trial_line
from winnow.tracking.records import TrialRecord

WIDTH = 100
LINES = 12
"""How many of the latest messages are shown above the workers' lines."""

PRE = '<pre style="font-family: monospace">'
"""Some front ends give a bare `pre` in an output the font of their text."""

EVERY_S = 0.5
"""The output is replaced at most this often: a browser draws it again each time."""


def is_notebook() -> bool:
    """Whether this process is a Jupyter kernel, whose front end replaces outputs in place."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


class NotebookView:
    """Shows a sweep below a notebook's cell. It has the methods of `ProgressView`.

    Args:
        metric: the objective's name; a trial's line shows its spread over the folds.
        show: shows a bundle of representations by MIME type, or replaces the one before; by default IPython's display.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        metric: str | None = None,
        show: Callable[[dict[str, str]], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metric = metric
        self._show = show or in_place()
        self._clock = clock
        self._said: deque[str] = deque(maxlen=LINES)
        self._status: StudyStatus | None = None
        self._is_over = False
        self._shown_at: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._draw()

    @contextlib.contextmanager
    def checking(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that shows the current step, which the next one replaces."""
        yield lambda what: self._publish([*self._said, f"{what} …"])

    def update(self, status: StudyStatus) -> None:
        """Show the sweep's current status."""
        self._status = status
        if self._shown_at is None or self._clock() - self._shown_at >= EVERY_S:
            self._draw()

    def trial_finished(self, record: TrialRecord, best: float | None) -> None:
        """Show how a trial ended. `best` is the best mean so far, including this trial's."""
        is_best = record.value is not None and record.value == best
        self._said.append(trial_line(record, best=is_best, metric=self._metric, width=WIDTH))

    def failure(self, trial: int | None, reason: str, log_path: Path | str | None, tail: Sequence[str]) -> None:
        """Show a failure: the trial, its reason, the last lines of the failed rank's log, and the log's path."""
        self.note("\n".join(failure_lines(trial, reason, None if log_path is None else str(log_path), tail)))

    def note(self, text: str) -> None:
        """Show any other message of one or more lines."""
        self._said.extend(text.splitlines())
        self._draw()

    def _draw(self) -> None:
        lines = list(self._said)
        if self._status is not None:
            shown = (
                (summary_line(self._status, width=WIDTH),) if self._is_over else status_lines(self._status, width=WIDTH)
            )
            lines += shown
        self._publish(lines)

    def _publish(self, lines: Sequence[str]) -> None:
        self._shown_at = self._clock()
        text = "\n".join(lines)
        self._show({"text/plain": text, "text/html": f"{PRE}{escape(text)}</pre>"})


def in_place() -> Callable[[dict[str, str]], None]:
    """A function that displays a bundle below the running cell, and replaces it when it is called again."""
    import IPython.display

    display: Any = IPython.display.display
    handle: Any = None

    def show(bundle: dict[str, str]) -> None:
        nonlocal handle
        if handle is None:
            handle = display(bundle, raw=True, display_id=True)
        else:
            handle.update(bundle, raw=True)

    return show
