"""Write YAML, and change values in a text of YAML in which comments and everything else stay as they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]
"""Keys of mappings, and indices of lists; text instead of an index means the item with that `name`."""


def yaml_of(value: Any) -> str:
    """A value as YAML, unsorted."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def value_at(text: str, path: KeyPath) -> Any:
    """The value at a path of a YAML document; None where there is none. Raises yaml.YAMLError for other text."""
    node: yaml.Node | None = yaml.compose(text, yaml.SafeLoader)
    for part in path:
        if node is not None:
            node = _child(node, part)
    return None if node is None else yaml.SafeLoader("").construct_document(node)


def with_values(text: str, changes: Mapping[KeyPath, Any]) -> str:
    """The text with values set: a scalar in its place, and a missing key as the last of its mapping.

    Raises:
        yaml.YAMLError: the text is not YAML.
        ValueError: a list lacks an item of a path, or a value on a path or the value to be replaced is of another kind.
    """
    for path, value in changes.items():
        text = _with_value(text, path, value)
    return text


def with_scalars(text: str, new: Callable[[str, str], str]) -> str:
    """The text with every scalar replaced, in all of its documents.

    Args:
        new: gives the new text of a scalar by its key, or that of its list, and its text; a key itself has the key "".

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    found = [
        each for node in yaml.compose_all(text, yaml.SafeLoader) if node is not None for each in _scalars("", node)
    ]
    for key, node in sorted(found, key=lambda each: each[1].start_mark.index, reverse=True):
        if (value := new(key, node.value)) != node.value:
            text = text[: node.start_mark.index] + _scalar(value) + text[node.end_mark.index :]
    return text


def _scalars(key: str, node: yaml.Node) -> Iterator[tuple[str, yaml.ScalarNode]]:
    if isinstance(node, yaml.ScalarNode):
        yield key, node
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _scalars(key, item)
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield "", name
            yield from _scalars(str(name.value), value)


def _with_value(text: str, path: KeyPath, value: Any) -> str:
    node = yaml.compose(text, yaml.SafeLoader)
    if node is None:
        raise ValueError(f"{_shown(path)}: the document is empty")
    is_item = False
    for depth, part in enumerate(path):
        child = _child(node, part)
        if child is None:
            for key in reversed(path[depth + 1 :]):
                value = {key: value}
            return _inserted(text, node, {part: value}, _shown(path[: depth + 1]), is_item=is_item)
        is_item = isinstance(node, yaml.SequenceNode)
        node = child
    if not isinstance(node, yaml.ScalarNode) or isinstance(value, Mapping | list | tuple):
        raise ValueError(f"{_shown(path)}: expected one value")  # noqa: TRY004  (of the text, not of an argument)
    return text[: node.start_mark.index] + _scalar(value) + text[node.end_mark.index :]


def _inserted(text: str, node: yaml.Node, new: Mapping[Any, Any], place: str, *, is_item: bool) -> str:
    """The text with a key added to a mapping: as its first in an item of a list, else as its last."""
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise ValueError(f"{place}: expected a mapping in several lines")
    first = node.value[0][0].start_mark
    margin = " " * first.column
    lines = yaml_of(new).splitlines()
    if is_item:
        return text[: first.index] + "".join(f"{line}\n{margin}" for line in lines) + text[first.index :]
    end = _end(node)
    end = end if text[end - 1 : end] == "\n" else text.find("\n", end) + 1
    before, after = (text[:end], text[end:]) if end else (text + "\n", "")
    return before + "".join(f"{margin}{line}\n" for line in lines) + after


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends: that of a block collection with its last item, before comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)


def _child(node: yaml.Node, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    if not isinstance(node, yaml.SequenceNode):
        return None
    if isinstance(part, int):
        return node.value[part] if part < len(node.value) else None
    names = [_child(item, "name") for item in node.value]
    found = (item for item, name in zip(node.value, names, strict=True) if name is not None and name.value == part)
    return next(found, None)


def _scalar(value: Any) -> str:
    written = yaml_of([value]).strip().removeprefix("- ")
    # Manifests have double quotes, but around JSON.
    return json.dumps(value, ensure_ascii=False) if written.startswith("'") and '"' not in written else written


def _shown(path: KeyPath) -> str:
    return ".".join(map(str, path))


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key, and writes several lines as a block."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
