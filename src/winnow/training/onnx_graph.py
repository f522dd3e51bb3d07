"""Build the ONNX graph of a network of common layers.

`torch.onnx.export` takes seconds for the first model of a process. Here torch.fx traces the network and a table
translates each node. Networks that need anything else are left to `torch.onnx.export`. The caller compares the outputs
of either graph with torch's.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn import functional

OPSET = 18
IR_VERSION = 10
"""The file format of ONNX 1.16, which an onnxruntime older than the installed onnx can load."""


class UnknownLayerError(Exception):
    """The table lacks a layer or an operation. The message names it."""


def graph_of(model: nn.Module, example: Tensor) -> onnx.ModelProto:
    """The graph of a model in eval mode: `input` float32 [batch, *shape] to `output`.

    Args:
        example: a batch of at least two rows.

    Raises:
        UnknownLayerError: the table lacks a layer or an operation of the model.
    """
    try:
        traced = fx.symbolic_trace(model)
        with torch.no_grad():
            _Shapes(traced).run(example)
    except Exception as error:
        raise UnknownLayerError(f"the network cannot be traced ({type(error).__name__}: {error})") from error
    builder = _Builder(traced)
    for node in traced.graph.nodes:
        builder.add_node(node)
    return builder.model()


class _Shapes(fx.Interpreter):
    """Runs a traced model and notes the shape of every tensor. (torch's own ShapeProp imports sympy.)"""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result


class _Builder:
    """Collects the operators and constants of a graph. Every value has a name."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.modules = dict(traced.named_modules())
        self._traced = traced
        self._names: dict[fx.Node, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._ends: list[onnx.ValueInfoProto] = []

    def add_node(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                if self._ends:
                    raise UnknownLayerError("a network of several inputs")
                self._names[node] = "input"
                self._ends.append(_end("input", shape_of(node)))
            case "output":
                (result,) = node.args
                if not isinstance(result, fx.Node):
                    raise UnknownLayerError("a network of several outputs")
                self._nodes.append(helper.make_node("Identity", [self.value(result)], ["output"]))
                self._ends.append(_end("output", shape_of(result)))
            case "get_attr":
                path = str(node.target)
                owner, _, name = path.rpartition(".")
                value = getattr(self._traced.get_submodule(owner), name)
                if not isinstance(value, Tensor):
                    raise UnknownLayerError(f"{path}, which is no tensor")
                self._names[node] = self.constant(value)
            case "call_module":
                module = self.modules[str(node.target)]
                # A subclass may compute something else, so types are compared exactly.
                translate = _TRANSLATIONS.get(type(module))
                if translate is None or module._forward_hooks or module._forward_pre_hooks:
                    raise UnknownLayerError(f"a layer of type {type(module).__name__}")
                self._names[node] = translate(self, node, module)
            case _ if node.target in _SIZES:
                pass
            case _:
                translate = _TRANSLATIONS.get(node.target)
                if translate is None:
                    raise UnknownLayerError(f"a call of {getattr(node.target, '__name__', node.target)}")
                self._names[node] = translate(self, node, None)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self._nodes, "model", self._ends[:1], self._ends[1:], list(self._constants.values()))
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="winnow")

    def value(self, given: Any) -> str:
        """The name of a traced tensor, or of a constant for a number."""
        if isinstance(given, fx.Node):
            if given not in self._names:
                raise UnknownLayerError(f"a use of {given.name} as a tensor")
            return self._names[given]
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise UnknownLayerError(f"an argument of type {type(given).__name__}")
        return self.constant(torch.tensor(float(given)))

    def constant(self, tensor: Tensor) -> str:
        """Add a constant; return its name."""
        name = f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(tensor.detach().cpu().contiguous().numpy(), name)
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator; return the name of its result."""
        name = f"value_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a traced tensor for the example's rows."""
    if "shape" not in node.meta:
        raise UnknownLayerError(f"{node.name}, which is no tensor")
    shape: tuple[int, ...] = node.meta["shape"]
    return shape


def _end(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape[1:]])


def _input(builder: _Builder, node: fx.Node) -> str:
    return builder.value(node.args[0] if node.args else node.kwargs["input"])


def _argument(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


# A translation adds the operators of a node and returns the name of the result. The module is None for calls.


def _linear(builder: _Builder, node: fx.Node, module: Any) -> str:
    taken, weight = _input(builder, node), module.weight
    if len(shape_of(node)) == 2:
        bias = () if module.bias is None else (builder.constant(module.bias),)
        return builder.op("Gemm", taken, builder.constant(weight), *bias, transB=1)
    product = builder.op("MatMul", taken, builder.constant(weight.t()))
    return product if module.bias is None else builder.op("Add", product, builder.constant(module.bias))


def _conv(builder: _Builder, node: fx.Node, module: Any) -> str:
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise UnknownLayerError(f"a convolution with padding {module.padding_mode} {module.padding}")
    bias = () if module.bias is None else (builder.constant(module.bias),)
    return builder.op(
        "Conv",
        *(_input(builder, node), builder.constant(module.weight), *bias),
        kernel_shape=list(module.kernel_size),
        strides=list(module.stride),
        pads=[*module.padding, *module.padding],
        dilations=list(module.dilation),
        group=module.groups,
    )


def _batch_norm(builder: _Builder, node: fx.Node, module: Any) -> str:
    if module.running_mean is None:
        raise UnknownLayerError("BatchNorm without running statistics")
    ones, zeros = torch.ones_like(module.running_mean), torch.zeros_like(module.running_mean)
    scale, shift = (ones, zeros) if module.weight is None else (module.weight, module.bias)
    constants = (builder.constant(value) for value in (scale, shift, module.running_mean, module.running_var))
    return builder.op("BatchNormalization", _input(builder, node), *constants, epsilon=module.eps)


def _layer_norm(builder: _Builder, node: fx.Node, module: Any) -> str:
    scale = torch.ones(module.normalized_shape) if module.weight is None else module.weight
    constants = [builder.constant(scale), *(() if module.bias is None else (builder.constant(module.bias),))]
    axis = -len(module.normalized_shape)
    return builder.op("LayerNormalization", _input(builder, node), *constants, axis=axis, epsilon=module.eps)


def _pool(builder: _Builder, node: fx.Node, module: Any) -> str:
    kind = type(module).__name__
    if module.ceil_mode or getattr(module, "return_indices", False):
        raise UnknownLayerError(f"{kind} with ceil_mode or return_indices")
    if getattr(module, "divisor_override", None) is not None:
        raise UnknownLayerError(f"{kind} with divisor_override")

    def each(value: int | tuple[int, ...]) -> list[int]:
        return list(value) if isinstance(value, tuple) else [value] * (1 if kind.endswith("1d") else 2)

    sizes = {
        "kernel_shape": each(module.kernel_size),
        "strides": each(module.stride),
        "pads": each(module.padding) * 2,
    }
    if isinstance(module, nn.MaxPool1d | nn.MaxPool2d):
        return builder.op("MaxPool", _input(builder, node), dilations=each(module.dilation), **sizes)
    return builder.op("AveragePool", _input(builder, node), count_include_pad=int(module.count_include_pad), **sizes)


def _adaptive_average(builder: _Builder, node: fx.Node, _module: Any) -> str:
    if any(side != 1 for side in shape_of(node)[2:]):
        raise UnknownLayerError("AdaptiveAvgPool to more than one pixel")
    return builder.op("GlobalAveragePool", _input(builder, node))


def _embedding(builder: _Builder, node: fx.Node, module: Any) -> str:
    if module.max_norm is not None:
        raise UnknownLayerError("Embedding with max_norm")
    return builder.op("Gather", builder.constant(module.weight), _input(builder, node))


def _embedding_call(builder: _Builder, node: fx.Node, _module: Any) -> str:
    if len(node.args) != 2 or node.kwargs.get("max_norm") is not None:
        raise UnknownLayerError("a call of embedding with max_norm")
    rows, weight = node.args
    return builder.op("Gather", builder.value(weight), builder.value(rows))


def _index_select(builder: _Builder, node: fx.Node, _module: Any) -> str:
    rows, axis, index = node.args
    return builder.op("Gather", builder.value(rows), builder.value(index), axis=axis)


def _select(builder: _Builder, node: fx.Node, _module: Any) -> str:
    rows, axis, index = node.args
    return builder.op("Gather", builder.value(rows), builder.constant(torch.tensor(index)), axis=axis)


def _narrow(builder: _Builder, node: fx.Node, _module: Any) -> str:
    rows, *numbers = node.args
    axis, start, length = (torch.tensor([number]) for number in numbers)
    return builder.op("Slice", builder.value(rows), *map(builder.constant, (start, start + length, axis)))


def _softmax(builder: _Builder, node: fx.Node, module: Any) -> str:
    axis = _argument(node, 1, "dim") if module is None else module.dim
    if not isinstance(axis, int):
        raise UnknownLayerError("softmax without dim")
    return builder.op("Softmax", _input(builder, node), axis=axis)


def _gelu(builder: _Builder, node: fx.Node, module: Any) -> str:
    approximate = node.kwargs.get("approximate", "none") if module is None else module.approximate
    if approximate != "none":
        raise UnknownLayerError(f"GELU with approximate={approximate!r}")
    taken = _input(builder, node)
    half = builder.op("Mul", taken, builder.value(0.5))
    root = builder.op("Mul", taken, builder.constant(torch.tensor(2.0).rsqrt()))
    return builder.op("Mul", half, builder.op("Add", builder.op("Erf", root), builder.value(1.0)))


def _silu(builder: _Builder, node: fx.Node, _module: Any) -> str:
    taken = _input(builder, node)
    return builder.op("Mul", taken, builder.op("Sigmoid", taken))


def _reshape(builder: _Builder, node: fx.Node, _module: Any) -> str:
    """The same rows in the traced shape. The caller's check with a batch of another size shows that rows stay rows."""
    shape = torch.tensor((-1, *shape_of(node)[1:]), dtype=torch.int64)
    return builder.op("Reshape", _input(builder, node), builder.constant(shape))


def _mean(builder: _Builder, node: fx.Node, _module: Any) -> str:
    axes = _argument(node, 1, "dim")
    if axes is None:
        raise UnknownLayerError("a mean over everything")
    keeps = len(shape_of(node)) == len(shape_of(node.args[0]))  # type: ignore[arg-type]
    axes = builder.constant(torch.tensor([axes] if isinstance(axes, int) else list(axes), dtype=torch.int64))
    return builder.op("ReduceMean", _input(builder, node), axes, keepdims=int(keeps))


def _dropout_call(builder: _Builder, node: fx.Node, _module: Any) -> str:
    if _argument(node, 2, "training", default=True) is not False:
        raise UnknownLayerError("dropout that is always on")
    return _input(builder, node)


def _concatenated(builder: _Builder, node: fx.Node, _module: Any) -> str:
    parts: Any = node.args[0]
    return builder.op("Concat", *(builder.value(part) for part in parts), axis=_argument(node, 1, "dim", default=0))


_Translation = Callable[[_Builder, fx.Node, Any], str]


def _unary(kind: str, attribute: str | None = None, **attributes: Any) -> _Translation:
    """An operator of one input; `attribute` names the module's setting that is its `alpha`."""

    def translate(builder: _Builder, node: fx.Node, module: Any) -> str:
        own = {} if attribute is None else {"alpha": getattr(module, attribute)}
        return builder.op(kind, _input(builder, node), **attributes, **own)

    return translate


def _binary(kind: str) -> _Translation:
    def translate(builder: _Builder, node: fx.Node, _module: Any) -> str:
        if node.kwargs:
            raise UnknownLayerError(f"{node.name} with {', '.join(node.kwargs)}")
        first, second = node.args
        return builder.op(kind, builder.value(first), builder.value(second))

    return translate


_BY_TRANSLATION: tuple[tuple[_Translation, tuple[Any, ...]], ...] = (
    (_linear, (nn.Linear,)),
    (_conv, (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    (_batch_norm, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)),
    (_layer_norm, (nn.LayerNorm,)),
    (_embedding, (nn.Embedding,)),
    (_embedding_call, (functional.embedding,)),
    (_index_select, (torch.index_select,)),
    (_select, ("select",)),
    (_narrow, ("narrow",)),
    (_pool, (nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d)),
    (_adaptive_average, (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d)),
    (_reshape, (nn.Flatten, nn.Unflatten, torch.flatten, torch.reshape)),
    (_reshape, ("flatten", "view", "reshape", "squeeze", "unsqueeze")),
    (
        lambda builder, node, _: _input(builder, node),
        (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, "contiguous"),
    ),
    (_dropout_call, (functional.dropout,)),
    (_softmax, (nn.Softmax, torch.softmax, functional.softmax, "softmax")),
    (_gelu, (nn.GELU, functional.gelu)),
    (_silu, (nn.SiLU, functional.silu)),
    (_unary("Relu"), (nn.ReLU, torch.relu, functional.relu, "relu")),
    (_unary("Tanh"), (nn.Tanh, torch.tanh, functional.tanh, "tanh")),
    (_unary("Sigmoid"), (nn.Sigmoid, torch.sigmoid, functional.sigmoid, "sigmoid")),
    (_unary("Elu", attribute="alpha"), (nn.ELU,)),
    (_unary("LeakyRelu", attribute="negative_slope"), (nn.LeakyReLU,)),
    (_unary("Sin"), (torch.sin, "sin")),
    (_unary("Cos"), (torch.cos, "cos")),
    (_unary("IsNaN"), (torch.isnan, "isnan")),
    (_unary("Cast", to=TensorProto.INT64), ("long",)),
    (_unary("Cast", to=TensorProto.FLOAT), ("float",)),
    (_binary("Add"), (operator.add, torch.add)),
    (_binary("Sub"), (operator.sub, torch.sub)),
    (_binary("Mul"), (operator.mul, torch.mul)),
    (_binary("Div"), (operator.truediv, torch.div)),
    (_mean, (torch.mean, "mean")),
    (lambda builder, node, _: builder.op("Where", *map(builder.value, node.args)), (torch.where,)),
    (lambda builder, _node, _: builder.value(0.0), (torch.zeros_like,)),
    (_concatenated, (torch.cat,)),
)
_TRANSLATIONS = {target: translate for translate, targets in _BY_TRANSLATION for target in targets}
"""By type of layer, function, or name of a method."""

_SIZES = ("size", getattr, operator.getitem)
"""Calls that give sizes. They need no operators: `_reshape` takes its shape from the trace."""
