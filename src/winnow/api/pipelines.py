"""Go from raw data to a served model."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from winnow.api.arguments import connected, read_rules, silent
from winnow.api.retraining import Verbs

if TYPE_CHECKING:
    from winnow.config.experiment import Engine
    from winnow.orchestrators.deployments import Access
    from winnow.orchestrators.ingest import Ingestion
    from winnow.orchestrators.model_steps import Served
    from winnow.orchestrators.pipeline import Pipeline
    from winnow.orchestrators.prepare import Preparation
    from winnow.orchestrators.validate import Validation


def pipeline(
    config: Path | str,
    *,
    until: Literal["prepare", "train", "select", "serve"] = "serve",
    engine: Engine | None = None,
    platform: str = "local",
    rules: Path | str | None = None,
    dry_run: bool = False,
    tell: Callable[[str, str], None] | None = None,
    say: Callable[[str], None] = silent,
) -> Pipeline:
    """Ingest, validate, prepare, train, select and serve, one after the other, as the experiment file says.

    Each step does nothing where its result exists, so the same call goes on where one before ended. Sections that the
    file lacks are left out. Rows, code or settings that have changed train the next study, NAME-2, NAME-3, …; where the
    rules have gates, its version is promoted by them. Serving leaves a rollout in steps to a process of its own.

    Args:
        until: the last step.
        engine: what prepares the rows: duckdb, polars or spark; by default that of the file.
        platform: "local", "docker" or "kubernetes", for training and serving.
        rules: the rules file; by default `retrain.rules`, else winnow's own.
        dry_run: only say what would be done.
        tell: is called with each step and what it did, in one line.
        say: is called with lines about the steps while they run.

    Raises:
        InputError: the file, the rules, the raw data, a schema, a query or the platform is wrong; or rows violate a
            schema.
        WinnowError: a step failed; the steps before it are done.
    """
    from winnow.config.loader import load_experiment, located

    experiment = load_experiment(Path(config))
    file, loaded = read_rules(experiment.retrain.rules if rules is None else rules)
    from winnow.orchestrators import pipeline as orchestrator
    from winnow.orchestrators.select_model import store_is_needed

    settings, registry = connected()
    request = orchestrator.PipelineRequest(experiment, loaded, file, until, platform)
    steps = _Verbs(Path(config), experiment.name, file, platform, say, engine)
    run = orchestrator.plan if dry_run else orchestrator.pipeline
    with store_is_needed(settings.tracking_uri), located(Path(config)):
        done = run(request, settings, registry, steps, tell=tell or (lambda _step, _said: None))
    if not steps.access:
        return done
    access = steps.access[-1]
    return replace(done, url=access.url, curl=_curl(access))


def _curl(access: Access) -> str:
    key = '-H "authorization: Bearer $WINNOW_API_KEY" ' if access.needs_key else ""
    data = shlex.quote(f"@{access.example}")
    return f"curl -s {access.url}/predict -H 'content-type: application/json' {key}-d {data}"


@dataclass(frozen=True)
class _Verbs(Verbs):
    """The steps of a pipeline. `access` is how to use what is served, once it is."""

    engine: Engine | None = None
    access: list[Access] = field(default_factory=list)

    def ingest(self, *, dry_run: bool = False) -> Ingestion:
        from winnow.api.raw_data import ingest

        return ingest(self.config, dry_run=dry_run)

    def validate(self) -> Validation:
        from winnow.api.raw_data import validate

        return validate(self.config)

    def prepare(self, *, dry_run: bool = False) -> Preparation:
        from winnow.api.raw_data import prepare

        return prepare(self.config, engine=self.engine, dry_run=dry_run)

    def deploy(self) -> Served:
        from winnow.api.deployments import plan_serving
        from winnow.orchestrators.deploy import ServeRequest

        request = ServeRequest(self.model, config=self.config, is_detached=True)
        plan = plan_serving(request, self.platform, say=self.say)
        is_served = plan.changes_nothing
        deployment, driver = (plan.deploy(), None) if plan.start_driver is None else plan.begin()
        access = plan.access(deployment)
        self.access.append(access)
        forward = "" if access.manual is None else f"{access.manual.reason}\n  forward  {access.manual.command}"
        for line in (plan.note, forward, access.warning):
            if line:
                self.say(line)
        if driver is not None:
            return "begun"
        if deployment.rollout == "paused":
            return "paused"
        return "unchanged" if is_served else "served"
