"""Serve a model, see and change what is served, and ask it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.api.arguments import silent, study_name
from winnow.config.errors import InputError, WinnowError

if TYPE_CHECKING:
    from winnow.orchestrators.deploy import ServePlan, ServePreview, ServeRequest
    from winnow.orchestrators.deployments import Removal, Serving
    from winnow.orchestrators.difference import Difference
    from winnow.orchestrators.holdout import HoldoutRow
    from winnow.orchestrators.inference import Inference
    from winnow.platforms.deployer import Deployment
    from winnow.platforms.images import BuildStep


def plan_serving(
    request: ServeRequest,
    platform: str = "local",
    *,
    show: Callable[[BuildStep], None] = silent,
    say: Callable[[str], None] = silent,
) -> ServePlan:
    """Plan to serve a registered model, fetch it, and build its image where the platform runs images.

    Args:
        request: which version of which model is served, and how.
        platform: "local", "docker" or "kubernetes".
        show: is called with each step of the image's build.
        say: is called with lines about the change while `ServePlan.deploy` makes it.

    Returns:
        The plan, which `deploy` carries out.

    Raises:
        InputError: there is no such version, the platform cannot be used, or the port is taken.
        UnreachableError: the platform does not answer.
        BuildFailedError: the image cannot be built or delivered.
    """
    from winnow.orchestrators import deploy
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    registry = Registry(settings.tracking_uri)
    return deploy.plan_serving(platform, settings, registry, request, show=show, say=say)


def preview_serving(request: ServeRequest, platform: str = "local") -> ServePreview:
    """Say what `plan_serving` would plan. Leave no file and no image, and need neither an engine nor a cluster.

    Args:
        request: which version of which model is served, and how.
        platform: "local", "docker" or "kubernetes".

    Returns:
        The plan to be shown, and the facts that could not be looked up.

    Raises:
        InputError: there is no such version, or the port is taken.
    """
    from winnow.orchestrators import deploy
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    return deploy.preview_serving(platform, settings, Registry(settings.tracking_uri), request)


def serve(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    alias: str = "champion",
    version: str | None = None,
    replicas: int | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    platform: str = "local",
    registry: str = "",
    image_load: str = "",
    say: Callable[[str], None] = silent,
) -> Deployment:
    """Serve a study's champion, and return where.

    The model that was served before answers until the new one is ready. Nothing changes where it is the same model.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        alias: alias of the model's version in the registry.
        version: number of the version, instead of an alias.
        replicas: servers side by side; by default as many as run, or one.
        host: address to listen on; on Kubernetes the host of the Ingress, in which a * is the deployment's name.
        port: the port; by default the one in use, or a free one.
        platform: "local" processes, "docker" containers behind one entry point, or "kubernetes" pods.
        registry: HOST/PATH that the image is pushed to, for a cluster; by default WINNOW_REGISTRY.
        image_load: command that loads the image onto a cluster's nodes; by default WINNOW_IMAGE_LOAD.
        say: is called with lines about the change while it is made.

    Returns:
        The deployment; `url` is where it answers.

    Raises:
        InputError: there is no such version, the platform cannot be used, or the port is taken.
        UnreachableError: the platform does not answer.
        BuildFailedError: the image cannot be built or delivered.
        DeploymentFailedError: the new model does not become ready; the old one still serves.
    """
    name = study_name(config, study)
    from winnow.orchestrators.deploy import ServeRequest

    request = ServeRequest(name, alias, version, replicas, host, port, registry, image_load)
    return plan_serving(request, platform, say=say).deploy()


def status(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    platform: str | None = None,
    say: Callable[[str], None] = silent,
) -> Serving:
    """Say what is being served: versions, replicas, addresses.

    Args:
        config: an experiment file, to show only its deployment.
        study: name of a study, to show only its deployment; by default all.
        platform: "local", "docker" or "kubernetes"; by default all that are in use.
        say: is called with a line for each platform that could not be asked.

    Returns:
        The deployments, where they were looked for, and the platforms that could not be asked.

    Raises:
        InputError: a name was given and nothing of that name is served, or the platform does not answer.
    """
    name = _deployment_name(config, study)
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import observe_serving

    return observe_serving(Settings.from_environment(), name, platform, say)


def plan_rollback(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    platform: str | None = None,
    say: Callable[[str], None] = silent,
) -> ServePlan:
    """Plan to serve the model that was served before the current one.

    Args:
        config: the experiment file whose deployment is meant.
        study: name of the study whose deployment is meant; by default the only deployment.
        platform: "local", "docker" or "kubernetes"; by default the one that serves it.
        say: is called with lines about the change while `ServePlan.deploy` makes it.

    Returns:
        The plan, which `deploy` carries out.

    Raises:
        SeveralDeploymentsError: several deployments could be meant.
        InputError: it is not served, nothing was served before, or the platform does not answer.
    """
    name = _deployment_name(config, study)
    from winnow.config.settings import Settings
    from winnow.orchestrators import deploy

    return deploy.plan_rollback(Settings.from_environment(), name, platform, say=say)


def rollback(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    platform: str | None = None,
    say: Callable[[str], None] = silent,
) -> Deployment:
    """Serve the model that was served before the current one.

    Args:
        config: the experiment file whose deployment is meant.
        study: name of the study whose deployment is meant; by default the only deployment.
        platform: "local", "docker" or "kubernetes"; by default the one that serves it.
        say: is called with lines about the change while it is made.

    Returns:
        The deployment as it is now.

    Raises:
        SeveralDeploymentsError: several deployments could be meant.
        InputError: it is not served, nothing was served before, or the platform does not answer.
        DeploymentFailedError: the model does not become ready; the current one still serves.
    """
    return plan_rollback(config, study=study, platform=platform, say=say).deploy()


def remove_deployment(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    platform: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> Removal:
    """Let requests end, then stop all replicas of a deployment. Images and logs stay.

    Parts that a failed change has left are removed, too.

    Args:
        config: the experiment file whose deployment is meant.
        study: name of the study whose deployment is meant; by default the only deployment.
        platform: "local", "docker" or "kubernetes"; by default the one that serves it.
        dry_run: say what would be stopped, and stop nothing.
        say: is called with a line for each platform that could not be asked.

    Returns:
        What was removed, or why nothing was.

    Raises:
        SeveralDeploymentsError: several deployments could be meant.
        InputError: the platform does not answer.
    """
    name = _deployment_name(config, study)
    from winnow.config.settings import Settings
    from winnow.orchestrators import deployments

    return deployments.remove_deployment(Settings.from_environment(), name, platform, say, dry_run=dry_run)


def stop_serving(config: Path | str | None = None, *, study: str | None = None, platform: str = "local") -> bool:
    """Let requests end, then stop all replicas of a study's deployment on one platform. Images and logs stay.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        platform: the platform that serves it.

    Returns:
        False where nothing was served.

    Raises:
        InputError: the platform does not answer.
    """
    removal = remove_deployment(study=study_name(config, study), platform=platform)
    return removal.is_removed or removal.has_removed_parts


def diff(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    part: str | None = None,
    alias: str = "champion",
    version: str | None = None,
    replicas: int | None = None,
    say: Callable[[str], None] = silent,
) -> tuple[Difference, ...]:
    """Compare the cluster with what `mlflow_init` and `serve` on Kubernetes would make of it. Change nothing.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        part: "stack" or "prod" to compare this alone; by default both.
        alias: alias of the model's version in the registry.
        version: number of the version, instead of an alias.
        replicas: servers side by side; by default as many as run, or one.
        say: is called with lines for a person while the stack is compared.

    Returns:
        For each part a unified diff, or the error for which it could not be compared. Secrets are starred.

    Raises:
        InputError: there is no such part.
    """
    from winnow.orchestrators.difference import compare, prod_difference, stack_difference

    def prod() -> str:
        from winnow.orchestrators.deploy import ServeRequest
        from winnow.orchestrators.settings import current
        from winnow.tracking.registry import Registry

        settings = current()
        request = ServeRequest(study_name(config, study), alias, version, replicas)
        return prod_difference("kubernetes", settings, Registry(settings.tracking_uri), request)

    parts = {"stack": lambda: stack_difference(say), "prod": prod}
    if part is not None and part not in parts:
        raise InputError("part", expected=f"one of {', '.join(parts)}", found=f"'{part}'", remedy="Choose one.")
    return compare(parts if part is None else {part: parts[part]})


def inference_one(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    platform: str | None = None,
    url: str | None = None,
    source: Path | str | None = None,
    say: Callable[[str], None] = silent,
) -> Inference:
    """Ask what is being served for one prediction, to see that it answers as it should.

    Args:
        config: the experiment file whose deployment is meant.
        study: name of the study whose deployment is meant; by default the only deployment.
        platform: "local", "docker" or "kubernetes"; by default the one that serves it.
        url: address of a server, instead of a deployment.
        source: JSON file to send: {"rows": […]}, one row or a list of rows, any of MLflow's forms, or an inference
            request; by default the model's own example.
        say: is called with lines about how the server is reached.

    Returns:
        The answer, and the curl command that gets the same.

    Raises:
        SeveralDeploymentsError: several deployments could be meant.
        InputError: no model server answers, another model than the deployment's answers, or the file is refused.
        WinnowError: the server fails.
    """
    name = _deployment_name(config, study) if url is None else None
    from winnow.config.settings import Settings
    from winnow.orchestrators.inference import infer_once

    file = None if source is None else Path(source)
    return infer_once(Settings.from_environment(), name, platform, url=url, source=file, say=say)


def holdout_row(config: Path | str) -> HoldoutRow:
    """Take a row that no training has seen, to try a served model with.

    Args:
        config: the experiment file.

    Returns:
        The first row of the holdout as a request, and its true class or target value.

    Raises:
        InputError: the file or its data cannot be read, or nothing is held out.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(Path(config))
    from winnow.orchestrators import holdout

    return holdout.holdout_row(experiment)


def predict(url: str, rows: Sequence[Mapping[str, float | None] | Sequence[Any]]) -> dict[str, Any]:
    """Ask a served model for predictions: `POST /predict`.

    WINNOW_API_KEY is sent where it is set.

    Args:
        url: address of the server, as `serve` returns it.
        rows: values by column name, or in the columns' order; nested lists for tensors. None is a missing value.

    Returns:
        The answer's JSON: `predictions`, `probabilities` or `values`, `model`, `request_id`.

    Raises:
        WinnowError: the server refuses the rows, or fails.
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


def _deployment_name(config: Path | str | None, study: str | None) -> str | None:
    """The name of the deployment that is meant; None where none is named."""
    return None if config is None and study is None else study_name(config, study)
