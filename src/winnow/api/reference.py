"""The reference of the API, in Markdown, from its signatures and docstrings.

Docstrings have the sections `Args:`, `Returns:`, `Raises:` and `Attributes:`; an entry reads `name, other: text`, or
"name: as for `function`." An argument or attribute without an entry is described in `winnow.api.arguments`.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, Literal, get_args, get_origin

from winnow.api.arguments import ARGUMENTS, ATTRIBUTES
from winnow.config.reference import markdown_table

GROUPS: Mapping[str, str] = {
    "Projects and tools": "project",
    "Raw data": "raw_data",
    "Sweeps": "sweep",
    "Workers": "workers",
    "Studies": "study",
    "Selection": "selection",
    "Evaluation": "evaluation",
    "Images": "images",
    "Serving": "deployments",
    "Rollouts": "rollouts",
    "Monitoring and outcomes": "monitoring",
    "Retraining": "retraining",
    "History": "history",
    "The tracking stack": "stack",
    "The monitoring stack": "monitoring_stack",
    "Airflow": "airflow",
    "Spark": "spark",
    "Data": "generation",
    "Pipelines": "pipelines",
    "Documents": "documents",
}
"""The modules of the functions, by heading."""
INTEGRATIONS: Mapping[str, str] = {
    "Airflow DAGs": "airflow",
    "Seldon Core": "seldon",
    "Supply chain": "audit",
    "GitOps": "gitops",
    "Continuous integration": "ci",
}
"""The same of `winnow.integrations`."""

_SECTION = re.compile(r"^(Args|Returns|Raises|Attributes):\n((?:    .*\n|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^(?P<names>[\w, ]+): (?P<text>.*(?:\n    .*)*)", re.MULTILINE)
_ALIKE = re.compile(r"as for `(\w+)`\.")


def api_reference() -> str:
    """Every public name of `winnow.api` and `winnow.integrations`: functions by group, then errors and types."""
    api, integrations = (importlib.import_module(f"winnow.{each}") for each in ("api", "integrations"))
    public = {name: getattr(api, name) for name in api.__all__}
    others = {name: getattr(integrations, name) for name in integrations.__all__}
    lines: list[str] = []
    for heading, module in GROUPS.items():
        lines += [f"## {heading}\n"]
        for function in _functions(public, f"winnow.api.{module}"):
            lines += _function(function)
    for heading, module in INTEGRATIONS.items():
        lines += [f"## {heading}\n"]
        for function in _functions(others, f"winnow.integrations.{module}"):
            lines += _function(function, "winnow.integrations")
    public |= others
    classes = {name: each for name, each in public.items() if isinstance(each, type)}
    errors = {name: each for name, each in classes.items() if issubclass(each, Exception)}
    lines += ["## Experiments\n", *_function(public["load_experiment"]), "## Errors\n"]
    rows = [(f"`{name}`", f"`{each.__mro__[1].__name__}`", _summary(each)) for name, each in errors.items()]
    lines += [markdown_table(("error", "is a", "meaning"), rows), "", "## Types\n"]
    for name, each in classes.items():
        if name not in errors:
            lines += _type(name, each)
    return "\n".join(lines)


def _functions(public: Mapping[str, Any], module: str) -> Iterator[FunctionType]:
    """A module's public functions, in source order."""
    found = [each for each in public.values() if isinstance(each, FunctionType) and each.__module__ == module]
    yield from sorted(found, key=lambda each: each.__code__.co_firstlineno)


def _function(function: FunctionType, package: str = "winnow") -> Iterator[str]:
    text, sections = _parts(function)
    signature = inspect.signature(function)
    yield f"### `{function.__name__}`\n"
    call = f"{package}.{function.__name__}{_plain(str(_bare(function)))}"
    yield f"```python\n{call} -> {signature.return_annotation}\n```\n"
    yield f"{text}\n"
    meanings = ARGUMENTS | entries_of(function, "Args")
    if signature.parameters:
        rows = [
            (f"`{name}`", f"`{each.annotation}`", _default(each), meanings.get(name, ""))
            for name, each in signature.parameters.items()
        ]
        yield markdown_table(("argument", "type", "default", "meaning"), rows) + "\n"
    if "Returns" in sections:
        yield f"Returns: {_one_line(sections['Returns'])}\n"
    if "Raises" in sections:
        yield "Raises:\n"
        yield from (f"- `{name}`: {meaning}" for name, meaning in entries_of(function, "Raises").items())
        yield ""


def _type(name: str, each: type) -> Iterator[str]:
    yield f"### `{name}`\n"
    yield f"{_parts(each)[0]}\n"
    if issubclass(each, enum.Enum):
        yield f"One of {', '.join(f'`{member.name}` (`{member.value!r}`)' for member in each)}.\n"
    if not dataclasses.is_dataclass(each):
        return
    meanings = ATTRIBUTES | entries_of(each, "Attributes")
    rows = [(f"`{one}`", f"`{kind}`", meanings.get(one, "")) for one, kind in attribute_types(each).items()]
    rows += [
        (f"`{attribute}`", f"`{inspect.signature(value.fget).return_annotation}`", _summary(value))
        for attribute, value in vars(each).items()
        if isinstance(value, property) and value.fget is not None
    ]
    yield markdown_table(("attribute", "type", "meaning"), rows) + "\n"
    methods = {name: one for name, one in vars(each).items() if isinstance(one, FunctionType) and name[0] != "_"}
    yield from (f"- `{name}{_plain(str(_bare(one)))}`: {_summary(one)}" for name, one in methods.items())
    yield from [""] if methods else []


def _bare(function: FunctionType) -> inspect.Signature:
    """A signature without types and `self`."""
    signature = inspect.signature(function)
    parameters = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return signature.replace(
        parameters=[each for each in parameters if each.name != "self"], return_annotation=inspect.Signature.empty
    )


def _parts(documented: Callable[..., Any] | type) -> tuple[str, dict[str, str]]:
    """A docstring as its text and its sections."""
    text = f"{inspect.getdoc(documented)}\n"
    sections = {found[1]: inspect.cleandoc(f"\n{found[2]}") for found in _SECTION.finditer(text)}
    return _SECTION.sub("", text).strip(), sections


def attribute_types(each: type) -> dict[str, str]:
    """The types of a dataclass's public fields as written, with aliases of literals expanded.

    A field with `repr=False` is not public.
    """
    module = vars(importlib.import_module(each.__module__))
    literals = {name: value for name, value in module.items() if get_origin(value) is Literal}

    def expanded(word: re.Match[str]) -> str:
        return " | ".join(map(repr, get_args(literals[word[0]]))) if word[0] in literals else word[0]

    return {one.name: re.sub(r"\w+", expanded, str(one.type)) for one in dataclasses.fields(each) if one.repr}


def entries_of(documented: Callable[..., Any] | type, section: str) -> dict[str, str]:
    """The entries of a docstring's section, by name; empty if there is no such section."""
    entries = {
        name.strip(): _one_line(found["text"])
        for found in _ENTRY.finditer(_parts(documented)[1].get(section, ""))
        for name in found["names"].split(",")
    }
    for name, text in entries.items():
        if alike := _ALIKE.fullmatch(text):
            entries[name] = entries_of(getattr(importlib.import_module("winnow.api"), alike[1]), section)[name]
    return entries


def _summary(documented: object) -> str:
    return _one_line((inspect.getdoc(documented) or "").partition("\n\n")[0])


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return "**required**"
    return f"`{_plain(repr(parameter.default))}`"


def _plain(text: str) -> str:
    """A signature without what `repr` adds: function addresses, the class of a path, and fields of defaults."""
    text = re.sub(r"<function (\w+) at 0x\w+>", r"\1", text)
    text = re.sub(r"PosixPath\('([^']*)'\)", r"'\1'", text)
    return re.sub(r"\b([A-Z]\w+)\([^()]*\)", r"\1()", text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
