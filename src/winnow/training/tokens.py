"""Whether inputs are tokens: whole numbers that a network looks up in a table, which no scaling may change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnow.config.experiment import ChoiceParameter, Experiment
from winnow.data.dataset import DataSet
from winnow.data.rows import spread
from winnow.training.parameters import Routing

ROWS_LOOKED_AT = 64


def are_tokens(data: DataSet, experiment: Experiment, routing: Routing, factory: Callable[..., Any]) -> bool:
    """Whether the network of a factory looks every number of a row up in an `nn.Embedding`.

    A network is built with the first values of the space, and two rows pass through it. Only arrays of whole numbers,
    [rows, length], are tried, so that others cost nothing.
    """
    if data.columns is not None or data.features.ndim != 2:
        return False
    sample = data.features[spread(data.rows, ROWS_LOOKED_AT)]
    if not bool((sample >= 0).all() and (sample == np.round(sample)).all()):
        return False
    params = {
        name: parameter.choices[0] if isinstance(parameter, ChoiceParameter) else parameter.bounds[0]
        for name, parameter in experiment.search.space.items()
    }
    try:
        arguments = routing.settings(params, experiment.model.options, experiment.training).model
        with torch.random.fork_rng(devices=[]):
            return _looks_up(factory, data, arguments, torch.from_numpy(sample[:2]))
    except Exception:  # noqa: BLE001 - a factory may raise anything, which the checks before a sweep report
        return False


def _looks_up(factory: Callable[..., Any], data: DataSet, arguments: Mapping[str, Any], rows: Tensor) -> bool:
    network = factory(data.input_shape, data.outputs, **arguments)
    found: list[bool] = []

    def note(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        found.append(bool(inputs) and isinstance(inputs[0], Tensor) and _holds(inputs[0], rows))

    for module in network.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.register_forward_pre_hook(note)
    try:
        with torch.no_grad():
            network.eval()(rows)
    except Exception:  # noqa: BLE001 - such as a table that is too small; what was looked up is known by then
        return any(found)
    return any(found)


def _holds(taken: Tensor, rows: Tensor) -> bool:
    """Whether indexes are the rows, perhaps moved by a constant, before or after tokens that the network adds."""
    length = rows.shape[1]
    if taken.dim() != 2 or len(taken) != len(rows) or taken.shape[1] < length:
        return False
    parts = (taken[:, :length], taken[:, -length:])
    return any(bool(((part - rows) == (part - rows)[0, 0]).all()) for part in parts)
