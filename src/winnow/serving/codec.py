"""What a protocol is to the server: bodies in, bodies out, around the same array of rows.

Three implementations: `predict_codec` (winnow's own JSON), `invocations_codec` (MLflow's), `inference_codec` (Open
Inference Protocol). Each decodes valid bodies straight into typed values, and leaves the others to `rows`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from winnow.serving import rows
from winnow.serving.rows import Matrix
from winnow.serving.signature import Signature

JSON = "application/json"
CSV = "text/csv"

_ESCAPED = re.compile(r'["\\\x00-\x1f]')
"""What msgspec's structs cannot have in a name: `rows` reads objects with such columns value by value."""


@dataclass(frozen=True)
class InferenceRequest:
    """A decoded request: the rows, and what its answer has to repeat.

    Attributes:
        identifier: the caller's own name for the request, where the protocol has one.
        wanted: names of the outputs asked for; None for all.
    """

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

        Raises:
            ProblemError: it is not one of this protocol, or its rows do not fit the model.
        """

    def encode(self, request: InferenceRequest, outputs: Matrix, request_id: str) -> bytes:
        """The answer for outputs of shape [rows, outputs]."""

    def problem_members(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """A problem's members, with those that this protocol's clients look for."""


class RowReader:
    """Reads rows of valid JSON values into an array, without a Python loop over the values.

    `type` is what a msgspec decoder has to decode a row into: a struct with one field per column, or a list of numbers;
    for tensors nested lists of numbers.
    """

    def __init__(self, signature: Signature, *, ignore_extra: bool) -> None:
        self._signature = signature
        self.type: Any = _tensor_type(len(signature.input_shape))
        self._struct: type[msgspec.Struct] | None = None
        if signature.columns is not None:
            self.type = _row_array(len(signature.columns))
            if not any(_ESCAPED.search(name) for name in signature.columns):
                self._struct = _row_struct(signature.columns, ignore_extra)
                self.type = self._struct | self.type

    def matrix(self, items: Sequence[Any], where: str) -> Matrix | None:
        """The rows as an array, or None where they are too few or ragged, for `rows` to say what is wrong.

        Raises:
            ProblemError: there are too many rows, or a number lies beyond float32.
        """
        if not items:
            return None
        rows.check_count(len(items), self._signature)
        if self._struct is not None:
            struct, astuple = self._struct, msgspec.structs.astuple
            items = [astuple(item) if type(item) is struct else item for item in items]
        try:
            values: NDArray[np.float64] = np.array(items, dtype=np.float64)
        except ValueError:
            return None
        if values.shape[1:] != self._signature.input_shape:
            return None
        return rows.finite(values, self._signature, where)


def labels(outputs: Matrix, classes: Sequence[str]) -> list[str]:
    """The most probable class of each row."""
    return [classes[index] for index in outputs.argmax(axis=1).tolist()]


def by_name(outputs: Matrix, names: Sequence[str]) -> list[dict[str, float]]:
    """Each row of the output as an object."""
    return [dict(zip(names, row, strict=True)) for row in outputs.tolist()]


def predictions(outputs: Matrix, signature: Signature) -> list[Any]:
    """One prediction per row: a class name; a number; or, for several targets, numbers by target."""
    if signature.classes is not None:
        return labels(outputs, signature.classes)
    if len(signature.targets) == 1:
        return list(outputs[:, 0].tolist())
    return by_name(outputs, signature.targets)


def _row_struct(columns: Sequence[str], ignore_extra: bool) -> type[msgspec.Struct]:
    fields = [(f"c{index}", float | None) for index in range(len(columns))]
    return msgspec.defstruct(
        "Row",
        fields,
        rename={f"c{index}": name for index, name in enumerate(columns)},
        forbid_unknown_fields=not ignore_extra,
        gc=False,
    )


def _row_array(width: int) -> Any:
    return Annotated[list[float | None], msgspec.Meta(min_length=width, max_length=width)]


def _tensor_type(dimensions: int) -> Any:
    nested: Any = float | None
    for _ in range(dimensions):
        nested = list[nested]
    return nested
