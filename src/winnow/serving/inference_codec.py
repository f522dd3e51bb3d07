"""`POST /v2/models/NAME/infer`: the Open Inference Protocol's REST form (KServe's "V2").

A request has the one tensor `input` of shape [rows, …], or one tensor per column of shape [rows] or [rows, 1]. Tables
of numbers take both; tables with other columns take the second, with BYTES for texts and dates. `data` may be flat or
nested; null is a missing value. Classification answers `output` (FP32, the probabilities) and `prediction` (BYTES, the
class names); regression answers `output` (FP32, the values). `outputs` asks for some of them by name. `parameters` are
taken and ignored. The binary tensor extension is left out.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from winnow.bundle.columns import Column, DType
from winnow.serving import codec, problems, rows
from winnow.serving.codec import InferenceRequest
from winnow.serving.json_body import json_of, standard_json
from winnow.serving.problems import ProblemError
from winnow.serving.signature import Signature
from winnow.serving.values import Kind, Matrix, Numbers

INPUT, OUTPUT, PREDICTION = "input", "output", "prediction"
FLOATS = ("FP16", "FP32", "FP64")
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
NUMBERS = (*FLOATS, *INTEGERS, "BOOL")
DATATYPES = (*NUMBERS, "BYTES")
DATATYPE_OF: Mapping[DType, str] = {
    "double": "FP32",
    "long": "INT64",
    "boolean": "BOOL",
    "string": "BYTES",
    "date": "BYTES",
    "datetime": "BYTES",
}
_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(FLOATS, "real"),
    **dict.fromkeys(INTEGERS, "integer"),
    "BOOL": "boolean",
    "BYTES": "text",
}
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
        content = codec.typed(self._body, body)
        if content is None:
            body = standard_json(body)
            json_of(body, self._signature)
            try:
                content = self._body.decode(body)
            except msgspec.DecodeError as error:
                raise ProblemError("wrong-form", f"Expected an inference request: {error}.") from None
        wanted = tuple(each.name for each in content.outputs) if content.outputs else None
        for name in wanted or ():
            if name not in self._outputs:
                known = " and ".join(f'"{each}"' for each in self._outputs)
                found = problems.shorten(name)
                raise ProblemError("wrong-form", f"outputs: expected {known}, found {found}.")
        return InferenceRequest(self._matrix(content.inputs), content.id, wanted)

    def encode(self, request: InferenceRequest, outputs: Matrix, request_id: str) -> bytes:
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

    def _matrix(self, tensors: Sequence[InputTensor]) -> Matrix:
        names = [tensor.name for tensor in tensors]
        signature = self._signature
        columns = signature.columns
        if names == [INPUT] and signature.is_numeric:
            _check(tensors[0], (None, *signature.input_shape), NUMBERS)
            rows.check_count(tensors[0].shape[0], signature)
            return self._whole(tensors[0])
        if columns is None:
            found = ", ".join(problems.shorten(name) for name in names[:5]) or "none"
            raise ProblemError("wrong-form", f'inputs: expected the one tensor "{INPUT}", found {found}.')
        rows.check_names(names, [column.name for column in columns], "inputs", None, ignore_extra=False)
        by_name = {tensor.name: tensor for tensor in tensors}
        count = tensors[0].shape[0] if tensors[0].shape else 0
        rows.check_count(count, signature)
        parts = []
        for column in columns:
            tensor = by_name[column.name]
            datatypes = NUMBERS if column.kind == "number" else DATATYPES
            _check(tensor, (count, 1) if len(tensor.shape) > 1 else (count,), datatypes)
            parts.append(self._column(tensor, count, column))
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def _whole(self, tensor: InputTensor) -> Matrix:
        """All the rows in one tensor."""
        kind = _KINDS[tensor.datatype]
        matrix = self._flat_numbers(tensor.data, tuple(tensor.shape), kind)
        if matrix is not None:
            return matrix
        content = json_of(bytes(tensor.data), self._signature)
        return rows.from_tensor(content, tensor.shape[0], self._signature, _where(tensor), kind)

    def _column(self, tensor: InputTensor, count: int, column: Column) -> Matrix | Numbers:
        """One column's numbers, [rows, width]."""
        kind = _KINDS[tensor.datatype]
        if column.kind == "number" and (matrix := self._flat_numbers(tensor.data, (count, 1), kind)) is not None:
            return matrix
        return rows.from_column(json_of(bytes(tensor.data), self._signature), count, column, _where(tensor), kind)

    def _flat_numbers(self, data: msgspec.Raw, shape: tuple[int, ...], kind: Kind) -> Matrix | None:
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
    if signature.is_numeric:
        return [{"name": INPUT, "datatype": "FP32", "shape": [-1, *signature.input_shape]}]
    columns = signature.columns or ()
    return [{"name": column.name, "datatype": DATATYPE_OF[column.dtype], "shape": [-1]} for column in columns]


def output_tensors(signature: Signature) -> list[dict[str, Any]]:
    """The protocol's metadata of the outputs."""
    tensors: list[dict[str, Any]] = [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, signature.outputs]}]
    if signature.classes is not None:
        tensors.append({"name": PREDICTION, "datatype": "BYTES", "shape": [-1]})
    return tensors


def _where(tensor: InputTensor) -> str:
    return f"inputs {problems.shorten(tensor.name)}"


def _check(tensor: InputTensor, shape: tuple[int | None, ...], datatypes: Sequence[str]) -> None:
    """Refuse a tensor of another datatype or shape; None in `shape` is any number of rows."""
    if tensor.datatype not in datatypes:
        raise ProblemError("wrong-form", f"{_where(tensor)}: expected a datatype of {', '.join(datatypes)}.")
    fits = len(tensor.shape) == len(shape) and all(
        found == expected or (expected is None and found > 0)
        for found, expected in zip(tensor.shape, shape, strict=True)
    )
    if not fits or not all(tensor.shape):
        sizes = ", ".join("rows" if size is None else str(size) for size in shape)
        raise problems.invalid(
            [problems.Finding(f"{_where(tensor)}: expected shape [{sizes}] and at least one row, found {tensor.shape}")]
        )
