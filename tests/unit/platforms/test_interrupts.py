"""Ctrl-C in the middle of a step."""

from __future__ import annotations

import signal
import threading

import pytest

from winnow.platforms.interrupts import uninterrupted


def test_an_interrupt_waits_for_the_end_of_a_step() -> None:
    done: list[str] = []
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        done.append("the step")
    assert done == ["the step"]
    assert signal.getsignal(signal.SIGINT) is usual


def test_without_an_interrupt_a_step_is_one_like_any_other() -> None:
    def step() -> None:
        with uninterrupted():
            done.append("a step")

    done: list[str] = []
    step()
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert done == ["a step", "a step"]
