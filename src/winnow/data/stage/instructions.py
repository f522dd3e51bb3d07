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
        digest: sha256 of the query or of the function's files, and of the order, the partitions and the schema.
    """

    sql: str | None
    function: str | None
    place: str
    digest: str


def read_instructions(prepare: PrepareConfig, engine: Engine, folder: Path) -> Instructions:
    """The query or function for an engine.

    Args:
        folder: the working directory, where files and modules are looked up.

    Raises:
        InputError: there is none for the engine, or a file cannot be read.
    """
    key = "sql" if prepare.sql is not None else "function"
    given = prepare.sql if prepare.sql is not None else prepare.function
    if isinstance(given, dict):
        if engine not in given:
            raise InputError(
                f"{PLACE}.{key}",
                expected=f"one for the engine {engine}",
                found=f"one for {', '.join(given) or 'none'}",
                remedy=f"Add it: `{key}: {{{engine}: …}}`, or choose another engine.",
            )
        given = given[engine]
    assert given is not None, "the file names one of the two"
    place = f"{PLACE}.{key}"
    if key == "sql":
        is_file = given.strip().endswith(".sql") and "\n" not in given.strip()
        place, text = (given, _read(given, folder, place)) if is_file else (place, given)
        content = [text]
        given = text
    else:
        content = sorted(f"{name} {digest}" for name, digest in code_of_function(given, folder).items())
    schema = None if prepare.schema_file is None else _read(prepare.schema_file, folder, f"{PLACE}.schema")
    said = [_FORM, key, content, prepare.sort, prepare.partition_by, schema]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    return Instructions(given if key == "sql" else None, given if key == "function" else None, place, digest)


def _read(name: str, folder: Path, place: str) -> str:
    path = folder / Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else f"'{error}'"
        remedy = "Correct the path, which starts at the working directory."
        raise InputError(place, expected=f"a text file at {path}", found=found, remedy=remedy) from error
