"""The environment file that opens the stack: a person's own lines, then a block that `mlflow-init` writes.

The block holds generated passwords and the settings of the last start, so that another start is the same. Own lines
are never changed, and win over the block; they are read as Compose reads them (`winnow.config.env_file`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.env_file import read_variables
from winnow.config.errors import InputError

BEGIN = "# The stack's block, made by `make mlflow-init`; lines of your own go outside and win over it."
END = "# End of the stack's block."
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,*=~-]*")


@dataclass(frozen=True)
class EnvFile:
    """The lines outside the block, and the variables in it."""

    own_text: str = field(default="", repr=False)
    block: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def own(self) -> dict[str, str]:
        """The variables that a person has set."""
        return read_variables(self.own_text)

    def variables(self) -> dict[str, str]:
        """All variables, as Compose sees them."""
        return {**self.own, **self.block}


def parse(text: str) -> EnvFile:
    """Split a file's text; without a block, all of it is a person's own."""
    lines = text.splitlines()
    if BEGIN not in lines:
        return EnvFile(text)
    begin = lines.index(BEGIN)
    end = lines.index(END, begin) if END in lines[begin:] else len(lines)
    own = [*lines[:begin], *lines[end + 1 :]]
    return EnvFile("".join(f"{line}\n" for line in own), read_variables("\n".join(lines[begin:end])))


def render(file: EnvFile) -> str:
    """The file's text. The block comes last: Compose takes the last line of a name."""
    if not file.block:
        return file.own_text
    own = file.own_text if not file.own_text or file.own_text.endswith("\n") else f"{file.own_text}\n"
    block = "".join(f"{name}={_quoted(name, value)}\n" for name, value in file.block.items())
    return f"{own}{BEGIN}\n{block}{END}\n"


def without(file: EnvFile, names: frozenset[str]) -> EnvFile:
    """The file after its volumes are deleted: own lines without those names; no block, no blank ends."""
    lines = [line for line in file.own_text.splitlines() if not names & read_variables(line).keys()]
    text = "\n".join(lines).strip("\n")
    return EnvFile(f"{text}\n" if text else "")


def read(path: Path) -> EnvFile | None:
    """The file at `path`, or None where there is none. Raises InputError where it cannot be read."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            str(path),
            expected="an environment file that can be read",
            found=str(error),
            remedy="Correct it, or set WINNOW_ENV_FILE to another path.",
        ) from error


def write(path: Path, file: EnvFile) -> bool:
    """Write the file in one step, readable by its owner alone; return whether anything changed."""
    text = render(file)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        path.chmod(0o600)
        return False
    replace_text(path, text, mode=0o600)
    return True


def _quoted(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    if "'" in value or "\n" in value:
        raise InputError(
            name,
            expected="a value without quotes and line ends",
            found="one with them",
            remedy=f"Write the line for {name} into the environment file yourself.",
        )
    return f"'{value}'"
