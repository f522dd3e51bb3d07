"""`winnow audit`: what a project and its images are made of, and what is known to be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import json_option
from winnow.config.exit_codes import CommandExit

if TYPE_CHECKING:
    from winnow.integrations import Audit

MARKS = {"clean": "✓", "findings": "✗", "not run": "-"}


@click.command("audit")
@click.option("--image", default="", metavar="NAME,…", help="Images on the engine; by default those of this folder.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for the reports; by default audit in WINNOW_HOME.",
)
@click.option("--key", default="", metavar="FILE", help="Public key that the images have to be signed with (cosign).")
@click.option("--identity", default="", help="Who has to have signed them without a key: an e-mail address or a URL.")
@click.option("--issuer", default="", metavar="URL", help="The OIDC issuer that vouches for the identity.")
@click.option("--strict", is_flag=True, help="A check that cannot run is a failure.")
@json_option
def command(image: str, as_json: bool, **options: Any) -> int:
    """List software and licences of this folder's project and its images, and look for known faults.

    Writes CycloneDX documents, a page of licences, and the reports of bandit, pip-audit and trivy. Programs that are
    not there are named. Exit status 1: something was found, or --strict and something did not run.
    """
    from winnow import integrations

    found = integrations.audit(images=[each.strip() for each in image.split(",") if each.strip()], **options)
    click.echo((found.folder / "audit.json").read_text(encoding="utf-8") if as_json else "\n".join(lines_of(found)))
    return CommandExit.DONE if found.is_passed else CommandExit.FAILED


def lines_of(audit: Audit) -> Iterator[str]:
    """The audit for people."""
    for each in audit.checks:
        says = f"not run: {each.says}" if each.state.value == "not run" else each.says
        yield f"{MARKS[each.state.value]} {each.name}: {says}"
        yield from (f"    {line}" for line in each.findings)
    yield f"Reports are in {audit.folder}"
