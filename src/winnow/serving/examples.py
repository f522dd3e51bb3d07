"""One valid request for every protocol, made from the bundle's input example, with the curl command that sends it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from winnow.bundle.columns import decode_row
from winnow.bundle.images import IMAGE
from winnow.serving import codec
from winnow.serving.inference_codec import DATATYPE_OF, INPUT
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

GRAY_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
"""A PNG image of one pixel, in base64."""


@dataclass(frozen=True)
class Example:
    """A request that can be sent as it is, with a title for people; `path` is below the server's root."""

    title: str
    path: str
    media_type: str
    body: str

    def curl(self, url: str, *, needs_key: bool = False) -> str:
        """The shell command that sends it to the server at `url`."""
        return curl(url + self.path, self.body, self.media_type, needs_key=needs_key)


def curl(address: str, body: str, media_type: str = codec.JSON, *, needs_key: bool = False) -> str:
    """A shell command that posts `body`; with a key it reads `$WINNOW_API_KEY`."""
    key = ' \\\n  -H "authorization: Bearer $WINNOW_API_KEY"' if needs_key else ""
    quoted = body.replace("'", "'\\''")
    flag = "-d" if media_type == codec.JSON and "\n" not in body else "--data-binary"
    return f"curl -s {address} \\\n  -H 'content-type: {media_type}'{key} \\\n  {flag} '{quoted}'"


def examples_of(signature: Signature, matrix: Matrix) -> tuple[Example, ...]:
    """A request per protocol and form for the first row of `matrix` (float32 [rows, *input_shape])."""
    infer = f"/v2/models/{signature.name}/infer"
    if signature.images is not None:
        return (Example("Images in base64", "/predict", codec.JSON, _text({"rows": [{IMAGE: GRAY_PIXEL}]})),)
    if signature.columns is None:
        rows = [_plain(matrix[0].tolist())]
        return (
            Example("Rows in order", "/predict", codec.JSON, _text({"rows": rows})),
            *_rows_in_order(rows),
            Example("Open Inference Protocol", infer, codec.JSON, _inference([_whole(matrix)])),
        )
    record = {name: _plain(value) for name, value in decode_row(signature.columns, matrix[0].tolist()).items()}
    rows = [list(record.values())]
    split = {"columns": list(record), "data": rows}
    lines = [_csv_line(record), _csv_line(_csv_field(value) for value in record.values())]
    tensors = [
        {"name": column.name, "shape": [1], "datatype": DATATYPE_OF[column.dtype], "data": [record[column.name]]}
        for column in signature.columns
    ]
    return (
        Example("Rows by column name", "/predict", codec.JSON, _text({"rows": [record]})),
        Example("Rows in order", "/predict", codec.JSON, _text({"rows": rows})),
        Example("MLflow: dataframe_split", "/invocations", codec.JSON, _text({"dataframe_split": split})),
        Example("MLflow: dataframe_records", "/invocations", codec.JSON, _text({"dataframe_records": [record]})),
        Example("MLflow: CSV", "/invocations", codec.CSV, "".join(f"{line}\n" for line in lines)),
        *_rows_in_order(rows),
        Example(
            "Open Inference Protocol",
            infer,
            codec.JSON,
            _inference([_whole(matrix)] if signature.is_numeric else tensors),
        ),
    )


def _rows_in_order(rows: list[Any]) -> tuple[Example, ...]:
    return (
        Example("MLflow: instances", "/invocations", codec.JSON, _text({"instances": rows})),
        Example("MLflow: inputs", "/invocations", codec.JSON, _text({"inputs": rows})),
    )


def _whole(matrix: Matrix) -> dict[str, Any]:
    flat = _plain(matrix[0].ravel().tolist())
    return {"name": INPUT, "shape": [1, *matrix[0].shape], "datatype": "FP32", "data": flat}


def _inference(tensors: list[dict[str, Any]]) -> str:
    return _text({"id": "example-1", "inputs": tensors})


def _plain(value: Any) -> Any:
    """Nested float32 numbers as short as they can be written, and NaN as null."""
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else float(f"{value:.7g}")


def _csv_field(value: Any) -> str:
    """A value as pandas writes it."""
    return "" if value is None else str(value)


def _text(content: object) -> str:
    return msgspec.json.encode(content).decode()


def _csv_line(fields: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()
