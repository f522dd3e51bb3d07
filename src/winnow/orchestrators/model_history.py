"""What a deployment's driver adds to the history of the models that it moved requests to or away from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from winnow.orchestrators.drive import Moved
from winnow.orchestrators.rejections import user
from winnow.orchestrators.settings import current
from winnow.platforms.deployer import Say
from winnow.routing import Release
from winnow.tracking.history import RejectedRecord, RolloutRecord
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import TrackingUnavailableError

Noted = tuple[str, RejectedRecord | RolloutRecord]
"""A model's name, and what is added to its history."""


def into_history(platform: str, say: Say) -> Callable[[Moved], None]:
    """What adds rejected versions and ended rollouts to the registry. The platform's record has the latest, too.

    Args:
        platform: the deployment's.
        say: is told if the registry is away; the requests have moved all the same.
    """

    def remember(moved: Moved) -> None:
        noted = tuple(records_of(moved, platform, user()))
        if not noted:
            return
        registry, at = Registry(current().tracking_uri), datetime.fromtimestamp(moved.at, UTC)
        for model, record in noted:
            try:
                registry.note(model, record, at)
            except TrackingUnavailableError as error:
                say(f"warning: the history of {model} in the registry lacks this: {error}")

    return remember


def records_of(moved: Moved, platform: str, by: str) -> Iterator[Noted]:
    """The records of a change of a route: of versions that were rejected, and of the rollout or update that ended.

    Args:
        by: who made an update at once.
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
