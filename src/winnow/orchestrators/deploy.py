"""From the registry's champion to something that answers: fetch its bundle once, and hand it to a deployer.

This is where the tiers meet: which there are, what each needs of a release, and on which one a name is being served.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError, UnreachableError, WinnowError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.platforms.deployer import (
    Action,
    AnyPlan,
    Deployer,
    Deployment,
    DeploymentRequest,
    Release,
    Say,
    UnknownDeploymentError,
    mute,
)
from winnow.platforms.images import PROD_BASE, BuildOptions, ImageRoute, Show, silent, with_route
from winnow.platforms.kubernetes.deployment_settings import READY_WITHIN_S
from winnow.platforms.readiness import NoModelError, model_at
from winnow.platforms.table import all_platforms, platform_for
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError

if TYPE_CHECKING:
    from winnow.platforms.docker.client import Engine
    from winnow.platforms.kubernetes.deployer import KubernetesDeployer

ASKED_WITHIN_S = 5.0


class Champions(Protocol):
    """What is asked of a registry; `winnow.tracking.registry.Registry` is one."""

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model."""

    def champion(self, name: str, alias: str = ...) -> ModelVersion | None:
        """The version that holds the alias, or None."""

    def download_bundle(self, version: ModelVersion, destination: Path) -> Path:
        """Copy a version's bundle to `destination`, which does not exist yet."""


@dataclass(frozen=True)
class Wanted:
    """How a study's champion is to be served; None leaves it as it is, or to the back-end.

    Attributes:
        name: the study's, which is the model's and the deployment's too.
        host: what is listened on; on a cluster, where it is no address, the host that the Ingress answers to.
        image_registry, image_load: how the image gets to a cluster; empty: as the environment says.
    """

    name: str
    alias: str = "champion"
    replicas: int | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    image_registry: str = ""
    image_load: str = ""


@dataclass(frozen=True)
class Served:
    """A deployment, and the tier that it is on."""

    platform: str
    deployment: Deployment


def deployer_for(platform: str, settings: Settings, *, say: Say = mute) -> Deployer[Any]:
    """The deployer of a platform. It contacts nothing before it is asked something.

    Args:
        say: is given lines about a change while it lasts, where that may be long.

    Raises:
        InputError: there is no such platform, or no cluster and namespace are named.
    """
    return platform_for(platform, settings).deployer(say=say)


def plan_champion(
    platform: str,
    settings: Settings,
    registry: Champions,
    wanted: Wanted,
    *,
    show: Show = silent,
    say: Say = mute,
    is_kept: bool = True,
) -> tuple[Deployer[Any], AnyPlan]:
    """What serving the champion takes, and the deployer that does it: `deployer.deploy(plan)`.

    An image is built here, where the tier runs images and there is none of this very model.

    Args:
        show: is given the steps of a build.
        say: is given lines about the change while the deployer makes it.
        is_kept: False leaves no file and no image behind, for plans that are only shown.

    Raises:
        InputError: the tier, the champion, its bundle, the name or the port is not to be had.
        BuildFailedError: the image cannot be built.
    """
    deployer = deployer_for(platform, settings, say=say)
    if platform == "kubernetes":
        _on_cluster(deployer).check(is_read_only=not is_kept)
    deployer.names()  # a tier that is away is refused before anything is fetched

    def request(release: Release) -> DeploymentRequest:
        patience_s = READY_WITHIN_S if platform == "kubernetes" else DeploymentRequest.ready_within_s
        address = wanted.host, wanted.port
        return DeploymentRequest(wanted.name, release, wanted.replicas, *address, ready_within_s=patience_s)

    release = champion_release(
        registry, wanted.name, wanted.alias, settings.home, store=settings.tracking_uri, is_kept=is_kept
    )
    if platform != "local":
        deployer.plan(request(release))  # a name or port that is taken is refused before minutes go into an image
        route = _route(_on_cluster(deployer), settings, wanted) if platform == "kubernetes" else None
        release = _with_image(registry, release, wanted, route, is_built=is_kept, show=show)
    return deployer, deployer.plan(request(release))


def reachable(
    settings: Settings,
    platform: str | None = None,
    *,
    say: Say = mute,
    on_away: Callable[[str, WinnowError], object] | None = None,
) -> dict[str, Deployer[Any]]:
    """The tiers that can be asked, by name; with `platform`, that one alone.

    A tier that is away (no Docker engine) serves nothing, unless it was named. A cluster is asked where one is named or
    in use: a kubeconfig alone may be there for something else. So one that is away may well serve something.

    Args:
        say: is given lines about a change while one of the deployers makes it.
        on_away: is called with a tier that is in use and cannot be asked, and why.

    Raises:
        InputError, UnreachableError: the named tier is away.
    """
    found = {}
    for each in all_platforms(settings) if platform is None else (platform_for(platform, settings),):
        is_used = each.is_in_use or each.has_deployments
        if platform is None and each.capabilities.is_remote and not is_used:
            continue
        try:
            deployer = each.deployer(say=say)
            deployer.names()
        except (InputError, UnreachableError) as error:
            if platform is not None:
                raise
            if each.capabilities.is_remote and on_away is not None:
                on_away(each.name, error)
            continue
        found[each.name] = deployer
    return found


def find_deployment(
    tiers: Mapping[str, Deployer[Any]], name: str | None, command: Callable[[str, str | None], str]
) -> tuple[str, str]:
    """The one deployment that is meant, as its tier and its name.

    Args:
        name: None means the only one that there is.
        command: gives the command that means one deployment, from its name and, where the name alone does not tell,
            its tier.

    Raises:
        UnknownDeploymentError: nothing of that name is served, or nothing at all.
        InputError: several are meant; it lists the command for each.
    """
    known = [(tier, each) for tier, deployer in tiers.items() for each in deployer.names()]
    found = [(tier, each) for tier, each in known if name in (None, each)]
    if not found:
        raise UnknownDeploymentError(name, sorted({each for _, each in known}))
    if len(found) == 1:
        return found[0]
    count = Counter(each for _, each in found)
    commands = [command(each, tier if count[each] > 1 else None) for tier, each in found]
    raise InputError(
        "deployments" if name is None else f"deployment '{name}'",
        expected="one, since none is named" if name is None else "one platform that serves it",
        found=f"{len(found)}: {', '.join(f'{each} ({tier})' for tier, each in found)}",
        remedy="\n  ".join(("Say which is meant:", *commands)),
    )


def served(tiers: Mapping[str, Deployer[Any]], name: str | None = None) -> list[Served]:
    """All that is served, under one name or any.

    Raises:
        UnknownDeploymentError: a name was given, and nobody serves it.
    """
    names = {each: deployer.names() for each, deployer in tiers.items()}
    known = sorted({each for served in names.values() for each in served})
    if name is not None and name not in known:
        raise UnknownDeploymentError(name, known)
    return [
        Served(each, tiers[each].status(one)) for each in tiers for one in names[each] if name is None or one == name
    ]


@dataclass(frozen=True)
class Way:
    """How a deployment is asked from this machine.

    Attributes:
        url: where, for as long as the way is held open.
        by_hand: the command that opens the same way for other programs, at `BY_HAND_URL`; empty where it is open.
        diagnosis: says why a connection came to nothing; empty where none has.
    """

    url: str
    by_hand: str = ""
    diagnosis: Callable[[], str] = lambda: ""


BY_HAND_URL = "http://127.0.0.1:8080"


@contextmanager
def way_to(deployer: Deployer[Any], platform: str, deployment: Deployment) -> Iterator[Way]:
    """The deployment's own address, or a way through the cluster's API server where its Ingress has none.

    Raises:
        InputError: the Ingress has no address, and forwarding ports is not allowed.
    """
    if not is_cut_off(deployer, platform, deployment):
        yield Way(deployment.url)
        return
    on_cluster = _on_cluster(deployer)
    with on_cluster.forward(deployment.name) as forward:
        yield Way(
            f"http://127.0.0.1:{forward.port}", port_forward(deployer, deployment.name), lambda: forward.diagnosis
        )


def is_cut_off(deployer: Deployer[Any], platform: str, deployment: Deployment) -> bool:
    """Whether it is on a cluster, its Ingress has no address, and no model answers at the one inside."""
    if platform != "kubernetes" or _on_cluster(deployer).has_entry(deployment.name):
        return False
    try:
        model_at(deployment.url, timeout_s=ASKED_WITHIN_S)
    except NoModelError:
        return True
    return False


def port_forward(deployer: Deployer[Any], name: str) -> str:
    """The command that brings a deployment on a cluster to `BY_HAND_URL`."""
    from winnow.platforms.kubernetes.deployment_plan import object_name

    namespace = _on_cluster(deployer).cluster.namespace
    return f"kubectl port-forward --namespace {namespace} service/{object_name(name)} 8080:80"


def rolls_forward(deployer: Deployer[Any], plan: AnyPlan, alias: str) -> str:
    """Say that a plan undoes a rollback; empty where it does not.

    A deployment keeps the release before the current one. Where that is the one that is wanted, it was rolled back, or
    another was selected in between.
    """
    wanted = plan.request.release
    if plan.action is not Action.REPLACE:
        return ""
    try:
        found = deployer.status(plan.request.name)
    except UnknownDeploymentError:
        return ""
    current, previous = found.release, found.previous
    if previous is None or (previous.version, previous.digest) != (wanted.version, wanted.digest):
        return ""
    return (
        f"Rolling forward to version {wanted.version}, which is @{alias} and was served before version "
        f"{current.version}."
    )


def misled(deployment: Deployment) -> str:
    """What answers at a deployment's address in place of its model, asked once; empty where the model itself does."""
    try:
        found = model_at(deployment.url, timeout_s=ASKED_WITHIN_S)
    except NoModelError as error:
        return f"no model answers there ({error})"
    return "" if found.is_of(deployment.release) else f"{found} answers there"


def champion_version(registry: Champions, name: str, alias: str = "champion") -> str | None:
    """The version that holds the alias now; None where none does or the store does not answer."""
    try:
        version = registry.champion(name, alias)
    except TrackingUnavailableError:
        return None
    return version.version if version is not None else None


def _on_cluster(deployer: Deployer[Any]) -> KubernetesDeployer:
    from winnow.platforms.kubernetes.deployer import KubernetesDeployer

    assert isinstance(deployer, KubernetesDeployer)
    return deployer


def _route(deployer: KubernetesDeployer, settings: Settings, wanted: Wanted) -> ImageRoute:
    """How images get to the cluster that the deployer serves on, whichever kubeconfig names as the current one."""
    return ImageRoute.from_environment(_environment(wanted), cluster=deployer.cluster.identity, home=settings.home)


def _environment(wanted: Wanted) -> dict[str, str]:
    return with_route(os.environ, registry=wanted.image_registry, load=wanted.image_load)


def _with_image(
    registry: Champions, release: Release, wanted: Wanted, route: ImageRoute | None, *, is_built: bool, show: Show
) -> Release:
    """The release with its image; without building, with the one that is there, if any.

    Args:
        route: how it gets to a cluster; None where the engine itself runs it.
    """
    from winnow.orchestrators import build
    from winnow.platforms.docker import prod_image
    from winnow.platforms.docker.client import connect

    engine, folder = connect(), Path()
    options = BuildOptions.from_environment(_environment(wanted), base=PROD_BASE)
    if is_built:
        return build.with_image(engine, registry, release, options, folder, show, route=route)
    if _digest_of(release.bundle) is None:
        return release
    image = build.plan_image(engine, registry, release, options, folder)
    found = prod_image.find(engine, image) or ""
    if found and route is not None:
        found = _known(engine, found, image.tag, route)
    return dataclasses.replace(release, image=found)


def _known(engine: Engine, identifier: str, tag: str, route: ImageRoute) -> str:
    """What the cluster's nodes call an image; empty where it was not brought there yet."""
    from winnow.platforms.docker.delivery import deliver

    try:
        return deliver(engine, identifier, tag, dataclasses.replace(route, registry="", load=""))
    except InputError:
        return ""


def champion_release(
    registry: Champions, name: str, alias: str, home: Path, *, store: str, is_kept: bool = True
) -> Release:
    """The champion as a release, with its bundle in `HOME/models/DIGEST`.

    Args:
        store: what the registry is called in errors: its address.
        is_kept: False leaves no file behind, for plans that are only shown.

    Raises:
        InputError: there is no champion, the store does not answer, or its bundle is damaged.
    """
    try:
        version = registry.champion(name, alias)
        if version is None:
            raise _no_champion(name, alias, store)
        return _release(registry, version, home / "models", is_kept=is_kept)
    except TrackingUnavailableError as error:
        raise InputError(
            f"tracking store {store}",
            expected="a store that answers and holds a registered model",
            found=str(error),
            remedy="Start it, correct MLFLOW_TRACKING_URI, or train a model first "
            f"(`{next_command('train', config=...)}`, then `{next_command('select-model', study=name)}`).",
        ) from error


def _release(registry: Champions, version: ModelVersion, models: Path, *, is_kept: bool) -> Release:
    # A registered version's bundle never changes, so its digest is noted under the names that tell versions apart.
    # Older notes and folders are named by the ONNX file alone: they do not match, and the bundle is fetched again.
    note = models / "versions" / f"{version.name}-{version.version}-{version.run_id}"
    if note.is_file():
        digest = note.read_text(encoding="utf-8").strip()
        if _digest_of(models / digest) == digest:
            return Release(version.name, version.version, digest, models / digest)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=models if _made(models, is_kept) else None) as folder:
        bundle = _download(registry, version, Path(folder) / "bundle")
        digest = read_manifest(bundle).digest
        if is_kept:
            _keep(bundle, models / digest, digest)
            note.parent.mkdir(exist_ok=True)
            note.write_text(digest, encoding="utf-8")
    return Release(version.name, version.version, digest, models / digest)


def _download(registry: Champions, version: ModelVersion, destination: Path) -> Path:
    try:
        return registry.download_bundle(version, destination)
    except ValueError as error:
        raise InputError(
            f"model {version.name} version {version.version}",
            expected="the bundle that was registered",
            found=str(error),
            remedy="Its files in the tracking store were changed or removed: choose another with "
            f"`{next_command('select-model', study=version.name)}`.",
        ) from error


def _keep(bundle: Path, place: Path, digest: str) -> None:
    """Move a bundle to its place, which holds the same bundle already, a damaged one, or nothing."""
    if _digest_of(place) == digest:
        return
    shutil.rmtree(place, ignore_errors=True)
    bundle.rename(place)


def _digest_of(bundle: Path) -> str | None:
    """The digest of a bundle, or None where it is missing or damaged."""
    try:
        return read_manifest(bundle).digest
    except (OSError, ValueError):
        return None


def _made(folder: Path, is_wanted: bool) -> bool:
    if is_wanted:
        folder.mkdir(parents=True, exist_ok=True)
    return is_wanted


def _no_champion(name: str, alias: str, store: str) -> InputError:
    return InputError(
        f"registered model '{name}' in {store}",
        expected=f"a version with the alias '{alias}'",
        found="none",
        remedy=f"Run `{next_command('select-model', study=name)}` to choose one.",
    )
