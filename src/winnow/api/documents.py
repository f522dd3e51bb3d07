"""Keep the generated parts of the documents up to date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.errors import InputError

if TYPE_CHECKING:
    from winnow.platforms.platform import PlatformDocuments


@dataclass(frozen=True)
class Document:
    """A file of the project that is generated, or has generated parts.

    Attributes:
        path: the file.
        found: its text before.
        wanted: the text that the code generates now.
    """

    path: Path
    found: str
    wanted: str


def config_reference(root: Path | str = Path(), *, write: bool = False) -> tuple[Document, ...]:
    """Compare the generated parts of README.md, docs/ and k8s/role.yaml with the code, or update them.

    Args:
        root: the project's folder.
        write: update the stale documents; by default only compare.

    Returns:
        The documents that are, or were, stale.

    Raises:
        InputError: a document is missing, or has an unknown or unclosed mark.
    """
    from winnow.config.reference import fill

    folder, whole = Path(root), _generated_files()
    parts, stale = generators(folder), []
    for path in documents(folder):
        if not path.is_file():
            raise InputError(
                str(path), expected="the project's documents", found="none", remedy="Run this in the project's folder."
            )
        found = path.read_text(encoding="utf-8")
        name = path.relative_to(folder).as_posix()
        wanted = whole[name]() if name in whole else fill(found, parts, str(path))
        if found != wanted:
            stale.append(Document(path, found, wanted))
    for each in stale if write else ():
        each.path.write_text(each.wanted, encoding="utf-8")
    return tuple(stale)


def documents(root: Path) -> list[Path]:
    """The files that are generated or may have generated parts."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md")), *(root / name for name in _generated_files())]


def generators(root: Path) -> Mapping[str, Callable[[], str]]:
    """What can stand in a document as `<!-- generated: NAME -->`, by name."""
    from winnow.api.reference import api_reference
    from winnow.config.lock import LOCK, licenses_page, locked
    from winnow.config.reference import experiment_reference, settings_reference, targets_reference, variables_table
    from winnow.platforms.stack_variables import KEYS, STUDIES, settings_of
    from winnow.training.metrics import table_markdown

    return {
        "api": api_reference,
        "experiment": experiment_reference,
        "environment": settings_reference,
        "targets": lambda: targets_reference("".join(_read(root / name) for name in _MAKEFILES)),
        "licenses": lambda: licenses_page(locked(_read(root / LOCK))),
        "metrics": table_markdown,
        "stack": lambda: variables_table((*settings_of("docker"), *STUDIES, *KEYS)),
        **{name: text for each in _of_platforms() for name, text in each.parts.items()},
    }


_MAKEFILES = ("src/winnow/orchestrators/starter/targets.mk", "Makefile")


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _generated_files() -> Mapping[str, Callable[[], str]]:
    """The files that are generated from first line to last, by their path in the project."""
    return {name: text for each in _of_platforms() for name, text in each.files.items()}


def _of_platforms() -> list[PlatformDocuments]:
    from winnow.config.settings import Settings
    from winnow.platforms.table import all_platforms

    return [each.documents for each in all_platforms(Settings.from_environment())]
