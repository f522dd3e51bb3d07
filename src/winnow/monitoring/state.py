"""What `winnow monitor` remembers of a deployment from look to look. Pure.

Counts are summed up over replicas from the first look at a version on, so that a window is the difference of two sums,
whatever became of single replicas in between.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, structs

from winnow.monitoring.exposition import ReplicaCounts, between, counted_since, nothing, together
from winnow.monitoring.live import LiveCounts
from winnow.monitoring.notices import Notice
from winnow.monitoring.report import Alarm, ColumnDrift

KEPT_SUMS = 12
"""How many sums are kept of the longest time that a rule looks back."""


class MonitoringState(Struct, frozen=True, forbid_unknown_fields=True):
    """What the next look needs.

    Attributes:
        digest: of the version that was looked at.
        replicas: what each replica had counted at the last look.
        judged: the sum when drift was judged last: the window of the next judgement begins there.
        sums: sums at earlier looks, the oldest first; the last one is that of the last look.
        drift: the columns and outputs that had drifted when they were judged last.
        holding: since when the limit of each rule has been passed.
        alarms: that hold.
        outbox: notices that the receiver has not taken yet.
        unrecorded: notices that are not yet in the model's history.
    """

    digest: str = ""
    replicas: dict[str, ReplicaCounts] = {}
    judged: LiveCounts | None = None
    sums: tuple[LiveCounts, ...] = ()
    drift: tuple[ColumnDrift, ...] = ()
    holding: dict[str, float] = {}
    alarms: tuple[Alarm, ...] = ()
    outbox: tuple[Notice, ...] = ()
    unrecorded: tuple[Notice, ...] = ()
    format: int = 1

    @property
    def window(self) -> LiveCounts:
        """What was counted since drift was judged last."""
        assert self.judged is not None
        return between(self.judged, self.sums[-1])

    def last(self, seconds: float) -> LiveCounts:
        """What was counted in the last seconds: since the latest look that is so long ago, else since the first one."""
        now = self.sums[-1]
        earlier = [each for each in self.sums[:-1] if each.until <= now.until - seconds]
        return between(earlier[-1] if earlier else self.sums[0], now)


def looked(
    state: MonitoringState, replicas: Mapping[str, ReplicaCounts], model: LiveCounts, at: float, lookback_s: float
) -> MonitoringState:
    """The state with what replicas have counted by now. Another version than before begins anew.

    Args:
        replicas: of all revisions, by identifier.
        model: no counts of the version that is watched, which say its name, number and digest.
        at: now, in seconds since the epoch.
        lookback_s: the longest time that a rule looks back.
    """
    new = counted_since(state.replicas, replicas).get(model.digest, nothing(model, at))
    is_same = state.digest == model.digest and bool(state.sums)
    sums = state.sums if is_same else (nothing(model, min(new.since, at)),)
    total = structs.replace(together(sums[-1], new), until=at, replicas=new.replicas)
    return structs.replace(
        state,
        digest=model.digest,
        replicas=dict(replicas),
        judged=state.judged if is_same else sums[0],
        sums=(*_thinned(sums, at, lookback_s), total),
        drift=state.drift if is_same else (),
        holding=state.holding if is_same else {},
    )


def _thinned(sums: tuple[LiveCounts, ...], at: float, lookback_s: float) -> tuple[LiveCounts, ...]:
    """The sums that windows may begin with: one that is old enough for the longest, and some later ones."""
    old = [each for each in sums if each.until <= at - lookback_s]
    kept = old[-1:]
    for each in sums[len(old) :]:
        if not kept or each.until >= kept[-1].until + lookback_s / KEPT_SUMS or each is sums[-1]:
            kept.append(each)
    return tuple(kept)
