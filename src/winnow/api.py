"""winnow as a library: the verbs as functions, with the settings of the environment.

    import winnow

    sweep = winnow.train("experiments/breast_cancer.yaml", trials=60)
    chosen = winnow.select_model("experiments/breast_cancer.yaml")
    served = winnow.serve("experiments/breast_cancer.yaml")
    winnow.predict(served.url, [{"mean radius": 14.2, …}])

Each does what the command of its name does, returns what that prints, and raises `winnow.WinnowError` where the command
ends with a message. This module composes and nothing else; heavy imports wait until a function is called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.errors import WinnowError
from winnow.config.experiment import Experiment
from winnow.config.loader import load_experiment, located
from winnow.config.names import check_study_name
from winnow.config.settings import Settings

if TYPE_CHECKING:
    from winnow.orchestrators.select_model import Outcome
    from winnow.orchestrators.studies import Deletion, ListedStudy
    from winnow.orchestrators.train import SweepResult
    from winnow.platforms.deployer import Deployment


def train(
    config: Path | str,
    *,
    study: str | None = None,
    trials: int | None = None,
    workers: int | None = None,
    platform: str = "local",
    image: str | None = None,
    registry: str = "",
    image_load: str = "",
    allow_changed_code: bool = False,
    is_retry: bool = False,
) -> SweepResult:
    """Run a study's trials until all are done; progress goes to standard error.

    Args:
        config: the experiment file.
        study: name of the study; the experiment's by default.
        trials, workers: instead of the file's.
        platform: where its workers run: "local" processes, "docker" containers or "kubernetes" pods.
        image: what containers are made of, instead of the image of `make build-train`.
        registry, image_load: where that image is pushed to, or the command that loads it, for a cluster's nodes;
            instead of WINNOW_REGISTRY and WINNOW_IMAGE_LOAD.
        allow_changed_code: go on with an existing study although a file of your own code has changed since.
        is_retry: train failed trials again, as `retry` does.

    Raises:
        InputError: something in the file or around it has to change; nothing was created.
        SweepFailedError: the workers do not come up.
        KeyboardInterrupt: Ctrl-C; local workers were stopped and their trials handed back, others work on.
    """
    overrides = _overrides(study, trials, workers)
    # Read before torch and MLflow are imported, so that a mistake in the file is told at once.
    experiment = load_experiment(Path(config), overrides)
    from winnow.orchestrators.progress import ProgressView

    view = ProgressView(metric=experiment.search.metric.name)
    with view.checking() as show:
        show(f"{experiment.name}: loading PyTorch, scikit-learn and MLflow")
        from winnow.orchestrators.report import write_report
        from winnow.orchestrators.settings import current
        from winnow.orchestrators.tiers import tier_for
        from winnow.orchestrators.train import Permission
        from winnow.platforms.docker.delivery import with_route
    from winnow.orchestrators.train import train as run

    settings = current()
    environment = with_route(os.environ, registry=registry, load=image_load)
    tier = tier_for(platform, settings, image=image, environment=environment)
    with located(Path(config), overrides):
        return run(
            experiment,
            experiment.name,
            settings,
            tier,
            view,
            lambda name: write_report(settings, name),
            folder=Path(config).absolute().parent,
            permission=Permission(allow_changed_code, is_retry),
        )


def retry(
    config: Path | str,
    *,
    study: str | None = None,
    workers: int | None = None,
    platform: str = "local",
    image: str | None = None,
    registry: str = "",
    image_load: str = "",
    allow_changed_code: bool = False,
) -> SweepResult:
    """Train a study's failed trials again under their numbers, and what else is left of it.

    Arguments and errors are those of `train`. InputError too where there is no such study or its workers are at work.
    """
    return train(
        config,
        study=study,
        workers=workers,
        platform=platform,
        image=image,
        registry=registry,
        image_load=image_load,
        allow_changed_code=allow_changed_code,
        is_retry=True,
    )


def studies() -> tuple[ListedStudy, ...]:
    """All studies of the storage, in the order in which they were made; nothing is changed.

    Raises:
        InputError: the storage cannot be read, or a tier in use does not answer.
    """
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.studies import list_studies
    from winnow.orchestrators.tiers import executors_for

    settings = current()
    return list_studies(settings, executors_for(None, settings))


def delete_study(study: str) -> Deletion:
    """Delete a study with its logs and report, without a question; return what went.

    Registered models and deployments stay, and MLflow's runs, which are marked as those of a deleted study.

    Raises:
        InputError: there is no such study, its workers are at work, or MLflow does not answer.
    """
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.studies import delete, plan_deletion
    from winnow.orchestrators.tiers import executors_for

    settings = current()
    executors = executors_for(None, settings)
    deletion = plan_deletion(check_study_name(study, "study"), settings, executors)
    delete(deletion, settings, executors)
    return deletion


def plan(
    config: Path | str,
    *,
    study: str | None = None,
    trials: int | None = None,
    workers: int | None = None,
    platform: str = "local",
    image: str | None = None,
) -> list[str]:
    """What `train` would start, a line for each worker; nothing is started. Raises InputError."""
    overrides = _overrides(study, trials, workers)
    experiment = load_experiment(Path(config), overrides)
    from winnow.orchestrators.settings import current
    from winnow.orchestrators.tiers import tier_for
    from winnow.orchestrators.train import data_of
    from winnow.orchestrators.train import plan as plan_groups

    settings = current()
    tier = tier_for(platform, settings, image=image)
    with located(Path(config), overrides):
        return tier.require().plan(plan_groups(experiment, experiment.name, tier, data_of(experiment, tier)))


def select_model(
    config: Path | str, *, study: str | None = None, rules: Path | str | None = None, dry_run: bool = False
) -> Outcome:
    """Choose a study's run by the rules and make its model the champion, refitting it first where it has none.

    Args:
        rules: the rules file; by default the one that is shipped.
        dry_run: choose, but neither refit nor crown.

    Raises:
        InputError: the rules are wrong, there is no such study, or the store does not answer.
        RefitFailedError: the winner has no model and could not be given one.
    """
    name = _study_name(config, study)
    from winnow.model_query.rules import DEFAULT_RULES, load_rules
    from winnow.orchestrators.refit import refit_run
    from winnow.orchestrators.select_model import select_model as choose
    from winnow.orchestrators.select_model import store_is_needed
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry
    from winnow.tracking.run_search import MlflowRunSearch

    settings = current()
    uri = settings.tracking_uri
    loaded = load_rules(Path(rules) if rules is not None else DEFAULT_RULES)
    with store_is_needed(uri):
        return choose(
            name,
            loaded,
            MlflowRunSearch(uri),
            Registry(uri),
            lambda run: refit_run(run, name, settings),
            dry_run=dry_run,
        )


def serve(
    config: Path | str,
    *,
    study: str | None = None,
    replicas: int | None = None,
    port: int | None = None,
    platform: str = "local",
) -> Deployment:
    """Serve a study's champion, and return where.

    What was served before answers until the new model is ready. Nothing changes where it is the same model.

    Args:
        platform: by "local" processes, by "docker" containers behind one entry point, or by "kubernetes" pods.

    Raises:
        InputError: there is no champion, or the port is taken.
        DeploymentFailedError: the model does not become ready.
    """
    name = _study_name(config, study)
    from winnow.orchestrators.deploy import Wanted, plan_champion
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    wanted = Wanted(name, replicas=replicas, port=port)
    deployer, planned = plan_champion(platform, settings, Registry(settings.tracking_uri), wanted)
    return deployer.deploy(planned)


def stop_serving(config: Path | str, *, study: str | None = None, platform: str = "local") -> bool:
    """Let requests end and stop all replicas; False where nothing was served."""
    name = _study_name(config, study)
    from winnow.orchestrators.deploy import deployer_for

    return deployer_for(platform, Settings.from_environment()).remove(name)


def predict(url: str, rows: Sequence[Mapping[str, float | None] | Sequence[Any]]) -> dict[str, Any]:
    """The served model's answer of `POST /predict`: `predictions`, `probabilities` or `values`, `model`, `request_id`.

    Args:
        url: of the server, as `serve` returns it.
        rows: values by column name, or in the columns' order; nested lists for tensors; None: missing.

    Raises:
        WinnowError: the server refuses the rows, or fails.
        NoAnswerError: nobody answers there.
    """
    import msgspec

    from winnow.serving.client import ask
    from winnow.serving.settings import from_environment

    asked = ask(url, msgspec.json.encode({"rows": rows}), key=from_environment().api_key)
    if asked.status != 200:
        raise WinnowError(f"{asked.address} answered {asked.status}: {asked.answer}")
    answer: dict[str, Any] = asked.answer
    return answer


def _overrides(study: str | None, trials: int | None, workers: int | None) -> dict[str, Any]:
    return {"search.trials": trials, "execution.workers": workers, "name": study}


def _study_name(config: Path | str, study: str | None) -> str:
    return check_study_name(study, "study") if study is not None else load_experiment(Path(config)).name


__all__ = [
    "Experiment",
    "WinnowError",
    "delete_study",
    "load_experiment",
    "plan",
    "predict",
    "retry",
    "select_model",
    "serve",
    "stop_serving",
    "studies",
    "train",
]
