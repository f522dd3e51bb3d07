"""The stack, from what a person sets to a tracking server that every verb uses: plan it, start it, end it, read it.

Each function takes the name of a platform; `winnow.platforms.stack.Stack` is what that platform offers.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.settings import Settings, home_folder
from winnow.config.stack_record import AnyStack, keep_stack, read_stack
from winnow.orchestrators.collect import collect
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
    """The name of the platform of the stack in use; the default one without a stack."""
    stack = read_stack(home_folder(environment))
    return DEFAULT_PLATFORM if stack is None else stack.platform


def settings_given(
    platform: str,
    typed: Mapping[str, str],
    names: Iterable[str] = ALL_SETTINGS,
    environment: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The settings of a platform's stack, by name: those that are typed, else those that the environment sets.

    A variable of the environment may be meant for another platform's stack and is then passed over.

    Args:
        typed: an empty one means the default again.
        names: the settings that are taken from the environment, beside those that open stores of one's own.

    Raises:
        InputError: a setting is typed that this platform's stack does not have, or that does not exist.
    """
    strange, known = not_on(platform), {*ALL_SETTINGS, *(each.name for each in (*KEYS, *STUDIES))}
    for name in typed:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            raise InputError(
                name,
                expected="a setting of the stack",
                found="none of that name",
                remedy=f"{f'Did you mean {near[0]}? ' if near else ''}docs/configuration.md lists what there is.",
            )
        if name in strange:
            raise InputError(
                name,
                expected=f"a setting of the stack on {platform.capitalize()}",
                found="one of the other's",
                remedy="Leave it out; docs/configuration.md lists what there is.",
            )
    return {**{name: text for name, text in _set(names, environment).items() if name not in strange}, **typed}


def which_given(
    project: str | None, env_file: str | None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Which stack is meant, where there are several, and what opens it; by name."""
    typed = {PROJECT: project, ENV_FILE: env_file}
    return {**_set(typed, environment), **{name: text for name, text in typed.items() if text}}


def _set(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, str]:
    """What the environment sets of these, and what opens stores of one's own: a key does not belong in a flag."""
    opening = (each.name for each in (*KEYS, *STUDIES))
    return {name: environment[name] for name in (*names, *opening) if environment.get(name)}


def overriding(given: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Variables of the environment that win over the addresses of a stack that was started with these settings."""
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
    """Start a stack, wait until it answers, and have every later verb use it; return what was started.

    Args:
        given: settings by name (`winnow.platforms.stack_variables`); an empty one means the default again.
        say: receives what is being done, a line each.
        registry, image_load: how images get to a cluster's nodes, where not as the environment says.
        timeout_s: how long the services may take; None for the platform's own limit.
        is_dry_run: only plan it; nothing is changed, and the platform need not answer.
        show: receives the steps of an image's build and delivery.
        folder: the project's, with compose.yaml and k8s/.

    Raises:
        InputError: the platform has no stack, a setting is wrong, or the platform refuses.
        BuildFailedError: the server's image was not built or not delivered.
        StackError: a service does not become ready.
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
    """Remove a stack; later verbs use files again. Finished sweeps are collected first: later verbs do not know them.

    Args:
        volumes: remove its data too, and the secrets that open it.
        is_forced: remove it where another folder or home has made it, too.
        is_dry_run: only plan it; nothing is changed.

    Raises:
        InputError: the platform has no stack, another folder or home has made it, or workers use it.
        StackError: it was not removed.
    """
    stack = _stack(platform, given, say, folder, environment)
    plan = stack.plan_end(volumes=volumes)
    if plan.refusal is not None:
        if not is_forced:
            raise plan.refusal
        say(f"{plan.stack} is one of {plan.owner}; it is removed all the same.")
    if is_dry_run:
        return plan
    with stack.lock():
        chosen = _platform(platform, environment)
        left = collect({chosen.name: chosen.executor()}, home_folder(environment))
        left += stack.end(volumes=volumes)
    for line in left:
        say(f"warning: {line}")
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
    """The last lines of a stack's services. Raises InputError as `Stack.logs` does."""
    return _stack(platform, given, say, FOLDER, environment).logs(service, lines, follow=follow)


def secrets(
    platform: str, given: Mapping[str, str], *, say: Say, environment: Mapping[str, str] = os.environ
) -> StackSecrets:
    """The secrets of a stack that is started by hand. Raises InputError as `Stack.secrets` does."""
    return _stack(platform, given, say, FOLDER, environment).secrets()


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
