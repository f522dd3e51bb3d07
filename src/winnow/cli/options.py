"""The options that several verbs share, so that a name means the same everywhere."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from winnow.config.errors import InputError, WinnowError
from winnow.config.names import check_study_name
from winnow.config.next_command import Value, next_command, next_flag
from winnow.config.platforms import PLATFORMS

_Command = TypeVar("_Command", bound=Callable[..., object])

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("experiments/breast_cancer.yaml"),
    show_default=True,
    help="The experiment file.",
)
"""Gives the verb `config: Path`; `load_experiment` says what is wrong with it."""


def _checked_study(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    return None if name is None else check_study_name(name, "--study")


study_option = click.option(
    "--study",
    metavar="NAME",
    callback=_checked_study,
    help="Name of the study; by default the experiment's name.",
)
"""Gives the verb `study: str | None`, a name that a study can have."""

required_study_option = click.option(
    "--study", metavar="NAME", required=True, callback=_checked_study, help="Name of the study."
)
"""Gives the verb `study: str`, where no default would be safe."""

deployment_option = click.option(
    "--config", type=click.Path(path_type=Path), help="Experiment file whose deployment is meant, instead of --study."
)
"""Gives the verb `config: Path | None`, for verbs that mean the only deployment where none is named."""

changed_code_option = click.option(
    "--allow-changed-code", is_flag=True, help="Go on although a file of your own code has changed; trials are marked."
)
"""Gives the verb `allow_changed_code: bool`."""


def version_options(command: _Command) -> _Command:
    """Gives the verb `alias: str` and `version: str | None`: which version of the model it works on."""
    alias = click.option(
        "--alias", default="champion", show_default=True, callback=_either, help="Registry alias of the version."
    )
    version = click.option(
        "--version", metavar="NUMBER", callback=_either, help="Number of the version, instead of an alias."
    )
    return alias(version(command))


def _either(context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an alias and a version beside each other: they could name two."""
    if all(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in ("alias", "version")):
        raise InputError(
            next_flag("version"),
            expected=f"either {next_flag('alias')} or {next_flag('version')}",
            found="both",
            remedy="Leave one of them out.",
        )
    return value


dry_run_option = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
"""Gives the verb `dry_run: bool`."""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON for programs instead of text for people."
)
"""Gives the verb `as_json: bool`."""

platform_option = click.option(
    "--platform",
    type=click.Choice(PLATFORMS),
    help="Platform on which it is served; by default the one that serves it.",
)
"""Gives the verb `platform: str | None`."""


def study_of(config: Path, study: str | None) -> str:
    """The study that a verb works on: the one that is named, else the experiment file's.

    Call it before heavy imports, so that a wrong path is an error at once.

    Raises:
        InputError: the file is missing or wrong.
    """
    if study is not None:
        return study
    from winnow.config.loader import load_experiment

    return load_experiment(config).name


def named_study(config: Path | None, study: str | None) -> str | None:
    """The study that is named, for a verb that needs no name; None where none is."""
    return study_of(config, study) if config is not None else study


def say(line: str) -> None:
    """Print a message that is not a result: to stderr, also where that is not a terminal."""
    click.echo(line, err=True)


def same_command(**changes: Value) -> str:
    """The command that is running, with the flags that were typed and with `changes`."""
    context = click.get_current_context()
    typed = {
        each.opts[0].removeprefix("--"): context.params[each.name]
        for each in context.command.params
        if each.name is not None and context.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
    }
    return next_command(str(context.command.name), **{**typed, **changes})


def command_for(name: str, platform: str | None = None) -> str:
    """The running command, for one deployment."""
    given: dict[str, Value] = {"study": name, "config": None}
    return same_command(**given, **({} if platform is None else {"platform": platform}))


@contextmanager
def candidates_as_commands() -> Iterator[None]:
    """Where several deployments could be meant, name the running command for each of them in the error."""
    from winnow import api

    try:
        yield
    except api.SeveralDeploymentsError as error:
        error.suggest([command_for(*each) for each in error.candidates])
        raise


def by_name(study: str | None, config: Path | None) -> dict[str, Value]:
    """The flag that names the same study in the next command, as it was named in this one."""
    return {"study": study} if study is not None else {"config": config}


class StoreVerb(click.Command):
    """A verb that works on runs and studies. With a stack in use, it first prints to stderr where these are kept."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb. Where it fails and the stack is down, the error also says how to start the stack."""
        from winnow.config.settings import Settings

        settings = Settings.from_environment()
        if settings.store is not None:
            _say_once(f"store: {settings.store}")
        try:
            return super().invoke(ctx)
        except WinnowError as error:
            if settings.stack is None or _is_in_file(error, ctx.params.get("config")):
                raise
            from winnow import api

            stack = api.mlflow_status()
            if stack is not None and stack.diagnosis is not None:
                error.add_note(stack.diagnosis)
            raise


def _is_in_file(error: WinnowError, file: Path | None) -> bool:
    """Whether the error is about the experiment file, so that the stack does not matter."""
    return isinstance(error, InputError) and file is not None and error.place.startswith(str(file))


@functools.cache
def _say_once(line: str) -> None:
    """Print a line once in a process: `demo` runs several verbs."""
    click.echo(line, err=True)
