"""Revisions, routes and what is observed of them: the words that rollouts, platforms and the router share. Values only.

A *revision* is an immutable release of a deployment: model, image and the settings of its replicas. A *route* says
which revisions a deployment's requests go to. A *record* is what a platform keeps of a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs


def version_label(number: str, semantic: str) -> str:
    """A version's number in the registry and its semantic version: `3 (1.2.0)`; the number alone without the latter."""
    return f"{number} ({semantic})" if semantic else number


class Versioned:
    """A version that has a number in the registry and a semantic version, which is empty where it is not known."""

    __slots__ = ()
    version: str
    semantic: str

    @property
    def label(self) -> str:
        """Number and semantic version, for people: `3 (1.2.0)`."""
        return version_label(self.version, self.semantic)


@dataclass(frozen=True)
class Release(Versioned):
    """A model as it is served.

    Attributes:
        model, version: as registered.
        digest: `Manifest.digest` of its bundle; in older records the sha256 of the ONNX file alone.
        bundle: the folder that holds it.
        image: the image that replicas run, by its id or its digest; empty where the platform runs none.
        semantic: the version's semantic version; empty where it is not known, as in older records.
        lineage: where its data come from, in tags such as `winnow.data.version`; empty in older records.
    """

    model: str
    version: str
    digest: str
    bundle: Path
    image: str = ""
    semantic: str = field(default="", compare=False)
    lineage: Mapping[str, str] = field(default_factory=dict, compare=False)

    def is_same(self, other: Release) -> bool:
        """Whether both are served alike: name, version, files and image are equal; the folder may differ."""
        return replace(self, bundle=other.bundle) == other


STDOUT = "stdout"


class PredictionLogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a server logs of its predictions, as JSON lines.

    Attributes:
        sample: share of the requests, above 0 and up to 1, chosen by their ids.
        fields: columns of the input that are logged too.
        to: `STDOUT`, or the absolute path of a file, which several replicas may share.
        deployment, revision: of the replica, for its lines. A deployer sets them; a revision's settings do not.
    """

    sample: float = 1.0
    fields: tuple[str, ...] = ()
    to: str = STDOUT
    deployment: str = ""
    revision: int = 0


KeyKind = Literal["int32", "int64", "double", "string", "boolean"]
"""What a key of a feature service is."""


class FeatureSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a server looks up the features of rows that have entity keys.

    Attributes:
        url: `http://HOST:PORT` of Feast's feature server.
        service: the feature service that is asked for.
        keys: what rows have in place of features, and the columns that on-demand features are made from.
        timeout_s: how long a look-up may take.
        fallback: "error": a feature that is not there refuses the request; "missing": it is a missing value; or values
            by column.
        kinds: what keys are, as the lineage of the model says; unset where it does not.
    """

    url: str
    service: str
    keys: tuple[str, ...]
    timeout_s: float = 0.5
    fallback: str | dict[str, bool | int | float | str | None] = "error"
    kinds: dict[str, KeyKind] | UnsetType = UNSET  # servers of earlier images do not know it


class ReplicaSettings(Struct, frozen=True):
    """How every replica of a revision runs. Another value makes another revision.

    Attributes:
        cpus, memory_bytes: limits of one replica.
        cpu_request, memory_request_bytes: what a scheduler reserves for one replica; at most the limits.
        settle_s: how long a terminating replica still answers, until routers no longer send it requests; None leaves it
            to the platform.
        drain_s: how long its requests may then take to end.
        limits: the server's limits of its clients that differ from its defaults, by the field of
            `serving.settings.ServingSettings`.
        is_access_logged: one JSON line per request.
        log: what is logged of predictions; None for nothing.
        features: where features are looked up; None for nowhere.
        key: fingerprint of the API key that the replicas ask for; empty where they ask for none. A record never
            contains the key.
    """

    cpus: float = 1.0
    memory_bytes: int = 2**30
    cpu_request: float = 0.25
    memory_request_bytes: int = 256 * 2**20
    settle_s: float | None = None
    drain_s: float = 30.0
    limits: dict[str, float] = {}
    is_access_logged: bool = False
    key: str = ""
    log: PredictionLogSettings | None = None
    features: FeatureSettings | None = None

    @property
    def of_routers(self) -> ReplicaSettings:
        """Those of the routers before the replicas, which limit clients alike and log and look up nothing."""
        return structs.replace(self, is_access_logged=False, log=None, features=None)


def server_settings(
    settings: ReplicaSettings, *, settle_s: float = 0.0, deployment: str = "", revision: int = 0
) -> str:
    """The settings of a replica's server as JSON, for `WINNOW_SERVING` or the file that `WINNOW_SERVING_FILE` names.

    Equal settings give equal text, also after they were stored. The API key is not in it.

    Args:
        settle_s: what the platform needs where the settings leave it open.
        deployment, revision: of the replica, for the lines of its log.
    """
    numbers = {
        **settings.limits,
        "settle_s": settle_s if settings.settle_s is None else settings.settle_s,
        "drain_s": settings.drain_s,
    }
    whole: dict[str, Any] = {name: int(number) if number == int(number) else number for name, number in numbers.items()}
    given = {**whole, "is_access_logged": settings.is_access_logged}
    if settings.log is not None:  # servers of earlier images do not know the key
        given["log"] = structs.replace(settings.log, deployment=deployment, revision=revision)
    if settings.features is not None:
        given["features"] = settings.features
    return msgspec.json.encode(given, order="sorted").decode()


class Scale(Struct, frozen=True):
    """How many replicas a revision has while it serves. It may change without another revision.

    Attributes:
        replicas: the number, or with an autoscaler the least.
        most: the autoscaler's upper bound; None for no autoscaler.
        cpu_target_percent: of the requested CPUs; above it the autoscaler adds replicas.
        scale_down_after_s: how long fewer replicas must suffice before one is removed.
        max_unavailable: how many replicas a node drain may evict at a time.
    """

    replicas: int = 1
    most: int | None = None
    cpu_target_percent: int = 80
    scale_down_after_s: int = 300
    max_unavailable: int = 1


class Revision(Struct, frozen=True):
    """One immutable release of a deployment.

    Attributes:
        number: 1 for a deployment's first revision; numbers are never reused.
        signature: digest of the request and response schema, so that revisions can be checked to be interchangeable.
        is_classifier: whether it answers with classes, which routers compare as such; else with numbers.
        files: digest of the user's files that the platform makes replicas from; empty where there are none.
    """

    number: int
    release: Release
    settings: ReplicaSettings
    scale: Scale
    signature: str = ""
    is_classifier: bool = False
    files: str = ""

    def is_same(self, other: Revision) -> bool:
        """Whether both serve the same release with the same settings, from the same files, at any scale."""
        is_alike = self.settings == other.settings and self.files == other.files
        return is_alike and self.release.is_same(other.release)


class Entry(Struct, frozen=True):
    """Where a deployment's requests arrive. It belongs to the deployment, not to a revision.

    Attributes:
        host: an address of this machine; on a cluster the host of the Ingress, empty for any.
        port: the port that the user chose; None for any free one. Not used on a cluster.
        ingress_class, tls_secret: of the Ingress; empty for the cluster's default, none.
        gateway: `NAMESPACE/NAME` of a Gateway, whose HTTPRoute replaces the Ingress; empty for none.
    """

    host: str = ""
    port: int | None = None
    ingress_class: str = ""
    tls_secret: str = ""
    gateway: str = ""


class Route(Struct, frozen=True):
    """Which revisions a deployment's requests go to. With one revision they go straight to it, else through routers.

    Attributes:
        serial: number of the change that made it; a router is given one route and never another.
        stable: number of the revision that answers when in doubt.
        candidate: number of the revision that is tried; None: all requests go straight to `stable`.
        weight: share of the requests that the candidate answers, 0 to 1.
        unit: request header whose value decides, hashed, which revision answers, so that one user meets one revision;
            empty: each request is decided by itself.
        may_choose: whether a client may name a revision in the header `x-winnow-revision`.
        mirror: share of the requests that stable answers which are also sent to the candidate, to compare, 0 to 1.
        lease_s: routers send everything to `stable` once no driver has renewed the route for so long; None: the route
            lasts, as in a pause.
        is_gateway: the platform's own gateway splits by weight, without routers.
    """

    serial: int = 0
    stable: int = 0
    candidate: int | None = None
    weight: float = 0.0
    unit: str = ""
    may_choose: bool = False
    mirror: float = 0.0
    lease_s: float | None = None
    is_gateway: bool = False

    @property
    def needs_routers(self) -> bool:
        """Whether requests pass routers."""
        return self.candidate is not None and not self.is_gateway


class RolloutState(StrEnum):
    """Where a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    PROMOTED = "promoted"
    ABORTED = "aborted"


class Rollout(Struct, frozen=True):
    """A deployment's current or last rollout, as the platform keeps it, so that any process can continue it.

    Attributes:
        candidate, stable: numbers of the revisions.
        strategy: its name: rolling, canary, shadow or ab.
        steps: the steps as `winnow.rollout` planned them, in plain JSON values.
        step: index of the current step; `len(steps)` after the last one.
        started_at: seconds since the epoch.
        step_started_at: when the current step, its pause, or its current driver began.
        reason: why it is paused, aborted or promoted, as a sentence.
        verdicts: the last verdicts of the current step, as JSON values.
        rollback_on_failure: a failed verdict sends all requests back to stable; else it pauses.
        spent_s: how long the current step had run before `step_started_at`: until it was paused.
        counted: what its routers had counted until then; None for nothing.
        first_serial: serial of the first route whose requests count for the current step.
    """

    candidate: int
    stable: int
    strategy: str
    steps: tuple[dict[str, Any], ...] = ()
    step: int = 0
    state: RolloutState = RolloutState.RUNNING
    started_at: float = 0.0
    step_started_at: float = 0.0
    reason: str = ""
    verdicts: tuple[dict[str, Any], ...] = ()
    rollback_on_failure: bool = True
    spent_s: float = 0.0
    counted: RouterReport | None = None
    first_serial: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it still moves traffic, or waits for a person to let it."""
        return self.state in (RolloutState.RUNNING, RolloutState.PAUSED)


class Rejected(Struct, frozen=True):
    """A version that requests were sent away from.

    Attributes:
        model, version, digest: as in `Release`.
        at: seconds since the epoch.
        reason: who or what did it and why, as a clause.
    """

    model: str
    version: str
    digest: str
    at: float
    reason: str


class Record(Struct, frozen=True):
    """What a platform keeps of a deployment: JSON next to its entry.

    Attributes:
        serial: number of the last write. A write of another process since then is a conflict.
        revisions: those kept, oldest first; most have no replicas.
        previous: number of the revision that a rollback would serve; None where there is none.
        served: numbers of the kept revisions that have answered all requests, the latest last.
        highest: the highest number ever given, so that none is reused.
        rollout: the current or last one; None where all updates were made at once.
        router_replicas, router_image: of the routers, while there are any.
        rejected: versions that were rolled back or whose rollout was aborted, the latest last; one that answers all
            requests again is not among them.
    """

    name: str
    serial: int = 0
    revisions: tuple[Revision, ...] = ()
    route: Route = Route()
    previous: int | None = None
    served: tuple[int, ...] = ()
    highest: int = 0
    entry: Entry = Entry()
    rollout: Rollout | None = None
    history: int = 3
    router_replicas: int = 2
    router_image: str = ""
    rejected: tuple[Rejected, ...] = ()

    def rejection(self, release: Release) -> Rejected | None:
        """How a version was rejected; None where it was not, or where it serves."""
        if self.serving is not None and self.serving.release.version == release.version:
            return None
        known = (release.version, release.digest)
        return next((each for each in self.rejected if (each.version, each.digest) == known), None)

    def revision(self, number: int | None) -> Revision | None:
        """The revision of that number; None where it is not kept."""
        return next((each for each in self.revisions if each.number == number), None)

    @property
    def next_number(self) -> int:
        """The number of a new revision."""
        return max(self.highest, *(each.number for each in self.revisions), 0) + 1

    @property
    def routed(self) -> tuple[Revision, ...]:
        """The revisions that requests may reach."""
        found = (self.revision(self.route.stable), self.revision(self.route.candidate))
        return tuple(each for each in found if each is not None)

    @property
    def serving(self) -> Revision | None:
        """The revision that answers when in doubt; None before the first deployment has succeeded."""
        return self.revision(self.route.stable)


class ReplicaObserved(Struct, frozen=True):
    """One serving process, container or pod.

    Attributes:
        identifier: the process id, or the container's or pod's name; before a pod exists, the name of what makes it.
        revision: the revision's number; 0 for a router.
        is_ready: whether it takes requests.
        failure: why it will not become ready, as a clause ("ended before it was ready (exit code 1)"); empty while it
            may still. A failed replica is reported until the revision is scaled or retired.
        waiting: what keeps it from becoming ready so far, for people; empty where nothing is known.
    """

    identifier: str
    revision: int
    is_ready: bool
    failure: str = ""
    waiting: str = ""


class Observation(Struct, frozen=True):
    """A deployment as its platform shows it now.

    Attributes:
        replicas: of all revisions, without those that terminate.
        routers: the routers of the current route, ready or not.
        entry_serial: serial of the route that requests really follow; None where there is no entry, or it is silent.
        wish: what a person asked a running rollout to do: promote, pause, resume or abort, then `: REASON` where one is
            given; empty for nothing.
        url: the deployment's address; empty before there is one.
    """

    record: Record
    replicas: tuple[ReplicaObserved, ...] = ()
    routers: tuple[ReplicaObserved, ...] = ()
    entry_serial: int | None = None
    wish: str = ""
    url: str = ""

    @property
    def wished(self) -> tuple[str, str]:
        """The wish without its reason, and the reason; empty where there is none."""
        wish, _, reason = self.wish.partition(": ")
        return wish, reason

    def of(self, number: int) -> tuple[ReplicaObserved, ...]:
        """The replicas of a revision."""
        return tuple(each for each in self.replicas if each.revision == number)

    def ready(self, number: int) -> int:
        """How many replicas of a revision are ready."""
        return sum(each.is_ready for each in self.of(number))


class Counts(Struct, frozen=True):
    """What one router has seen of one revision since the router's start.

    Attributes:
        requests: those that the route gave to the revision, mirrored ones not counted.
        errors: of these, answers with a status of 500 or more, lost connections, and answers that took longer than the
            router's limit, which is the same for both revisions.
        latency: how many answers took up to `LATENCY_BOUNDS_S[i]` (and more than the bound before); one more number
            than bounds, for the slower ones. Requests that the candidate failed at once are not among them.
        latency_sum_s: of all requests in `latency`.
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    latency_sum_s: float = 0.0


LATENCY_BOUNDS_S: tuple[float, ...] = tuple(round(0.0005 * 1.1**step, 7) for step in range(128))
"""Upper bounds of the latency histogram: from 0.5 ms in steps of 10 % to 90 s."""


def quantile_s(latency: Sequence[int], share: float, bounds_s: Sequence[float] = LATENCY_BOUNDS_S) -> float | None:
    """The answer time that a share of the requests does not exceed, in seconds; None without requests.

    Args:
        latency: as `Counts.latency`; the result is the upper bound of a class.
        bounds_s: of the classes; by default those of routers, each 10 % above the one before.
    """
    wanted, seen = share * sum(latency), 0
    for index, count in enumerate(latency):
        seen += count
        if count and seen >= wanted:
            return bounds_s[min(index, len(bounds_s) - 1)]
    return None


class Comparisons(Struct, frozen=True):
    """What one router has found by comparing mirrored answers with those of the stable revision.

    Attributes:
        compared: pairs of answers.
        agreed: pairs with equal predictions: the same classes, or numbers within the tolerance.
        flips: pairs of classifications that name different classes.
        errors: mirrored requests that the candidate answered with an error where stable did not.
        dropped: mirrored requests that the bounded queue had no room for.
        distance_sum, distance_square_sum, largest_distance: of the absolute differences of the first numeric output.
    """

    compared: int = 0
    agreed: int = 0
    flips: int = 0
    errors: int = 0
    dropped: int = 0
    distance_sum: float = 0.0
    distance_square_sum: float = 0.0
    largest_distance: float = 0.0


class OutcomeCounts(Struct, frozen=True):
    """What was learnt later of the requests that a route gave to one revision.

    Attributes:
        revision: the number of the revision that the route chose, also where another one answered in its place.
        requests: predictions in the log.
        outcomes: of these, those with an outcome; a prediction counts once.
        total, square_total: sums of the metric's value for each outcome (1 for a right class and 0 for a wrong one, or
            a number), and of its square.
    """

    revision: int
    requests: int = 0
    outcomes: int = 0
    total: float = 0.0
    square_total: float = 0.0


class RouterReport(Struct, frozen=True):
    """A router's answer to a renewal of its lease.

    Attributes:
        router: an identifier that is new at every start of a router.
        serial: of its route.
        misses: requests for the candidate that stable answered instead, because the candidate erred, hung, was too slow
            or had no room. They count as the candidate's errors.
        is_expired: the lease has run out, and everything goes to stable.
        is_open: the breaker is open: the candidate is not tried for now.
        mirrored: the candidate's answers to mirrored requests.
    """

    router: str
    serial: int
    uptime_s: float = 0.0
    stable: Counts = Counts()
    candidate: Counts = Counts()
    mirrored: Counts = Counts()
    comparisons: Comparisons = Comparisons()
    misses: int = 0
    is_expired: bool = False
    is_open: bool = False


class RouterSettings(Struct, frozen=True):
    """What a router is given at its start, in `WINNOW_ROUTER` as JSON.

    Attributes:
        name: the deployment.
        stable, candidate: addresses of the revision's replicas or of a service before them: `HOST:PORT`.
        is_classifier: whether predictions are compared as classes; else as numbers.
    """

    name: str
    route: Route
    stable: tuple[str, ...]
    candidate: tuple[str, ...]
    is_classifier: bool = False


def to_json(value: Struct) -> str:
    """A value of this module as JSON, with equal values giving equal text."""
    return msgspec.json.encode(value, enc_hook=str, order="sorted").decode()


def record_of(text: str | bytes) -> Record:
    """A record from JSON. Raises ValueError where it is none."""
    return msgspec.json.decode(text, type=Record, dec_hook=path_of)


def revision_of(text: str | bytes) -> Revision:
    """A revision from JSON. Raises ValueError where it is none."""
    return msgspec.json.decode(text, type=Revision, dec_hook=path_of)


def path_of(kind: type, value: object) -> Path:
    """`dec_hook` for what contains a release: a path is the one type in it that JSON does not have."""
    if kind is not Path or not isinstance(value, str):
        raise TypeError(f"expected a path, found {kind}")
    return Path(value)
