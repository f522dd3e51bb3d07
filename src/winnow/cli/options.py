"""The options that several verbs share, so that a name means the same everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import click
from click.core import ParameterSource

from winnow.config.errors import InputError, WinnowError
from winnow.config.names import check_study_name
from winnow.config.next_command import Value, next_command, next_flag
from winnow.config.platforms import PLATFORMS, SERVING_PLATFORMS

_Command = TypeVar("_Command", bound=Callable[..., object])
Decorator: TypeAlias = Callable[[Any], Any]

option_with_default = functools.partial(click.option, show_default=True)
"""An option whose default `--help` shows."""
PORT = click.IntRange(1, 65535)

PROJECTS, CLONES = Path("experiment.yaml"), Path("experiments/breast_cancer.yaml")
"""The experiment file of a folder from `winnow init`, and the clone's example."""


def default_config() -> Path:
    """The experiment file of a command that names none."""
    return PROJECTS if PROJECTS.is_file() else CLONES


config_option = option_with_default(
    "--config",
    type=click.Path(path_type=Path),
    default=default_config,
    show_default=f"{PROJECTS}, else {CLONES}",
    help="The experiment file.",
)
"""Gives the verb `config: Path`. `load_experiment` checks it."""


def _checked_name(_context: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    return None if name is None else check_study_name(name, parameter.opts[0])


def in_order(*options: Decorator) -> Callable[[_Command], _Command]:
    """Several options as one, listed by `--help` in this order."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def platform_option(platforms: Sequence[str], text: str, default: str | None = None) -> Decorator:
    """Gives the verb `platform`: one of these, or `default`."""
    return option_with_default("--platform", type=click.Choice(platforms), default=default, help=text)


def file_option(flag: str, text: str) -> Decorator:
    """A file, as a path; it need not exist."""
    return click.option(flag, type=click.Path(path_type=Path, dir_okay=False), help=text)


def force_option(text: str = "Overwrite files that differ.") -> Decorator:
    """Gives the verb `force: bool`."""
    return click.option("--force", is_flag=True, help=text)


def study_flag(text: str, *, required: bool = False) -> Callable[[_Command], _Command]:
    """Gives the verb `study`: a valid name, or None if the flag is left out."""
    return click.option("--study", metavar="NAME", required=required, callback=_checked_name, help=text)


study_option = study_flag("Name of the study; by default the experiment's name.")

model_options = in_order(
    study_flag("Study whose model is meant; by default the experiment's."),
    click.option(
        "--name",
        metavar="NAME",
        callback=_checked_name,
        help="Name of the model and its deployment; by default the experiment's name.",
    ),
)
"""Give the verb `study` and `name`: which model it works on."""

workers_platform_option = platform_option(
    PLATFORMS, "Where to run the workers: processes on this machine, containers, or pods in a cluster.", "local"
)

changed_code_option = click.option(
    "--allow-changed-code", is_flag=True, help="Continue although your own code has changed; later trials are marked."
)
"""Gives the verb `allow_changed_code: bool`."""

dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be done, without doing it.")
"""Gives the verb `dry_run: bool`."""

rules_option = click.option(
    "--rules",
    type=click.Path(path_type=Path),
    help="The rules file; by default winnow's own, which uses the sweep's metric.",
)
"""Gives the verb `rules: Path | None`."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
"""Gives the verb `as_json: bool`."""

html_option = file_option("--html", "Also write one self-contained page.")
"""Gives the verb `html: Path | None`. See `say_page`."""

model_version_option = click.option(
    "--version", metavar="NUMBER", help="Number of the version, as 3 or 1.2.0; by default that of @candidate."
)
replicas_option = click.option(
    "--replicas", type=click.IntRange(min=1), help="Number of servers, instead of the file's."
)

detach_option = click.option(
    "--detach",
    "is_detached",
    is_flag=True,
    help="Leave the steps of the rollout to a process of its own; on Kubernetes, to a Job.",
)

again_option = click.option(
    "--again",
    "is_again",
    is_flag=True,
    help="Serve the version even if it was rolled back, or its rollout was aborted.",
)
"""Gives the verb `is_again: bool`."""

stage_option = click.option("--stage", metavar="STAGE", help="Stage of the deployment, from `serving.stages`.")
"""Gives the verb `stage: str | None`."""

serving_platform_option = platform_option(
    SERVING_PLATFORMS, "Platform of the deployment; by default the one that serves it."
)

deployment_options = in_order(
    click.option("--config", type=click.Path(path_type=Path), help="Experiment file of the deployment."),
    serving_platform_option,
    click.option("--name", metavar="NAME", callback=_checked_name, help="Name of the deployment."),
    study_flag("Study whose model is deployed."),
    stage_option,
)
"""Give the verb `config`, `platform`, `name`, `study` and `stage`, each None by default: the only deployment."""


def registry_options(registry: str = "registry") -> Callable[[_Command], _Command]:
    """How an image gets to a cluster. Gives the verb `image_load` and an argument named `registry`."""
    return in_order(
        click.option(
            "--registry", registry, metavar="HOST/PATH", default="", help="Registry to push to, for a cluster."
        ),
        click.option(
            "--image-load",
            metavar="COMMAND",
            default="",
            help="Command that loads the image onto the cluster's nodes instead, such as 'kind load docker-image'.",
        ),
    )


def _either(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an alias together with a version: they could name two."""
    if all(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("alias", "version")):
        raise InputError(
            next_flag("version"),
            expected=f"either {next_flag('alias')} or {next_flag('version')}",
            found="both",
            remedy="Leave one of them out.",
        )
    return value


version_options = in_order(
    click.option(
        "--alias", callback=_either, help="Alias of the version; by default champion, of the stage staging: staging."
    ),
    click.option(
        "--version",
        metavar="NUMBER",
        callback=_either,
        help="Number of the version, as 3 or 1.2.0, instead of an alias.",
    ),
)
"""Give the verb `alias: str | None` and `version: str | None`: which model version it works on."""


def say(line: str) -> None:
    """Print a message that is not a result, to stderr."""
    click.echo(line, err=True)


def say_page(html: Path | None) -> None:
    """Say where a page was written, if one was."""
    if html is not None:
        say(f"Page: {html.absolute().as_uri()}")


def say_unknown(facts: Sequence[str]) -> None:
    """Say which facts a plan lacks."""
    for fact in facts:
        say(f"not looked up: {fact}")


def warn(line: str) -> None:
    """Print a warning to stderr."""
    say(f"warning: {line}")


def command_for(name: str, platform: str | None = None, *, keeps_config: bool = False) -> str:
    """The running command with the flags that were typed, but for one deployment.

    Args:
        keeps_config: the experiment file says more than which deployment is meant.
    """
    context = click.get_current_context()
    flags: dict[str, Value] = {
        each.opts[0].removeprefix("--"): context.params[each.name]
        for each in context.command.params
        if each.name is not None and context.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
    }
    flags |= {"name": name, "study": None, "stage": None} | ({} if keeps_config else {"config": None})
    if platform is not None:
        flags["platform"] = platform
    return next_command(str(context.command.name), **flags)


@contextmanager
def candidates_as_commands(*, keeps_config: bool = False) -> Iterator[None]:
    """If several deployments match, list the running command for each of them in the error. See `command_for`."""
    from winnow import api

    try:
        yield
    except api.SeveralDeploymentsError as error:
        error.suggest([command_for(*each, keeps_config=keeps_config) for each in error.candidates])
        raise


class StoreVerb(click.Command):
    """A verb that works on runs and studies. With a stack in use, it first prints to stderr where these are kept."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. If it fails and the stack is down, the error also says how to start the stack."""
        from winnow.config.settings import Settings

        settings = Settings.from_environment()
        if settings.store is not None:
            _say_once(f"store: {settings.store}")
        try:
            return super().invoke(ctx)
        except WinnowError as error:
            file = ctx.params.get("config")
            is_in_file = isinstance(error, InputError) and file is not None and error.place.startswith(str(file))
            if settings.stack is None or is_in_file:
                raise
            from winnow import api

            stack = api.mlflow_status()
            if stack is not None and stack.diagnosis is not None:
                error.add_note(stack.diagnosis)
            raise


@functools.cache
def _say_once(line: str) -> None:
    # `demo` runs several verbs.
    say(line)
