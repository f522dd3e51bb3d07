"""Ctrl-C where Python would ignore it."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import signal, sys, time
from winnow.config.interrupts import repeat_ignored_interrupts

class Collected:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.argv[1] == "repeat":
    repeat_ignored_interrupts()
try:
    collected = Collected()
    del collected
    time.sleep(1)
    print("ignored")
except KeyboardInterrupt:
    print("interrupted")
"""


def outcome(how: str) -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_interrupt_in_a_garbage_collection_is_delivered_again() -> None:
    assert (outcome("leave"), outcome("repeat")) == ("ignored", "interrupted")


QUERY = """
import signal, sys, threading
import click, duckdb
from winnow.cli import run

@click.command()
def command():
    threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()
    duckdb.sql("SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(10_000_000) b").fetchall()

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(run([], command))
"""


def test_an_interrupt_in_a_query_ends_a_verb_without_a_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", QUERY], capture_output=True, text=True, check=False, timeout=60)

    assert (done.returncode, done.stdout.strip(), done.stderr.strip()) == (130, "", "")
