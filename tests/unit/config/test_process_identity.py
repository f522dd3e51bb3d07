"""Which process is meant by a pid that was written down."""

import os
from pathlib import Path

import pytest

from winnow.config.process_identity import ProcessIdentity, identity_of, is_running

THIS = identity_of(os.getpid())


def test_a_process_is_itself_and_no_other() -> None:
    assert THIS is not None
    assert is_running(THIS)
    assert not is_running(ProcessIdentity(THIS.pid, "another time"))
    assert identity_of(2**22 - 1) is None


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="needs Linux")
def test_equal_ticks_of_another_boot_are_another_process_and_a_record_without_a_boot_is_this_one() -> None:
    assert THIS is not None
    ticks, boot = THIS.started.split()
    assert is_running(ProcessIdentity(THIS.pid, f"{ticks} {boot}"))
    assert not is_running(ProcessIdentity(THIS.pid, f"{ticks} {boot[::-1]}"))
    assert is_running(ProcessIdentity(THIS.pid, ticks))
