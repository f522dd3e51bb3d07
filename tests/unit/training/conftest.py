"""One world of one rank for all tests of a process: a process has one Accelerator for life."""

import pytest

from winnow.training.world import World


@pytest.fixture(scope="session")
def world() -> World:
    return World("no", on_cpu=True)
