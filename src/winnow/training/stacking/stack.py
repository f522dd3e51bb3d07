"""A stack: one network that computes what many networks of equal structure compute, each on its own rows."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from winnow.training.stacking.layers import (
    LAYERS,
    BatchNorm,
    Current,
    Dropout,
    Layer,
    MaskStream,
    Models,
    NotStackableError,
    Places,
)

Structure = tuple[Hashable, ...]
"""What stacked networks have in common: modules, their settings, and the shapes of parameters and buffers."""

_MODULE_ATTRIBUTES = frozenset(vars(nn.Module()))
_RANDOM = (
    *(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU),
    *(nn.FractionalMaxPool2d, nn.FractionalMaxPool3d),
)


def structure_of(network: nn.Module) -> Structure:
    """The structure of a network. The probabilities of `nn.Dropout` are no part of it.

    Raises:
        NotStackableError: it holds something that cannot be compared.
    """
    modules = tuple((name, type(module), _settings(module)) for name, module in network.named_modules())
    ids = [id(parameter) for parameter in network.parameters()]
    parameters = tuple(
        (name, ids.index(id(parameter)), tuple(parameter.shape), parameter.dtype, parameter.requires_grad)
        for name, parameter in network.named_parameters(remove_duplicate=False)
    )
    buffers = tuple((name, tuple(buffer.shape), buffer.dtype) for name, buffer in network.named_buffers())
    return modules, parameters, buffers


def _settings(module: nn.Module) -> Hashable:
    if module._forward_hooks or module._forward_pre_hooks:
        raise NotStackableError(f"a {type(module).__name__} with hooks")
    if isinstance(module, nn.Dropout):
        return None
    if _is_torchs(module):
        return module.extra_repr()
    own = {name: value for name, value in vars(module).items() if name not in _MODULE_ATTRIBUTES}
    return tuple((name, _comparable(value, type(module).__name__)) for name, value in sorted(own.items()))


def _comparable(value: Any, owner: str) -> Hashable:
    if value is None or isinstance(value, bool | int | float | str) or callable(value):
        return cast(Hashable, value)
    if isinstance(value, list | tuple):
        return tuple(_comparable(part, owner) for part in value)
    if isinstance(value, dict):
        return tuple((key, _comparable(part, owner)) for key, part in value.items())
    raise NotStackableError(f"a {owner} that keeps a {type(value).__name__}")


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


class Stack:
    """Networks of equal structure as one.

    Attributes:
        flat: all trainable weights, [models, weights]. Optimizers change it in place.
    """

    def __init__(self, networks: Sequence[nn.Module], generators: Sequence[MaskStream]) -> None:
        """Copy the networks' weights.

        Raises:
            NotStackableError: a layer has no batched counterpart.
        """
        first = networks[0]
        tensors = [{**dict(network.named_parameters()), **dict(network.named_buffers())} for network in networks]
        self._weights = {name: p.shape for name, p in first.named_parameters() if p.requires_grad}
        self._constants = [name for name in tensors[0] if name not in self._weights]
        if len({tensors[0][name].dtype for name in self._weights}) != 1:
            raise NotStackableError("weights of several types, or none that can be trained")
        with torch.no_grad():
            self.flat = torch.stack([torch.cat([own[name].flatten() for name in self._weights]) for own in tensors])
            constants = [torch.stack([own[name] for own in tensors]) for name in self._constants]
        dropout = {
            name: [float(network.get_submodule(name).p) for network in networks]  # type: ignore[arg-type]
            for name, module in first.named_modules()
            if isinstance(module, nn.Dropout)
        }
        models = Models(self._views(), constants, list(generators), dropout)
        self._models, self._current = models, Current(models)
        self._training = self._batched(first.train())
        layers = [layer for layer in self._training.modules() if isinstance(layer, Layer)]
        if len({index for layer in layers for index in layer.places.weights.values()}) < len(self._weights):
            raise NotStackableError("a parameter that takes no part in the forward")
        is_same = all(_is_torchs(module) for module in first.modules())
        self._evaluation = self._training if is_same else self._batched(first.eval())

    @property
    def count(self) -> int:
        """How many models."""
        return len(self.flat)

    @property
    def mixes_rows(self) -> bool:
        """Whether a row's outputs in training depend on the other rows of its batch (BatchNorm)."""
        return any(isinstance(layer, BatchNorm) for layer in self._training.modules())

    def outputs(self, inputs: Tensor, rows: Sequence[int] | None = None) -> Tensor:
        """The outputs for training, [models × rows, …]; inputs are in the same order.

        Args:
            rows: how many rows each model has; those after them are padding. None: no row is.
        """
        self._models.is_training, self._models.rows, self._current.models = True, rows, self._models
        outputs: Tensor = self._training(inputs)
        return outputs

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> Tensor:
        """The outputs in evaluation, [models × rows, …]; inputs are in the same order."""
        self._models.is_training, self._current.models = False, self._models
        outputs: Tensor = self._evaluation(inputs)
        return outputs

    def gradients(self, losses: Tensor, weights: Tensor) -> list[Tensor]:
        """The gradients of the weighted sum of losses, [models, size] for each parameter in the order of `flat`."""
        # Weights as `grad_outputs` would make torch import sympy: half a second in each rank's first fold.
        total = (losses * weights).sum()
        return [found.flatten(1) for found in torch.autograd.grad(total, self._models.weights)]

    def part(self, members: Sequence[int]) -> Stack:
        """A copy of some of the models; they draw from the generators of this stack."""
        index, models, part = torch.tensor(members, device=self.flat.device), self._models, copy.copy(self)
        part.flat = self.flat[index]
        part._models = Models(
            part._views(),
            [constant[index] for constant in models.constants],
            [models.generators[member] for member in members],
            {name: [p[member] for member in members] for name, p in models.dropout.items()},
        )
        return part

    def take(self, members: Sequence[int], other: Stack, others: Sequence[int]) -> None:
        """Give `members` the parameters and buffers that `others` have in another stack of this structure."""
        self.flat[list(members)] = other.flat[list(others)]
        self.take_constants(members, other, others)

    def take_constants(self, members: Sequence[int], other: Stack, others: Sequence[int]) -> None:
        """Give `members` the buffers and frozen parameters that `others` have in another stack."""
        for own, found in zip(self._models.constants, other._models.constants, strict=True):
            own[list(members)] = found[list(others)]

    def state(self, member: int) -> dict[str, Tensor]:
        """A copy of a model's parameters and buffers, by name."""
        trained = zip(self._weights, self._models.weights, strict=True)
        constant = zip(self._constants, self._models.constants, strict=True)
        return {name: values[member].detach().clone() for name, values in (*trained, *constant)}

    def _views(self) -> list[Tensor]:
        """The parameters as views of `flat`, each a leaf of its own, [models, *shape]."""
        shapes = self._weights.values()
        parts = torch.split(self.flat, [shape.numel() for shape in shapes], 1)
        views = [part.view(len(part), *shape).detach() for part, shape in zip(parts, shapes, strict=True)]
        return [view.requires_grad_() for view in views]

    def _batched(self, network: nn.Module) -> nn.Module:
        """A network in its present mode, with batched layers."""
        names = {id(p): name for name, p in (*network.named_parameters(), *network.named_buffers())}
        if type(network) is nn.Sequential:
            # Tracing gives the same in milliseconds.
            leaves = [(name, module) for name, module in network.named_modules() if type(module) is not nn.Sequential]
            if all(_is_torchs(module) and next(module.children(), None) is None for _, module in leaves):
                return nn.Sequential(*(self._layer(module, name, names) for name, module in leaves))
        try:
            graph = fx.Tracer().trace(network)
        except Exception as error:
            raise NotStackableError(f"a forward that cannot be traced ({type(error).__name__})") from error
        if sum(node.op == "placeholder" for node in graph.nodes) != 1:
            raise NotStackableError("a forward of more than one argument")
        layers: dict[str, Any] = {}
        for node in graph.nodes:
            if node.op == "get_attr":
                raise NotStackableError(f"a forward that reads {node.target} outside a layer")
            if node.op == "call_module":
                layers[node.target] = self._layer(network.get_submodule(node.target), node.target, names)
            if node.op == "call_function" and node.target is functional.dropout:
                layers[node.name] = self._dropout(node, is_training=network.training)
                node.args, node.kwargs = (_arguments(node)["input"],), {}
                node.op, node.target = "call_module", node.name
        return fx.GraphModule(layers, graph)

    def _layer(self, module: nn.Module, name: str, names: Mapping[int, str]) -> nn.Module:
        batched = LAYERS.get(type(module))
        tensors = {own: names[id(p)] for own, p in (*module.named_parameters(), *module.named_buffers())}
        if batched is None:
            if tensors or isinstance(module, _RANDOM):
                raise NotStackableError(f"a layer of type {type(module).__name__}")
            return module
        weights = list(self._weights)
        return batched(
            module,
            Places(
                name,
                {own: weights.index(of) for own, of in tensors.items() if of in self._weights},
                {own: self._constants.index(of) for own, of in tensors.items() if of not in self._weights},
            ),
            self._current,
        )

    def _dropout(self, node: fx.Node, *, is_training: bool) -> nn.Module:
        """A layer for a call of `functional.dropout`, whose probability is that of all models."""
        arguments = _arguments(node)
        if not arguments["training"]:
            return nn.Identity()
        if not is_training:
            raise NotStackableError("dropout outside training")
        self._models.dropout[node.name] = [float(arguments["p"])] * self.count
        return Dropout(nn.Dropout(), Places(node.name, {}, {}), self._current)


def _arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of a call of `functional.dropout`."""
    call = inspect.signature(functional.dropout).bind(*node.args, **node.kwargs)
    call.apply_defaults()
    return call.arguments
