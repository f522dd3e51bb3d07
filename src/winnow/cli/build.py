"""`winnow build-train` and `build-prod`: the images of a sweep, and of the model that was selected."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from winnow.cli.options import StoreVerb, config_option, dry_run_option, study_of, study_option

if TYPE_CHECKING:
    from winnow.config.settings import Settings
    from winnow.platforms.docker.client import Engine
    from winnow.platforms.images import BuildOptions, ImageRoute, Show, Step

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
    image_load: str,
    no_cache: bool,
    dry_run: bool,
    **shared: Any,
) -> None:
    """Build the workers' image, with the code of this folder, and the tracking server's."""
    from winnow.config.settings import Settings
    from winnow.orchestrators.environment import describe_environment
    from winnow.platforms.docker import build, train_image
    from winnow.platforms.docker.client import connect
    from winnow.platforms.docker.delivery import deliver
    from winnow.platforms.images import TRAIN_BASE

    options = _options(TRAIN_BASE, image_load, **shared)
    route = _route(image_load, options, Settings.from_environment())
    plans = [
        train_image.plan(
            Path.cwd(),
            target,
            options=options,
            torch_index=torch_index,
            requirements=requirements,
            extras=[name.strip() for name in extras.split(",") if name.strip()],
            tag=tag,
            revision=describe_environment(Path.cwd()).get("git_commit", ""),
            is_cached=not no_cache,
        )
        for target in train_image.TARGETS
    ]
    if dry_run:
        for plan in plans:
            push = [f"docker push {plan.tags[-1]}"] if options.registry else []
            load = [route.render(plan.tags[0])] if route is not None else []
            click.echo("\n".join((plan.render(), *push, *load)))
        return
    engine = connect()
    for plan in plans:
        click.echo(f"Building {plan.tags[0]} …")
        with shown_steps() as show:
            identifier = build.build(plan, show)
            if options.registry:
                build.push(plan.tags[-1], show)
            if route is not None:
                deliver(engine, identifier, plan.tags[0], route, show, is_forced=True)
        _print_image(engine, plan.tags[-1], identifier)


@click.command("build-prod", cls=StoreVerb)
@config_option
@study_option
@click.option("--alias", default="champion", show_default=True, help="Registry alias of the version to build.")
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
    tag: str,
    image_load: str,
    no_cache: bool,
    dry_run: bool,
    **shared: Any,
) -> None:
    """Build the image that serves the selected model, and print what addresses it."""
    name = study_of(config, study)
    from winnow.orchestrators.build import build_image, plan_image
    from winnow.orchestrators.deploy import champion_release
    from winnow.orchestrators.settings import current
    from winnow.platforms.docker import prod_image
    from winnow.platforms.docker.client import connect
    from winnow.platforms.docker.delivery import deliver
    from winnow.platforms.images import PROD_BASE
    from winnow.tracking.registry import Registry

    settings = current()
    options = _options(PROD_BASE, image_load, **shared)
    engine = connect()
    versions = Registry(settings.tracking_uri)
    with _kept_nowhere(settings.home, dry_run) as home:
        release = champion_release(versions, name, alias, home, store=settings.tracking_uri)
        image = plan_image(engine, versions, release, options, Path.cwd(), tag=tag)
    route = _route(image_load, options, settings)
    if dry_run:
        click.echo("\n".join((image.render(), *([route.render(image.tag)] if route is not None else []))))
        return
    if not no_cache and prod_image.find(engine, image) is not None:
        click.echo(f"{image.tag} was built from the same model and code before; nothing is built.")
    else:
        click.echo(f"Building {image.tag}: {release.model} version {release.version} (sha256 {release.digest[:12]}) …")
    with shown_steps() as show:
        reference = build_image(engine, image, show, is_cached=not no_cache)
        if route is not None:
            deliver(engine, reference, image.tag, route, show, is_forced=True)
    _print_image(engine, image.tag, reference)


def _options(base: str, load: str, *, registry: str, pip_config: Path | None, **texts: str) -> BuildOptions:
    from winnow.platforms.images import BuildOptions, checked_pip_config, with_route

    environment = with_route(os.environ, registry=registry, load=load)
    given: dict[str, Any] = {name: text for name, text in texts.items() if text}
    if pip_config is not None:
        given["pip_config"] = checked_pip_config(pip_config, "--pip-config")
    return dataclasses.replace(BuildOptions.from_environment(environment, base=base), **given)


def _route(image_load: str, options: BuildOptions, settings: Settings) -> ImageRoute | None:
    """How images are loaded onto the cluster's nodes; None where they are pushed, or stay on this engine."""
    from winnow.config.errors import InputError
    from winnow.orchestrators.settings import cluster_for
    from winnow.platforms.images import ImageRoute, with_route

    found = ImageRoute.from_environment(with_route(os.environ, load=image_load), home=settings.home)
    if not found.load or options.registry:
        return None
    # Noted for the cluster that is meant, so that whoever serves or trains there finds it loaded.
    try:
        identity = cluster_for(settings.stack).identity
    except InputError:  # none is named: the command may know one all the same
        identity = ""
    return dataclasses.replace(found, registry="", cluster=identity)


@contextmanager
def _kept_nowhere(home: Path, dry_run: bool) -> Iterator[Path]:
    """The home; for a plan that is only shown, a folder that is gone afterwards."""
    if not dry_run:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="winnow-dry-run-") as folder:
        yield Path(folder)


def _print_image(engine: Engine, tag: str, reference: str) -> None:
    click.echo(f"{tag}  {engine.images.get(reference).attrs['Size'] / 1e6:,.0f} MB  {reference}")


@contextmanager
def shown_steps() -> Iterator[Show]:
    """Shows a build: a line for each step that took a while, and in a terminal the running one in place."""
    is_live = sys.stderr.isatty()

    def show(step: Step) -> None:
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
