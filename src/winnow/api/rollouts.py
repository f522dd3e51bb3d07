"""See how a rollout goes, and promote, pause, resume or abort it; act on alerts; print manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import connected, model_name, silent
from winnow.api.deployments import deployment_name_of

if TYPE_CHECKING:
    from winnow.config.experiment import Experiment
    from winnow.orchestrators.rollouts import RolloutStatus, Wish
    from winnow.platforms.rollout_driver import RolloutDriver
    from winnow.rollout.forecast import Forecast
    from winnow.rollout.verdict import Verdict


def rollout_status(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    say: Callable[[str], None] = silent,
) -> RolloutStatus:
    """Show how the current or last rollout of a deployment goes: step, requests, errors, answer times, verdicts.

    Args:
        name: name of the deployment; by default that of the study or the file, else the only one.
        platform: "local", "docker", "kubernetes", "kserve" or "azure"; by default the one that serves it.
        say: is called with a line for each platform that does not answer.

    Raises:
        SeveralDeploymentsError: there are several deployments, or several with that name.
        InputError: it is not served, there was no rollout, or the platform does not answer.
    """
    chosen = deployment_name_of(config, study, name, stage)
    from winnow.config.settings import Settings
    from winnow.orchestrators.rollouts import find_rollout

    return find_rollout(Settings.from_environment(), chosen, platform, say).status()


def change_rollout(
    wish: Wish,
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    reason: str = "",
    say: Callable[[str], None] = silent,
) -> RolloutStatus:
    """Promote, pause, resume or abort the open rollout of a deployment.

    The process that drives the rollout does it, and this call waits until it has. Where no process drives the rollout,
    this call does, to its end or its next pause.

    Args:
        wish: "promote": all requests go to the candidate; "pause": the weights stay; "resume": go on with the steps;
            "abort": all requests go to the stable revision.
        name, platform: as for `rollout_status`.
        reason: why it is aborted, as a clause, for the model's history.

    Returns:
        How the rollout goes afterwards.

    Raises:
        SeveralDeploymentsError: there are several deployments, or several with that name.
        InputError: it is not served, no rollout is open, or the platform does not answer.
        WinnowError: the process that drives the rollout did not do it within two minutes.
    """
    chosen = deployment_name_of(config, study, name, stage)
    from winnow.config.settings import Settings
    from winnow.orchestrators.rollouts import find_rollout

    return find_rollout(Settings.from_environment(), chosen, platform, say).change(wish, reason)


def drive_rollout(
    *, name: str, platform: str, is_replaced: bool = False, say: Callable[[str], None] = silent
) -> RolloutStatus:
    """Drive the running rollout of a deployment to its end or next pause; a paused one stays so.

    Args:
        platform: "local", "docker", "kubernetes", "kserve" or "azure".
        is_replaced: another process takes the place of this one where it is interrupted: the rollout is not paused.

    Raises:
        InputError: it is not served, there was no rollout, or another process drives it.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators.rollouts import find_rollout

    return find_rollout(Settings.from_environment(), name, platform, say).go_on(is_replaced=is_replaced)


def detach_rollout(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    say: Callable[[str], None] = silent,
) -> RolloutDriver | None:
    """Leave the open rollout of a deployment to a process of its own; on Kubernetes to a Job.

    Args:
        name, platform: as for `rollout_status`.

    Returns:
        What drives it; None where it ended or paused at once.

    Raises:
        SeveralDeploymentsError: there are several deployments, or several with that name.
        InputError: it is not served, no rollout is open, another process drives it, or the driver cannot start.
    """
    chosen = deployment_name_of(config, study, name, stage)
    from winnow.config.settings import Settings
    from winnow.orchestrators.rollouts import find_rollout

    return find_rollout(Settings.from_environment(), chosen, platform, say).detach()


def plan_rollout(
    config: Path | str,
    *,
    stage: str | None = None,
    rate: float,
    error_rate: float = 0.001,
    flip_rate: float = 0.0,
    outcome_rate: float = 1.0,
    spread: float = 0.357,
) -> Forecast:
    """How many requests and how long each step of a rollout takes until it can pass. No platform is asked.

    Args:
        rate: requests per second to the deployment, above 0.
        error_rate: share of the requests at which both revisions err, from 0 to below 1.
        flip_rate: share of the compared predictions that differ, likewise.
        outcome_rate: of an A/B test, share of the requests whose outcome becomes known, above 0 and at most 1.
        spread: of an A/B test, the standard deviation of its metric, above 0: √(p (1 - p)) of a share p; by default
            that of an accuracy of 0.85.

    Raises:
        InputError: the file is wrong, has no such stage, or a number is out of its range.
    """
    from winnow.config.errors import InputError
    from winnow.config.loader import load_experiment
    from winnow.config.next_command import next_flag
    from winnow.orchestrators.serving_settings import stage_of
    from winnow.rollout.forecast import Traffic, forecast

    numbers = {
        "rate": (rate, 0 < rate < float("inf"), "a number of requests per second above 0"),
        "error_rate": (error_rate, 0 <= error_rate < 1, "a share from 0 to below 1"),
        "flip_rate": (flip_rate, 0 <= flip_rate < 1, "a share from 0 to below 1"),
        "outcome_rate": (outcome_rate, 0 < outcome_rate <= 1, "a share above 0 and up to 1"),
        "spread": (spread, 0 < spread < float("inf"), "a standard deviation above 0"),
    }
    for name, (number, is_possible, expected) in numbers.items():
        if not is_possible:
            raise InputError(next_flag(name), expected=expected, found=f"{number:g}", remedy="Correct it.")
    traffic = Traffic(rate, error_rate, flip_rate, outcome_rate, spread)
    return forecast(stage_of(load_experiment(config).serving, stage).rollout, traffic)


def rollout_verdict(
    step: str,
    *,
    name: str,
    prometheus: str,
    stable: str,
    candidate: str,
    say: Callable[[str], None] = silent,
) -> Verdict:
    """Wait for winnow's verdict on a step of a rollout whose traffic another program moves, such as Argo Rollouts.

    Errors and answer times are what the replicas have counted since the call. The tests hold at every look.

    Args:
        step: as JSON: `least_s` and `most_s` seconds, `alpha`, and `conditions` as in `serving.rollout.conditions`.
        name: the deployment, as Prometheus labels its replicas.
        prometheus: address of a Prometheus that scrapes them.
        stable: the hash in the names of the stable revision's pods.
        candidate: that of the candidate's.
        say: is called with what is still missing.

    Returns:
        Whether it passes or fails, or `not_enough_data` where `most_s` is over, with a finding for each condition.

    Raises:
        InputError: the step is none, or what answers at the address is no Prometheus.
    """
    from winnow.orchestrators import rollout_verdict as orchestrator

    judged = orchestrator.step_of(step)
    hashes = orchestrator.RevisionHashes(stable, candidate)
    return orchestrator.await_verdict(judged, hashes, orchestrator.of_prometheus(prometheus, name), say=say)


def serve_hooks(
    name: str,
    *,
    platform: str | None = None,
    host: str = "127.0.0.1",
    port: int = 9119,
    match: Mapping[str, str] | None = None,
    say: Callable[[str], None] = silent,
) -> None:
    """Receive Alertmanager's webhook, and roll a deployment back when an alert about it fires, until Ctrl-C.

    Requests must carry the bearer token of WINNOW_HOOKS_TOKEN_FILE or WINNOW_HOOKS_TOKEN; they are answered at once,
    with status 202. An open rollout is aborted; otherwise the revision before serves again. Alerts that began before a
    version was sent away, or within ten minutes after, are about that version and change nothing.

    Args:
        name: the deployment.
        platform: as for `rollout_status`.
        host: address to listen on.
        port: 0 for a free one.
        match: labels that an alert must have; by default `{"deployment": name}`.
        say: is called with a line for each alert and what became of it.

    Raises:
        InputError: there is no token, nothing is served under the name, or the address cannot be listened on.
    """
    import os

    from winnow.config.settings import Settings
    from winnow.orchestrators import hooks

    token = hooks.token_of(os.environ)
    labels = {"deployment": name} if match is None else match
    hooks.receiver_for(Settings.from_environment(), name, platform, labels, token, say).run(host, port)


def render(
    config: Path | str | None = None,
    *,
    platform: str = "kubernetes",
    image: str = "",
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    replicas: int | None = None,
    host: str | None = None,
    port: int | None = None,
) -> str:
    """Return everything that a first deployment would send to a platform. The platform is not asked.

    Equal arguments, environment, experiment file and model give equal text.

    Args:
        image: the replicas' image by its digest: `REPOSITORY@sha256:…`; none for "local", where replicas run this
            installation.
        host: address to listen on; on Kubernetes the host of the Ingress, in which * stands for the deployment's name.
        port: the port; by default that of the file.

    Raises:
        InputError: there is no such version, a setting is wrong, or the image is not named by its digest.
    """
    chosen = model_name(config, study, name)
    from winnow.orchestrators import deploy

    file = None if config is None else Path(config)
    request = deploy.ServeRequest(chosen, alias, version, replicas, host, port, stage=stage, config=file, study=study)
    return deploy.render(platform, *connected(), request, image)


def render_stage(experiment: Experiment, stage: str | None = None, *, platform: str = "kubernetes") -> str:
    """Return what a platform would be sent for a stage before a version is chosen: no image, and version 1.

    Args:
        experiment: as `load_experiment` reads it.
        stage: a stage of `serving.stages`, or "staging"; by default the deployment without one.

    Raises:
        InputError: there is no such stage, or a manifest in `k8s/prod` lacks what is set in it.
    """
    from winnow.config.settings import Settings
    from winnow.orchestrators import deploy

    return deploy.render_stage(platform, Settings.from_environment(), experiment.serving, experiment.name, stage)
