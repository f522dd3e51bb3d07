"""Schema files: what the rows of a table must be. They have the form of pandera's YAML files, and need no pandera.

    columns:
      age: {dtype: int64, in_range: {min_value: 0, max_value: 120}}
      plan: {dtype: str, nullable: true, isin: [basic, pro]}
    unique: [customer, day]
    checks: {ends_after_start: "ended >= started"}

Checks of a column have pandera's names. Those of the table, which pandera leaves to Python, are conditions in SQL.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct

from winnow.config.errors import InputError
from winnow.config.nearest import did_you_mean
from winnow.config.yaml_text import KeyPath, not_yaml, read_yaml

TYPES: Mapping[str, str] = {
    **dict.fromkeys(("str", "string", "object", "category", "string[python]", "string[pyarrow]"), "VARCHAR"),
    **{"int": "BIGINT", "int8": "TINYINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT"},
    **{"uint8": "UTINYINT", "uint16": "USMALLINT", "uint32": "UINTEGER", "uint64": "UBIGINT"},
    **dict.fromkeys(("float", "float32", "float64"), "DOUBLE"),
    **dict.fromkeys(("bool", "boolean"), "BOOLEAN"),
    "date": "DATE",
    **dict.fromkeys(("datetime", "datetime64[ns]", "datetime64[us]", "datetime64[ns, utc]"), "TIMESTAMP"),
}
"""DuckDB's type for a dtype of pandas or pandera, in lower case. `decimal(P,S)` is known besides."""
DECIMAL = re.compile(r"decimal\(\s*([1-9]|[12][0-9]|3[0-8])\s*,\s*([0-9]|[12][0-9]|3[0-8])\s*\)", re.IGNORECASE)

COMPARISONS: Mapping[str, str] = {
    **{"equal_to": "=", "not_equal_to": "<>", "greater_than": ">", "greater_than_or_equal_to": ">="},
    **{"less_than": "<", "less_than_or_equal_to": "<="},
}
SHORT: Mapping[str, str] = {
    **{"eq": "equal_to", "ne": "not_equal_to", "gt": "greater_than", "ge": "greater_than_or_equal_to"},
    **{"lt": "less_than", "le": "less_than_or_equal_to", "between": "in_range"},
}
"""Pandera's short names of checks."""
OF_TEXT = ("str_matches", "str_contains", "str_startswith", "str_endswith", "str_length")
CHECKS = (*COMPARISONS, "in_range", "isin", "notin", *OF_TEXT)
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "in_range": ("min_value", "max_value", "include_min", "include_max"),
    "str_length": ("min_value", "max_value", "exact_value"),
}
"""The arguments of checks that have several."""

_COLUMN = ("dtype", "nullable", "unique", "required", "checks")
_TABLE = ("columns", "strict", "unique", "checks")
# Keys of pandera that say nothing about rows, or that only turn values into others.
_SILENT = ("title", "description", "coerce", "metadata", "default", "report_duplicates")
_SILENT_OF_TABLE = (*_SILENT, "schema_type", "api", "version", "name", "dtype", "ordered", "unique_column_names")
# Keys of pandera that winnow does not know unless they are off.
_OFF = ("regex", "add_missing_columns", "drop_invalid_rows")


class Check(Struct, frozen=True):
    """A rule for each value of a column.

    Attributes:
        name: one of `CHECKS`.
        value: what it compares with; a mapping of `ARGUMENTS` for some.
    """

    name: str
    value: Any


class ColumnSchema(Struct, frozen=True):
    """What the values of a column must be.

    Attributes:
        dtype: of pandas or pandera; None: any.
        nullable: whether a value may be missing.
        unique: whether no value may repeat; missing ones may.
        required: whether the column must be there.
    """

    name: str
    dtype: str | None = None
    nullable: bool = False
    unique: bool = False
    required: bool = True
    checks: tuple[Check, ...] = ()

    @property
    def sql_type(self) -> str | None:
        """DuckDB's type for the dtype; None: any."""
        return None if self.dtype is None else sql_type(self.dtype)


class TableSchema(Struct, frozen=True):
    """What the rows of a table must be.

    Attributes:
        strict: whether there may be no other columns.
        unique: groups of columns whose values may not repeat together.
        checks: conditions in SQL on each row, by name.
        place: the file, for messages.
    """

    columns: tuple[ColumnSchema, ...]
    strict: bool = False
    unique: tuple[tuple[str, ...], ...] = ()
    checks: tuple[tuple[str, str], ...] = ()
    place: str = "schema"


def digest_of_schema(schema: TableSchema, missing: Iterable[str]) -> str:
    """The sha256 of all that a schema and the texts that stand for missing values say about rows."""
    said = msgspec.to_builtins(msgspec.structs.replace(schema, place=""))
    return hashlib.sha256(json.dumps([said, *missing]).encode()).hexdigest()


def sql_type(dtype: str) -> str | None:
    """DuckDB's type for a dtype; None for an unknown one."""
    if found := DECIMAL.fullmatch(dtype.strip()):
        return f"DECIMAL({found[1]},{found[2]})" if int(found[2]) <= int(found[1]) else None
    return TYPES.get(dtype.strip().lower())


def read_schema(path: Path) -> TableSchema:
    """Read a schema file.

    Raises:
        InputError: there is no such file, it is not YAML, has an unknown key, dtype or check, or a wrong value.
    """
    try:
        document = read_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from error
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"'{error}'"
        raise InputError(
            str(path),
            expected="a schema file",
            found=found,
            remedy="Write a first one from the data with `winnow validate --infer` (`make validate INFER=1`).",
        ) from error
    return _Reader(path, document.lines).table(document.content)


def schema_text(schema: TableSchema, comment: str) -> str:
    """The schema as the text of a file, below a comment of one line."""
    columns = {
        each.name: {
            "dtype": each.dtype,
            "nullable": each.nullable,
            **({"unique": True} if each.unique else {}),
            **{check.name: check.value for check in each.checks},
        }
        for each in schema.columns
    }
    content = {"schema_type": "dataframe", "columns": columns, "strict": schema.strict}
    return f"# {comment}\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)


class _Reader:
    """Reads the content of a file, and knows the lines for messages."""

    def __init__(self, path: Path, lines: Mapping[KeyPath, int]) -> None:
        self._path, self._lines = path, lines

    def table(self, content: Any) -> TableSchema:
        table = self._mapping(content, ())
        self._check_keys(table, (), (*_TABLE, "index"), _SILENT_OF_TABLE)
        index = table.get("index") or []
        named = [index]
        if isinstance(index, list):  # pandera also writes an index without a name, of which raw rows have none
            named = [each for each in index if isinstance(each, Mapping) and each.get("name")]
        if named:
            raise self._wrong(("index",), "columns alone", repr(named[0]), "Make the index a column.")
        columns = self._mapping(table.get("columns"), ("columns",))
        if not columns:
            raise self._wrong(("columns",), "the columns of the table by their names", "none", "Add `columns:`.")
        checks = self._mapping(table.get("checks") or {}, ("checks",))
        return TableSchema(
            tuple(self._column(str(name), value) for name, value in columns.items()),
            self._boolean(table, (), "strict", is_by_default=False),
            self._unique(table.get("unique") or [], columns),
            tuple(self._condition(str(name), value) for name, value in checks.items()),
            str(self._path),
        )

    def _column(self, name: str, value: Any) -> ColumnSchema:
        path: KeyPath = ("columns", name)
        column = {} if value is None else self._mapping(value, path)
        self._check_keys(column, path, (*_COLUMN, *CHECKS, *SHORT), _SILENT)
        dtype = column.get("dtype")
        if dtype is not None and (not isinstance(dtype, str) or sql_type(dtype) is None):
            known = f"one of {', '.join(TYPES)}, decimal(P,S)"
            remedy = (did_you_mean(dtype, TYPES) if isinstance(dtype, str) else None) or "Choose one of them."
            raise self._wrong((*path, "dtype"), known, repr(dtype), remedy)
        checks = tuple(self._check(path, each, argument, dtype) for each, argument in self._checks(column, path))
        return ColumnSchema(
            name,
            dtype,
            self._boolean(column, path, "nullable", is_by_default=False),
            self._boolean(column, path, "unique", is_by_default=False),
            self._boolean(column, path, "required", is_by_default=True),
            checks,
        )

    def _checks(self, column: Mapping[str, Any], path: KeyPath) -> Iterable[tuple[str, Any]]:
        """Names and values of checks: beside the dtype, in a mapping, or in a list; versions of pandera differ."""
        beside: list[tuple[Any, Any]] = [
            (name, value) for name, value in column.items() if name in CHECKS or name in SHORT
        ]
        given = column.get("checks") or {}
        if isinstance(given, Mapping):
            beside += given.items()
        elif isinstance(given, list) and all(isinstance(each, Mapping) for each in given):
            beside += [((each.get("options") or {}).get("check_name"), each) for each in given]
        else:
            raise self._wrong((*path, "checks"), "a mapping of checks to their values", repr(given), "Correct it.")
        return [(str(name), _without_options(value)) for name, value in beside]

    def _check(self, path: KeyPath, given: str, value: Any, dtype: str | None) -> Check:
        name, place = SHORT.get(given, given), (*path, "checks", given)
        if name not in CHECKS:
            remedy = did_you_mean(name, CHECKS) or "Choose one, or write a condition in SQL in `checks` of the table."
            raise self._wrong(place, f"one of {', '.join(CHECKS)}", f"'{given}'", remedy)
        if name in OF_TEXT and dtype is not None and sql_type(dtype) != "VARCHAR":
            raise self._wrong(place, "a check of numbers or times", f"one of text for {dtype}", "Remove it.")
        if dtype is None:
            raise self._wrong(place, "a `dtype` for a column with checks", "none", "Add `dtype:` to the column.")
        expected = _expected(name, value) or _expected_of(dtype, name, value)
        if expected is not None:
            raise self._wrong(place, expected, repr(value), "Correct it.")
        return Check(name, value)

    def _unique(self, given: Any, columns: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:
        given = [given] if isinstance(given, str) else given
        if not isinstance(given, list):
            raise self._wrong(("unique",), "a list of columns", repr(given), "Correct it.")
        groups = given if all(isinstance(each, list) for each in given) else [given]
        for name in (str(name) for group in groups for name in group):
            if name not in columns:
                remedy = did_you_mean(name, columns) or "Add it to `columns`."
                raise self._wrong(("unique",), "columns of the schema", f"'{name}'", remedy)
        return tuple(tuple(map(str, group)) for group in groups if group)

    def _condition(self, name: str, value: Any) -> tuple[str, str]:
        if not isinstance(value, str) or not value.strip():
            expected = "a condition in SQL over the columns, such as `ended >= started`"
            raise self._wrong(("checks", name), expected, repr(value), "Write one.")
        return name, value

    def _boolean(self, values: Mapping[str, Any], path: KeyPath, key: str, *, is_by_default: bool) -> bool:
        value = values.get(key)
        if value is None:
            return is_by_default
        if not isinstance(value, bool):
            raise self._wrong((*path, key), "true or false", repr(value), "Correct it.")
        return value

    def _mapping(self, value: Any, path: KeyPath) -> Mapping[str, Any]:
        if isinstance(value, Mapping):
            return value
        shown = "nothing" if value is None else repr(value)
        raise self._wrong(path, "a mapping", shown, "Write it as in docs/data.md.")

    def _check_keys(
        self, given: Mapping[str, Any], path: KeyPath, known: tuple[str, ...], silent: tuple[str, ...]
    ) -> None:
        for key, value in given.items():
            if key in known or key in silent or (key in _OFF and not value):
                continue
            remedy = did_you_mean(str(key), known) or "Remove it."
            raise self._wrong((*path, str(key)), f"one of {', '.join(known)}", f"'{key}'", remedy)

    def _wrong(self, path: KeyPath, expected: str, found: str, remedy: str) -> InputError:
        line = next((self._lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self._lines), None)
        place = f"{self._path}:{line}" if line is not None else f"{self._path}"
        key = ".".join(map(str, path))
        return InputError(f"{place}: {key}" if key else place, expected=expected, found=found, remedy=remedy)


def _without_options(value: Any) -> Any:
    """The value of a check that pandera wrote with its options."""
    if not isinstance(value, Mapping):
        return value
    rest = {key: each for key, each in value.items() if key != "options"}
    return next(iter(rest.values())) if len(rest) == 1 and next(iter(rest)) not in ARGUMENTS["in_range"] else rest


def _expected(name: str, value: Any) -> str | None:
    """What the value of a check should be; None where it is that."""
    if name in ARGUMENTS:
        known, bounds = ARGUMENTS[name], ("min_value", "max_value", "exact_value")
        if not isinstance(value, Mapping) or not set(value) & set(bounds) or set(value) - set(known):
            return f"a mapping of {', '.join(known)}"
        if not all(_is_scalar(value[each]) for each in bounds if value.get(each) is not None):
            return "bounds that are numbers, or texts for dates"
        return None
    if name in ("isin", "notin"):
        is_list = isinstance(value, list) and value and all(map(_is_scalar, value))
        return None if is_list else "a list of values"
    if name in OF_TEXT:
        return None if isinstance(value, str) else "a text"
    return None if _is_scalar(value) else "a number or a text"


def _expected_of(dtype: str, name: str, value: Any) -> str | None:
    """What a value to compare with should be in a column of this type; None where it is that."""
    kind = sql_type(dtype)
    if name in OF_TEXT or kind == "VARCHAR":
        return None
    given = [value.get("min_value"), value.get("max_value")] if name == "in_range" else value
    values = [each for each in (given if isinstance(given, list) else [given]) if each is not None]
    if kind in ("DATE", "TIMESTAMP"):
        try:
            for each in values:
                datetime.fromisoformat(each)
        except (ValueError, TypeError):
            return "dates or times as 2026-11-21 or 2026-11-21T09:30"
        return None
    wanted = bool if kind == "BOOLEAN" else int | float
    is_right = all(isinstance(each, wanted) and isinstance(each, bool) is (kind == "BOOLEAN") for each in values)
    return None if is_right else ("true or false" if kind == "BOOLEAN" else "numbers")


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float)
