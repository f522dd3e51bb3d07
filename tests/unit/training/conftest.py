"""One world of one rank for all tests of a process: a process has one Accelerator for life."""

import pytest

from winnow.config.experiment import TrainingConfig
from winnow.training.world import World, settle


@pytest.fixture(scope="session")
def world() -> World:
    # As in a group that shares its machine; more threads than free CPUs slow small models down a hundredfold.
    settle(1, TrainingConfig())
    return World("no", on_cpu=True)
