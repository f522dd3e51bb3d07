"""The ONNX graph of a network of well-known layers, built node by node.

`torch.onnx.export` knows every operator and takes seconds for the first model of a process. Most networks consist of a
few dozen well-known layers: torch.fx traces them, and every traced node becomes its ONNX operators. Anything else is
left to `torch.onnx.export`. Whether the graph answers as torch does is checked by the caller, for both.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn import functional

OPSET = 18
IR_VERSION = 10
"""The file format's version: that of ONNX 1.16, so that an onnxruntime older than the installed onnx can load it."""


class UnknownLayerError(Exception):
    """A layer or operation that this module does not know. The message names it."""


def graph_of(model: nn.Module, example: Tensor) -> onnx.ModelProto:
    """The graph of a model in eval mode: `input` float32 [batch, *shape] to `output`.

    Args:
        example: a batch of at least two rows.

    Raises:
        UnknownLayerError: the model needs more than the well-known layers.
    """
    traced = _traced(model, example)
    builder = _Builder(traced)
    for node in traced.graph.nodes:
        builder.add_node(node)
    return builder.model()


def _traced(model: nn.Module, example: Tensor) -> fx.GraphModule:
    """The model as a graph whose nodes know the shape of what they give."""
    try:
        traced = fx.symbolic_trace(model)
        with torch.no_grad():
            _Shapes(traced).run(example)
    except Exception as error:
        raise UnknownLayerError(f"the network cannot be traced ({type(error).__name__}: {error})") from error
    return traced


class _Shapes(fx.Interpreter):
    """Runs a traced model and notes the shape of every tensor. (torch's own ShapeProp imports sympy.)"""

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape)
        return result


class _Builder:
    """Collects the operators of a graph; a name stands for each value."""

    def __init__(self, traced: fx.GraphModule) -> None:
        self.modules = dict(traced.named_modules())
        self._traced = traced
        self._names: dict[fx.Node, str] = {}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._ends: list[onnx.ValueInfoProto] = []

    def add_node(self, node: fx.Node) -> None:
        """Add the operators of one traced node."""
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
                self._names[node] = self.constant(_attribute(self._traced, str(node.target)))
            case "call_module":
                module = self.modules[str(node.target)]
                handle = _LAYERS.get(type(module))
                if handle is None or module._forward_hooks or module._forward_pre_hooks:
                    raise UnknownLayerError(f"a layer of type {type(module).__name__}")
                self._names[node] = handle(self, module, node)
            case _:
                handle_call = _CALLS.get(node.target)
                if handle_call is None:
                    raise UnknownLayerError(f"a call of {getattr(node.target, '__name__', node.target)}")
                named = handle_call(self, node)
                if named is not None:
                    self._names[node] = named

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(self._nodes, "model", self._ends[:1], self._ends[1:], list(self._constants.values()))
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="winnow")

    def value(self, given: Any) -> str:
        """The name of a traced value, or of a number as a constant."""
        if isinstance(given, fx.Node):
            if given not in self._names:
                raise UnknownLayerError(f"a use of {given.name} as a tensor")
            return self._names[given]
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise UnknownLayerError(f"an argument of type {type(given).__name__}")
        return self.constant(torch.tensor(float(given)))

    def constant(self, tensor: Tensor) -> str:
        """The name of a constant."""
        name = f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(tensor.detach().cpu().contiguous().numpy(), name)
        return name

    def integers(self, values: Sequence[int]) -> str:
        """The name of a constant of whole numbers."""
        return self.constant(torch.tensor(list(values), dtype=torch.int64))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator; return the name of its result."""
        name = f"value_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a traced tensor, the example's rows first."""
    if "shape" not in node.meta:
        raise UnknownLayerError(f"{node.name}, which is no tensor")
    shape: tuple[int, ...] = node.meta["shape"]
    return shape


def _end(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape[1:]])


def _attribute(root: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    value = getattr(root.get_submodule(owner), name)
    if not isinstance(value, Tensor):
        raise UnknownLayerError(f"{path}, which is no tensor")
    return value


def _input(builder: _Builder, node: fx.Node) -> str:
    return builder.value(node.args[0] if node.args else node.kwargs["input"])


# Layers: the module and the node to the name of the result.


def _linear(builder: _Builder, module: Any, node: fx.Node) -> str:
    taken, weight = _input(builder, node), module.weight
    if len(shape_of(node)) == 2:
        bias = () if module.bias is None else (builder.constant(module.bias),)
        return builder.op("Gemm", taken, builder.constant(weight), *bias, transB=1)
    product = builder.op("MatMul", taken, builder.constant(weight.t()))
    return product if module.bias is None else builder.op("Add", product, builder.constant(module.bias))


def _conv(builder: _Builder, module: Any, node: fx.Node) -> str:
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


def _batch_norm(builder: _Builder, module: Any, node: fx.Node) -> str:
    if module.running_mean is None:
        raise UnknownLayerError("BatchNorm without running statistics")
    ones, zeros = torch.ones_like(module.running_mean), torch.zeros_like(module.running_mean)
    scale, shift = (ones, zeros) if module.weight is None else (module.weight, module.bias)
    constants = (builder.constant(value) for value in (scale, shift, module.running_mean, module.running_var))
    return builder.op("BatchNormalization", _input(builder, node), *constants, epsilon=module.eps)


def _layer_norm(builder: _Builder, module: Any, node: fx.Node) -> str:
    scale = torch.ones(module.normalized_shape) if module.weight is None else module.weight
    constants = [builder.constant(scale), *(() if module.bias is None else (builder.constant(module.bias),))]
    axis = -len(module.normalized_shape)
    return builder.op("LayerNormalization", _input(builder, node), *constants, axis=axis, epsilon=module.eps)


def _pool(kind: str, sides: int) -> Callable[[_Builder, Any, fx.Node], str]:
    def handle(builder: _Builder, module: Any, node: fx.Node) -> str:
        def each(value: int | tuple[int, ...]) -> list[int]:
            return list(value) if isinstance(value, tuple) else [value] * sides

        if module.ceil_mode or getattr(module, "return_indices", False):
            raise UnknownLayerError(f"{type(module).__name__} with ceil_mode or return_indices")
        if getattr(module, "divisor_override", None) is not None:
            raise UnknownLayerError(f"{type(module).__name__} with divisor_override")
        own: dict[str, Any] = (
            {"dilations": each(module.dilation)}
            if kind == "MaxPool"
            else {"count_include_pad": int(module.count_include_pad)}
        )
        pads = each(module.padding)
        kernel, stride = each(module.kernel_size), each(module.stride)
        return builder.op(kind, _input(builder, node), kernel_shape=kernel, strides=stride, pads=[*pads, *pads], **own)

    return handle


def _adaptive_average(builder: _Builder, _module: Any, node: fx.Node) -> str:
    if any(side != 1 for side in shape_of(node)[2:]):
        raise UnknownLayerError("AdaptiveAvgPool to more than one pixel")
    return builder.op("GlobalAveragePool", _input(builder, node))


def _embedding(builder: _Builder, module: Any, node: fx.Node) -> str:
    if module.max_norm is not None:
        raise UnknownLayerError("Embedding with max_norm")
    return builder.op("Gather", builder.constant(module.weight), _input(builder, node))


def _softmax(builder: _Builder, module: Any, node: fx.Node) -> str:
    if module.dim is None:
        raise UnknownLayerError("Softmax without dim")
    return builder.op("Softmax", _input(builder, node), axis=module.dim)


def _gelu(builder: _Builder, taken: str, approximate: str = "none") -> str:
    if approximate != "none":
        raise UnknownLayerError(f"GELU with approximate={approximate!r}")
    half = builder.op("Mul", taken, builder.constant(torch.tensor(0.5)))
    root = builder.op("Mul", taken, builder.constant(torch.tensor(2.0).rsqrt()))
    return builder.op("Mul", half, builder.op("Add", builder.op("Erf", root), builder.constant(torch.tensor(1.0))))


def _silu(builder: _Builder, taken: str) -> str:
    return builder.op("Mul", taken, builder.op("Sigmoid", taken))


def _same(builder: _Builder, _module: Any, node: fx.Node) -> str:
    return _input(builder, node)


def _reshaped(builder: _Builder, _module: Any, node: fx.Node) -> str:
    return _reshape(builder, node)


def _reshape(builder: _Builder, node: fx.Node) -> str:
    """A view of the rows in another shape. That rows stay rows is checked with a batch of another size."""
    return builder.op("Reshape", _input(builder, node), builder.integers((-1, *shape_of(node)[1:])))


def _plain(kind: str) -> Callable[[_Builder, Any, fx.Node], str]:
    return lambda builder, _module, node: builder.op(kind, _input(builder, node))


_LAYERS: Mapping[type[nn.Module], Callable[[_Builder, Any, fx.Node], str]] = {
    nn.Linear: _linear,
    nn.Conv1d: _conv,
    nn.Conv2d: _conv,
    nn.Conv3d: _conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm3d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.Embedding: _embedding,
    nn.MaxPool1d: _pool("MaxPool", 1),
    nn.MaxPool2d: _pool("MaxPool", 2),
    nn.AvgPool1d: _pool("AveragePool", 1),
    nn.AvgPool2d: _pool("AveragePool", 2),
    nn.AdaptiveAvgPool1d: _adaptive_average,
    nn.AdaptiveAvgPool2d: _adaptive_average,
    nn.Flatten: _reshaped,
    nn.Unflatten: _reshaped,
    nn.Identity: _same,
    nn.Dropout: _same,
    nn.Dropout1d: _same,
    nn.Dropout2d: _same,
    nn.Softmax: _softmax,
    nn.ReLU: _plain("Relu"),
    nn.Tanh: _plain("Tanh"),
    nn.Sigmoid: _plain("Sigmoid"),
    nn.ELU: lambda builder, module, node: builder.op("Elu", _input(builder, node), alpha=module.alpha),
    nn.LeakyReLU: lambda builder, module, node: builder.op(
        "LeakyRelu", _input(builder, node), alpha=module.negative_slope
    ),
    nn.GELU: lambda builder, module, node: _gelu(builder, _input(builder, node), module.approximate),
    nn.SiLU: lambda builder, _module, node: _silu(builder, _input(builder, node)),
}
"""What is known of layers. A subclass may compute something else, so types are compared exactly."""


# Calls of functions and methods in a forward: the node to the name of the result, None where it is no tensor.


def _binary(kind: str) -> Callable[[_Builder, fx.Node], str]:
    def handle(builder: _Builder, node: fx.Node) -> str:
        if node.kwargs:
            raise UnknownLayerError(f"{node.name} with {', '.join(node.kwargs)}")
        first, second = node.args
        return builder.op(kind, builder.value(first), builder.value(second))

    return handle


def _unary(kind: str) -> Callable[[_Builder, fx.Node], str]:
    def handle(builder: _Builder, node: fx.Node) -> str:
        return builder.op(kind, _input(builder, node))

    return handle


def _cast(to: int) -> Callable[[_Builder, fx.Node], str]:
    return lambda builder, node: builder.op("Cast", _input(builder, node), to=to)


def _where(builder: _Builder, node: fx.Node) -> str:
    return builder.op("Where", *(builder.value(given) for given in node.args))


def _concatenated(builder: _Builder, node: fx.Node) -> str:
    parts: Any = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return builder.op("Concat", *(builder.value(part) for part in parts), axis=axis)


def _mean(builder: _Builder, node: fx.Node) -> str:
    axes: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if axes is None:
        raise UnknownLayerError("a mean over everything")
    axes = [axes] if isinstance(axes, int) else list(axes)
    keeps = len(shape_of(node)) == len(shape_of(node.args[0]))  # type: ignore[arg-type]
    return builder.op("ReduceMean", _input(builder, node), builder.integers(axes), keepdims=int(keeps))


def _function_dropout(builder: _Builder, node: fx.Node) -> str:
    is_training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
    if is_training is not False:
        raise UnknownLayerError("dropout that is always on")
    return _input(builder, node)


def _function_softmax(builder: _Builder, node: fx.Node) -> str:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    if not isinstance(axis, int):
        raise UnknownLayerError("softmax without dim")
    return builder.op("Softmax", _input(builder, node), axis=axis)


def _no_tensor(_builder: _Builder, _node: fx.Node) -> None:
    """A size, which only shapes are made of; `_reshape` knows the shapes by itself."""


_CALLS: Mapping[Any, Callable[[_Builder, fx.Node], str | None]] = {
    **dict.fromkeys((operator.add, torch.add), _binary("Add")),
    **dict.fromkeys((operator.sub, torch.sub), _binary("Sub")),
    **dict.fromkeys((operator.mul, torch.mul), _binary("Mul")),
    **dict.fromkeys((operator.truediv, torch.div), _binary("Div")),
    **dict.fromkeys((torch.relu, functional.relu, "relu"), _unary("Relu")),
    **dict.fromkeys((torch.tanh, functional.tanh, "tanh"), _unary("Tanh")),
    **dict.fromkeys((torch.sigmoid, functional.sigmoid, "sigmoid"), _unary("Sigmoid")),
    **dict.fromkeys((torch.isnan, "isnan"), _unary("IsNaN")),
    **dict.fromkeys((torch.flatten, torch.reshape, "flatten", "view", "reshape", "squeeze", "unsqueeze"), _reshape),
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((torch.softmax, functional.softmax, "softmax"), _function_softmax),
    **dict.fromkeys(("size", getattr, operator.getitem), _no_tensor),
    functional.gelu: lambda builder, node: _gelu(
        builder, _input(builder, node), str(node.kwargs.get("approximate", "none"))
    ),
    functional.silu: lambda builder, node: _silu(builder, _input(builder, node)),
    functional.dropout: _function_dropout,
    torch.where: _where,
    torch.zeros_like: lambda builder, _node: builder.constant(torch.tensor(0.0)),
    torch.cat: _concatenated,
    "long": _cast(TensorProto.INT64),
    "float": _cast(TensorProto.FLOAT),
    "contiguous": lambda builder, node: _input(builder, node),
}
