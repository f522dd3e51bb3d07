"""One valid request for every protocol, made from the bundle's input example, with the curl command that sends it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from winnow.serving import codec, inference_codec
from winnow.serving.rows import Matrix
from winnow.serving.signature import Signature


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
    flag = "--data-binary" if "\n" in body else "-d"
    return f"curl -s {address} \\\n  -H 'content-type: {media_type}'{key} \\\n  {flag} '{quoted}'"


def examples_of(signature: Signature, matrix: Matrix) -> tuple[Example, ...]:
    """A request per protocol and form for the first row of `matrix` (float32 [rows, *input_shape])."""
    row = _plain(matrix[0].tolist())
    rows = [row]
    found = [Example("Rows in order", "/predict", codec.JSON, _text({"rows": rows}))]
    if signature.columns is not None:
        record = dict(zip(signature.columns, row, strict=True))
        split = {"columns": list(signature.columns), "data": rows}
        lines = _csv_line(signature.columns) + "\n" + _csv_line("" if value is None else str(value) for value in row)
        found = [
            Example("Rows by column name", "/predict", codec.JSON, _text({"rows": [record]})),
            *found,
            Example("MLflow: dataframe_split", "/invocations", codec.JSON, _text({"dataframe_split": split})),
            Example("MLflow: dataframe_records", "/invocations", codec.JSON, _text({"dataframe_records": [record]})),
            Example("MLflow: CSV", "/invocations", codec.CSV, lines + "\n"),
        ]
    flat = _plain(matrix[0].ravel().tolist())
    tensor = {"name": inference_codec.INPUT, "shape": [1, *matrix[0].shape], "datatype": "FP32", "data": flat}
    infer = f"/v2/models/{signature.name}/infer"
    found += [
        Example("MLflow: instances", "/invocations", codec.JSON, _text({"instances": rows})),
        Example("MLflow: inputs", "/invocations", codec.JSON, _text({"inputs": rows})),
        Example("Open Inference Protocol", infer, codec.JSON, _text({"id": "example-1", "inputs": [tensor]})),
    ]
    return tuple(found)


def _plain(value: Any) -> Any:
    """Nested float32 numbers as short as they can be written, and NaN as null."""
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if math.isnan(value) else float(f"{value:.7g}")


def _text(content: object) -> str:
    return msgspec.json.encode(content).decode()


def _csv_line(fields: Iterable[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    return text.getvalue()
