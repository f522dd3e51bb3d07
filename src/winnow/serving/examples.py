"""One valid request for every protocol, made from the bundle's input example, with the curl command that sends it."""

from __future__ import annotations

import csv
import io
import math
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
    if signature.images is not None:
        return (_example("Images in base64", "/predict", {"rows": [{IMAGE: GRAY_PIXEL}]}),)
    rows: list[Any] = [_plain(matrix[0].tolist())]
    flat = _plain(matrix[0].ravel().tolist())
    tensors: list[dict[str, Any]] = [{"name": INPUT, "shape": [1, *matrix[0].shape], "datatype": "FP32", "data": flat}]
    by_name, of_tables = [], []
    if signature.columns is not None:
        record = {name: _plain(value) for name, value in decode_row(signature.columns, matrix[0].tolist()).items()}
        rows = [list(record.values())]
        if not signature.is_numeric:
            tensors = [
                {"name": each.name, "shape": [1], "datatype": DATATYPE_OF[each.dtype], "data": [record[each.name]]}
                for each in signature.columns
            ]
        text = io.StringIO()
        # As pandas writes them.
        lines = (record, ["" if value is None else str(value) for value in record.values()])
        csv.writer(text, lineterminator="\n").writerows(lines)
        by_name = [_example("Rows by column name", "/predict", {"rows": [record]})]
        split = {"columns": list(record), "data": rows}
        of_tables = [
            _example("MLflow: dataframe_split", "/invocations", {"dataframe_split": split}),
            _example("MLflow: dataframe_records", "/invocations", {"dataframe_records": [record]}),
            Example("MLflow: CSV", "/invocations", codec.CSV, text.getvalue()),
        ]
    infer = f"/v2/models/{signature.name}/infer"
    return (
        *by_name,
        _example("Rows in order", "/predict", {"rows": rows}),
        *of_tables,
        _example("MLflow: instances", "/invocations", {"instances": rows}),
        _example("MLflow: inputs", "/invocations", {"inputs": rows}),
        _example("Open Inference Protocol", infer, {"id": "example-1", "inputs": tensors}),
    )


def _example(title: str, path: str, content: object) -> Example:
    return Example(title, path, codec.JSON, msgspec.json.encode(content).decode())


def _plain(value: Any) -> Any:
    """Nested float32 numbers as short as they can be written, and NaN as null."""
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else float(f"{value:.7g}")
