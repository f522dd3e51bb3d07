"""`POST /v2/models/NAME/infer`: the Open Inference Protocol's REST form (KServe's "V2").

A request has either the one tensor `input` of shape [rows, …], or, for tabular models, one tensor per column of shape
[rows] or [rows, 1]. `data` may be flat or nested; null is a missing value. Classification answers `output` (FP32, the
probabilities) and `prediction` (BYTES, the class names); regression answers `output` (FP32, the values). `outputs` asks
for some of them by name. `parameters` are taken and ignored. The binary tensor extension is left out.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import msgspec
import numpy as np

from winnow.serving import codec, problems, rows
from winnow.serving.codec import InferenceRequest
from winnow.serving.problems import ProblemError
from winnow.serving.rows import Matrix
from winnow.serving.signature import Signature

INPUT, OUTPUT, PREDICTION = "input", "output", "prediction"
FLOATS = ("FP16", "FP32", "FP64")
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
DATATYPES = (*FLOATS, *INTEGERS, "BOOL")
Size = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Shape = Annotated[list[Size], msgspec.Meta(max_length=rows.DEEPEST_TENSOR)]


class InputTensor(msgspec.Struct, frozen=True, gc=False):
    """One tensor of a request; `data` is decoded when its datatype and shape are known."""

    name: str
    shape: Shape
    datatype: str
    data: msgspec.Raw
    parameters: dict[str, Any] | None = None


class RequestedOutput(msgspec.Struct, frozen=True, gc=False):
    """An output asked for by name."""

    name: str
    parameters: dict[str, Any] | None = None


class InferenceBody(msgspec.Struct, frozen=True, gc=False):
    """The request's body."""

    inputs: list[InputTensor]
    id: str | None = None
    outputs: list[RequestedOutput] | None = None
    parameters: dict[str, Any] | None = None


class InferenceCodec:
    """`Codec` for `/v2/…/infer`."""

    media_types = (codec.JSON,)

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._outputs = tuple(each["name"] for each in output_tensors(signature))
        self._body = msgspec.json.Decoder(InferenceBody)
        self._numbers = msgspec.json.Decoder(list[float | None])
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes, media_type: str) -> InferenceRequest:
        """See `Codec.decode`."""
        content = codec.typed(self._body, body)
        if content is None:
            self._refuse(body)
        wanted = tuple(each.name for each in content.outputs) if content.outputs else None
        for name in wanted or ():
            if name not in self._outputs:
                known = " and ".join(f'"{each}"' for each in self._outputs)
                found = problems.shorten(name)
                raise ProblemError("wrong-form", f"outputs: expected {known}, found {found}.")
        return InferenceRequest(self._matrix(content.inputs), content.id, wanted)

    def encode(self, request: InferenceRequest, outputs: Matrix, request_id: str) -> bytes:
        """See `Codec.encode`."""
        signature = self._signature
        tensors: list[dict[str, Any]] = []
        wanted = request.wanted or self._outputs
        if OUTPUT in wanted:
            data = outputs.ravel().tolist()
            tensors.append({"name": OUTPUT, "datatype": "FP32", "shape": list(outputs.shape), "data": data})
        if PREDICTION in wanted and signature.classes is not None:
            names = codec.labels(outputs, signature)
            tensors.append({"name": PREDICTION, "datatype": "BYTES", "shape": [len(names)], "data": names})
        answer = {
            "model_name": signature.name,
            "model_version": signature.version,
            "id": request.identifier or request_id,
            "outputs": tensors,
        }
        return self._encode(answer)

    def problem_members(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """Adds `error`, the protocol's own error message."""
        return {**members, "error": members["detail"]}

    def _refuse(self, body: bytes) -> NoReturn:
        body = rows.standard_json(body)
        rows.json_of(body, self._signature)
        try:
            self._body.decode(body)
        except msgspec.DecodeError as error:
            raise ProblemError("wrong-form", f"Expected an inference request: {error}.") from None
        raise AssertionError("a body that was refused a moment ago")

    def _matrix(self, tensors: Sequence[InputTensor]) -> Matrix:
        names = [tensor.name for tensor in tensors]
        columns = self._signature.columns
        if names == [INPUT]:
            shape = (None, *self._signature.input_shape)
            _check(tensors[0], shape)
            rows.check_count(tensors[0].shape[0], self._signature)
            return self._values(tensors[0], tuple(tensors[0].shape), None)
        if columns is None:
            found = ", ".join(problems.shorten(name) for name in names[:5]) or "none"
            raise ProblemError("wrong-form", f'inputs: expected the one tensor "{INPUT}", found {found}.')
        rows.check_names(names, columns, "inputs", None, ignore_extra=False)
        by_name = {tensor.name: tensor for tensor in tensors}
        count = tensors[0].shape[0] if tensors[0].shape else 0
        rows.check_count(count, self._signature)
        parts = []
        for name in columns:
            tensor = by_name[name]
            _check(tensor, (count, 1) if len(tensor.shape) > 1 else (count,))
            parts.append(self._values(tensor, (count,), name))
        return np.stack(parts, axis=1)

    def _values(self, tensor: InputTensor, shape: tuple[int, ...], column: str | None) -> Matrix:
        """A tensor's data as float32 of `shape`."""
        kind: rows.NumberKind = (
            "boolean" if tensor.datatype == "BOOL" else "integer" if tensor.datatype in INTEGERS else "real"
        )
        matrix = self._flat_numbers(tensor.data, shape, kind)
        if matrix is not None:
            return matrix
        values = rows.json_of(bytes(tensor.data), self._signature)
        where = f"inputs {problems.shorten(tensor.name)}"
        return rows.from_flat(values, shape, self._signature, where, column, kind)

    def _flat_numbers(self, data: msgspec.Raw, shape: tuple[int, ...], kind: rows.NumberKind) -> Matrix | None:
        """Flat data as float32 of `shape`; None if it is nested or at fault, for `rows` to read."""
        if kind == "boolean":
            return None
        try:
            numbers = self._numbers.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return None
        if len(numbers) != math.prod(shape):
            return None
        values = np.array(numbers, dtype=np.float64)
        if kind == "integer" and (np.floor(values) < values).any():
            return None
        with np.errstate(over="ignore"):
            matrix: Matrix = values.astype(np.float32).reshape(shape)
        return None if np.isinf(matrix).any() else matrix


def input_tensors(signature: Signature) -> list[dict[str, Any]]:
    """The protocol's metadata of the input."""
    return [{"name": INPUT, "datatype": "FP32", "shape": [-1, *signature.input_shape]}]


def output_tensors(signature: Signature) -> list[dict[str, Any]]:
    """The protocol's metadata of the outputs."""
    tensors: list[dict[str, Any]] = [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, signature.outputs]}]
    if signature.classes is not None:
        tensors.append({"name": PREDICTION, "datatype": "BYTES", "shape": [-1]})
    return tensors


def _check(tensor: InputTensor, shape: tuple[int | None, ...]) -> None:
    """Refuse a tensor of another datatype or shape; None in `shape` is any number of rows."""
    where = f"inputs {problems.shorten(tensor.name)}"
    if tensor.datatype not in DATATYPES:
        raise ProblemError("wrong-form", f"{where}: expected a datatype of {', '.join(DATATYPES)}.")
    fits = len(tensor.shape) == len(shape) and all(
        found == expected or (expected is None and found > 0)
        for found, expected in zip(tensor.shape, shape, strict=True)
    )
    if not fits or not all(tensor.shape):
        sizes = ", ".join("rows" if size is None else str(size) for size in shape)
        raise problems.invalid(
            [problems.Finding(f"{where}: expected shape [{sizes}] and at least one row, found {tensor.shape}")]
        )
