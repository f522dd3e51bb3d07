"""How many models of one structure train as one, by what each size has cost."""

import pytest

from winnow.training.packs import StackCosts


@pytest.mark.parametrize(
    ("seconds", "waiting", "size"),
    [
        ({}, 5, 1),
        ({1: 1.0}, 4, 4),
        ({1: 1.0, 4: 0.5}, 20, 20),
        ({1: 1.0, 4: 1.2}, 7, 1),
        ({1: 1.0, 4: 1.2}, 8, 8),
        ({1: 1.0, 4: 1.2, 8: 1.3}, 8, 1),
        ({1: 1.0, 4: 0.5, 20: 0.8}, 20, 4),
        ({1: 1.0, 4: 0.5, 20: 0.8}, 21, 4),
        ({1: 1.0, 8: 0.5, 20: 0.8}, 20, 7),
        ({1: 1.0, 4: 0.5, 20: 0.8}, 3, 3),
        ({4: 0.5}, 1, 1),
    ],
)
def test_models_train_in_stacks_of_the_cheapest_size_that_was_measured(seconds, waiting, size):
    assert StackCosts(dict(seconds)).next_size(waiting) == size


def test_the_latest_measurement_counts_as_much_as_all_earlier_ones():
    costs = StackCosts()
    for seconds in (1.0, 2.0, 3.0):
        costs.note(4, seconds)
    assert costs.seconds == {4: 2.25}


def test_models_train_alone_for_a_reason_where_every_stack_cost_more():
    assert StackCosts({1: 1.0, 4: 0.9, 20: 2.0}).reason_against() is None
    assert StackCosts({1: 1.0}).reason_against() is None
    assert StackCosts({1: 1.0, 4: 1.5, 20: 2.0}).reason_against() == "a model took 1.5 s in a stack of 4, and 1 s alone"
