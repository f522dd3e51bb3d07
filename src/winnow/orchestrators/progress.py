"""Show a sweep's progress on a terminal, or as plain lines anywhere else; in notebooks `NotebookView` does.

A terminal shows one line per worker and one for the study, redrawn in place, below the finished trials. A file, a pipe
or a dumb terminal gets a line per finished trial and a heartbeat at most every ten seconds, without control characters.
`winnow.study.status` writes the lines.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO, TypeAlias

from rich.console import Console
from rich.live import Live
from rich.text import Text

from winnow.config.streams import accept_any_text
from winnow.study.status import (
    StudyStatus,
    failure_lines,
    heartbeat_line,
    status_lines,
    summary_line,
    trial_line,
)
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


HEARTBEAT_S = 10.0


def progress_view(metric: str) -> SweepView:
    """The view for where this process runs: below a notebook's cell, else on standard error."""
    return NotebookView(metric) if is_notebook() else ProgressView(metric=metric)


class ProgressView:
    """Shows a sweep; use it as a context manager.

    Args:
        stream: where to write; by default standard error.
        metric: the objective's name; a trial's line shows its spread over the folds.
        clock: monotonic seconds, for the heartbeat.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        metric: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        accept_any_text(self._stream)
        self._metric = metric
        self._clock = clock
        # rich would take FORCE_COLOR for a terminal and draw into a build server's log.
        is_terminal = self._stream.isatty()
        self._console = Console(
            file=self._stream, force_terminal=is_terminal, highlight=False, emoji=False, markup=False
        )
        self._is_live = is_terminal and not self._console.is_dumb_terminal
        self._live: Live | None = None
        self._drawn: list[Text] = []
        self._status: StudyStatus | None = None
        self._spoke_at: float | None = None

    @property
    def is_live(self) -> bool:
        """Whether lines are redrawn in place."""
        return self._is_live

    def __enter__(self) -> Self:
        if self._is_live:
            self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._draw([] if self._status is None else [summary_line(self._status, width=self._console.width)])
            self._live.stop()
            self._live = None
        elif self._status is not None:
            self._say(summary_line(self._status, width=10_000))

    @contextlib.contextmanager
    def checking(self) -> Iterator[Callable[[str], None]]:
        """Yield a function that shows the current step on a line that is cleared at the end, if `is_live`."""
        if not self._is_live:
            yield lambda _what: None
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as line:
            yield lambda what: line.update(self._line(f"{what} …", "dim"), refresh=True)

    def update(self, status: StudyStatus) -> None:
        """Show the sweep's current status."""
        self._status = status
        if self._live is not None:
            self._draw(status_lines(status, width=self._console.width, height=max(self._console.height - 1, 2)))
        elif self._spoke_at is None or self._clock() - self._spoke_at >= HEARTBEAT_S:
            self._say(heartbeat_line(status))

    def trial_finished(self, record: TrialRecord, best: float | None) -> None:
        """Show how a trial ended. `best` is the best mean so far, including this trial's."""
        is_best = record.value is not None and record.value == best
        style = {"failed": "red", "pruned": "yellow"}.get(record.state, "bold green" if is_best else "")
        width = self._console.width if self._live is not None else 10_000
        self._say(trial_line(record, best=is_best, metric=self._metric, width=width), style, wraps=False)

    def failure(self, trial: int | None, reason: str, log_path: Path | str | None, tail: Sequence[str]) -> None:
        """Show a failure: the trial, its reason, the last lines of the failed rank's log, and the log's path."""
        first, *rest = failure_lines(trial, reason, None if log_path is None else str(log_path), tail)
        self._say(first, "bold red")
        for line in rest:
            self._say(line, "dim")

    def note(self, text: str) -> None:
        """Show any other message of one or more lines."""
        for line in text.splitlines():
            self._say(line)

    def _draw(self, lines: Sequence[str]) -> None:
        assert self._live is not None, "lines are drawn while the view is open"
        self._erase_wrapped()
        self._drawn = [self._line(line) for line in lines]
        self._live.update(Text("\n").join(self._drawn), refresh=True)

    def _erase_wrapped(self) -> None:
        """Erase the drawn lines if a narrower window has wrapped them, since rich then erases too few rows."""
        rows = wrapped_rows([line.cell_len for line in self._drawn], self._console.width)
        if rows <= len(self._drawn) or not wraps_again(os.environ):
            return
        below = len(self._drawn) - 1
        # Move to the first row, erase everything below it, and move to the row that rich takes for the last one.
        self._stream.write(f"\r\x1b[{rows - 1}A\x1b[J" + (f"\x1b[{below}B" if below else ""))
        self._drawn = []

    def _say(self, text: str, style: str = "", *, wraps: bool = True) -> None:
        self._spoke_at = self._clock()
        if self._live is not None:
            self._erase_wrapped()
            self._console.print(self._line(text, style), soft_wrap=wraps)
            return
        self._stream.write(text + "\n")
        self._stream.flush()

    @staticmethod
    def _line(text: str, style: str = "") -> Text:
        return Text(text, style=style, no_wrap=True, overflow="crop")


def wrapped_rows(lengths: Sequence[int], width: int) -> int:
    """Number of rows that lines of these lengths take when wrapped at this width."""
    return sum(max(1, -(-length // width)) for length in lengths)


def wraps_again(environment: Mapping[str, str]) -> bool:
    """Whether the terminal wraps visible lines when its window becomes narrower. A few cut them off instead."""
    cuts_off = environment.get("TERM", "").startswith(("linux", "rxvt"))
    return not cuts_off and "XTERM_VERSION" not in environment and "STY" not in environment


SweepView: TypeAlias = ProgressView | NotebookView
"""What shows a sweep."""
