"""The form at `/docs`: an input fit for each column of the model, with the values of the example."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from winnow.bundle.columns import Column
from winnow.serving.signature import Signature

MOST_FIELDS = 64
"""Models with more columns, and tensors, are tried as JSON instead of field by field."""
MOST_OPTIONS = 12
"""Columns with more categories have a text field that suggests them."""
MOST_SUGGESTED = 200

_PICKERS = {"date": 'type="date"', "datetime": 'type="datetime-local" step="1"'}


def render(signature: Signature, example: Mapping[str, Any] | list[Any]) -> str:
    """The fields as HTML. `example` is a row of a request that the model takes."""
    if signature.images is not None:
        picker = '<input id="image" type="file" accept="image/png,image/jpeg">'
        return f"<label><span>a PNG or JPEG image</span>{picker}</label>"
    if signature.columns is None or len(signature.columns) > MOST_FIELDS or not isinstance(example, Mapping):
        text = html.escape(msgspec.json.format(msgspec.json.encode({"rows": [example]}), indent=0).decode())
        return f'<textarea id="body" spellcheck="false" rows="6">{text}</textarea>'
    fields = ""
    for place, column in enumerate(signature.columns):
        name = html.escape(column.name)
        field = _input(column, name, place, example[column.name])
        fields += f'<label><span title="{name}">{name}</span>{field}</label>'
    return f'<div class="fields">{fields}</div>'


def _input(column: Column, name: str, place: int, value: Any) -> str:
    """`data-type` is the JSON type that the page's script makes of the field's text."""
    shown = html.escape(_shown(value))
    if column.kind == "date":
        return f'<input data-column="{name}" data-type="string" {_PICKERS[column.dtype]} value="{shown}">'
    if column.kind == "boolean":
        return _select(name, "boolean", ("true", "false"), _shown(value))
    is_text = column.kind == "category" and column.dtype == "string"
    kind = "string" if is_text else "boolean" if column.dtype == "boolean" else "number"
    if column.kind == "number":
        return f'<input data-column="{name}" data-type="number" inputmode="decimal" value="{shown}">'
    if len(column.categories) <= MOST_OPTIONS:
        return _select(name, kind, column.categories, _shown(value))
    suggested = "".join(f'<option value="{html.escape(text)}">' for text in column.categories[:MOST_SUGGESTED])
    return (
        f'<input data-column="{name}" data-type="{kind}" list="categories-{place}" value="{shown}">'
        f'<datalist id="categories-{place}">{suggested}</datalist>'
    )


def _select(name: str, kind: str, texts: Iterable[str], chosen: str) -> str:
    options = "".join(f"<option{' selected' if text == chosen else ''}>{html.escape(text)}</option>" for text in texts)
    return f'<select data-column="{name}" data-type="{kind}"><option value="">missing</option>{options}</select>'


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{value:g}" if len(f"{value}") > 12 else f"{value}"
