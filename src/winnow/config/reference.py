"""Generate parts of the documents from the code.

A document marks such a part with `<!-- generated: NAME -->` and `<!-- end generated -->`; `fill` puts the current text
between them. This module also generates the texts about the configuration. `winnow.api.documents` lists all names and
files.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.keys import PARAMETERS, SPACE, fields_of, item_model_in, model_in
from winnow.config.search import OWN_PRUNERS, PRUNERS, SAMPLERS
from winnow.config.settings import Settings, Variable

SCHEMA_FILE = "experiment.schema.json"
REGION = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end generated -->)", re.DOTALL)

KINDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "any value",
    Path: "path",
    type(None): "null",
}
NULLABLE = " or null"
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def fill(text: str, generators: Mapping[str, Callable[[], str]], place: str) -> str:
    """Replace every marked part. Raise InputError for an unknown name or a mark that is not closed."""
    if text.count("<!-- generated: ") != len(REGION.findall(text)):
        raise InputError(
            place,
            expected="every <!-- generated: NAME --> to be followed by <!-- end generated -->",
            found="one that is not",
            remedy="Close it.",
        )

    def write(region: re.Match[str]) -> str:
        name = region["name"]
        if name not in generators:
            known = ", ".join(sorted(generators))
            raise InputError(place, expected=f"one of {known}", found=f"'{name}'", remedy="Correct the mark's name.")
        return f"{region[1]}{generators[name]().strip()}\n{region[3]}"

    return REGION.sub(write, text)


def experiment_reference() -> str:
    """Every key of an experiment file: one table per section, in the order of the file."""
    return "\n".join(_section("", Experiment))


def experiment_schema() -> str:
    """The JSON schema of experiment files (draft 2020-12), with which editors complete and check them.

    It is derived from the types in `experiment`. What depends on the data, the factory or the metric is left to the
    loader.
    """
    schema = Experiment.model_json_schema(by_alias=True, mode="validation")
    definitions = schema["$defs"]
    for key, definition, names in (
        ("sampler", "SamplerConfig", {*SAMPLERS, "grid"}),
        ("pruner", "PrunerConfig", {*PRUNERS, *OWN_PRUNERS}),
    ):
        for kind in (
            definitions[definition]["properties"]["type"],
            definitions["SearchConfig"]["properties"][key]["anyOf"][0],
        ):
            kind["anyOf"] = [{"enum": sorted(names)}, {"pattern": ":"}]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "winnow experiment"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def settings_reference() -> str:
    """The environment variables for places and addresses."""
    hints = get_type_hints(Settings, include_extras=True).values()
    return variables_table([one for hint in hints for one in get_args(hint) if isinstance(one, Variable)])


def variables_table(variables: Sequence[Variable]) -> str:
    """Environment variables as a table."""
    rows = [(f"`{one.name}`", one.default, one.description) for one in variables]
    return markdown_table(("variable", "default", "meaning"), rows)


def markdown_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table. Bars in cells are escaped."""
    lines = [header, tuple("---" for _ in header), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets_reference(makefile: str) -> str:
    """The targets of a Makefile whose lines read `target: … ## Sentence`, in groups that begin with `##@ Group`."""
    rows = []
    for group, targets, sentence in re.findall(r"^(?:##@ (.+)|([a-z][a-z -]*):.*## (.+))$", makefile, re.MULTILINE):
        names = " = ".join(f"`make {name}`" for name in targets.split())
        rows.append((f"**{group}**", "") if group else (names, sentence))
    return markdown_table(("target", "what it does"), rows)


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    """One model's table, then those of the models in it."""
    yield f"### {f'`{path}`' if path else 'Top level'}\n"
    yield f"{_first_paragraph(model)}\n"
    fields = fields_of(model)
    shown = {*model.__mro__, *(model_in(field.annotation) for field in fields.values())}
    rows = [(f"`{key}`", _kind(field), _default(field), _meaning(field)) for key, field in fields.items()]
    yield markdown_table(("key", "type", "default", "meaning"), rows) + "\n"
    for key, field in fields.items():
        inner = model_in(field.annotation)
        below = f"{path}.{key}" if path else key
        if tuple(below.split(".")) == SPACE:
            for kind, parameter in PARAMETERS.items():
                yield from _section(f"{below}.NAME: {{{kind}: …}}", parameter)
        elif inner is not None:
            yield from _section(below, inner)
        elif (item := item_model_in(field.annotation)) is not None and item not in shown:
            yield from _section(f"{below}[]", item)


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").strip().partition("\n\n")[0].split())


def _meaning(field: FieldInfo) -> str:
    inner = model_in(field.annotation)
    return field.description or (_first_paragraph(inner) if inner is not None else "")


def _kind(field: FieldInfo) -> str:
    kind = _kind_of(field.annotation)
    limits = [
        (sign, getattr(part, name)) for part in field.metadata for name, sign in BOUNDS.items() if hasattr(part, name)
    ]
    if not limits:
        return kind
    bare = kind.removesuffix(NULLABLE)
    shown = ", ".join(f"{sign} {limit if isinstance(limit, int) else format(limit, 'g')}" for sign, limit in limits)
    return f"{bare} {shown}{kind[len(bare) :]}"


def _kind_of(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind_of(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind_of(argument) for argument in arguments))
    if origin is tuple:
        inner = _kind_of(arguments[0])
        return f"list of {inner}" if arguments[-1] is Ellipsis else f"list of {len(arguments)}: {inner}"
    if origin is dict:
        return f"{_kind_of(arguments[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return KINDS[annotation]


def _default(field: FieldInfo) -> str:
    """The default as in the file; empty for a section."""
    if field.is_required():
        return "**required**"
    value = field.get_default()
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, str):
        return f"`{value}`" if value else ""
    return f"`{json.dumps(value, default=lambda each: each.type)}`"
