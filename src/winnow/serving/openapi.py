"""The OpenAPI document of one model: exact column names, shapes, classes and examples, not "any object".

A pure function from signature and examples to JSON values. Written by hand because the predicting routes are not
FastAPI's, and because a framework would describe types where a model has names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from winnow.serving import codec, inference_codec, problems
from winnow.serving.examples import Example
from winnow.serving.signature import Signature

Schema = dict[str, Any]
NUMBER: Schema = {"type": ["number", "null"]}


def openapi_of(signature: Signature, examples: Sequence[Example], *, needs_key: bool) -> Schema:
    """The document, in OpenAPI 3.1."""
    v2 = f"/v2/models/{signature.name}"
    document: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": signature.name,
            "version": signature.version,
            "description": f"Predictions of the model `{signature.name}`, sha256 `{signature.digest}`.",
        },
        "paths": {
            "/predict": _predicting("Predict rows", "Predict", "PredictAnswer", "/predict", examples),
            "/invocations": _predicting(
                "MLflow's scoring protocol", "Invocations", "InvocationsAnswer", "/invocations", examples
            ),
            f"{v2}/infer": _predicting(
                "Open Inference Protocol", "Inference", "InferenceAnswer", f"{v2}/infer", examples
            ),
            v2: _reading("The model's inputs and outputs (Open Inference Protocol)"),
            f"{v2}/ready": _reading("Whether the model is ready (Open Inference Protocol)", not_ready=True),
            "/v2/health/ready": _reading("Whether the server is ready (Open Inference Protocol)", not_ready=True),
            "/v2/health/live": _reading("Whether the server is alive (Open Inference Protocol)"),
            "/model": _reading("The model's card: signature, metrics, where it comes from"),
            "/livez": _reading("Whether the process is alive"),
            "/readyz": _reading("Whether it should be sent requests", not_ready=True),
            "/metrics": _reading("Prometheus metrics", media_type="text/plain"),
        },
        "components": {"schemas": _schemas(signature)},
    }
    if needs_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path in ("/predict", "/invocations", f"{v2}/infer"):
            document["paths"][path]["post"]["security"] = [{"key": []}]
    return document


def _predicting(summary: str, asked: str, answered: str, path: str, examples: Sequence[Example]) -> Schema:
    mine = [example for example in examples if example.path == path]
    content: Schema = {codec.JSON: {"schema": _ref(asked), "examples": {}}}
    for example in mine:
        if example.media_type == codec.CSV:
            content[codec.CSV] = {"schema": {"type": "string"}, "example": example.body}
        else:
            value = msgspec.json.decode(example.body)
            content[codec.JSON]["examples"][example.title] = {"summary": example.title, "value": value}
    titles: dict[str, list[str]] = {}
    for status, title in problems.TITLES.values():
        titles.setdefault(str(status), []).append(title)
    refused = {status: _problem(", or: ".join(of_status)) for status, of_status in titles.items()}
    answers = {"200": {"description": "Predictions", "content": {codec.JSON: {"schema": _ref(answered)}}}, **refused}
    samples = [{"lang": "Shell", "label": each.title, "source": each.curl("http://127.0.0.1:8000")} for each in mine]
    operation = {
        "summary": summary,
        "operationId": asked.lower(),
        "requestBody": {"required": True, "content": content},
        "responses": answers,
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
    row = _row(signature)
    rows = {"type": "array", "minItems": 1, "items": _ref("Row")}
    return {
        "Row": row,
        "Predict": _object({"rows": rows}),
        "PredictAnswer": _object(
            {
                "predictions": {"type": "array", "items": _prediction(signature)},
                "probabilities" if signature.classes else "values": {"type": "array", "items": _outputs(signature)},
                "model": _object({name: {"type": "string"} for name in ("name", "version", "digest")}),
                "request_id": {"type": "string"},
            }
        ),
        "Invocations": _invocations(signature, rows),
        "InvocationsAnswer": _object({"predictions": {"type": "array", "items": {"type": "object"}}}),
        "Inference": _inference(signature),
        "InferenceAnswer": _inference_answer(signature),
        "Problem": _problem_schema(),
    }


def _row(signature: Signature) -> Schema:
    if signature.columns is None:
        return _tensor(signature.input_shape)
    by_name = {**_object(dict.fromkeys(signature.columns, NUMBER)), "additionalProperties": False}
    in_order = {**_tensor(signature.input_shape), "description": "In the order of the columns."}
    return {"oneOf": [by_name, in_order]}


def _tensor(shape: tuple[int, ...]) -> Schema:
    if not shape:
        return NUMBER
    return {"type": "array", "minItems": shape[0], "maxItems": shape[0], "items": _tensor(shape[1:])}


def _prediction(signature: Signature) -> Schema:
    if signature.classes is not None:
        return {"type": "string", "enum": list(signature.classes)}
    return {"type": "number"} if len(signature.targets) == 1 else _outputs(signature)


def _outputs(signature: Signature) -> Schema:
    if signature.classes is None:
        return _object({key: {"type": "number"} for key in signature.targets})
    return _object({key: {"type": "number", "minimum": 0, "maximum": 1} for key in signature.classes})


def _invocations(signature: Signature, rows: Schema) -> Schema:
    split = _object({"columns": {"type": "array", "items": {"type": "string"}}, "data": {"type": "array"}}, ["data"])
    columns: Schema = {"type": "object"}
    if signature.columns is not None:
        columns = _object({key: {"type": "array", "items": NUMBER} for key in signature.columns})
    forms = {
        "dataframe_split": split,
        "dataframe_records": rows,
        "instances": rows,
        "inputs": {"oneOf": [rows, columns]},
    }
    return {"oneOf": [_object({form: schema}) for form, schema in forms.items()]}


def _inference(signature: Signature) -> Schema:
    names = [inference_codec.INPUT, *(signature.columns or ())]
    tensor = _object(
        {
            "name": {"type": "string", "enum": list(dict.fromkeys(names))},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string", "enum": list(inference_codec.DATATYPES)},
            "data": {"type": "array"},
        }
    )
    outputs = [each["name"] for each in inference_codec.output_tensors(signature)]
    wanted = _object({"name": {"type": "string", "enum": outputs}})
    members: Schema = {
        "id": {"type": "string"},
        "inputs": {"type": "array", "items": tensor},
        "outputs": {"type": "array", "items": wanted},
    }
    return _object(members, ["inputs"])


def _inference_answer(signature: Signature) -> Schema:
    outputs = inference_codec.output_tensors(signature)
    tensor = _object(
        {
            "name": {"type": "string", "enum": [each["name"] for each in outputs]},
            "datatype": {"type": "string", "enum": [each["datatype"] for each in outputs]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": {"type": "array"},
        }
    )
    text = {"type": "string"}
    return _object(
        {"model_name": text, "model_version": text, "id": text, "outputs": {"type": "array", "items": tensor}}
    )


def _problem_schema() -> Schema:
    place = {
        "row": {"type": "integer"},
        "column": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]},
    }
    finding = _object({"detail": {"type": "string"}, **place}, ["detail"])
    members: Schema = {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        **place,
        "errors": {"type": "array", "items": finding},
    }
    return _object(members, ["type", "title", "status", "detail", "request_id"])


def _problem(title: str) -> Schema:
    return {"description": title, "content": {problems.MEDIA_TYPE.decode(): {"schema": _ref("Problem")}}}


def _object(properties: Schema, required: Sequence[str] | None = None) -> Schema:
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": names}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
