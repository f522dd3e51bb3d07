"""A sweep's progress on a terminal, or as plain lines anywhere else.

On a terminal there is one line per worker and one for the study, redrawn in place, and what has ended scrolls above
them. A file, a pipe or a dumb terminal gets a line per finished trial and, in between, a heartbeat at most every ten
seconds, without a single control character. What the lines say is decided in `winnow.study.status`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

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

HEARTBEAT_S = 10.0


class ProgressView:
    """Shows a sweep; use it as a context manager.

    Args:
        stream: where to write; standard error by default, so that standard output stays the program's result.
        metric: the objective's name, so that a trial's line can show its spread over the folds.
        clock: seconds that never go back, for the heartbeat.
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
        # Asked here and not of rich, which takes FORCE_COLOR for a terminal and would draw into a build server's log.
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
        """Lines are redrawn in place; otherwise they follow one another."""
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
        """Give a function that shows what is being done, on a line that is cleared at the end.

        Only where lines are redrawn in place; elsewhere a refusal stays the only line.
        """
        if not self._is_live:
            yield lambda _what: None
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as line:
            yield lambda what: line.update(self._line(f"{what} …", "dim"), refresh=True)

    def update(self, status: StudyStatus) -> None:
        """Show where the sweep stands now; call it as often as there is news."""
        self._status = status
        if self._live is not None:
            self._draw(status_lines(status, width=self._console.width, height=max(self._console.height - 1, 2)))
        elif self._spoke_at is None or self._clock() - self._spoke_at >= HEARTBEAT_S:
            self._say(heartbeat_line(status))

    def trial_finished(self, record: TrialRecord, best: float | None) -> None:
        """Say how a trial ended. `best` is the best mean so far, this trial's included.

        For a failed trial whose log is at hand, `failure` says more; one of the two is enough.
        """
        is_best = record.value is not None and record.value == best
        style = {"failed": "red", "pruned": "yellow"}.get(record.state, "bold green" if is_best else "")
        width = self._console.width if self._live is not None else 10_000
        self._say(trial_line(record, best=is_best, metric=self._metric, width=width), style, wraps=False)

    def failure(self, trial: int | None, reason: str, log_path: Path | str | None, tail: Sequence[str]) -> None:
        """Show a failure: the trial, its reason, the last lines of the guilty rank's log and where all of it is."""
        first, *rest = failure_lines(trial, reason, None if log_path is None else str(log_path), tail)
        self._say(first, "bold red")
        for line in rest:
            self._say(line, "dim")

    def note(self, text: str) -> None:
        """Say something else in one or more lines."""
        for line in text.splitlines():
            self._say(line)

    def _draw(self, lines: Sequence[str]) -> None:
        assert self._live is not None, "lines are drawn while the view is open"
        self._erase_wrapped()
        self._drawn = [self._line(line) for line in lines]
        self._live.update(Text("\n").join(self._drawn), refresh=True)

    def _erase_wrapped(self) -> None:
        """Erase the lines that are drawn, where a window that became narrower has wrapped them.

        They then take more rows than rich remembers, and it would leave the upper ones on the screen.
        """
        rows = wrapped_rows([line.cell_len for line in self._drawn], self._console.width)
        if rows <= len(self._drawn) or not wraps_again(os.environ):
            return
        below = len(self._drawn) - 1
        # To the upper end, erase all below it, and to the row where rich takes the lower end for.
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
    """Rows that lines of these lengths take on a terminal of this width that wraps them."""
    return sum(max(1, -(-length // width)) for length in lengths)


def wraps_again(environment: Mapping[str, str]) -> bool:
    """Whether a terminal wraps the lines that it shows when its window becomes narrower; a few cut them off."""
    cuts_off = environment.get("TERM", "").startswith(("linux", "rxvt"))
    return not cuts_off and "XTERM_VERSION" not in environment and "STY" not in environment
