"""Versions that requests were sent away from are refused where they are served again."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime

from winnow.config.errors import WinnowError
from winnow.config.exit_codes import CommandExit
from winnow.config.next_command import next_flag
from winnow.routing import Record, Rejected, Release


class RejectedVersionError(WinnowError):
    """The version was rolled back, or its rollout aborted, and is not rolled out again unasked."""

    exit_code = CommandExit.REJECTED

    def __init__(self, deployment: str, rejected: Rejected) -> None:
        when = f"{datetime.fromtimestamp(rejected.at, UTC):%Y-%m-%d %H:%M} UTC"
        super().__init__(
            f"deployment '{deployment}': version {rejected.version} was sent away on {when}: {rejected.reason}. "
            f"Nothing was changed. Serve another version, or this one again with {next_flag('again', value=True)}."
        )


def refuse_rejected(record: Record, release: Release) -> None:
    """Raise RejectedVersionError for a version that was rejected, unless it serves or its rollout is open."""
    rejected, rollout = record.rejection(release), record.rollout
    candidate = record.revision(rollout.candidate) if rollout is not None and rollout.is_open else None
    if rejected is not None and (candidate is None or candidate.release.version != release.version):
        raise RejectedVersionError(record.name, rejected)


def rolled_back_by(who: str, reason: str) -> str:
    """Why a version is rejected, as a clause. `reason`: empty for none."""
    return f"{who} rolled it back" + (f": {reason}" if reason else "")


def user() -> str:
    """The user of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return "a user without a name"
