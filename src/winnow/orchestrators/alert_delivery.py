"""Tell the receiver of `monitoring.alert` of alarms: run a command, or post to a webhook or an Alertmanager.

Notices wait in the state of `winnow monitor` until they are delivered, so a receiver that is away loses none. Only a
process that dies between a delivery and the next write of that state tells a receiver twice; the times and labels are
then equal.
"""

from __future__ import annotations

import http.client
import itertools
import os
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from winnow.config.addresses import reached
from winnow.config.errors import InputError, WinnowError
from winnow.config.monitoring import AlertConfig
from winnow.monitoring.notices import Notice, for_alertmanager, for_command, for_webhook

TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 600.0
"""A command may roll a deployment back, which waits until replicas are ready."""
ALERTMANAGER_PATH = "/api/v2/alerts"
_OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL")
"""Variables by which `make monitor JSON=1` would give its own flags to the command `make rollback`."""


class NotDeliveredError(WinnowError):
    """The receiver did not take some notices, which wait."""


def check_receiver(alert: AlertConfig, place: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raise InputError where the command does not exist, or the token's variable is not set.

    `place`: what an error names before the key, such as the experiment file.
    """
    if alert.command is not None:
        try:
            words = shlex.split(alert.command)
        except ValueError as error:
            words, found = [], f"'{alert.command}': {error}"
        else:
            found = f"'{words[0]}', which is no program here" if words else "none"
        if not words or shutil.which(words[0], path=environment.get("PATH")) is None:
            raise InputError(
                f"{place}: monitoring.alert.command", expected="a command", found=found, remedy="Correct it."
            )
    if alert.token_env is not None and not environment.get(alert.token_env):
        raise InputError(
            f"{place}: monitoring.alert.token_env",
            expected="a variable with the receiver's token",
            found=f"{alert.token_env}, which is not set",
            remedy=f"Set {alert.token_env}, or remove `token_env`.",
        )


def deliver(
    alert: AlertConfig,
    waiting: Sequence[Notice],
    held: Sequence[Notice],
    until: float,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Sequence[Notice]]:
    """Tell the receiver of notices, in their order, and yield those that it has taken.

    Without a receiver all are taken.

    Args:
        held: all alarms that hold. An Alertmanager forgets alarms that are not repeated; other receivers hear of
            nothing twice.
        until: when it forgets them, in seconds since the epoch.

    Raises:
        NotDeliveredError: the receiver did not take some; after all others have been yielded.
    """
    if alert.command is not None:
        yield from _run(shlex.split(alert.command), waiting, environment)
    elif alert.webhook is not None:
        for _, group in itertools.groupby(waiting, key=lambda each: (each.status, each.deployment)):
            notices = tuple(group)
            _post(alert.webhook, for_webhook(notices), alert.token_env, environment)
            yield notices
    elif alert.alertmanager is not None:
        told = {(each.status, each.fingerprint) for each in waiting}
        repeated = [each for each in held if ("firing", each.fingerprint) not in told]
        if waiting or repeated:
            address = alert.alertmanager.rstrip("/") + ALERTMANAGER_PATH
            _post(address, for_alertmanager((*waiting, *repeated), until), alert.token_env, environment)
            yield tuple(waiting)
    else:
        yield tuple(waiting)


def _run(argv: Sequence[str], waiting: Sequence[Notice], environment: Mapping[str, str]) -> Iterator[Sequence[Notice]]:
    """Run a command for each notice. One that fails is kept, with later ones of the same alarm."""
    failed: dict[str, str] = {}
    base = {name: value for name, value in environment.items() if name not in _OF_MAKE}
    for notice in waiting:
        if notice.fingerprint in failed:
            continue
        variables = {
            "WINNOW_ALERT_NAME": notice.alarm.name,
            "WINNOW_ALERT_STATUS": notice.status,
            "WINNOW_ALERT_SUMMARY": notice.alarm.summary,
        }
        fault = _fault_of(argv, for_command(notice), base | variables)
        if fault:
            failed[notice.fingerprint] = fault
        else:
            yield (notice,)
    if failed:
        raise NotDeliveredError(f"the command '{shlex.join(argv)}' {next(iter(failed.values()))}")


def _fault_of(argv: Sequence[str], stdin: bytes, environment: Mapping[str, str]) -> str:
    """How a command failed, as a clause; empty where it did not."""
    try:
        ended = subprocess.run(
            argv,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {COMMAND_TIMEOUT_S:g} s"
    except OSError as error:
        return f"cannot be run: {error.strerror or error}"
    if not ended.returncode:
        return ""
    lines = ended.stdout.decode(errors="replace").strip().splitlines()
    return f"ended with status {ended.returncode}" + (f": {lines[-1][:200]}" if lines else "")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A receiver that points elsewhere is not followed: the token is for its own address."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


def _post(address: str, body: bytes, token_env: str | None, environment: Mapping[str, str]) -> None:
    """Raise NotDeliveredError where the receiver does not answer with a status of 2xx."""
    url, headers = reached(address)
    headers = {**headers, "content-type": "application/json"}
    if token_env is not None:
        headers["authorization"] = f"Bearer {environment.get(token_env, '')}"
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(urllib.request.Request(url, data=body, headers=headers), timeout=TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        with error:
            said = error.read(200).decode(errors="replace").strip()
        fault = f"answered {error.code}" + (f": {said}" if said else "")
    except (OSError, http.client.HTTPException) as error:
        fault = f"did not answer: {getattr(error, 'reason', '') or error or type(error).__name__}"
    raise NotDeliveredError(f"{address} {fault}")
