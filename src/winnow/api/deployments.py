"""Serve a model, see and change what is served, and ask it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.api.arguments import study_name
from winnow.config.errors import WinnowError

if TYPE_CHECKING:
    from winnow.orchestrators.holdout import HoldoutRow
    from winnow.platforms.deployer import Deployment


def serve(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    version: str | None = None,
    replicas: int | None = None,
    port: int | None = None,
    platform: str = "local",
) -> Deployment:
    """Serve a study's champion, or another version of its model, and return where.

    The model that was served before answers until the new one is ready. Nothing changes where it is the same model.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        version: number of the version to serve, instead of the champion.
        replicas: servers side by side; by default as many as run, or one.
        port: the port; by default the one in use, or a free one.
        platform: "local" processes, "docker" containers behind one entry point, or "kubernetes" pods.

    Returns:
        The deployment; `url` is where it answers.

    Raises:
        InputError: there is no champion or no such version, the platform cannot be used, or the port is taken.
        DeploymentFailedError: the new model does not become ready; the old one still serves.
    """
    name = study_name(config, study)
    from winnow.orchestrators.deploy import ServeRequest, plan_serving
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    request = ServeRequest(name, version=version, replicas=replicas, port=port)
    return plan_serving(platform, settings, Registry(settings.tracking_uri), request).deploy()


def stop_serving(config: Path | str | None = None, *, study: str | None = None, platform: str = "local") -> bool:
    """Let requests end, then stop all replicas of a deployment. Images and logs stay.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        platform: the platform that serves it.

    Returns:
        False where nothing was served.

    Raises:
        InputError: the platform cannot be used.
    """
    name = study_name(config, study)
    from winnow.config.settings import Settings
    from winnow.orchestrators.deployments import deployer_for

    return deployer_for(platform, Settings.from_environment()).remove(name)


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
