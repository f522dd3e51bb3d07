"""Write functions that a script or a notebook defines into a file that other processes can import.

Workers are processes of their own and import functions by `path/file.py:function`. A function of an importable file has
such a name already. One that is defined in a script or a notebook (`__main__`) is copied as text, with the imports,
functions, classes and plain values that it uses. Text and no pickle: the file can be read, its digest is the study's
code, and nothing runs when it is opened. What cannot be copied is refused with its name.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import symtable
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import FunctionType, ModuleType
from typing import Any

from winnow.config.errors import InputError

_HEADER = '"""Copied by winnow from the script or notebook that called `winnow.train`. Edit that one."""\n'
_AT_THE_TOP = "Define it with `def` or `class` at the top level"
_LONGEST_VALUE = 10_000
"""Characters of a value that is copied; longer ones are data."""
_PLAIN = (bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, type(None))


@dataclass
class SessionCode:
    """The functions of one session, as a module's text, and the names by which workers import them.

    Args:
        file: where the text will be; nothing is written here.
    """

    file: Path
    _imports: dict[str, str] = field(default_factory=dict)
    _values: dict[str, str] = field(default_factory=dict)
    _definitions: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, Any] = field(default_factory=dict)

    def name_of(self, function: Callable[..., Any], place: str) -> str:
        """`path/file.py:function` or `package.module:function`; a session's own function is added to the text.

        Raises:
            InputError: it has no name of its own, or uses something that cannot be copied.
        """
        function = inspect.unwrap(function)
        name = getattr(function, "__qualname__", "")
        if not isinstance(function, FunctionType | type) or not name.isidentifier():
            raise _refused(place, _shown(function), f"{_AT_THE_TOP}; fixed arguments are options.")
        if function.__module__ != "__main__":
            return f"{_module_of(function)}:{name}"
        self._add(name, function, place)
        return f"{_from_here(self.file)}:{name}"

    @property
    def text(self) -> str:
        """The module; empty if every function was importable."""
        if not self._definitions:
            return ""
        parts = ["\n".join(self._imports.values()), "\n".join(self._values.values()), *self._definitions.values()]
        return "\n\n".join([_HEADER.rstrip(), *(part.strip("\n") for part in parts if part)]) + "\n"

    def _add(self, name: str, value: Any, place: str) -> None:
        if name in self._seen:
            return
        self._seen[name] = value
        if isinstance(value, ModuleType):
            plain = value.__name__ == name
            self._imports[name] = f"import {name}" if plain else f"import {value.__name__} as {name}"
        elif isinstance(value, FunctionType | type) and value.__module__ == "__main__":
            self._define(name, value, place)
        elif _is_importable(value):
            alias = "" if value.__qualname__ == name else f" as {name}"
            self._imports[name] = f"from {value.__module__} import {value.__qualname__}{alias}"
        elif isinstance(value, PurePath):
            self._imports["Path"] = "from pathlib import Path"
            self._values[name] = f"{name} = Path({str(value)!r})"
        elif _is_plain(value):
            self._values[name] = f"{name} = {value!r}"
        else:
            remedy = "Make it inside the function, or read it there from a file."
            raise _refused(place, f"`{name}`, {_shown(value)}, which it uses", remedy)

    def _define(self, name: str, value: FunctionType | type, place: str) -> None:
        """Add a definition after what it uses."""
        value = inspect.unwrap(value)
        if not value.__qualname__.isidentifier():
            raise _refused(place, f"`{name}`, {_shown(value)}, which it uses", f"{_AT_THE_TOP}.")
        text = _source_of(value, name)
        if text is None or value.__qualname__ != name:
            raise _refused(place, f"`{name}`, whose source is not at hand", "Put it into a file and import it.")
        known = vars(sys.modules["__main__"]) if isinstance(value, type) else value.__globals__
        for used in sorted(_globals_in(text) - {name}):
            if used in known and known[used] is not getattr(builtins, used, None):
                self._add(used, known[used], place)
        self._definitions[name] = "\n" + text


def _source_of(value: FunctionType | type, name: str) -> str | None:
    """The text of a definition at the top level of a file or a notebook's cell; None if it is not at hand."""
    for text, line in _texts(value):
        try:
            tree = ast.parse(text)
        except SyntaxError:
            continue
        for node in reversed(tree.body):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
                first, last = min([node.lineno, *(each.lineno for each in node.decorator_list)]), node.end_lineno
                if line is None or first <= line <= (last or first):
                    return "\n".join(text.splitlines()[first - 1 : last]) + "\n"
    return None


def _texts(value: FunctionType | type) -> Iterator[tuple[str, int | None]]:
    """The texts that may define a value, each with a line inside the definition if it is known."""
    members = (value,) if isinstance(value, FunctionType) else tuple(vars(value).values())
    for member in members:
        method = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(method, FunctionType):
            yield "".join(linecache.getlines(method.__code__.co_filename)), method.__code__.co_firstlineno
    if isinstance(value, type):
        # A class without methods: the script, or the notebook's cells, the latest first.
        session = vars(sys.modules["__main__"])
        yield "".join(linecache.getlines(session.get("__file__") or "")), None
        yield from ((cell, None) for cell in reversed(session.get("In", [])))


def _globals_in(text: str) -> set[str]:
    """Names that a definition looks up outside itself."""

    def inside(table: symtable.SymbolTable, is_top: bool) -> Iterator[str]:
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (is_top or symbol.is_global()):
                yield symbol.get_name()
        for child in table.get_children():
            yield from inside(child, False)

    return set(inside(symtable.symtable(text, "<definition>", "exec"), True))


def _module_of(function: FunctionType | type) -> str:
    """The file of an importable function, or its module if that is installed."""
    module = sys.modules[function.__module__]
    file = getattr(module, "__file__", None)
    is_installed = file is None or not Path(file).resolve().is_relative_to(Path.cwd())
    installed = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    if is_installed and (file is None or any(Path(file).is_relative_to(place) for place in installed)):
        return function.__module__
    return _from_here(Path(file or ""))


def _from_here(file: Path) -> str:
    """A path from the working directory if the file is below it."""
    file, here = file.absolute(), Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)


def _is_importable(value: Any) -> bool:
    module, name = sys.modules.get(getattr(value, "__module__", None) or ""), getattr(value, "__qualname__", "")
    return module is not None and name.isidentifier() and getattr(module, name, None) is value


def _is_plain(value: Any) -> bool:
    """Whether a value can be written as Python text."""
    if not isinstance(value, _PLAIN) or len(text := repr(value)) > _LONGEST_VALUE:
        return False
    try:
        return bool(ast.literal_eval(text) == value)
    except (SyntaxError, ValueError):
        return False


def _shown(value: object) -> str:
    if getattr(value, "__name__", "") == "<lambda>":
        return "a lambda"
    if "<locals>" in getattr(value, "__qualname__", ""):
        return f"a {'class' if isinstance(value, type) else 'function'} that is defined inside a function"
    return f"a value of type {type(value).__name__}"


def _refused(place: str, found: str, remedy: str) -> InputError:
    expected = "a function that other processes can import"
    return InputError(place, expected=expected, found=found, remedy=remedy)


def with_names(content: Mapping[str, Any], code: SessionCode, place: str = "") -> dict[str, Any]:
    """An experiment's content with the names of functions in place of the functions themselves."""

    def named(value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            return with_names(value, code, where)
        if isinstance(value, list | tuple):
            return [named(each, f"{where}[{index}]") for index, each in enumerate(value)]
        if hasattr(value, "dtype") and hasattr(value, "tolist"):
            return value.tolist()  # NumPy's numbers and arrays, such as `numpy.linspace` makes for `choice`
        return code.name_of(value, where) if callable(value) else value

    return {str(key): named(value, f"{place}.{key}" if place else str(key)) for key, value in content.items()}
