"""Dropout masks: how many values they keep, and that nothing but the mask differs from torch's dropout."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from winnow.training.dropout import Masks, scale, threshold


@pytest.mark.parametrize("probability", [0.01, 0.2, 0.5, 0.9])
def test_values_are_kept_with_their_probability_and_scaled_to_the_same_mean(probability):
    values = torch.ones(200_000)
    with Masks(1):
        dropped = nn.Dropout(probability)(values)
    kept = dropped > 0
    # Five standard deviations.
    assert float(kept.float().mean()) == pytest.approx(1 - probability, abs=5 * 0.5 / 200_000**0.5)
    torch.testing.assert_close(dropped[kept], values[kept] / (1 - probability), rtol=1e-3, atol=0)


def test_a_gradient_passes_where_a_value_was_kept():
    values = torch.randn(50, 7, dtype=torch.float64, requires_grad=True)
    with Masks(1):
        dropped = functional.dropout(values, 0.5)
    dropped.sum().backward()
    torch.testing.assert_close(values.grad, dropped.detach() / values.detach())


def test_in_place_it_changes_its_input_by_the_mask_of_the_same_seed():
    values = torch.randn(50, 7)
    with Masks(1):
        expected = functional.dropout(values, 0.3)
    with Masks(1):
        assert functional.dropout(values, 0.3, inplace=True) is values
    torch.testing.assert_close(values, expected, rtol=0, atol=0)


def test_one_stream_gives_another_mask_each_time():
    values = torch.ones(1000)
    with Masks(1):
        assert not torch.equal(functional.dropout(values), functional.dropout(values))


@pytest.mark.parametrize(("settings", "factor"), [({"training": False}, 1.0), ({"p": 0.0}, 1.0), ({"p": 1.0}, 0.0)])
def test_nothing_is_drawn_where_nothing_is_random(settings, factor):
    masks, values = Masks(1), torch.randn(10)
    with masks:
        torch.testing.assert_close(functional.dropout(values, **settings), values * factor)
    assert torch.equal(masks.bits(8), Masks(1).bits(8))


def test_a_probability_that_is_none_is_refused_as_by_torch():
    with Masks(1), pytest.raises(ValueError, match="dropout probability has to be between 0 and 1"):
        functional.dropout(torch.ones(3), 1.5)


def test_torchs_own_dropout_is_back_afterwards():
    before = functional.dropout
    with pytest.raises(ZeroDivisionError), Masks(1):
        _ = 1 / 0
    assert functional.dropout is before


def test_probabilities_at_the_ends_keep_all_or_nothing():
    assert [(threshold(p), scale(p)) for p in (0.0, 1e-9, 0.5, 1.0)] == [
        (32767, 1.0),
        (32767, 1.0),
        (-1, 2.0),
        (-32768, 0.0),
    ]
