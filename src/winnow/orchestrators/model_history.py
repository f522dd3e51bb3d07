"""What a driver adds to the history of models, and versions that requests were sent away from, which are refused."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from winnow.config.errors import WinnowError
from winnow.config.exit_codes import CommandExit
from winnow.config.next_command import next_flag
from winnow.orchestrators.drive import Moved
from winnow.orchestrators.settings import current
from winnow.platforms.deployer import Say
from winnow.routing import Record, Rejected, Release
from winnow.tracking.history import RejectedRecord, RolloutRecord
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import TrackingUnavailableError

Noted = tuple[str, RejectedRecord | RolloutRecord]
"""A model's name, and what is added to its history."""


def into_history(platform: str, say: Say) -> Callable[[Moved], None]:
    """What adds rejected versions and ended rollouts to the registry. The platform's record has the latest, too.

    Args:
        platform: the deployment's.
        say: is told if the registry, or the stack that has it, is away; the requests have moved all the same.
    """

    def remember(moved: Moved) -> None:
        noted = tuple(records_of(moved, platform, user()))
        if not noted:
            return
        at = datetime.fromtimestamp(moved.at, UTC)
        for model, record in noted:
            try:
                Registry(current().tracking_uri).note(model, record, at)
            except (WinnowError, TrackingUnavailableError) as error:
                say(f"warning: the history of {model} in the registry lacks this: {error}")

    return remember


def records_of(moved: Moved, platform: str, by: str) -> Iterator[Noted]:
    """The records of a change of a route: of versions that were rejected, and of the rollout or update that ended.

    `by`: who made an update at once.
    """
    before, after = moved.before, moved.after
    rejected = [each for each in after.rejected if each not in before.rejected]
    for each in rejected:
        yield each.model, RejectedRecord(each.version, after.name, each.reason)
    was, now = before.rollout, after.rollout
    if was is not None and was.is_open and now is not None and not now.is_open:
        candidate, stable = after.revision(now.candidate), before.revision(now.stable)
        if candidate is not None:
            replaced = None if stable is None else stable.release
            yield _ended(after.name, platform, candidate.release, replaced, now.strategy, now.state.value, now.reason)
        return
    serving = after.serving
    if serving is None or before.route.stable == serving.number:
        return
    replaced = None if before.serving is None else before.serving.release
    reason = f"version {rejected[0].version} was sent away: {rejected[0].reason}" if rejected else f"{by} served it"
    yield _ended(after.name, platform, serving.release, replaced, "rolling", "promoted", reason)


def _ended(
    deployment: str, platform: str, release: Release, replaced: Release | None, strategy: str, state: str, reason: str
) -> Noted:
    version = "" if replaced is None else replaced.version
    record = RolloutRecord(release.version, deployment, platform, version, strategy, state, reason)  # type: ignore[arg-type]
    return release.model, record


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
