"""`winnow build-train` and `build-prod`: the images for a sweep, and for the selected model."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.options import (
    StoreVerb,
    config_option,
    dry_run_option,
    in_order,
    model_options,
    registry_options,
    say_unknown,
    version_options,
)

if TYPE_CHECKING:
    from winnow.api import BuildStep, PlannedBuild

SLOW_S = 1.0
"""Steps that took less time are not printed."""

build_options = in_order(
    click.option("--base-image", metavar="IMAGE", default="", help="Base image instead of python:3.11-slim-bookworm."),
    registry_options(),
    click.option("--network", default="", help="Docker network for steps that install; `host` to use its VPN."),
    click.option(
        "--pip-config",
        type=click.Path(path_type=Path),
        help="A pip.conf, for your own package index. It is used during the build and kept in no layer.",
    ),
    click.option("--no-cache", is_flag=True, help="Build every layer again."),
)
"""The flags of every build."""


@click.command("build-train")
@build_options
@click.option("--torch-index", metavar="URL", default="", help="Package index for torch, with CUDA or without.")
@click.option("--requirements", metavar="FILE", default="", help="Your requirements; by default requirements.txt.")
@click.option("--extras", default="", help="What the tracking server needs besides Postgres and S3: mysql,azure,gcs.")
@click.option("--tag", default="", help="Tag of the images; by default one that belongs to this folder.")
@dry_run_option
def build_train(
    torch_index: str, requirements: str, extras: str, tag: str, no_cache: bool, dry_run: bool, **shared: Any
) -> None:
    """Build the workers' image, with the code in this folder, and the tracking server's."""
    from winnow import api

    plans = api.plan_build_train(
        torch_index=torch_index,
        requirements=requirements,
        extras=[name.strip() for name in extras.split(",") if name.strip()],
        tag=tag,
        options=api.ImageOptions(**shared, is_cached=not no_cache),
    )
    for plan in plans:
        click.echo(plan.render() if dry_run else f"Building {plan.tag} …")
        if not dry_run:
            _run(plan)


@click.command("build-prod", cls=StoreVerb)
@config_option
@model_options
@version_options
@build_options
@click.option(
    "--tag",
    default="",
    help="Name of the image; by default winnow-prod-NAME:VERSION-INPUTS, which is unique to model and code.",
)
@dry_run_option
def build_prod(
    config: Path,
    study: str | None,
    name: str | None,
    alias: str | None,
    version: str | None,
    tag: str,
    no_cache: bool,
    dry_run: bool,
    **shared: Any,
) -> None:
    """Build the image that serves the selected model, and print its address."""
    from winnow import api

    options = api.ImageOptions(**shared, is_cached=not no_cache)
    plan = api.plan_build_prod(
        config, study=study, name=name, alias=alias, version=version, tag=tag, options=options, dry_run=dry_run
    )
    if dry_run:
        say_unknown(plan.unknown)
        click.echo(plan.render())
        return
    if not no_cache and plan.is_built():
        click.echo(f"{plan.tag} was already built from the same model and code.")
    elif (release := plan.release) is not None:
        of = f"{release.model} version {release.label} (sha256 {release.digest[:12]})"
        click.echo(f"Building {plan.tag}: {of} …")
    _run(plan)


def _run(plan: PlannedBuild) -> None:
    with shown_steps() as show:
        built = plan.run(show)
    click.echo(f"{built.tag}  {built.size_bytes / 1e6:,.0f} MB  {built.reference}")


@contextmanager
def shown_steps() -> Iterator[Callable[[BuildStep], None]]:
    """Show a build: one line for each slow step; on a terminal also the running step, in place."""
    is_live = sys.stderr.isatty()

    def show(step: BuildStep) -> None:
        if is_live:
            click.echo("\r\x1b[K", nl=False, err=True)
        if step.took_s is None:
            if is_live:
                text = f"  … {step.name.partition(']')[0].lstrip('[')}: {step.line}"
                click.echo(text[: shutil.get_terminal_size().columns - 1], nl=False, err=True)
        elif step.took_s >= SLOW_S:
            click.echo(f"{step.took_s:6.1f} s  {step.name}", err=True)

    try:
        yield show
    finally:
        if is_live:
            click.echo("\r\x1b[K", nl=False, err=True)
