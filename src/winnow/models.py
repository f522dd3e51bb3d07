"""Ready-made model factories: `build(input_shape, outputs, **params) -> nn.Module`.

They take raw or preprocessed inputs [batch, *input_shape] and give raw outputs [batch, outputs]: logits for
classification, values for regression. Larger models need a factory of your own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def linear(input_shape: tuple[int, ...], outputs: int) -> nn.Module:
    """One linear layer: linear or logistic regression.

    Args:
        input_shape: of one row; anything but a vector is flattened.
        outputs: classes, or targets.

    Raises:
        ValueError: a size is not positive.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(_flat(input_shape), _positive("outputs", outputs)))


def mlp(
    input_shape: tuple[int, ...],
    outputs: int,
    hidden: Sequence[int] = (64,),
    dropout: float = 0.0,
    activation: str = "relu",
    norm: str = "none",
) -> nn.Module:
    """Fully connected layers.

    Args:
        input_shape: of one row; anything but a vector is flattened.
        outputs: classes, or targets.
        hidden: widths of the hidden layers; none makes it linear.
        dropout: probability after each hidden layer, 0 ≤ dropout < 1.
        activation: elu, gelu, leaky_relu, relu, silu or tanh.
        norm: none, batch or layer, before each activation.

    Raises:
        ValueError: a parameter is out of its range, or its name is unknown.
    """
    make_activation = _named("activation", activation, ACTIVATIONS)
    make_norm = None if norm == "none" else _named("norm", norm, NORMS, "none")
    _check_dropout(dropout)
    layers: list[nn.Module] = [nn.Flatten()]
    width = _flat(input_shape)
    for size in _widths("hidden", hidden):
        layers.append(nn.Linear(width, size))
        if make_norm is not None:
            layers.append(make_norm(size))
        layers.append(make_activation())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        width = size
    return nn.Sequential(*layers, nn.Linear(width, _positive("outputs", outputs)))


def cnn(
    input_shape: tuple[int, ...],
    outputs: int,
    channels: Sequence[int] = (16, 32),
    kernel: int = 3,
    dropout: float = 0.0,
    hidden: int = 64,
) -> nn.Module:
    """Convolutions, each followed by a halving of the image while it has more than one pixel to a side.

    Args:
        input_shape: [channels, height, width]; [height, width] counts as one channel. Any size from 1×1.
        outputs: classes, or targets.
        channels: of each convolution.
        kernel: side of its window, odd, so that padding keeps the image's size.
        dropout: probability before the last layer, 0 ≤ dropout < 1.
        hidden: width of the fully connected layer; 0 leaves it out.

    Raises:
        ValueError: rows are no images, or a parameter is out of its range.
    """
    shape = (1, *input_shape) if len(input_shape) == 2 else tuple(input_shape)
    if len(shape) != 3:
        raise ValueError(f"input_shape: expected [channels, height, width] for a cnn, found {list(input_shape)}")
    if _positive("kernel", kernel) % 2 == 0:
        raise ValueError(f"kernel: expected an odd number of at least 1, found {kernel!r}")
    _check_dropout(dropout)
    depth, height, width = shape
    layers: list[nn.Module] = [nn.Unflatten(1, (1, height))] if len(input_shape) == 2 else []
    for size in _widths("channels", channels):
        layers += [nn.Conv2d(depth, size, kernel, padding=kernel // 2), nn.ReLU()]
        if min(height, width) > 1:
            layers.append(nn.MaxPool2d(2))
            height, width = height // 2, width // 2
        depth = size
    features = _flat((depth, height, width))
    layers.append(nn.Flatten())
    if hidden != 0:
        layers += [nn.Linear(features, _positive("hidden", hidden)), nn.ReLU()]
        features = hidden
    if dropout > 0:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(features, _positive("outputs", outputs)))


def _flat(shape: tuple[int, ...]) -> int:
    return math.prod(_positive("input_shape", size) for size in shape)


def _widths(name: str, sizes: Sequence[int]) -> list[int]:
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise ValueError(f"{name}: expected a list of whole numbers, found {sizes!r}")  # noqa: TRY004 - one kind of error
    return [_positive(name, size) for size in sizes]


def _positive(name: str, size: int) -> int:
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"{name}: expected whole numbers of at least 1, found {size!r}")
    return size


def _check_dropout(value: float) -> None:
    if not isinstance(value, int | float) or not 0 <= value < 1:
        raise ValueError(f"dropout: expected a probability from 0 to below 1, found {value!r}")


def _named(name: str, value: str, known: dict[str, type[nn.Module]], *others: str) -> type[nn.Module]:
    if value not in known:
        raise ValueError(f"{name}: expected one of {', '.join([*others, *known])}, found {value!r}")
    return known[value]
