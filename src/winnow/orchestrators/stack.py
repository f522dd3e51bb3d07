"""Plan, start, remove and read the tracking stack of a platform (`winnow.platforms.stack.Stack`)."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.settings import Settings, home_folder
from winnow.config.stack_record import AnyStack, keep_stack, read_stack
from winnow.orchestrators.workers import collect
from winnow.platforms.images import Show, silent, with_route
from winnow.platforms.platform import Platform
from winnow.platforms.stack import Stack, StackEnd, StackLogs, StackPlan, StackSecrets
from winnow.platforms.stack_variables import ENV_FILE, KEYS, PROJECT, SETTINGS, STUDIES, not_on
from winnow.platforms.table import platform_for
from winnow.tracking.store import prepare

ALL_SETTINGS = (*(each.name for each in SETTINGS), ENV_FILE)
DEFAULT_PLATFORM = "docker"
FOLDER = Path()
Say = Callable[[str], None]


def platform_in_use(environment: Mapping[str, str] = os.environ) -> str:
    """The name of the platform of the stack in use, else of the default one."""
    stack = read_stack(home_folder(environment))
    return DEFAULT_PLATFORM if stack is None else stack.platform


def settings_given(
    platform: str,
    typed: Mapping[str, str],
    names: Iterable[str] = ALL_SETTINGS,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The settings of a platform's stack, by name: those that the user typed, else those of the environment.

    Variables for another platform's stack are ignored.

    Args:
        typed: an empty value restores the default.
        names: the settings to take from the environment, besides the credentials of external stores.

    Raises:
        InputError: a typed setting does not exist, or not for this platform.
    """
    strange, known = not_on(platform), {*ALL_SETTINGS, *(each.name for each in (*KEYS, *STUDIES))}
    for name in typed:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            raise InputError(
                name,
                expected="a setting of the stack",
                found="none with that name",
                remedy=f"{f'Did you mean {near[0]}? ' if near else ''}docs/configuration.md lists all settings.",
            )
        if name in strange:
            raise InputError(
                name,
                expected=f"a setting of the stack on {platform.capitalize()}",
                found="one of the stack on another platform",
                remedy="Leave it out; docs/configuration.md lists all settings.",
            )
    return {**{name: text for name, text in _set(names, environment).items() if name not in strange}, **typed}


def which_given(
    project: str | None, env_file: str | None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The settings that select one of several stacks and its credentials, by name."""
    typed = {PROJECT: project, ENV_FILE: env_file}
    return {**_set(typed, environment), **{name: text for name, text in typed.items() if text}}


def _set(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """These settings and the credentials of external stores, as set in the environment."""
    found = {name: environment[name] for name in (*names, *(each.name for each in STUDIES)) if environment.get(name)}
    # An empty key is no key: it makes a stack forget the one that it has kept.
    return found | {each.name: environment[each.name] for each in KEYS if each.name in environment}


def overriding(given: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Environment variables that take precedence over the addresses of a stack with these settings."""
    names = ("MLFLOW_TRACKING_URI", "WINNOW_STORAGE")
    return tuple(name for name in names if environment.get(name) and name not in given)


def init(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    registry: str = "",
    image_load: str = "",
    timeout_s: float | None = None,
    is_dry_run: bool = False,
    show: Show = silent,
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> StackPlan:
    """Start a stack, wait until it answers, and make every later verb use it. See `winnow.api.mlflow_init`.

    Args:
        given: settings by name (`winnow.platforms.stack_variables`); an empty value restores the default.
        folder: the project's folder, with compose.yaml and k8s/.
    """
    environment = with_route(environment, registry=registry, load=image_load)
    stack = _stack(platform, given, say, folder, environment)
    if is_dry_run:
        return stack.plan(is_dry_run=True)
    with stack.lock():
        plan = stack.plan()
        stack.start(plan, timeout_s, show)
        opened = _opened(plan.record, environment)
        prepare(opened.tracking_uri)
        check_studies(opened.storage_url)
        keep_stack(home_folder(environment), plan.record)
    return plan


def remove(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    volumes: bool = False,
    is_forced: bool = False,
    is_dry_run: bool = False,
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> StackEnd:
    """Remove a stack. Finished sweeps are collected first, since later verbs cannot. See `winnow.api.mlflow_remove`."""
    stack = _stack(platform, given, say, folder, environment)
    plan = permitted(stack.plan_end(volumes=volumes), say, is_forced=is_forced)
    if is_dry_run:
        return plan
    with stack.lock():
        chosen = _platform(platform, environment)
        left = collect({chosen.name: chosen.executor()}, home_folder(environment))
        left += stack.end(volumes=volumes)
    for line in left:
        say(f"warning: {line}")
    return plan


def permitted(plan: StackEnd, say: Say, *, is_forced: bool, owns: str = "is one of") -> StackEnd:
    """The plan, unless what it removes belongs to another home or folder and the removal is not forced."""
    if plan.refusal is not None:
        if not is_forced:
            raise plan.refusal
        say(f"{plan.stack} {owns} {plan.owner}; removing it anyway.")
    return plan


def logs(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    service: str | None = None,
    lines: int = 100,
    follow: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> StackLogs:
    """The last lines of a stack's services. Raises InputError like `Stack.logs`."""
    return _stack(platform, given, say, FOLDER, environment).logs(service, lines, follow=follow)


def secrets(
    platform: str, given: Mapping[str, str], *, say: Say, environment: Mapping[str, str] = os.environ
) -> StackSecrets:
    """The secrets of a stack that the user applies. Raises InputError like `Stack.secrets`."""
    return _stack(platform, given, say, FOLDER, environment).secrets()


def difference(platform: str, *, say: Say, folder: Path = FOLDER, environment: Mapping[str, str] = os.environ) -> str:
    """What starting a stack with the environment's settings would change, as a unified diff; empty if nothing.

    The running image is taken for the new one, which is only known after a build. Raises InputError if the platform
    cannot compare, a permission is missing, a setting is wrong, or the platform refuses.
    """
    given = {name: text for name, text in environment.items() if text}
    return _stack(platform, given, say, folder, environment).difference()


def check_studies(url: str) -> None:
    """Connect to the studies' database once. Raises InputError if that fails."""
    import sqlalchemy as sa

    if url.startswith("sqlite"):
        return
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 10})
        with engine.connect():
            pass
    except ImportError as error:
        raise InputError(
            "Postgres' driver",
            expected="the package 'psycopg'",
            found="none",
            remedy="Install it: pip install 'winnow[postgres]'.",
        ) from error
    except sa.exc.OperationalError as error:
        raise InputError(
            f"the studies' database {sa.make_url(url).render_as_string(hide_password=True)}",
            expected="one that accepts the environment file's password",
            found=str(error.orig).strip().splitlines()[0],
            remedy="Restore the environment file that belongs to these volumes, or correct WINNOW_STORAGE.",
        ) from error


def _platform(name: str, environment: Mapping[str, str]) -> Platform:
    """The platform, with settings without stores: a stack can be removed even if its secrets are lost."""
    home = home_folder(environment)
    return platform_for(name, Settings(home, "", "", "", "", stack=read_stack(home)), environment)


def _stack(platform: str, given: Mapping[str, str], say: Say, folder: Path, environment: Mapping[str, str]) -> Stack:
    return _platform(platform, environment).stack(given, folder=folder, say=say)


def _opened(record: AnyStack, environment: Mapping[str, str]) -> Settings:
    """Settings with the addresses of a stack's own stores on this machine."""
    here, inside = record.storage()
    home = home_folder(environment)
    settings = Settings(home, record.tracking_url, here, record.worker_tracking_url, inside, stack=record)
    return platform_for(record.platform, settings, environment).local_settings()
