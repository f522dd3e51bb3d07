"""The OpenAPI document of one model, with its column names, shapes, classes and examples.

Written by hand: FastAPI does not have the predicting routes, and it would describe types instead of the model's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from winnow.bundle.columns import Column, DType
from winnow.bundle.images import IMAGE
from winnow.serving import codec, image_rows, inference_codec, problems
from winnow.serving.examples import Example
from winnow.serving.signature import Signature

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": ["number", "null"]}
MOST_EXAMPLES = 20
_TYPES: Mapping[DType, Schema] = {
    "double": NUMBER,
    "long": {"type": ["integer", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "string": {"type": ["string", "null"]},
    "date": {"type": ["string", "null"], "format": "date"},
    "datetime": {"type": ["string", "null"], "format": "date-time"},
}


def openapi_of(signature: Signature, examples: Sequence[Example], *, needs_key: bool, has_log: bool = False) -> Schema:
    """The document, in OpenAPI 3.1; with `/feedback` where the server keeps a log."""
    v2 = f"/v2/models/{signature.name}"
    predicting = {
        "/predict": _predicting("Predict rows", "Predict", "/predict", examples),
        "/invocations": _predicting("MLflow's scoring protocol", "Invocations", "/invocations", examples),
        f"{v2}/infer": _predicting("Open Inference Protocol", "Inference", f"{v2}/infer", examples),
    }
    if signature.images is not None:
        image: Schema = {media_type: {"schema": {}} for media_type in image_rows.MEDIA_TYPES}
        predicting["/predict"]["post"]["requestBody"]["content"].update(image)
    if has_log:
        feedback = _predicting("What turned out to be true of predictions", "Feedback", "/feedback", ())
        answers = feedback["post"]["responses"]
        answers["202"] = {**answers.pop("200"), "description": "Taken for the log"}
        predicting["/feedback"] = feedback
    reading = {
        v2: _reading("The model's inputs and outputs (Open Inference Protocol)"),
        f"{v2}/ready": _reading("Whether the model is ready (Open Inference Protocol)", not_ready=True),
        "/v2/health/ready": _reading("Whether the server is ready (Open Inference Protocol)", not_ready=True),
        "/v2/health/live": _reading("Whether the server is alive (Open Inference Protocol)"),
        "/model": _reading("The model's card: signature, metrics, where it comes from"),
        "/livez": _reading("Whether the process is alive"),
        "/readyz": _reading("Whether it should be sent requests", not_ready=True),
        "/metrics": _reading("Prometheus metrics", media_type="text/plain"),
    }
    components: Schema = {"schemas": _schemas(signature)}
    if needs_key:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path in predicting.values():
            path["post"]["security"] = [{"key": []}]
    info = {
        "title": signature.name,
        "version": signature.version,
        "description": f"Predictions of the model `{signature.name}`, sha256 `{signature.digest}`.",
    }
    return {"openapi": "3.1.0", "info": info, "paths": {**predicting, **reading}, "components": components}


def _predicting(summary: str, schema: str, path: str, examples: Sequence[Example]) -> Schema:
    mine = [example for example in examples if example.path == path]
    content: Schema = {codec.JSON: {"schema": _ref(schema), "examples": {}}}
    for example in mine:
        if example.media_type == codec.CSV:
            content[codec.CSV] = {"schema": TEXT, "example": example.body}
        else:
            value = msgspec.json.decode(example.body)
            content[codec.JSON]["examples"][example.title] = {"summary": example.title, "value": value}
    titles: dict[str, list[str]] = {}
    for status, title in problems.TITLES.values():
        titles.setdefault(str(status), []).append(title)
    problem = {problems.MEDIA_TYPE.decode(): {"schema": _ref("Problem")}}
    refused = {status: {"description": ", or: ".join(found), "content": problem} for status, found in titles.items()}
    answer = {"description": "Predictions", "content": {codec.JSON: {"schema": _ref(f"{schema}Answer")}}}
    samples = [{"lang": "Shell", "label": each.title, "source": each.curl("http://127.0.0.1:8000")} for each in mine]
    operation = {
        "summary": summary,
        "operationId": schema.lower(),
        "requestBody": {"required": True, "content": content},
        "responses": {"200": answer, **refused},
        "x-codeSamples": samples,
    }
    return {"post": operation}


def _reading(summary: str, *, media_type: str = codec.JSON, not_ready: bool = False) -> Schema:
    schema = {"type": "string" if media_type == "text/plain" else "object"}
    answers: Schema = {"200": {"description": summary, "content": {media_type: {"schema": schema}}}}
    if not_ready:
        answers["503"] = {"description": "Not ready, or stopping"}
    return {"get": {"summary": summary, "responses": answers}}


def _schemas(signature: Signature) -> Schema:
    row = _tensor(signature.input_shape)
    columns: Schema = {"type": "object"}
    if signature.columns is not None:
        types = {column.name: _value(column) for column in signature.columns}
        size, each = len(types), list(types.values())
        mixed = {"type": "array", "minItems": size, "maxItems": size, "prefixItems": each}
        in_order = row if signature.is_numeric else mixed
        by_name = {**_object(types), "additionalProperties": False}
        row = {"oneOf": [by_name, {**in_order, "description": "In the order of the columns."}]}
        columns = _object({name: _array(schema) for name, schema in types.items()})
    elif signature.images is not None:
        row = {"oneOf": [_object({IMAGE: {**TEXT, "contentEncoding": "base64"}}), row]}
    if signature.classes is not None:
        outputs = _object({key: {"type": "number", "minimum": 0, "maximum": 1} for key in signature.classes})
        prediction: Schema = {**TEXT, "enum": list(signature.classes)}
    else:
        outputs = _object({key: {"type": "number"} for key in signature.targets})
        prediction = {"type": "number"} if len(signature.targets) == 1 else outputs
    rows = {"type": "array", "minItems": 1, "items": _ref("Row")}
    split = _object({"columns": _array(TEXT), "data": {"type": "array"}}, ["data"])
    forms = {
        "dataframe_split": split,
        "dataframe_records": rows,
        "instances": rows,
        "inputs": {"oneOf": [rows, columns]},
    }
    outcome = _object(
        {"request_id": TEXT, "outcome": prediction, "row": {**INTEGER, "minimum": 0}}, ["request_id", "outcome"]
    )
    answer = {
        "predictions": _array(prediction),
        "probabilities" if signature.classes else "values": _array(outputs),
        "model": _object(dict.fromkeys(("name", "version", "digest"), TEXT)),
        "request_id": TEXT,
    }
    return {
        "Row": row,
        "Predict": _object({"rows": rows}),
        "PredictAnswer": _object(answer),
        "Invocations": {"oneOf": [_object({form: schema}) for form, schema in forms.items()]},
        "InvocationsAnswer": _object({"predictions": _array({"type": "object"})}),
        "Feedback": {"oneOf": [outcome, {**_array(outcome), "minItems": 1}]},
        "FeedbackAnswer": _object({"accepted": INTEGER, "request_id": TEXT}),
        **_inference(signature),
        "Problem": _problem(),
    }


def _inference(signature: Signature) -> Schema:
    """The request and the answer of the Open Inference Protocol."""
    whole = [inference_codec.INPUT] if signature.is_numeric else []
    inputs = list(dict.fromkeys([*whole, *(signature.names or ())]))
    outputs = inference_codec.output_tensors(signature)
    names = [each["name"] for each in outputs]

    def tensor(names: list[str], datatypes: list[str]) -> Schema:
        members = {"name": {**TEXT, "enum": names}, "datatype": {**TEXT, "enum": datatypes}}
        return _array(_object({**members, "shape": _array(INTEGER), "data": {"type": "array"}}))

    asked = {
        "id": TEXT,
        "inputs": tensor(inputs, list(inference_codec.DATATYPES)),
        "outputs": _array(_object({"name": {**TEXT, "enum": names}})),
    }
    answered = tensor(names, [each["datatype"] for each in outputs])
    return {
        "Inference": _object(asked, ["inputs"]),
        "InferenceAnswer": _object({"model_name": TEXT, "model_version": TEXT, "id": TEXT, "outputs": answered}),
    }


def _problem() -> Schema:
    place = {"row": INTEGER, "column": {"oneOf": [TEXT, _array(INTEGER)]}}
    members = {
        "type": {**TEXT, "format": "uri-reference"},
        "title": TEXT,
        "status": INTEGER,
        "detail": TEXT,
        "request_id": TEXT,
        **place,
        "errors": _array(_object({"detail": TEXT, **place}, ["detail"])),
    }
    return _object(members, ["type", "title", "status", "detail", "request_id"])


def _value(column: Column) -> Schema:
    """The JSON Schema of a column's values; other categories than those listed are taken, too."""
    schema = {**_TYPES[column.dtype]}
    if column.kind == "category" and column.dtype == "string":
        schema["examples"] = list(column.categories[:MOST_EXAMPLES])
    return schema


def _tensor(shape: tuple[int, ...]) -> Schema:
    if not shape:
        return NUMBER
    return {"type": "array", "minItems": shape[0], "maxItems": shape[0], "items": _tensor(shape[1:])}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(properties: Schema, required: Sequence[str] | None = None) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties if required is None else required)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
