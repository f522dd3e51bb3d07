"""Where a sweep's progress goes: redrawn lines on a terminal, plain ones anywhere else."""

import errno
import io
import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from tests.unit.report.sample_study import SampleStudy
from tests.unit.study.test_status import STATUS
from winnow.orchestrators.progress import ProgressView, wrapped_rows, wraps_again


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


ON_A_TERMINAL = """
from tests.unit.study.test_status import STATUS
from winnow.orchestrators.progress import ProgressView

with ProgressView() as view:
    view.update(STATUS)
    view.failure(5, "ValueError: no", None, [])
    view.update(STATUS)
    {ending}
"""


def shown_on_a_terminal(ending: str = "pass", **environ: str) -> str:
    """What a program that shows a study writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    root = Path(__file__).parents[3]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    settings = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", "PYTHONPATH": str(root), "PYTHONUTF8": "1"}
    program = [sys.executable, "-c", ON_A_TERMINAL.format(ending=ending)]
    with subprocess.Popen(program, stdout=slave, stderr=slave, env=kept | settings | environ, cwd=root):
        os.close(slave)
        pieces = list(iter(lambda: _read(master), b""))
    os.close(master)
    return b"".join(pieces).decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # how Linux says that the last writer is gone
            raise
        return b""


def test_a_file_gets_plain_lines_and_a_heartbeat_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    trial = SampleStudy(trials=1).view().trials[0]
    with ProgressView(stream, metric="f1", clock=clock) as view:
        view.note("2 workers start")
        for second in range(12):
            clock.now_s = second
            view.update(STATUS)
        view.trial_finished(trial, 0.99)
    assert not view.is_live
    study = (
        "breast-cancer · 12/30 trials · best 0.9712 (trial 7) · 90 s left · 1 failed · 2 pruned · 1 min 00 s elapsed"
    )
    assert stream.getvalue().splitlines() == [
        "2 workers start",
        f"{study} · group-0 trial 13 fold 2/5 · group-1 starting",
        "trial 0  0.9679 ± 0.0129  1.8 s  hidden=[128, 64]  lr=0.01879  dropout=0.2103  batch_size=33  optimizer=sgd",
        study,
    ]


def test_a_failure_shows_the_log_without_its_colors() -> None:
    stream = io.StringIO()
    with ProgressView(stream) as view:
        view.failure(5, "ValueError: [red]no[/red]", Path("/logs/rank-0.log"), ["\x1b[31mValueError\x1b[0m\n"])
    assert stream.getvalue().splitlines() == [
        "trial 5 failed: ValueError: [red]no[/red]",
        "  │ ValueError",
        "  whole log: /logs/rank-0.log",
    ]


def test_a_stream_of_another_encoding_gets_what_it_can_show() -> None:
    bytes_written = io.BytesIO()
    stream = io.TextIOWrapper(bytes_written, encoding="ascii")
    with ProgressView(stream) as view:
        view.update(replace(STATUS, best=None, best_trial=None))
    stream.flush()
    assert bytes_written.getvalue().splitlines()[1] == (
        b"breast-cancer | 12/30 trials | best - | 90 s left | 1 failed | 2 pruned | 1 min 00 s elapsed"
    )


def test_a_terminal_gets_lines_that_are_drawn_in_place() -> None:
    text = shown_on_a_terminal()
    assert "group-0  trial 13  fold 2/5  epoch 12/30     5 s left" in text
    assert "\x1b[1A\x1b[2K" in text
    assert "\x1b[1;31mtrial 5 failed: ValueError: no" in text
    assert text.index("\x1b[?25l") < text.index("\x1b[?25h")


def test_a_terminal_gets_its_cursor_back_after_an_interrupt() -> None:
    text = shown_on_a_terminal("raise KeyboardInterrupt")
    assert text.index("\x1b[?25h") < text.index("KeyboardInterrupt")


def test_lines_that_a_narrower_window_has_wrapped_are_erased() -> None:
    narrower = "import sys, termios; termios.tcsetwinsize(sys.stderr.fileno(), (24, 40)); view.update(STATUS)"
    assert "\r\x1b[4A\x1b[J\x1b[2B" in shown_on_a_terminal(narrower, COLUMNS="")
    assert "\x1b[J" not in shown_on_a_terminal(narrower, COLUMNS="", TERM="linux")
    assert "\x1b[J" not in shown_on_a_terminal(COLUMNS="")


def test_wrapped_lines_take_as_many_rows_as_they_are_wide() -> None:
    assert wrapped_rows([0, 40, 41, 80, 81], 40) == 1 + 1 + 2 + 2 + 3
    assert [wraps_again(environment) for environment in ({}, {"TERM": "tmux"}, {"STY": "1.tty"})] == [True, True, False]


def test_no_color_is_respected() -> None:
    assert "[31m" not in shown_on_a_terminal(NO_COLOR="1")


def test_a_terminal_without_utf_8_gets_ascii() -> None:
    text = shown_on_a_terminal(PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert "12/30 trials | best 0.9712" in text
    assert text.isascii()


def test_a_dumb_terminal_and_a_build_log_get_no_control_characters() -> None:
    assert "\x1b" not in shown_on_a_terminal(TERM="dumb")
    stream = io.StringIO()
    with ProgressView(stream) as view:
        view.update(STATUS)
    assert "\x1b" not in stream.getvalue()
