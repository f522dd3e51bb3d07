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
    """A file of the project that is generated, or holds generated parts.

    Attributes:
        path: the file.
        found: its text before.
        wanted: its text as the code has it now.
    """

    path: Path
    found: str
    wanted: str


def config_reference(root: Path | str = Path(), *, write: bool = False) -> tuple[Document, ...]:
    """Compare the generated parts of README.md, docs/ and k8s/role.yaml with the code, or write them anew.

    Args:
        root: the project's folder.
        write: write the documents that differ; by default only compare.

    Returns:
        The documents that differ, or differed.

    Raises:
        InputError: a document is missing, or one of its marks is unknown or never closed.
    """
    folder = Path(root)
    compared = [_document(path, folder) for path in documents(folder)]
    stale = tuple(each for each in compared if each.found != each.wanted)
    for each in stale if write else ():
        each.path.write_text(each.wanted, encoding="utf-8")
    return stale


def documents(root: Path) -> list[Path]:
    """The files that are generated, or may hold parts that are."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md")), *(root / name for name in _whole_files())]


def generators(root: Path) -> Mapping[str, Callable[[], str]]:
    """What can stand in a document as `<!-- generated: NAME -->`, by name."""
    from winnow.config.reference import experiment_reference, settings_reference, targets_reference

    return {
        "api": _api,
        "experiment": experiment_reference,
        "environment": settings_reference,
        "targets": lambda: targets_reference((root / "Makefile").read_text(encoding="utf-8")),
        "metrics": _metrics,
        "stack": _stack,
        **{name: text for each in _of_platforms() for name, text in each.parts.items()},
    }


def _document(path: Path, root: Path) -> Document:
    from winnow.config.reference import fill

    if not path.is_file():
        raise InputError(
            str(path), expected="the project's documents", found="none", remedy="Run this in the project's folder."
        )
    found = path.read_text(encoding="utf-8")
    whole = _whole_files().get(path.relative_to(root).as_posix())
    return Document(path, found, whole() if whole is not None else fill(found, generators(root), str(path)))


def _api() -> str:
    from winnow.api.reference import api_reference

    return api_reference()


def _metrics() -> str:
    from winnow.training.metrics import table_markdown

    return table_markdown()


def _stack() -> str:
    from winnow.config.reference import variables_table
    from winnow.platforms.stack_variables import KEYS, SETTINGS, STUDIES

    return variables_table((*SETTINGS, *STUDIES, *KEYS))


def _whole_files() -> Mapping[str, Callable[[], str]]:
    """The files that are generated from their first line to their last, by their path in the project."""
    return {name: text for each in _of_platforms() for name, text in each.files.items()}


def _of_platforms() -> tuple[PlatformDocuments, ...]:
    from winnow.config.settings import Settings
    from winnow.platforms.table import all_platforms

    return tuple(each.documents for each in all_platforms(Settings.from_environment()))
