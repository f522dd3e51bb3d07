"""The verb `config-reference`: the parts of the documents that are generated from the code, written or checked."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from winnow.config.errors import InputError


def generators(root: Path) -> Mapping[str, Callable[[], str]]:
    """What can stand in a document as `<!-- generated: NAME -->`, by name."""
    from winnow.config.reference import experiment_reference, settings_reference, targets_reference

    return {
        "experiment": experiment_reference,
        "environment": settings_reference,
        "targets": lambda: targets_reference((root / "Makefile").read_text(encoding="utf-8")),
        "metrics": _metrics,
        "stack": _stack,
        "stack-kubernetes": _stack_on_kubernetes,
        "permissions": _permissions,
    }


def _metrics() -> str:
    from winnow.training.metrics import table_markdown

    return table_markdown()


def _stack() -> str:
    from winnow.config.reference import variables_table
    from winnow.platforms.stack_variables import KEYS, SETTINGS, STUDIES

    return variables_table((*SETTINGS, *STUDIES, *KEYS))


def _stack_on_kubernetes() -> str:
    from winnow.config.reference import variables_table
    from winnow.platforms.kubernetes.stack_settings import OF_CLUSTER

    return variables_table(OF_CLUSTER)


def _permissions() -> str:
    from winnow.orchestrators.permissions import permissions_table

    return permissions_table()


def _role() -> str:
    from winnow.orchestrators.permissions import role_file

    return role_file()


WHOLE: Mapping[str, Callable[[], str]] = {"k8s/role.yaml": _role}
"""Files that are generated from their first line to their last."""


def documents(root: Path) -> list[Path]:
    """The files that are generated, or may hold parts that are."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md")), *(root / name for name in WHOLE)]


@click.command(help="Write the generated parts of README.md and docs/, or check that they are up to date.")
@click.option("--write/--check", default=False, help="Write them; by default only check.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The project's folder; by default the working directory.",
)
def command(write: bool, root: Path) -> int:
    """Return 0 where everything is, or now is, up to date."""
    from winnow.config.reference import fill

    stale = 0
    for path in documents(root):
        if not path.is_file():
            raise InputError(
                str(path), expected="the project's documents", found="none", remedy="Run this in the project's folder."
            )
        current = path.read_text(encoding="utf-8")
        whole = WHOLE.get(path.relative_to(root).as_posix())
        wanted = whole() if whole is not None else fill(current, generators(root), str(path))
        if wanted == current:
            continue
        if write:
            path.write_text(wanted, encoding="utf-8")
            click.echo(f"written: {path}")
            continue
        stale = 1
        difference = difflib.unified_diff(
            current.splitlines(), wanted.splitlines(), str(path), "generated", lineterm=""
        )
        click.echo("\n".join(difference))
    if stale:
        click.echo("error: the documents are older than the code. Run `make docs`.", err=True)
    return stale
