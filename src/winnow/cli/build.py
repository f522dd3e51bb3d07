"""`winnow build-train` and `build-prod`: the images of a sweep, and of the model that was selected."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from winnow.cli.options import StoreVerb, config_option, dry_run_option, study_of, study_option, version_options

if TYPE_CHECKING:
    from winnow.api import BuildStep, PlannedBuild

SLOW_S = 1.0
"""Steps that took less get no line of their own."""

_Command = TypeVar("_Command", bound=Callable[..., object])


def build_options(base: str) -> Callable[[_Command], _Command]:
    """Flags that every build has.

    Args:
        base: the Dockerfile's own base image.
    """
    flags = (
        click.option("--base-image", metavar="IMAGE", default="", help=f"Another base than {base}."),
        click.option("--registry", metavar="HOST/PATH", default="", help="Push there, too; a cluster pulls from it."),
        click.option(
            "--image-load",
            metavar="COMMAND",
            default="",
            help="Have this put it on the cluster's nodes, as `kind load docker-image` does.",
        ),
        click.option("--network", default="", help="Docker's network for steps that install: `host` for its VPN."),
        click.option(
            "--pip-config",
            type=click.Path(path_type=Path),
            help="A pip.conf, for an index of your own; lent to the build and kept in no layer.",
        ),
        click.option("--no-cache", is_flag=True, help="Make every layer again."),
    )

    def add(command: _Command) -> _Command:
        for flag in reversed(flags):
            command = flag(command)
        return command

    return add


@click.command("build-train")
@build_options("python:3.11-slim-bookworm")
@click.option("--torch-index", metavar="URL", default="", help="Package index of torch, with CUDA or without.")
@click.option("--requirements", metavar="FILE", default="", help="Your requirements; by default requirements.txt.")
@click.option("--extras", default="", help="What the tracking server needs beside Postgres and S3: mysql,azure,gcs.")
@click.option("--tag", default="", help="The images' tag; by default one of this folder's own.")
@dry_run_option
def build_train(
    torch_index: str,
    requirements: str,
    extras: str,
    tag: str,
    no_cache: bool,
    dry_run: bool,
    **shared: Any,
) -> None:
    """Build the workers' image, with the code of this folder, and the tracking server's."""
    from winnow import api

    plans = api.plan_build_train(
        torch_index=torch_index,
        requirements=requirements,
        extras=[name.strip() for name in extras.split(",") if name.strip()],
        tag=tag,
        options=api.ImageOptions(**shared, is_cached=not no_cache),
    )
    if dry_run:
        for plan in plans:
            click.echo(plan.render())
        return
    for plan in plans:
        click.echo(f"Building {plan.tag} …")
        _run(plan)


@click.command("build-prod", cls=StoreVerb)
@config_option
@study_option
@version_options
@build_options("python:3.11-slim-bookworm")
@click.option(
    "--tag",
    default="",
    help="The image's name; by default winnow-prod-NAME:VERSION-INPUTS, which no other image takes.",
)
@dry_run_option
def build_prod(
    config: Path,
    study: str | None,
    alias: str,
    version: str | None,
    tag: str,
    no_cache: bool,
    dry_run: bool,
    **shared: Any,
) -> None:
    """Build the image that serves the selected model, and print what addresses it."""
    name = study_of(config, study)
    from winnow import api
    from winnow.cli.prod import say_unknown

    options = api.ImageOptions(**shared, is_cached=not no_cache)
    plan = api.plan_build_prod(study=name, alias=alias, version=version, tag=tag, options=options, dry_run=dry_run)
    if dry_run:
        say_unknown((), plan.unknown)
        click.echo(plan.render())
        return
    if not no_cache and plan.is_built():
        click.echo(f"{plan.tag} was built from the same model and code before; nothing is built.")
    elif (release := plan.release) is not None:
        of = f"{release.model} version {release.version} (sha256 {release.digest[:12]})"
        click.echo(f"Building {plan.tag}: {of} …")
    _run(plan)


def _run(plan: PlannedBuild) -> None:
    with shown_steps() as show:
        built = plan.run(show)
    click.echo(f"{built.tag}  {built.size_bytes / 1e6:,.0f} MB  {built.reference}")


@contextmanager
def shown_steps() -> Iterator[Callable[[BuildStep], None]]:
    """Show a build: a line for each step that took a while, and in a terminal the running one in place."""
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
