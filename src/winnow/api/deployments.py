"""Serve a model, see and change what is served, and send it requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.api.arguments import connected, model_name, silent
from winnow.config.errors import InputError, WinnowError

if TYPE_CHECKING:
    from winnow.orchestrators.deploy import Difference, ServePlan, ServePreview, ServeRequest
    from winnow.orchestrators.deployments import Deployment, Removal, Serving
    from winnow.orchestrators.evidence import HoldoutRow
    from winnow.orchestrators.inference import Inference
    from winnow.platforms.images import BuildStep


def plan_serving(
    request: ServeRequest,
    platform: str = "local",
    *,
    show: Callable[[BuildStep], None] = silent,
    say: Callable[[str], None] = silent,
) -> ServePlan:
    """Download a registered model, build its image if the platform runs images, and plan to serve it.

    Args:
        say: is called with lines about the change while `ServePlan.deploy` makes it.

    Returns:
        The plan; call `deploy` to carry it out.

    Raises:
        InputError: there is no such version, the platform cannot be used, or the port is taken.
        RejectedVersionError: the version was rolled back or its rollout aborted, and `request.is_again` is not set.
        UnreachableError: the platform does not answer.
        BuildFailedError: the image cannot be built or delivered.
    """
    from winnow.orchestrators import deploy

    return deploy.plan_serving(platform, *connected(), request, show=show, say=say)


def preview_serving(request: ServeRequest, platform: str = "local", *, image: str = "") -> ServePreview:
    """Show what `plan_serving` would plan. This keeps no file and builds no image; engine and cluster may be down.

    Args:
        image: the image that replicas run, by its digest; empty: looked up, if an engine answers.

    Raises:
        InputError: there is no such version, or the port is taken.
    """
    from winnow.orchestrators import deploy

    return deploy.preview_serving(platform, *connected(), request, image)


def serve(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    replicas: int | None = None,
    host: str | None = None,
    port: int | None = None,
    stage: str | None = None,
    platform: str = "local",
    registry: str = "",
    image_load: str = "",
    is_again: bool = False,
    say: Callable[[str], None] = silent,
) -> Deployment:
    """Serve a model's champion, as the section `serving` of its experiment file says.

    The previous model keeps answering until the new one is ready; then requests move to it as `serving.rollout` says.
    Serving the same model again changes nothing. The same call after one that was killed goes on with its rollout.

    Args:
        replicas, host, port: override the file.
        stage: a stage of `serving.stages`, served under the name NAME-STAGE.
        platform: "local" processes, "docker" containers behind one entry point, or "kubernetes" pods.
        is_again: serve the version even if it was rolled back, or its rollout aborted.

    Returns:
        The deployment, with its address in `url`.

    Raises:
        InputError, UnreachableError, BuildFailedError: as for `plan_serving`.
        DeploymentFailedError: the new model did not become ready; the old one still serves.
        RolloutAbortedError: the rollout did not pass, or was aborted; the old model still serves.
        RejectedVersionError: the version was rolled back or its rollout aborted before.
    """
    chosen = model_name(config, study, name)
    from winnow.orchestrators.deploy import ServeRequest

    file = None if config is None else Path(config)
    request = ServeRequest(
        chosen,
        alias,
        version,
        replicas,
        host,
        port,
        registry,
        image_load,
        stage=stage,
        config=file,
        study=study,
        is_again=is_again,
    )
    return plan_serving(request, platform, say=say).deploy()


def status(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    say: Callable[[str], None] = silent,
) -> Serving:
    """Show what is being served: versions, replicas, addresses.

    Args:
        name: name of the deployment to show; by default that of the study or the file, else all.
        platform: "local", "docker", "kubernetes", "kserve" or "azure"; by default all platforms in use.
        say: is called with a line for each platform that does not answer.

    Returns:
        The deployments, where winnow looked for them, and the platforms that did not answer.

    Raises:
        InputError: nothing with that name is served, or the named platform does not answer.
    """
    chosen = deployment_name_of(config, study, name, stage)
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import observe_serving

    return observe_serving(Settings.from_environment(), chosen, platform, say)


def plan_rollback(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    by: str = "",
    reason: str = "",
    is_again: bool = False,
    say: Callable[[str], None] = silent,
) -> ServePlan:
    """Plan to serve the model that was served before the current one.

    The version that serves now is remembered as rejected, with the reason: `plan_serving` refuses it.

    Args:
        by: who or what rolls it back; by default the user of this process.
        reason: why, as a clause.
        is_again: serve the version before even if it was rejected itself.
        name, platform: as for `rollout_status`.
        say: is called with lines about the change while `ServePlan.deploy` makes it.

    Returns:
        The plan; call `deploy` to carry it out.

    Raises:
        SeveralDeploymentsError: there are several deployments, or several with that name.
        InputError: it is not served, nothing was served before, or the platform does not answer.
        RejectedVersionError: the version before was rolled back itself, or its rollout aborted.
    """
    chosen = deployment_name_of(config, study, name, stage)
    from winnow.config.settings import Settings
    from winnow.orchestrators import deploy

    settings = Settings.from_environment()
    return deploy.plan_rollback(settings, chosen, platform, by=by, reason=reason, is_again=is_again, say=say)


def rollback(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    by: str = "",
    reason: str = "",
    is_again: bool = False,
    say: Callable[[str], None] = silent,
) -> Deployment:
    """Serve the model that was served before the current one. See `plan_rollback`.

    Args:
        by, reason, is_again, name, platform: as for `plan_rollback`.

    Raises:
        SeveralDeploymentsError, InputError, RejectedVersionError: as for `plan_rollback`.
        DeploymentFailedError: the model did not become ready; the current one still serves.
    """
    chosen = deployment_name_of(config, study, name, stage)
    return plan_rollback(name=chosen, platform=platform, by=by, reason=reason, is_again=is_again, say=say).deploy()


def remove_deployment(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> Removal:
    """Finish running requests, then stop all replicas of a deployment. Images and logs stay.

    This also removes what a failed change left behind.

    Args:
        name, platform: as for `rollout_status`.
        say: is called with a line for each platform that does not answer.

    Returns:
        What was removed, or why nothing was.

    Raises:
        SeveralDeploymentsError: there are several deployments, or several with that name.
        InputError: the platform does not answer.
    """
    chosen = deployment_name_of(config, study, name, stage)
    from winnow.config.settings import Settings
    from winnow.orchestrators import deployments

    return deployments.remove_deployment(Settings.from_environment(), chosen, platform, say, dry_run=dry_run)


def stop_serving(
    config: Path | str | None = None, *, study: str | None = None, name: str | None = None, platform: str = "local"
) -> bool:
    """Finish running requests, then stop all replicas of a study's deployment on one platform. Images and logs stay.

    Returns:
        Whether anything was served.

    Raises:
        InputError: the platform does not answer.
    """
    removal = remove_deployment(name=model_name(config, study, name), platform=platform)
    return removal.is_removed or removal.has_removed_parts


def diff(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    part: str | None = None,
    alias: str | None = None,
    version: str | None = None,
    replicas: int | None = None,
    stage: str | None = None,
    say: Callable[[str], None] = silent,
) -> tuple[Difference, ...]:
    """Show what `mlflow_init` and `serve` would change on Kubernetes, without changing it.

    Args:
        part: "stack" or "prod" to compare only this part; by default both.

    Returns:
        For each part a unified diff, or the error that prevented it. Secrets are replaced by stars.

    Raises:
        InputError: there is no such part.
    """
    from winnow.orchestrators.deploy import compare, prod_difference

    def stack() -> str:
        from winnow.orchestrators.stack import difference

        return difference("kubernetes", say=say)

    def prod() -> str:
        from winnow.orchestrators.deploy import ServeRequest

        store = connected()
        file = None if config is None else Path(config)
        request = ServeRequest(
            model_name(config, study, name), alias, version, replicas, stage=stage, config=file, study=study
        )
        return prod_difference("kubernetes", *store, request)

    parts = {"stack": stack, "prod": prod}
    if part is not None and part not in parts:
        raise InputError("part", expected=f"one of {', '.join(parts)}", found=f"'{part}'", remedy="Choose one.")
    return compare(parts if part is None else {part: parts[part]})


def inference_one(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    name: str | None = None,
    stage: str | None = None,
    platform: str | None = None,
    url: str | None = None,
    source: Path | str | None = None,
    say: Callable[[str], None] = silent,
) -> Inference:
    """Send one request to a served model and check which model answers.

    Args:
        name, platform: as for `rollout_status`.
        url: address of a server, instead of a deployment.
        source: JSON file to send: {"rows": […]}, one row or a list of rows, any of MLflow's forms, or an inference
            request; or a PNG or JPEG image; by default the model's own example.
        say: is called with lines about how the server is reached.

    Returns:
        The answer, and the curl command that sends the same request.

    Raises:
        SeveralDeploymentsError: there are several deployments, or several with that name.
        InputError: no model server answers, a different model answers, or the server rejects the file.
        WinnowError: the server fails.
    """
    chosen = deployment_name_of(config, study, name, stage) if url is None else None
    from winnow.config.settings import Settings
    from winnow.orchestrators.inference import infer_once

    file = None if source is None else Path(source)
    return infer_once(Settings.from_environment(), chosen, platform, url=url, source=file, say=say)


def holdout_row(config: Path | str) -> HoldoutRow:
    """Return the first row of the holdout, which no training has seen, as a request with its true class or value.

    Raises:
        InputError: the file or its data cannot be read, or there is no holdout.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(Path(config))
    from winnow.orchestrators.evidence import holdout_row

    return holdout_row(experiment)


def predict(url: str, rows: Sequence[Mapping[str, float | None] | Sequence[Any]]) -> dict[str, Any]:
    """Get predictions from a served model: `POST /predict`, with WINNOW_API_KEY if it is set.

    Args:
        url: address of the server, as returned by `serve`.
        rows: values by column name, or in the order of the columns; nested lists for tensors. None is a missing value.

    Returns:
        The answer's JSON: `predictions`, `probabilities` or `values`, `model`, `request_id`.

    Raises:
        WinnowError: the server rejects the rows, or fails.
        NoAnswerError: nothing at the address speaks HTTP and JSON.
    """
    import msgspec

    from winnow.serving.client import ask
    from winnow.serving.settings import from_environment

    asked = ask(url, msgspec.json.encode({"rows": rows}), key=from_environment().api_key)
    if asked.status != 200:
        raise WinnowError(f"{asked.address} answered {asked.status}: {asked.answer}")
    answer: dict[str, Any] = asked.answer
    return answer


def deployment_name_of(config: Path | str | None, study: str | None, name: str | None, stage: str | None) -> str | None:
    """The name of the deployment; None if no argument names one."""
    if config is None and study is None and name is None:
        if stage is not None:
            raise InputError("stage", expected="a model's name with it", found="none", remedy="Name the model too.")
        return None
    from winnow.config.serving_faults import deployment_name

    return deployment_name(model_name(config, study, name), stage)
