"""Ready factories: they build for any input, learn, and say what is wrong with a parameter."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from winnow.models import ACTIVATIONS, cnn, linear, mlp


def output_shape(model: nn.Module, *shape: int) -> tuple[int, ...]:
    return tuple(model.eval()(torch.zeros(5, *shape)).shape)


def test_a_linear_model_has_one_layer() -> None:
    model = linear((30,), 2)
    assert output_shape(model, 30) == (5, 2)
    assert sum(parameter.numel() for parameter in model.parameters()) == 30 * 2 + 2


@pytest.mark.parametrize("shape", [(7,), (1, 8, 8), (4, 4)])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_an_mlp_takes_rows_of_any_shape(shape: tuple[int, ...], norm: str) -> None:
    assert output_shape(mlp(shape, 3, hidden=[16, 8], dropout=0.2, norm=norm), *shape) == (5, 3)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_an_mlp_has_its_activation_after_each_hidden_layer(activation: str) -> None:
    model = mlp((4,), 1, hidden=(8, 8), activation=activation)
    assert sum(isinstance(layer, ACTIVATIONS[activation]) for layer in model.modules()) == 2


def test_an_mlp_without_hidden_layers_is_linear() -> None:
    assert [tuple(p.shape) for p in mlp((4,), 2, hidden=[]).parameters()] == [(2, 4), (2,)]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 1, 1), (8, 8), (2, 5, 3), (1, 28, 1)])
def test_a_cnn_takes_images_of_any_size(shape: tuple[int, ...]) -> None:
    assert output_shape(cnn(shape, 10, channels=[4, 8, 8, 8]), *shape) == (5, 10)


def test_a_cnn_without_a_hidden_layer_ends_in_one_linear_layer() -> None:
    layers = list(cnn((1, 8, 8), 10, hidden=0, dropout=0.1).children())
    assert [type(layer) for layer in layers[-3:]] == [nn.Flatten, nn.Dropout, nn.Linear]


def test_a_small_cnn_learns_to_tell_two_images_apart() -> None:
    torch.manual_seed(0)
    images = torch.stack([torch.eye(8), torch.eye(8).flip(0)]).unsqueeze(1).repeat(8, 1, 1, 1)
    target = torch.tensor([0, 1] * 8)
    model = cnn((1, 8, 8), 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), target).backward()
        optimizer.step()
    assert (model(images).argmax(1) == target).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": [0]}, "hidden: expected whole numbers of at least 1, found 0"),
        ({"hidden": [True]}, "hidden: expected whole numbers"),
        ({"hidden": 64}, "hidden: expected a list of whole numbers, found 64"),
        ({"hidden": "64"}, "hidden: expected a list of whole numbers, found '64'"),
        ({"dropout": 1.0}, "dropout: expected a probability"),
        ({"dropout": "half"}, "dropout: expected a probability from 0 to below 1, found 'half'"),
        ({"dropout": -0.1}, "dropout: expected a probability"),
        ({"activation": "rellu"}, "activation: expected one of elu, gelu, leaky_relu, relu, silu, tanh, found 'rellu'"),
        ({"norm": "instance"}, "norm: expected one of none, batch, layer, found 'instance'"),
        ({"outputs": 0}, "outputs: expected whole numbers of at least 1, found 0"),
    ],
)
def test_a_wrong_parameter_of_an_mlp_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        mlp(**{"input_shape": (4,), "outputs": 2, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_shape": (30,)}, r"input_shape: expected \[channels, height, width\] for a cnn, found \[30\]"),
        ({"kernel": 2}, "kernel: expected an odd number"),
        ({"kernel": 3.0}, "kernel: expected whole numbers of at least 1, found 3.0"),
        ({"channels": [0]}, "channels: expected whole numbers of at least 1"),
        ({"hidden": -1}, "hidden: expected whole numbers of at least 1, found -1"),
        ({"dropout": 2}, "dropout: expected a probability"),
    ],
)
def test_a_wrong_parameter_of_a_cnn_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cnn(**{"input_shape": (1, 8, 8), "outputs": 10, **arguments})
