"""A model that a training function hands over as ONNX: brought into the form that servers take, and run like a network.

The libraries' own converters (skl2onnx, onnxmltools) name inputs and outputs as they like and add outputs for labels.
A server feeds `input`, float32 [batch, *input_shape], and reads `output`: class probabilities, or values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper
from torch import Tensor, nn

_OPSET = 13
"""Of the operators added here, where the model imports none of ONNX's own."""
_SUM_TOLERANCE = 1e-3


class OnnxNetwork(nn.Module):
    """Raw rows to what a factory's network returns: logits (of the model's probabilities), or values."""

    def __init__(self, model: bytes, *, is_probability: bool) -> None:
        """`model`: from `for_serving`."""
        super().__init__()
        self.model, self.is_probability = model, is_probability
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def answer(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The model's own outputs, float32 [rows, outputs]."""
        outputs: NDArray[np.float32] = self._session.run(["output"], {"input": inputs})[0]
        return outputs

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = torch.from_numpy(self.answer(inputs.cpu().numpy())).to(inputs.device)
        return outputs.clamp(min=torch.finfo(torch.float32).tiny).log() if self.is_probability else outputs


def network_of(model: Any, features: NDArray[np.float32], outputs: int, *, is_probability: bool) -> OnnxNetwork:
    """The network of an ONNX model, tried on some rows.

    Args:
        model: a ModelProto, or its bytes.
        features: raw rows, float32 [rows, *input_shape].

    Raises:
        TypeError: it is neither.
        ValueError: it takes or answers something else than a server needs, or ONNX Runtime does not run it.
    """
    prepared = for_serving(model, features.shape[1:], is_probability=is_probability)
    try:
        network = OnnxNetwork(prepared, is_probability=is_probability)
        answers = network.answer(features)
    except Exception as error:  # ONNX Runtime's errors have no common class of their own
        imports = onnx.load_model_from_string(prepared).opset_import
        opsets = ", ".join(f"{each.domain or 'ai.onnx'} {each.version}" for each in imports)
        raise ValueError(
            f"ONNX Runtime {onnxruntime.__version__} does not run the 'onnx' model (operators of {opsets}); "
            f"convert it for another target_opset: {str(error).splitlines()[0]}"
        ) from error
    if answers.shape != (len(features), outputs):
        raise ValueError(f"the 'onnx' model answers with shape {answers.shape}, not {(len(features), outputs)}")
    is_one = np.abs(answers.sum(1) - 1) < _SUM_TOLERANCE
    if is_probability and not (is_one.all() and (answers >= 0).all()):
        raise ValueError(
            "the 'onnx' model's output is no class probabilities: a row's are not positive or do not add up to 1"
        )
    return network


def for_serving(model: Any, input_shape: tuple[int, ...], *, is_probability: bool) -> bytes:
    """The model with its input called `input` and its only output called `output`, [batch, outputs].

    Raises:
        TypeError: it is no ModelProto, nor the bytes of one.
        ValueError: it has no such input or output.
    """
    proto = _proto(model)
    graph = proto.graph
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1 or not _is_float(inputs[0]) or not _fits(inputs[0], input_shape):
        raise ValueError(
            f"the 'onnx' model takes {_listed(inputs)}; expected one float32 input of shape "
            f"[batch, {', '.join(map(str, input_shape))}]"
        )
    chosen = _output(graph, is_probability=is_probability)
    kept, output = compose.add_prefix_graph(graph, "model/"), f"model/{chosen.name}"
    first = helper.make_node("Identity", ["input"], [f"model/{inputs[0].name}"])
    is_flat = len(chosen.type.tensor_type.shape.dim) == 1
    last = [helper.make_node("Identity", [output], ["output"])]
    if is_flat:
        column = helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1])
        kept.initializer.append(column)
        last = [helper.make_node("Reshape", [output, "column"], ["output"])]
    nodes = [first, *_needed(kept.node, output), *last]
    made = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *input_shape])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", None])],
        kept.initializer,
        sparse_initializer=kept.sparse_initializer,
    )
    opsets = {each.domain: each.version for each in proto.opset_import}
    opsets.setdefault("", _OPSET)
    imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
    served = helper.make_model(made, opset_imports=imports, ir_version=proto.ir_version, functions=proto.functions)
    whole: bytes = served.SerializeToString()
    return whole


def _proto(model: Any) -> Any:
    if isinstance(model, onnx.ModelProto):
        return model
    if not isinstance(model, bytes):
        raise TypeError(f"training.loop returned a {type(model).__name__} as 'onnx', not a ModelProto or its bytes")
    try:
        return onnx.load_model_from_string(model)
    except Exception as error:  # protobuf's DecodeError is not onnx's to import
        raise ValueError(f"the bytes returned as 'onnx' are no ONNX model: {error}") from error


def _output(graph: Any, *, is_probability: bool) -> Any:
    """The output that holds probabilities or values; labels are whole numbers or text."""
    found = [each for each in graph.output if _is_float(each) and len(each.type.tensor_type.shape.dim) in (0, 1, 2)]
    if is_probability:
        found = [each for each in found if len(each.type.tensor_type.shape.dim) != 1]
    if len(found) == 1:
        return found[0]
    zipped = any(each.type.HasField("sequence_type") for each in graph.output)
    raise ValueError(
        f"the 'onnx' model answers {_listed(graph.output)}; expected one float32 output of "
        + ("class probabilities" if is_probability else "values")
        + ("; convert it with options={'zipmap': False}" if zipped else "")
    )


def _is_float(value: Any) -> bool:
    return bool(value.type.HasField("tensor_type") and value.type.tensor_type.elem_type == TensorProto.FLOAT)


def _fits(value: Any, input_shape: tuple[int, ...]) -> bool:
    """Whether an input takes any number of rows of this shape."""
    dims = value.type.tensor_type.shape.dim
    sizes = [each.dim_value if each.HasField("dim_value") else 0 for each in dims]
    return len(sizes) == 1 + len(input_shape) and all(
        size in (0, wanted) for size, wanted in zip(sizes, (0, *input_shape), strict=True)
    )


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(_described(value) for value in values) or "nothing"


def _described(value: Any) -> str:
    if not value.type.HasField("tensor_type"):
        return f"{value.name} (a {value.type.WhichOneof('value').removesuffix('_type')})"
    tensor = value.type.tensor_type
    sizes = [str(each.dim_value) if each.HasField("dim_value") else "?" for each in tensor.shape.dim]
    return f"{value.name} ({TensorProto.DataType.Name(tensor.elem_type).lower()} [{', '.join(sizes)}])"


def _needed(nodes: Iterable[Any], output: str) -> list[Any]:
    """The nodes on which an output depends, in order."""
    wanted, kept = {output}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= _read_by(node)
    return kept[::-1]


def _read_by(node: Any) -> set[str]:
    inner = [graph for each in node.attribute for graph in (*each.graphs, *([each.g] if each.HasField("g") else []))]
    return set(node.input).union(*(_read_by(each) for graph in inner for each in graph.node))
