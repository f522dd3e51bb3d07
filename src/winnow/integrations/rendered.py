"""Rendered files that users keep and change: what differs is overwritten only where they say so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.errors import InputError
from winnow.config.next_command import next_flag


def write_rendered(files: Mapping[str, str], folder: Path, *, is_forced: bool, flag: str = "output") -> list[Path]:
    """Write the files; those that are there and equal stay.

    Args:
        files: their texts by path in the folder.
        flag: the flag that names the folder, for errors.

    Returns:
        Their paths.

    Raises:
        InputError: one is there and differs, or the folder cannot be written. Nothing has been written then.
    """
    paths = {folder / name: text for name, text in files.items()}
    try:
        for path, text in paths.items():
            if path.exists() and not is_forced and path.read_text(encoding="utf-8") != text:
                raise InputError(
                    str(path),
                    expected="a file that does not exist yet, or the same",
                    found="another one",
                    remedy=f"Name another folder ({next_flag(flag)}), or overwrite it ({next_flag('force', True)}).",
                )
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, text)
    except OSError as error:
        raise InputError(
            str(folder),
            expected="a folder to write",
            found=f"'{error.strerror}'",
            remedy=f"Name another folder ({next_flag(flag)}).",
        ) from error
    return list(paths)
