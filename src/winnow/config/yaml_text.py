"""Read YAML 1.2, with the line of every key.

PyYAML follows YAML 1.1, where `off` and `no` are booleans and `1e-4` is text; hyperparameters need the opposite.
Repeated keys are refused (PyYAML takes the last one), and dates stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow.config.errors import InputError

KeyPath = tuple[str | int, ...]

BOOLEAN = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
NULL = re.compile(r"^(?:null|Null|NULL|~|)$")
INTEGER = re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$")
FLOAT = re.compile(
    r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)


class Yaml12Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own attribute)


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    try:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text, 10)
    except ValueError as error:
        # Python converts no more than some thousands of digits (sys.set_int_max_str_digits).
        problem = f"a whole number of {len(text)} characters"
        raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from error


# The order matters: "1" matches both patterns and is an integer.
for tag, pattern, first_characters in (
    ("bool", BOOLEAN, [*"tTfF"]),
    ("null", NULL, [*"nN~", ""]),
    ("int", INTEGER, [*"-+0123456789"]),
    ("float", FLOAT, [*"-+.0123456789"]),
    ("merge", re.compile(r"^<<$"), ["<"]),
):
    Yaml12Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", pattern, first_characters)
Yaml12Loader.add_constructor("tag:yaml.org,2002:int", _construct_integer)


class DuplicateKeyError(yaml.MarkedYAMLError):
    """A mapping has the same key twice."""


@dataclass(frozen=True)
class Document:
    """A file's content as plain values (None if empty), and the 1-based line of every key and list item, by path."""

    content: Any
    lines: dict[KeyPath, int]


def not_yaml(path: Path, error: yaml.YAMLError) -> InputError:
    """The error for a file that `read_yaml` cannot read."""
    mark = getattr(error, "problem_mark", None)
    return InputError(
        f"{path}:{mark.line + 1}" if mark is not None else str(path),
        expected="YAML",
        found=getattr(error, "problem", None) or str(error),
        remedy="Correct the line, or the one above it.",
    )


def read_yaml(text: str) -> Document:
    """Parse one YAML document.

    Raises:
        yaml.YAMLError: the text is not YAML, repeats a key, or has a tag for anything but plain values.
    """
    loader = Yaml12Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return Document(None, {})
        lines = dict(_lines(node, ()))
        return Document(loader.construct_document(node), lines)
    finally:
        loader.dispose()


def _lines(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1
            yield from _lines(item, (*path, index))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise DuplicateKeyError(problem=f"the key '{name}' a second time", problem_mark=key.start_mark)
            seen.add(name)
            yield (*path, name), key.start_mark.line + 1
            yield from _lines(value, (*path, name))
