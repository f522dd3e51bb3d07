"""`POST /invocations`: MLflow's scoring protocol, all five forms.

    {"dataframe_split": {"columns": […], "data": [[…], …]}}      {"dataframe_records": [{…}, …]}
    {"instances": [[…], …]} or [{…}, …]                          {"inputs": [[…], …]} or {"column": […], …}
    CSV with a header, as `text/csv`

The answer is what `mlflow models serve` gives for the same registered model: per row an object with `prediction` and
`probability.CLASS` for every class, or with the targets.

As in MLflow, columns that the model does not know are ignored, a key that only some of `dataframe_records` have is a
missing value in the others, further keys beside the form are ignored, and so is `params`, for these models have none.
Not as in MLflow: errors never repeat what was sent, a failing model is a 500, and the LLM forms and Parquet are absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from winnow.serving import codec, problems, rows
from winnow.serving.codec import InferenceRequest, RowReader
from winnow.serving.csv_body import from_csv
from winnow.serving.json_body import json_of, standard_json
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.signature import Signature
from winnow.serving.values import Matrix

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


class InvocationsCodec:
    """`Codec` for `/invocations`."""

    media_types = (codec.JSON, codec.CSV)

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._reader = RowReader(signature, ignore_extra=True)
        items = list[self._reader.type]  # type: ignore[name-defined]
        split = msgspec.defstruct("Split", [("data", items), ("columns", list[str] | None, None)])
        body = msgspec.defstruct(
            "InvocationsBody",
            [
                ("dataframe_split", split | None, None),
                ("dataframe_records", items | None, None),
                ("instances", items | None, None),
                ("inputs", items | None, None),
            ],
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(body)
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes, media_type: str) -> InferenceRequest:
        if media_type == codec.CSV:
            return InferenceRequest(from_csv(body, self._signature))
        content = codec.typed(self._decoder, body)
        matrix = None if content is None else self._typed(content)
        return InferenceRequest(self._read(body) if matrix is None else matrix)

    def encode(self, request: InferenceRequest, outputs: Matrix, request_id: str) -> bytes:
        classes = self._signature.classes
        if classes is None:
            return self._encode({"predictions": codec.by_name(outputs, self._signature.targets)})
        names = [f"probability.{name}" for name in classes]
        labelled = zip(codec.labels(outputs, self._signature), codec.by_name(outputs, names), strict=True)
        return self._encode({"predictions": [{"prediction": label, **row} for label, row in labelled]})

    def problem_members(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """Adds `error_code` and `message`, which MLflow's clients show."""
        code = "INTERNAL_ERROR" if members["status"] >= 500 else "BAD_REQUEST"
        return {**members, "error_code": code, "message": members["detail"]}

    def _typed(self, content: Any) -> Matrix | None:
        """The array of a body with one form of typed values; None leaves it to `_read`."""
        forms = [form for form in FORMS if getattr(content, form) is not None]
        if len(forms) != 1:
            return None
        form = getattr(content, forms[0])
        if forms[0] != "dataframe_split":
            return self._reader.matrix(form, forms[0])
        in_order = form.columns is None or tuple(form.columns) == self._signature.names
        is_cells = all(type(item) in (list, tuple) for item in form.data)
        return self._reader.matrix(form.data, "dataframe_split.data") if in_order and is_cells else None

    def _read(self, body: bytes) -> Matrix:
        content = json_of(standard_json(body), self._signature)
        known = ", ".join(f'"{form}"' for form in FORMS)
        if not isinstance(content, dict):
            found = problems.kind_of(content)
            raise ProblemError("wrong-form", f"Expected an object with exactly one of {known}, found {found}.")
        forms = [form for form in FORMS if form in content]
        if len(forms) != 1:
            found = " and ".join(f'"{form}"' for form in forms) or "none"
            raise ProblemError("wrong-form", f"Expected exactly one of {known}, found {found}.")
        form, value = forms[0], content[forms[0]]
        if form == "dataframe_split":
            return self._split(value)
        if form == "inputs" and isinstance(value, dict):
            return rows.from_columns(value, self._signature, form)
        ragged = form == "dataframe_records"
        return rows.from_rows(value, self._signature, form, ignore_extra=True, may_be_ragged=ragged)

    def _split(self, value: object) -> Matrix:
        if not isinstance(value, dict) or "data" not in value or set(value) - {"columns", "index", "data"}:
            detail = 'dataframe_split: expected an object with "data", and "columns" and "index" where needed.'
            raise ProblemError("wrong-form", detail)
        names: Sequence[str] | None = value.get("columns")
        if names is not None and not isinstance(names, list):
            found = problems.kind_of(names)
            raise ProblemError("wrong-form", f"dataframe_split.columns: expected an array of names, found {found}.")
        for place, name in enumerate(names or ()):
            if not isinstance(name, str):
                found = problems.kind_of(name)
                detail = f"dataframe_split.columns[{place}]: expected a column's name, found {found}"
                raise problems.invalid([Finding(detail + "; without columns the cells stand in the model's order")])
        if not isinstance(value["data"], list) or not all(isinstance(row, list) for row in value["data"]):
            raise ProblemError("wrong-form", "dataframe_split.data: expected an array of arrays.")
        return rows.from_table(names, value["data"], self._signature, "dataframe_split.data")
