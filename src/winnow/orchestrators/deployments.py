"""What is served, on which platform: find deployments, stop them, and check that their addresses lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from winnow.bundle.manifest import EXAMPLE
from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.config.settings import Settings
from winnow.orchestrators.releases import known_champion
from winnow.orchestrators.settings import current
from winnow.orchestrators.several_deployments import SeveralDeploymentsError
from winnow.platforms.deployer import Deployer, ManualAccess, Say, UnknownDeploymentError, mute
from winnow.platforms.platform import ServingPlatform
from winnow.platforms.readiness import ASKED_WITHIN_S, NoModelError, model_at
from winnow.platforms.table import all_serving_platforms, serving_platform_for
from winnow.routing import Observation, Record, Rejected, Release, ReplicaObserved, Versioned, version_label
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import ModelVersion


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
        identifier: the process id, or the container's or pod's name; before a pod exists, the name of what makes it.
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


@dataclass(frozen=True)
class ServedDeployment:
    """A deployment, and the platform that serves it.

    Attributes:
        deployment: the deployment as reported by the platform.
        replica: what a replica is there: "process", "container" or "pod".
        champion: version of the model's champion; None if there is none or the registry does not answer.
        manual: how to reach the deployment; None if its own address answers from this machine.
        champion_semantic: the champion's semantic version; empty where it is not known.
    """

    platform: str
    deployment: Deployment
    replica: str
    champion: str | None = None
    manual: ManualAccess | None = None
    champion_semantic: str = ""

    @property
    def champion_label(self) -> str:
        """The champion's number and semantic version, for people."""
        return version_label(self.champion or "", self.champion_semantic)


@dataclass(frozen=True)
class Serving:
    """What is being served.

    Attributes:
        deployments: by platform and name.
        places: where winnow looked, as in "on this machine".
        absent: platforms in use that did not answer, and why.
    """

    deployments: tuple[ServedDeployment, ...]
    places: tuple[str, ...]
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Access:
    """How to use a deployment from this machine.

    Attributes:
        url: its own address, or the one that `manual` opens.
        manual: how to reach it; None if its own address answers.
        example: a file with a request for `/predict`.
        needs_key: requests need the key in WINNOW_API_KEY.
        logs: the path or the command for the replicas' logs.
        warning: says that something else answers at its address; empty if the deployment does.
    """

    url: str
    manual: ManualAccess | None
    example: Path
    needs_key: bool
    logs: str
    warning: str


@dataclass(frozen=True)
class Removal:
    """What removing a deployment did, or in a dry run would do.

    Attributes:
        name: the deployment; None if none was named and nothing is served.
        place: where it is served, as in "on this machine"; None if it is not served.
        is_removed: whether it was served and no longer is. False in a dry run.
        replicas: identifiers of the replicas that would stop; only in a dry run.
        images: a sentence on where its images stay; empty if it has none.
        has_removed_parts: it was not served, but a failed change had left parts, which are now removed.
        known: names of the other deployments, if there is none with this name.
        places: where winnow looked.
        absent: platforms in use that did not answer, and why.
    """

    name: str | None
    place: str | None
    is_removed: bool
    replicas: tuple[str, ...]
    images: str
    has_removed_parts: bool
    known: tuple[str, ...]
    places: tuple[str, ...]
    absent: Mapping[str, str]


def ask_deployers(
    settings: Settings, platform: str | None, say: Say = mute
) -> tuple[dict[str, Deployer], dict[str, str]]:
    """The deployers that answer, and the errors of remote platforms that do not, by platform.

    If `platform` is given, only that one is asked. Otherwise a remote platform is only asked if it is in use or has
    deployments of this home: a kubeconfig alone may belong to something else. `say`: is called with these errors, and
    later with lines about a change while a deployer makes it. Raises InputError or UnreachableError if the named
    platform does not answer.
    """

    def is_asked(each: ServingPlatform) -> bool:
        # Deployments leave records in the home that made them.
        has_records = (settings.home / "deployments" / each.name).is_dir()
        return not each.capabilities.is_remote or each.is_in_use or has_records

    if platform is not None:
        chosen: tuple[ServingPlatform, ...] = (serving_platform_for(platform, settings),)
    else:
        chosen = tuple(filter(is_asked, all_serving_platforms(settings)))

    found: dict[str, Deployer] = {}
    absent: dict[str, str] = {}
    for each in chosen:
        try:
            deployer = each.deployer(say=say)
            deployer.names()
            found[each.name] = deployer
        except (InputError, UnreachableError) as error:
            if platform is not None:
                raise
            if each.capabilities.is_remote:
                absent[each.name] = str(error)
                say(f"warning: {each.name} did not answer: {error}")
    return found, absent


def find_deployment(deployers: Mapping[str, Deployer], name: str | None) -> tuple[str, str]:
    """The platform and the name of a deployment. `name`: None for the only one.

    Raises UnknownDeploymentError if nothing with that name is served, or nothing at all; SeveralDeploymentsError if
    several match.
    """
    found = _find(deployers, name)
    if not found:
        raise UnknownDeploymentError(name, [])
    if len(found) > 1:
        raise SeveralDeploymentsError(name, found)
    return found[0]


def list_deployments(
    deployers: Mapping[str, Deployer], name: str | None = None, say: Say = mute
) -> list[tuple[str, Observation]]:
    """All deployments, with their platforms, or those of one name.

    `say`: is called with the error of each that cannot be read, such as one of an earlier version; a list of all goes
    on without it. Raises UnknownDeploymentError if nothing with that name is served; InputError if the named one cannot
    be read.
    """
    found = []
    for platform, each in _find(deployers, name):
        try:
            found.append((platform, deployers[platform].observe(each)))
        except InputError as error:
            if name is not None:
                raise
            say(f"warning: {error}")
    return found


def _find(deployers: Mapping[str, Deployer], name: str | None) -> list[tuple[str, str]]:
    known = [(platform, each) for platform, deployer in deployers.items() for each in deployer.names()]
    found = [(platform, each) for platform, each in known if name in (None, each)]
    if name is not None and not found:
        raise UnknownDeploymentError(name, sorted({each for _, each in known}))
    return found


def observe_serving(settings: Settings, name: str | None, platform: str | None, say: Say) -> Serving:
    """What is being served: under one name or any, on one platform or all. See `winnow.api.status`."""
    deployers, absent = ask_deployers(settings, platform, say)
    observed = list_deployments(deployers, name, say)
    found = [(where, each, made) for where, each in observed if (made := deployment_of(each)) is not None]
    champions: dict[str, ModelVersion | None] = dict.fromkeys(each.release.model for _, _, each in found)
    try:
        registry = Registry(current().tracking_uri) if found else None
    except WinnowError as error:  # such as a stack whose cluster is away
        say(f"warning: which versions are champions is not known: {error}")
        registry = None
    if registry is not None:
        champions = {model: known_champion(registry, model) for model in champions}
    served = tuple(
        ServedDeployment(
            where,
            deployment,
            serving_platform_for(where, settings).capabilities.replica,
            None if (champion := champions[deployment.release.model]) is None else champion.version,
            deployers[where].manual_access(each),
            "" if champion is None else champion.semantic,
        )
        for where, each, deployment in found
    )
    return Serving(served, tuple(each.place for each in deployers.values()), absent)


def access_to(deployer: Deployer, observed: Observation) -> Access:
    """How to use a deployment from this machine. Its address is asked once."""
    manual, serving = deployer.manual_access(observed), observed.record.serving
    assert serving is not None
    return Access(
        url=observed.url if manual is None else manual.url,
        manual=manual,
        example=serving.release.bundle / EXAMPLE,
        needs_key=bool(serving.settings.key) or (manual is not None and manual.asks_for_key),
        logs=deployer.logs_hint(observed),
        warning=address_warning(deployer, observed) if manual is None else "",
    )


def address_warning(deployer: Deployer, observed: Observation) -> str:
    """A warning that something else answers at the deployment's address; empty if one of its revisions does."""
    deployment = deployment_of(observed)
    if deployment is None:
        return ""
    try:
        model = model_at(observed.url, timeout_s=ASKED_WITHIN_S)
        if any(model.is_of(each.release) for each in observed.record.routed):
            return ""
        found = f"{model} answers there"
    except NoModelError as error:
        found = f"no model answers there ({error})"
    release = deployment.release
    return (
        f"{deployment.url} does not lead to {release.model} version {release.label} "
        f"(sha256 {release.digest[:12]}), whose replicas are {deployment.state}: {found}. "
        f"{deployer.address_hint(observed)}"
    )


def remove_deployment(
    settings: Settings, name: str | None, platform: str | None, say: Say, *, dry_run: bool = False
) -> Removal:
    """Finish a deployment's requests and stop its replicas. See `winnow.api.remove_deployment`."""
    deployers, absent = ask_deployers(settings, platform, say)
    nothing = Removal(name, None, False, (), "", False, (), tuple(each.place for each in deployers.values()), absent)
    try:
        found_on, chosen = find_deployment(deployers, name)
    except UnknownDeploymentError as error:
        # An interrupted change may have left parts that serve nothing.
        removed = [each.remove(name) for each in deployers.values()] if name is not None and not dry_run else []
        return replace(nothing, has_removed_parts=any(removed), known=error.known)
    deployer = deployers[found_on]
    found = replace(nothing, name=chosen, place=deployer.place, images=deployer.images_hint(chosen))
    if dry_run:
        return replace(found, replicas=tuple(each.identifier for each in _replicas(deployer, chosen)))
    return replace(found, is_removed=deployer.remove(chosen))


def _replicas(deployer: Deployer, name: str) -> tuple[ReplicaObserved, ...]:
    """Replicas and routers; none of a deployment of an earlier version, which can only be removed."""
    try:
        observed = deployer.observe(name)
    except InputError:
        return ()
    return (*observed.routers, *observed.replicas)
