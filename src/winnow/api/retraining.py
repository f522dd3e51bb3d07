"""Train a model again where that is due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from winnow.api.arguments import connected, read_rules, silent

if TYPE_CHECKING:
    from winnow.model_query.gates import Stage
    from winnow.orchestrators.model_steps import Served
    from winnow.orchestrators.promote import Promotion
    from winnow.orchestrators.retrain import Retraining
    from winnow.orchestrators.select_model import Outcome


def retrain(
    config: Path | str,
    *,
    if_due: bool = True,
    rules: Path | str | None = None,
    platform: str | None = None,
    stop_after: Literal["select", "promote", "deploy"] | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> Retraining:
    """Train a model again where the section `retrain` of its experiment file says so: sweep, select, gates, rollout.

    The new study is called NAME, NAME-2, NAME-3, … A retraining that was interrupted goes on with its study. At most
    one runs at a time, also of several machines that share the study database; after a failure the next ones wait.

    Args:
        if_due: train only if the data, an alarm or the schedule says so; False: train now.
        rules: the rules file with the gates; by default `retrain.rules`.
        platform: "local", "docker" or "kubernetes"; by default `retrain.platform`.
        stop_after: the last step; by default `retrain.stop_after`.

    Returns:
        What was done and why, or why nothing was.

    Raises:
        InputError: the file, the rules or the data are wrong, or the rules lack gates that the champion passed.
        WinnowError: a step failed; what it was is in the model's history.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(Path(config))
    file, loaded = read_rules(experiment.retrain.rules if rules is None else rules)
    from winnow.orchestrators import retrain as orchestrator
    from winnow.orchestrators.model_history import user
    from winnow.orchestrators.select_model import store_is_needed
    from winnow.tracking.store import prepare

    settings, registry = connected()
    request = orchestrator.RetrainRequest(
        experiment, loaded, file, not if_due, user(), stop_after or experiment.retrain.stop_after
    )
    with store_is_needed(settings.tracking_uri):
        if dry_run:
            return orchestrator.plan(request, settings, registry, datetime.now(UTC))
        prepare(settings.tracking_uri)
        steps = Verbs(Path(config), experiment.name, file, platform or experiment.retrain.platform, say)
        return orchestrator.retrain(request, settings, registry, steps, say=say)


def render_calls(kind: Literal["timer", "cronjob"], config: Path | str, *, image: str = "") -> str:
    """Return what calls `monitor` and `retrain` as often as `monitoring.every` says: no scheduler of winnow's own.

    Args:
        kind: "timer": systemd units for this machine; "cronjob": manifests for a cluster, whose image holds the file.
        config: the experiment file, in the working directory.
        image: CronJobs: the workers' image by its digest.

    Raises:
        InputError: the file is wrong, cron cannot express `monitoring.every`, or there is no image.
    """
    from winnow.config.loader import load_experiment

    file = Path(config)
    experiment = load_experiment(file)
    from winnow.config.settings import Settings
    from winnow.platforms.regular_calls import RegularCalls
    from winnow.platforms.table import regular_calls

    every_s, stop_after = experiment.monitoring.every_s, experiment.retrain.stop_after
    calls = RegularCalls(experiment.name, file, Path.cwd(), every_s, stop_after, image)
    return regular_calls(kind, calls, Settings.from_environment())


@dataclass(frozen=True)
class Verbs:
    """The steps of `winnow.orchestrators.model_steps`, which are the verbs of this package."""

    config: Path
    model: str
    rules: Path
    platform: str
    say: Callable[[str], None]

    def sweep(self, study: str, *, is_retry: bool) -> int:
        from winnow.api.sweep import train

        result = train(self.config, study=study, platform=self.platform, is_retry=is_retry)
        return result.counts["complete"]

    def select(self, study: str) -> Outcome:
        from winnow.api.selection import select_model

        return select_model(study=study, rules=self.rules, say=self.say)

    def promote(self, stage: Stage, version: str) -> Promotion:
        from winnow.api.evaluation import promote_model

        return promote_model(stage, name=self.model, version=version, rules=self.rules)

    def deploy(self) -> Served:
        from winnow.api.deployments import serve

        return "paused" if serve(self.config, platform=self.platform, say=self.say).rollout == "paused" else "served"
