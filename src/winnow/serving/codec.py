"""What a protocol is to the server: bodies in, bodies out, around the same array of rows.

Three implementations: `predict_codec` (winnow's own JSON), `invocations_codec` (MLflow's), `inference_codec` (Open
Inference Protocol). Each decodes most valid bodies straight into typed values, and leaves the others to `rows`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import Kind
from winnow.serving import rows, values
from winnow.serving.json_body import standard_json
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

JSON = "application/json"
CSV = "text/csv"
_T = TypeVar("_T")

_ESCAPED = re.compile(r'["\\\x00-\x1f]')
"""What msgspec's structs cannot have in a name; `rows` reads objects with such columns value by value."""


@dataclass(frozen=True)
class InferenceRequest:
    """A decoded request: the rows, the caller's own id for the request, and the outputs asked for (None: all)."""

    matrix: Matrix
    identifier: str | None = None
    wanted: tuple[str, ...] | None = None


class Codec(Protocol):
    """One protocol for one model."""

    @property
    def media_types(self) -> tuple[str, ...]:
        """Content types that `decode` takes; the first is assumed where a request names none."""

    def decode(self, body: bytes, media_type: str) -> InferenceRequest:
        """The rows in a body.

        Raises ProblemError where it is not one of this protocol, or its rows do not fit the model.
        """

    def encode(self, request: InferenceRequest, outputs: Matrix, request_id: str) -> bytes:
        """The answer for outputs of shape [rows, outputs]."""

    def problem_members(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """A problem's members, with those that this protocol's clients look for."""


def typed(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T | None:
    """The body as the decoder's type, or None if it is not of that type, for `rows` to say why."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        standard = standard_json(body)
        return typed(decoder, standard) if standard != body else None


_TYPES: Mapping[Kind, Any] = {
    "number": float | None,
    "boolean": bool | int | float | str | None,
    "category": str | int | float | bool | None,
    "date": str | None,
}
"""The JSON values that each kind of column takes."""


class RowReader:
    """Reads rows of valid JSON values into an array; numbers without a Python loop over the values.

    `type` is the type of a row for a msgspec decoder: a struct with one field per column, or an array of the columns'
    types; for tensors nested lists of numbers.
    """

    def __init__(self, signature: Signature, *, ignore_extra: bool) -> None:
        self._signature = signature
        row: Any = float | None
        self._struct: type[msgspec.Struct] | None = None
        columns = signature.columns
        if columns is None:
            for _ in signature.input_shape:
                row = list[row]
        else:
            types = [_TYPES[column.kind] for column in columns]
            is_numeric, width = signature.is_numeric, len(columns)
            row = list[float | None] if is_numeric else tuple[tuple(types)]  # type: ignore[misc]
            if is_numeric:
                row = Annotated[row, msgspec.Meta(min_length=width, max_length=width)]
            if not any(_ESCAPED.search(column.name) for column in columns):
                names = {f"c{index}": column.name for index, column in enumerate(columns)}
                fields = list(zip(names, types, strict=True))
                self._struct = msgspec.defstruct(
                    "Row", fields, rename=names, forbid_unknown_fields=not ignore_extra, gc=False
                )
                row = self._struct | row
        self.type = row

    def matrix(self, items: Sequence[Any], where: str) -> Matrix | None:
        """The rows as an array, or None if they are too few or ragged, for `rows` to say why.

        Raises ProblemError where there are too many rows, or a value does not fit its column.
        """
        signature = self._signature
        if not items:
            return None
        rows.check_count(len(items), signature)
        if self._struct is not None:
            struct, astuple = self._struct, msgspec.structs.astuple
            items = [astuple(item) if type(item) is struct else item for item in items]
        if signature.columns is not None and not signature.is_numeric:
            return values.table(items, signature.columns, lambda row: f"{where}[{row}]")
        try:
            numbers: NDArray[np.float64] = np.array(items, dtype=np.float64)
        except ValueError:
            return None
        if numbers.shape[1:] != signature.input_shape:
            return None
        return values.finite(numbers, signature, where)


def labels(outputs: Matrix, signature: Signature) -> list[str]:
    """The predicted class of each row: the likeliest, or of two the positive one from the threshold on."""
    classes, positive, threshold = signature.classes or (), signature.positive, signature.threshold
    if threshold is None:
        return [classes[index] for index in outputs.argmax(axis=1).tolist()]
    return [classes[positive if is_it else 1 - positive] for is_it in (outputs[:, positive] >= threshold).tolist()]


def by_name(outputs: Matrix, names: Sequence[str]) -> list[dict[str, float]]:
    """Each row of the output as an object."""
    return [dict(zip(names, row, strict=True)) for row in outputs.tolist()]


def predictions(outputs: Matrix, signature: Signature) -> list[Any]:
    """One prediction per row: a class name; a number; or, for several targets, numbers by target."""
    if signature.classes is not None:
        return labels(outputs, signature)
    if len(signature.targets) == 1:
        return list(outputs[:, 0].tolist())
    return by_name(outputs, signature.targets)
