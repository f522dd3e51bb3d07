"""The query or function that prepares rows, as `data.prepare` names it, and the digest of all that it says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.experiment import Engine, PrepareConfig
from winnow.config.user_code import code_of_function

PLACE = "data.prepare"
_FORM = 1
"""Goes up when the same instructions give other files than before."""


@dataclass(frozen=True)
class Instructions:
    """A query or a function.

    Attributes:
        sql: the query's text; None where there is a function.
        function: its name; None where there is a query.
        place: the query's file or key, or the function, for messages.
        code: sha256 of the query, or of the function's name and files.
        digest: the same with the order, the partitions and the schema of the result.
    """

    sql: str | None
    function: str | None
    place: str
    code: str
    digest: str


def read_instructions(prepare: PrepareConfig, engine: Engine, folder: Path) -> Instructions:
    """The query or function for an engine.

    Args:
        folder: the working directory, where files and modules are looked up.

    Raises:
        InputError: there is none for the engine, or a file cannot be read.
    """
    key, given = _named(prepare, engine)
    place = f"{PLACE}.{key}"
    if key == "sql":
        is_file = given.strip().endswith(".sql") and "\n" not in given.strip()
        place, given = (given, _read(given, folder, place)) if is_file else (place, given)
        content = [given]
    else:
        content = [given, *sorted(f"{name} {each}" for name, each in code_of_function(given, folder).items())]
    code = _digest(key, content)
    schema = None if prepare.schema_file is None else _read(prepare.schema_file, folder, f"{PLACE}.schema")
    digest = _digest(_FORM, code, prepare.sort, prepare.partition_by, schema)
    return Instructions(given if key == "sql" else None, given if key == "function" else None, place, code, digest)


def _named(prepare: PrepareConfig, engine: Engine) -> tuple[str, str]:
    """The key that names a query or function for an engine, and its value. Raises InputError where there is none."""
    named: list[str] = []
    for key, given in (("sql", prepare.sql), ("function", prepare.function)):
        if isinstance(given, str):
            return key, given
        if given is not None and engine in given:
            return key, given[engine]
        named += given or ()
    raise InputError(
        PLACE,
        expected=f"a query or a function for the engine {engine}",
        found=f"one for {', '.join(named) or 'none'}",
        remedy=f"Add it: `sql: {{{engine}: …}}`, or choose another engine.",
    )


def _digest(*said: object) -> str:
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _read(name: str, folder: Path, place: str) -> str:
    path = folder / Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"'{error}'"
        remedy = "Correct the path, which starts at the working directory."
        raise InputError(place, expected=f"a text file at {path}", found=found, remedy=remedy) from error
