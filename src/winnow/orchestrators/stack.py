"""The stack, from what a person sets to a tracking server that every verb uses: plan it, start it, end it, read it.

Each function takes the name of a platform; `winnow.platforms.stack.Stack` is what that platform offers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.settings import Settings, home_folder
from winnow.config.stack_record import AnyStack, read_stack
from winnow.orchestrators.collect import collect
from winnow.platforms.images import Show, silent, with_route
from winnow.platforms.platform import Platform
from winnow.platforms.stack import SecretsPlan, Stack, StackEnd, StackPlan
from winnow.platforms.stack_record import keep
from winnow.platforms.table import platform_for
from winnow.tracking.store import prepare

DEFAULT_PLATFORM = "docker"
FOLDER = Path()
Say = Callable[[str], None]


def platform_in_use(environment: Mapping[str, str] = os.environ) -> str:
    """The name of the platform of the stack in use; the default one without a stack."""
    stack = read_stack(home_folder(environment))
    return DEFAULT_PLATFORM if stack is None else stack.platform


def plan_init(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    registry: str = "",
    image_load: str = "",
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> StackPlan:
    """What starting a stack would do; nothing is changed, and the platform need not answer.

    Args: as for `init`.

    Raises:
        InputError: as for `init`.
    """
    environment = with_route(environment, registry=registry, load=image_load)
    return _stack(platform, given, say, folder, environment).plan(is_dry_run=True)


def init(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    registry: str = "",
    image_load: str = "",
    timeout_s: float | None = None,
    show: Show = silent,
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> StackPlan:
    """Start a stack, wait until it answers, and have every later verb use it.

    Args:
        given: settings by name (`winnow.platforms.stack_variables`); an empty one means the default again.
        say: receives what is being done, a line each.
        registry, image_load: how images get to a cluster's nodes, where not as the environment says.
        timeout_s: how long the services may take; None for the platform's own limit.
        show: receives the steps of an image's build and delivery.
        folder: the project's, with compose.yaml and k8s/.

    Raises:
        InputError: the platform has no stack, a setting is wrong, or the platform refuses.
        BuildFailedError: the server's image was not built or not delivered.
        StackError: a service does not become ready.
    """
    environment = with_route(environment, registry=registry, load=image_load)
    stack = _stack(platform, given, say, folder, environment)
    with stack.lock():
        plan = stack.plan()
        stack.start(plan, timeout_s, show)
        opened = _opened(plan.record, environment)
        prepare(opened.tracking_uri)
        check_studies(opened.storage_url)
        keep(home_folder(environment), plan.record)
    return plan


def plan_remove(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    volumes: bool = False,
    is_forced: bool = False,
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> StackEnd:
    """What removing a stack would do; nothing is changed.

    Args: as for `remove`.

    Raises:
        InputError: as for `remove`.
    """
    return _plan_end(_stack(platform, given, say, folder, environment), say, volumes, is_forced)


def remove(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    volumes: bool = False,
    is_forced: bool = False,
    folder: Path = FOLDER,
    environment: Mapping[str, str] = os.environ,
) -> StackEnd:
    """Remove a stack; later verbs use files again. Finished sweeps are collected first: later verbs do not know them.

    Args:
        volumes: remove its data too, and the secrets that open it.
        is_forced: remove it where another folder or home has made it, too.

    Raises:
        InputError: the platform has no stack, another folder or home has made it, or workers use it.
        StackError: it was not removed.
    """
    stack = _stack(platform, given, say, folder, environment)
    plan = _plan_end(stack, say, volumes, is_forced)
    with stack.lock():
        chosen = _platform(platform, environment)
        left = collect({chosen.name: chosen.executor()}, home_folder(environment))
        left += stack.end(volumes=volumes)
    for line in left:
        say(f"warning: {line}")
    return plan


def logs_command(
    platform: str,
    given: Mapping[str, str],
    *,
    say: Say,
    service: str | None = None,
    lines: int = 100,
    follow: bool = False,
    environment: Mapping[str, str] = os.environ,
) -> list[str]:
    """The command that prints a stack's logs. Raises InputError as `Stack.logs_command` does."""
    return _stack(platform, given, say, FOLDER, environment).logs_command(service, lines, follow=follow)


def print_logs(
    platform: str,
    given: Mapping[str, str],
    command: list[str],
    *,
    say: Say,
    environment: Mapping[str, str] = os.environ,
) -> int:
    """Run that command and return its exit status. Raises InputError without a stack."""
    return _stack(platform, given, say, FOLDER, environment).print_logs(command)


def plan_secrets(
    platform: str, given: Mapping[str, str], *, say: Say, environment: Mapping[str, str] = os.environ
) -> SecretsPlan:
    """What `store_secrets` would store. Raises InputError as `Stack.plan_secrets` does."""
    return _stack(platform, given, say, FOLDER, environment).plan_secrets()


def store_secrets(
    platform: str, given: Mapping[str, str], *, say: Say, environment: Mapping[str, str] = os.environ
) -> tuple[SecretsPlan, bool]:
    """Store the secrets of a stack that is started by hand; what was planned, and whether anything changed.

    Raises:
        InputError: as `Stack.plan_secrets`.
    """
    stack = _stack(platform, given, say, FOLDER, environment)
    plan = stack.plan_secrets()
    return plan, stack.store_secrets(plan)


def difference(platform: str, *, say: Say, folder: Path = FOLDER, environment: Mapping[str, str] = os.environ) -> str:
    """What starting a stack would change, with what the environment sets, as a unified diff; empty where nothing.

    The image counts as the one that runs: which one would be delivered is known once it is built.

    Raises:
        InputError: the platform cannot compare, a permission is missing, a setting is wrong, or the platform refuses.
    """
    given = {name: text for name, text in environment.items() if text}
    return _stack(platform, given, say, folder, environment).difference()


def check_studies(url: str) -> None:
    """Open the studies' database once, as every verb will.

    Raises:
        InputError: it does not open.
    """
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
            expected="one that opens with the environment file's password",
            found=str(error.orig).strip().splitlines()[0],
            remedy="Bring back the environment file that belongs to these volumes, or correct WINNOW_STORAGE.",
        ) from error


def _platform(name: str, environment: Mapping[str, str]) -> Platform:
    """The platform, with settings that name no store: the stack's secrets may be gone, which removing it mends."""
    home = home_folder(environment)
    return platform_for(name, Settings(home, "", "", "", "", stack=read_stack(home)), environment)


def _stack(platform: str, given: Mapping[str, str], say: Say, folder: Path, environment: Mapping[str, str]) -> Stack:
    return _platform(platform, environment).stack(given, folder=folder, say=say)


def _opened(record: AnyStack, environment: Mapping[str, str]) -> Settings:
    """Settings with a stack's own stores, by addresses that answer on this machine."""
    here, inside = record.storage()
    home = home_folder(environment)
    settings = Settings(home, record.tracking_url, here, record.worker_tracking_url, inside, stack=record)
    return platform_for(record.platform, settings, environment).local_settings()


def _plan_end(stack: Stack, say: Say, volumes: bool, is_forced: bool) -> StackEnd:
    plan = stack.plan_end(volumes=volumes)
    if plan.refusal is not None:
        if not is_forced:
            raise plan.refusal
        say(f"{plan.stack} is one of {plan.owner}; it is removed all the same.")
    return plan
