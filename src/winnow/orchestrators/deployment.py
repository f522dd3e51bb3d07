"""A deployment as people and programs see it, made from what its platform shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from winnow.routing import Observation, Record, Rejected, Release, ReplicaObserved, Versioned


class DeploymentState(StrEnum):
    """Whether a deployment, or one replica, answers."""

    READY = "ready"
    DEGRADED = "degraded"
    """Some replicas are ready, others are not."""
    DOWN = "down"


@dataclass(frozen=True)
class Replica(Versioned):
    """One serving process, container or pod.

    Attributes:
        identifier: the process id, or the container's or pod's name.
        version: the model's version that it serves.
        state: whether it answers.
        revision: the number of its revision.
        semantic: the semantic version; empty where it is not known.
    """

    identifier: str
    version: str
    state: DeploymentState
    revision: int = 0
    semantic: str = ""


@dataclass(frozen=True)
class Share(Versioned):
    """A revision that requests go to.

    Attributes:
        revision: its number.
        weight: share of the requests that it answers, 0 to 1.
        semantic: the semantic version; empty where it is not known.
    """

    revision: int
    version: str
    weight: float
    semantic: str = ""


@dataclass(frozen=True, repr=False)
class Deployment:
    """A deployment as its platform reports it.

    Attributes:
        name: the deployment's name.
        state: whether its replicas answer.
        url: its address.
        release: the model that answers when in doubt.
        replicas: its replicas.
        previous: the release that a rollback would serve; None where there is none.
        revision: the number of the revision of `release`.
        shares: which revisions answer which share of the requests.
        rollout: the state of the current or last rollout; None where there was none.
        rejected: versions that were rolled back or whose rollout was aborted, the latest last.
    """

    name: str
    state: DeploymentState
    url: str
    release: Release
    replicas: tuple[Replica, ...]
    previous: Release | None
    revision: int = 0
    shares: tuple[Share, ...] = ()
    rollout: str | None = None
    rejected: tuple[Rejected, ...] = ()

    def __repr__(self) -> str:
        served = f"version {self.release.label} at {self.url}, {len(self.replicas)} replicas"
        return f"<Deployment {self.name}: {self.state.value}, {served}>"


def deployment_of(observed: Observation) -> Deployment | None:
    """The deployment; None before its first revision has taken requests."""
    record = observed.record
    serving = record.serving
    if serving is None:
        return None
    previous = record.revision(record.previous)
    return Deployment(
        name=record.name,
        state=_state(observed),
        url=observed.url,
        release=serving.release,
        replicas=tuple(_replica(record, each) for each in observed.replicas),
        previous=None if previous is None else previous.release,
        revision=serving.number,
        shares=shares_of(record),
        rollout=None if record.rollout is None else record.rollout.state.value,
        rejected=record.rejected,
    )


def shares_of(record: Record) -> tuple[Share, ...]:
    """The revisions that the route goes to, the stable one first."""
    route = record.route
    found = [(record.revision(route.stable), 1 - route.weight), (record.revision(route.candidate), route.weight)]
    return tuple(
        Share(each.number, each.release.version, weight, each.release.semantic)
        for each, weight in found
        if each is not None
    )


def _state(observed: Observation) -> DeploymentState:
    """Ready where the entry follows the route and every revision in it has all its replicas."""
    record, route = observed.record, observed.record.route
    numbers = [number for number in (route.stable, route.candidate) if number is not None]
    wanted = {number: each.scale.replicas for number in numbers if (each := record.revision(number)) is not None}
    follows = observed.entry_serial == route.serial
    if follows and all(observed.ready(number) >= count for number, count in wanted.items()):
        return DeploymentState.READY
    is_any = observed.entry_serial is not None and any(observed.ready(number) for number in wanted)
    return DeploymentState.DEGRADED if is_any else DeploymentState.DOWN


def _replica(record: Record, observed: ReplicaObserved) -> Replica:
    revision = record.revision(observed.revision)
    version, semantic = ("", "") if revision is None else (revision.release.version, revision.release.semantic)
    state = DeploymentState.READY if observed.is_ready else DeploymentState.DOWN
    return Replica(observed.identifier, version, state, observed.revision, semantic)
