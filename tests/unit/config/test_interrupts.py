"""Ctrl-C where Python would ignore it."""

from __future__ import annotations

import subprocess
import sys

import click

from winnow.cli import run
from winnow.config.errors import CommandExit

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


def test_an_interrupt_in_a_query_of_duckdb_ends_a_verb_without_a_traceback() -> None:
    @click.command()
    def command() -> None:
        raise RuntimeError("Query interrupted")  # what DuckDB makes of Ctrl-C

    assert run([], command) == CommandExit.INTERRUPTED
