"""Plan to serve a registered version on a platform, with its image if the platform runs images.

`releases` chooses the version and fetches its bundle, `serving_settings` reads the section `serving`, `drive` carries
the plan out; `deployments` covers what is already served.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from msgspec import structs

from winnow.bundle.manifest import read_manifest
from winnow.bundle.semantic import signature_of
from winnow.config.errors import InputError, UnavailableError, UnreachableError, WinnowError
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_command, next_flag
from winnow.config.serving import STAGING, ServingConfig
from winnow.config.settings import Settings
from winnow.orchestrators.build import sbom_digest
from winnow.orchestrators.deployments import (
    Access,
    Deployment,
    access_to,
    ask_deployers,
    deployment_of,
    find_deployment,
)
from winnow.orchestrators.drive import Begun, Driver, End, hand_over, observe, shares
from winnow.orchestrators.feature_check import checked_features
from winnow.orchestrators.judge import OutcomeReader, StepJudge
from winnow.orchestrators.model_history import into_history, refuse_rejected, rolled_back_by, user
from winnow.orchestrators.releases import (
    CHAMPION,
    NoChampionError,
    as_kept,
    choose_version,
    fetch_release,
    shown_release,
)
from winnow.orchestrators.serving_config import serving_config
from winnow.orchestrators.serving_settings import (
    KEEP,
    ServedSettings,
    fingerprint,
    key_of,
    refuse_old_variables,
    served,
)
from winnow.platforms.deployer import Deployer, Say, mute, no_previous
from winnow.platforms.images import PROD_BASE, BuildOptions, ImageBuild, ModelImageRequest, Show, silent, with_route
from winnow.platforms.platform import ServingPlatform
from winnow.platforms.rollout_driver import RolloutDriver
from winnow.platforms.table import images, serving_platform_for
from winnow.rollout.plan import steps_of, to_values
from winnow.rollout.step import Aborted, Desired, Done, Paused, next_action, revision_for
from winnow.routing import Observation, Record, Release, Revision, Rollout, RolloutState, Route
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError


@dataclass(frozen=True)
class ServeRequest:
    """How to serve a model. None leaves it to the section `serving` of the experiment file.

    Attributes:
        name: the model's name.
        alias: registry alias of the version to serve; None: `staging` of the stage of that name, else `champion`.
        version: number of the version, instead of the alias.
        replicas: number of servers.
        host: the address to listen on; on a cluster the host of the Ingress.
        port: the port.
        image_registry, image_load: how the image reaches a cluster; by default as the environment says.
        stage: a stage of `serving.stages`; its deployment is called NAME-STAGE.
        config: the experiment file with the section `serving`; by default that of the model's study.
        study: a study of the model, whose section counts where there is no file.
        is_detached: another process drives the steps of the rollout.
        is_again: serve the version even if it was rolled back, or its rollout aborted.
    """

    name: str
    alias: str | None = None
    version: str | None = None
    replicas: int | None = None
    host: str | None = None
    port: int | None = None
    image_registry: str = ""
    image_load: str = ""
    stage: str | None = None
    config: Path | None = None
    study: str | None = None
    is_detached: bool = False
    is_again: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The environment, with the request's registry and load command."""
        return with_route(os.environ, registry=self.image_registry, load=self.image_load)

    @property
    def chosen_alias(self) -> str:
        """The alias that counts where no version is named."""
        return self.alias or (STAGING if self.stage == STAGING else CHAMPION)

    def settings_on(self, platform: ServingPlatform, settings: Settings) -> ServedSettings:
        """The deployment's settings on a platform.

        Raises:
            InputError: the section or a flag is wrong, or a variable is set that the section replaces.
        """
        refuse_old_variables(os.environ)
        config = serving_config(settings, self.name, config=self.config, study=self.study)
        facts = {
            "has_ingress": platform.capabilities.has_ingress,
            "shares_files": platform.capabilities.shares_files,
        }
        flags = {"replicas": self.replicas, "host": self.host, "port": self.port}
        return served(config, self.name, self.stage, **facts, **flags)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ServePlan:
    """A planned deployment.

    Attributes:
        platform: the platform that will serve it.
        note: says that the plan undoes a rollback or continues a rollout; empty if it does not.
        is_offline: the platform did not answer, so it is planned as a first deployment.
    """

    deployer: Deployer = field(repr=False)
    driver: Driver = field(repr=False)
    observed: Observation = field(repr=False)
    platform: str
    note: str = ""
    is_offline: bool = False
    start_driver: Callable[[str], RolloutDriver] | None = field(default=None, repr=False)
    """Goes on with the rollout of a deployment; None where this process is to drive it."""

    @property
    def record(self) -> Record:
        """What the platform will keep once the target serves all requests, but for the serial."""
        return planned(self.observed, self.driver.desired)

    @property
    def changes_nothing(self) -> bool:
        """Whether the model is already being served."""
        return isinstance(next_action(self.driver.desired, self.observed, None, self.driver.wall()), Done)

    def render(self) -> str:
        """The commands or manifests, as text."""
        target = self.driver.desired.target
        if self.changes_nothing:
            return f"# {self.driver.name}: version {target.release.label} is being served already; nothing to do."
        return self.deployer.render(self.record, target.number)

    def deploy(self) -> Deployment:
        """Serve it.

        Raises:
            DeploymentFailedError: new replicas did not become ready; the old ones still serve.
            RolloutAbortedError: the rollout did not pass, or was aborted; the old replicas still serve.
        """
        return self._ended(self.driver.drive())

    def begin(self) -> tuple[Deployment, RolloutDriver | None]:
        """Serve it as far as the first step of its rollout, and leave the rest to another process.

        Returns:
            The deployment, and what drives its rollout; None where there is none, so that all is done.

        Raises:
            As `deploy`, and InputError where that process cannot be started.
        """
        assert self.start_driver is not None
        end = replace(self.driver, until_begun=True).drive()
        deployment = self._ended(end)
        if not isinstance(end, Begun):
            return deployment, None
        return deployment, hand_over(self.deployer, self.driver.name, self.start_driver)

    def _ended(self, end: End) -> Deployment:
        observed = self.deployer.observe(self.driver.name)
        if isinstance(end, Aborted):
            raise RolloutAbortedError(self.driver.name, end.reason, shares(observed.record))
        if isinstance(end, Paused):
            flags = {"name": self.driver.name, "platform": self.platform}
            self.driver.say(f"{shares(observed.record)}. Go on with `{next_command('rollout-resume', **flags)}`.")
        deployment = deployment_of(observed)
        assert deployment is not None
        return deployment

    def access(self, deployment: Deployment) -> Access:
        """How to use the deployment from this machine."""
        return access_to(self.deployer, self.deployer.observe(deployment.name))


class RolloutAbortedError(WinnowError):
    """A rollout was aborted; what was served before still is."""

    def __init__(self, name: str, reason: str, serving: str) -> None:
        super().__init__(f"deployment '{name}': the rollout was aborted: {reason}; {serving}, as before")


@dataclass(frozen=True)
class ServePreview:
    """A plan that is only shown.

    Attributes:
        note: says that the plan undoes a rollback; empty if it does not.
        unknown: facts that could not be looked up.
        absences: why they could not.
    """

    text: str = field(repr=False)
    note: str
    unknown: tuple[str, ...] = ()
    absences: tuple[str, ...] = ()

    def render(self) -> str:
        """The commands or manifests, as text."""
        return self.text


def plan_serving(
    platform: str,
    settings: Settings,
    registry: Registry,
    request: ServeRequest,
    *,
    show: Show = silent,
    say: Say = mute,
) -> ServePlan:
    """Fetch the version, build and deliver its image if the platform runs images, and plan to serve it.

    See `winnow.api.plan_serving`.
    """
    chosen = serving_platform_for(platform, settings, request.environment)
    asked = request.settings_on(chosen, settings)
    deployer = checked_deployer(chosen, say=say)
    version = _version(settings, registry, request)
    release = fetch_release(registry, version, settings.home, store=settings.tracking_uri)
    observed = observe(deployer, asked.name)
    found = key_of(asked.api_key, os.environ)
    key = deployer.key(observed.record) if found is KEEP else found
    if not chosen.capabilities.shares_files:
        unbuilt = revision_for(observed, revision(asked, _as_routed(observed.record, release), key, deployer.files))
        # Refuse before an image is built.
        check_plan(deployer, observed, desired_of(asked, unbuilt, chosen), is_again=request.is_again)
        image = _image(request, release, version)
        release = replace(release, image=chosen.prepare_image(image, show))
        _keep_sbom(registry, version, image, request, say)
    target = revision_for(observed, revision(asked, release, key, deployer.files))
    desired = desired_of(asked, target, chosen)
    check_plan(deployer, observed, desired, is_again=request.is_again)
    serving = observed.record.serving
    if desired.steps and serving is not None and serving.number != target.number:
        desired = replace(desired, router_image=chosen.prepare_router(show))
    judge, remember = StepJudge(OutcomeReader(asked.name)), into_history(platform, say)
    driver = Driver(deployer, asked.name, desired, key, judge=judge, say=say, remember=remember)
    note = note_of(observed, desired, request)
    start_driver = chosen.prepare_driver() if request.is_detached and desired.steps else None
    return ServePlan(deployer, driver, observed, platform, note, start_driver=start_driver)


def plan_rollback(
    settings: Settings,
    name: str | None,
    platform: str | None,
    *,
    by: str = "",
    reason: str = "",
    is_again: bool = False,
    say: Say = mute,
) -> ServePlan:
    """Plan to serve the revision before the current one. See `winnow.api.plan_rollback`."""
    deployers, _ = ask_deployers(settings, platform, say)
    found_on, chosen = find_deployment(deployers, name)
    deployer, on = deployers[found_on], serving_platform_for(found_on, settings)
    observed = deployer.observe(chosen)
    record = observed.record
    previous, serving = record.revision(record.previous), record.serving
    if record.rollout is not None and record.rollout.is_open:
        raise _another_rollout(record)
    if previous is None or serving is None:
        raise no_previous(chosen)
    key = deployer.key(record)
    # A key that was changed since stays changed: an old one may be known to others.
    settings_now = structs.replace(previous.settings, key=serving.settings.key)
    target = revision_for(observed, structs.replace(previous, settings=settings_now))
    desired = Desired(
        target,
        history=record.history,
        ready_within_s=on.capabilities.ready_within_s,
        started=time.time(),
        router_replicas=record.router_replicas,
        rejecting=rolled_back_by(by or user(), reason),
    )
    check_plan(deployer, observed, desired, is_again=is_again)
    driver = Driver(deployer, chosen, desired, key, say=say, remember=into_history(found_on, say))
    return ServePlan(deployer, driver, observed, found_on)


def preview_serving(
    platform: str, settings: Settings, registry: Registry, request: ServeRequest, image: str = ""
) -> ServePreview:
    """Plan to serve a version without keeping a file or building an image, even if engine or cluster are away.

    `image`: what replicas run; empty: looked up, if an engine answers.
    """
    chosen = serving_platform_for(platform, settings, request.environment)
    absences: list[WinnowError] = []
    plan = shown_plan(chosen, settings, registry, request, image, on_absence=absences.append)
    unknown = (
        ["what serves now, and whether the platform takes the change: it is planned as a first deployment"]
        if plan.is_offline
        else []
    )
    if not plan.driver.desired.target.release.image and not chosen.capabilities.shares_files:
        unknown.append("whether the image is there, and its id")
    return ServePreview(plan.render(), plan.note, tuple(unknown), tuple(dict.fromkeys(map(str, absences))))


def render(platform: str, settings: Settings, registry: Registry, request: ServeRequest, image: str) -> str:
    """What a first deployment would send to a platform, which is not asked. See `winnow.api.render`."""
    chosen = serving_platform_for(platform, settings, request.environment)
    runs_images = not chosen.capabilities.shares_files
    if runs_images != bool(re.search("@sha256:[0-9a-f]{64}$", image)) or (image and not runs_images):
        raise InputError(
            next_flag("image"),
            expected="an image by its digest: REPOSITORY@sha256:…" if runs_images else f"none on {platform}",
            found=f"'{image}'" if image else "none",
            remedy=f"Build it with `{next_command('build-prod')}`, which prints its digest once it is pushed."
            if runs_images
            else "Leave it out: replicas run this installation.",
        )
    return shown_plan(chosen, settings, registry, request, image, is_asked=False).render()


def render_stage(platform: str, settings: Settings, config: ServingConfig, model: str, stage: str | None) -> str:
    """What a platform would be sent for a stage before a version is chosen. See `winnow.api.render_stage`."""
    chosen = serving_platform_for(platform, settings, os.environ)
    facts = chosen.capabilities
    asked = served(config, model, stage, has_ingress=facts.has_ingress, shares_files=facts.shares_files)
    target = Revision(1, Release(model, "1", "", Path()), asked.replicas, asked.scale)
    record = Record(asked.name, 1, (target,), Route(serial=1, stable=1), entry=asked.entry)
    return chosen.deployer(say=mute).render(record, 1)


def shown_plan(
    chosen: ServingPlatform,
    settings: Settings,
    registry: Registry,
    request: ServeRequest,
    image: str = "",
    *,
    on_absence: Callable[[WinnowError], object] | None = None,
    is_asked: bool = True,
) -> ServePlan:
    """A plan that is only shown. No file is kept, and no image is built: one that is not there has no name.

    Args:
        image: what replicas run; empty: looked up.
        is_asked: whether the platform is asked what it serves; else a first deployment is planned.
        on_absence: is called if the platform, or the engine with the image, does not answer; None raises the error.

    Raises:
        InputError: a setting, the version or its bundle cannot be used, or the platform refuses.
    """
    asked = request.settings_on(chosen, settings)
    deployer, observed, is_offline = chosen.deployer(say=mute), Observation(Record(asked.name)), not is_asked
    try:
        if is_asked:
            deployer = checked_deployer(chosen, is_read_only=True)
            observed = observe(deployer, asked.name)
    except (UnavailableError, UnreachableError) as error:
        _tell(on_absence, error)
        is_offline = True
    key = key_of(asked.api_key, os.environ)
    if key is KEEP:
        key = deployer.key(observed.record) if observed.record.serving is not None else None
    version = _version(settings, registry, request)
    with shown_release(registry, version, settings.home, store=settings.tracking_uri) as shown:
        if not image and not chosen.capabilities.shares_files:
            try:
                image = chosen.find_image(_image(request, shown, version))
            except (UnavailableError, UnreachableError) as error:
                _tell(on_absence, error)
                image = ""
        target = revision_for(observed, revision(asked, replace(shown, image=image), key, deployer.files))
        if not is_offline:
            check_plan(deployer, observed, desired_of(asked, target, chosen), is_again=request.is_again)
    kept = structs.replace(target, release=as_kept(target.release, settings.home))
    desired = desired_of(asked, kept, chosen)
    driver = Driver(deployer, asked.name, desired, key)
    return ServePlan(deployer, driver, observed, chosen.name, note_of(observed, desired, request), is_offline)


def _tell(on_absence: Callable[[WinnowError], object] | None, error: WinnowError) -> None:
    if on_absence is None:
        raise error
    on_absence(error)


def desired_of(asked: ServedSettings, target: Revision, platform: ServingPlatform) -> Desired:
    """What a driver is asked for."""
    return Desired(
        target,
        steps=steps_of(asked.rollout, platform.capabilities.gateway_conditions),
        strategy=asked.rollout.strategy,
        history=asked.history,
        ready_within_s=platform.capabilities.ready_within_s,
        rollback_on_failure=asked.rollout.rollback_on_failure,
        started=time.time(),
        entry=asked.entry,
        router_replicas=asked.routers,
    )


def revision(asked: ServedSettings, release: Release, key: str | None, files: str) -> Revision:
    """The wanted revision, without a number. `release.bundle` is read.

    Raises InputError if `serving.log` names a column that the model does not have, or `serving.features` does not fit.
    """
    manifest = read_manifest(release.bundle)
    for column in asked.replicas.log.fields if asked.replicas.log is not None else ():
        known = [each.name for each in manifest.table or ()]
        if column not in known:
            expected = f"columns of {release.model} version {release.version}"
            remedy = did_you_mean(column, known) or (f"It has {', '.join(known)}." if known else "It has no columns.")
            raise InputError("serving.log.fields", expected=expected, found=f"'{column}'", remedy=remedy)
    features = asked.replicas.features
    features = None if features is None else checked_features(features, release)
    settings = structs.replace(asked.replicas, key=fingerprint(asked.name, key), features=features)
    is_classifier = manifest.task == "classification"
    return Revision(0, release, settings, asked.scale, signature_of(manifest), is_classifier, files)


def planned(observed: Observation, desired: Desired) -> Record:
    """The record once the target serves all requests."""
    record, target = observed.record, desired.target
    others = tuple(each for each in record.revisions if each.number != target.number)
    return structs.replace(
        record,
        revisions=(*others, target),
        route=structs.replace(record.route, stable=target.number, candidate=None, serial=record.route.serial + 1),
        entry=record.entry if desired.entry is None else desired.entry,
        history=desired.history,
        router_replicas=desired.router_replicas,
    )


def _as_routed(record: Record, release: Release) -> Release:
    """The release with the image of a revision that serves it already; else without one."""
    same = (each.release for each in record.routed if replace(each.release, image="").is_same(release))
    return replace(release, image=next((each.image for each in same), ""))


def checked_deployer(platform: ServingPlatform, *, say: Say = mute, is_read_only: bool = False) -> Deployer:
    """The platform's deployer, once the platform answers and permits serving; `is_read_only` for a plan to show.

    Raises InputError if the platform is not there, or a permission is missing; UnreachableError if it does not answer.
    """
    deployer = platform.deployer(say=say)
    deployer.check(is_read_only=is_read_only)
    deployer.names()
    return deployer


def note_of(observed: Observation, desired: Desired, request: ServeRequest) -> str:
    """A sentence that the plan undoes a rollback or continues a rollout; empty if it does neither."""
    record, target = observed.record, desired.target
    rollout, serving = record.rollout, record.serving
    if rollout is not None and rollout.is_open and target.number == rollout.candidate:
        return f"Going on with the rollout of version {target.release.label}, from step {rollout.step + 1}."
    if serving is None or target.number != record.previous or serving.number == target.number:
        return ""
    alias = f"is @{request.chosen_alias} and " if request.version is None else ""
    return (
        f"Rolling forward to version {target.release.label}, which {alias}was served before version "
        f"{serving.release.label}."
    )


def check_plan(deployer: Deployer, observed: Observation, desired: Desired, *, is_again: bool = False) -> None:
    """Refuse before anything is changed.

    `is_again`: whether a version may be served that was rejected. Raises RejectedVersionError if the version was rolled
    back, or its rollout aborted; InputError if another rollout is open, or the target's is paused; the candidate's
    signature is another one, or the platform refuses.
    """
    record, target, serving = observed.record, desired.target, observed.record.serving
    rollout = record.rollout
    if rollout is not None and rollout.is_open and target.number not in (rollout.candidate, rollout.stable):
        raise _another_rollout(record)
    if rollout is not None and rollout.state is RolloutState.PAUSED and target.number == rollout.candidate:
        raise _paused_rollout(record, rollout)
    if desired.steps and serving is not None and serving.signature not in ("", target.signature):
        raise _another_signature(record.name, serving, target, desired.strategy)
    if not is_again:
        refuse_rejected(record, target.release)
    wanted = planned(observed, desired)
    if desired.steps and serving is not None:
        steps = Rollout(target.number, serving.number, desired.strategy, to_values(desired.steps))
        wanted = structs.replace(wanted, rollout=steps)
    deployer.check_change(wanted, target.number)


def _another_rollout(record: Record) -> InputError:
    assert record.rollout is not None
    candidate = record.revision(record.rollout.candidate)
    version = "?" if candidate is None else candidate.release.version
    return InputError(
        f"deployment '{record.name}'",
        expected="no other rollout",
        found=f"one of version {version}, {record.rollout.state.value} at step {record.rollout.step + 1}",
        remedy=f"Wait for it, end it with `{next_command('rollout-promote', name=record.name)}`, or with "
        f"`{next_command('rollout-abort', name=record.name)}`.",
    )


def _paused_rollout(record: Record, rollout: Rollout) -> InputError:
    return InputError(
        f"deployment '{record.name}'",
        expected="a rollout of this version that is running, or none",
        found=f"one that is paused at step {rollout.step + 1} of {len(rollout.steps)} ({rollout.reason})",
        remedy=f"It stays so until you go on with `{next_command('rollout-resume', name=record.name)}`, or end it with "
        f"`{next_command('rollout-promote', name=record.name)}` or "
        f"`{next_command('rollout-abort', name=record.name)}`.",
    )


def _another_signature(name: str, serving: Revision, target: Revision, strategy: str) -> InputError:
    return InputError(
        f"version {target.release.version} of {target.release.model}",
        expected=f"the columns and classes of version {serving.release.version}, which '{name}' serves: with the "
        f"strategy {strategy}, both answer the same clients",
        found="others",
        remedy="Serve it at once with `serving.rollout: rolling`, or under another name or stage.",
    )


def _version(settings: Settings, registry: Registry, request: ServeRequest) -> ModelVersion:
    store = settings.tracking_uri
    return choose_version(registry, request.name, store=store, alias=request.chosen_alias, number=request.version)


def _keep_sbom(registry: Registry, version: ModelVersion, image: ImageBuild, request: ServeRequest, say: Say) -> None:
    if (identifier := image.find()) is None:
        return
    try:
        registry.keep_sbom(version, sbom_digest(images(request.environment), identifier))
    except (WinnowError, TrackingUnavailableError) as error:  # it can be served all the same
        say(f"warning: version {version.label} in the registry lacks the digest of its image's software: {error}")


def _image(request: ServeRequest, release: Release, version: ModelVersion) -> ImageBuild:
    """The image that serves a release, built from the working directory."""
    options = BuildOptions.from_environment(request.environment, base=PROD_BASE)
    wanted = ModelImageRequest(release.bundle, release.version, Path(), options, version.run_id)
    return images(request.environment).plan_model_image(wanted)


@dataclass(frozen=True)
class Difference:
    """What would change in one part of a cluster.

    Attributes:
        part: "stack" or "prod".
        text: a unified diff; empty if nothing would change or nothing could be compared.
        error: why the part could not be compared; None if it was.
        has_nothing_yet: it was not compared because no model has been selected yet.
    """

    part: str
    text: str
    error: WinnowError | None = None
    has_nothing_yet: bool = False


def compare(parts: Mapping[str, Callable[[], str]]) -> tuple[Difference, ...]:
    """Compare each part, even if another one cannot be compared."""
    differences = []
    for name, difference in parts.items():
        try:
            differences.append(Difference(name, difference()))
        except WinnowError as error:
            differences.append(Difference(name, "", error, isinstance(error, NoChampionError)))
    return tuple(differences)


def prod_difference(platform: str, settings: Settings, registry: Registry, request: ServeRequest) -> str:
    """What `prod` would change on a platform. No image is built.

    Raises NoChampionError if no version has been selected yet; InputError or UnreachableError if the platform, the
    engine or the store does not answer.
    """
    plan = shown_plan(serving_platform_for(platform, settings, request.environment), settings, registry, request)
    return plan.deployer.difference(plan.record, plan.driver.desired.target.number)
