"""The `winnow` command: verbs, loaded when they are called.

This module imports only click, so that `winnow --help` and a mistyped flag answer at once. A verb is a click command in
its own module; it returns its exit status, or None for success. User errors end here as one message without a
traceback; bugs keep their traceback.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

from winnow.config.addresses import own_addresses_directly
from winnow.config.disk import disk_fault, home_of, probe
from winnow.config.errors import InputError, WinnowError
from winnow.config.exit_codes import CommandExit, leave
from winnow.config.interrupts import is_interrupted_query, repeat_ignored_interrupts
from winnow.config.nearest import did_you_mean
from winnow.config.private import restrict_umask, tighten
from winnow.config.streams import accept_any_text
from winnow.config.system import check_system

OLD_TARGET = InputError(
    "--target",
    expected="--platform",
    found="its old name",
    remedy="Write --platform NAME, or PLATFORM=NAME with make.",
)
"""The error for a flag that scripts may still use."""

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Start": {
        "init": ("project:init", "Make a project folder of your own, anywhere."),
        "demo": ("demo:command", "Sweep, select, serve and predict on bundled data."),
        "demo-loop": ("demo_loop:command", "Train, serve, watch, and train again when customers have changed."),
        "generate-data": ("data:generate_data", "Write a synthetic data set with a known answer."),
        "schema": ("project:schema", "Print the JSON schema of experiment files, for editors."),
    },
    "Data": {
        "data-version": (
            "data:data_version",
            "Make a version of a file or folder by DVC, and copy it to the remote.",
        ),
        "ingest": ("data:ingest", "Copy raw data to the home as Parquet, and only what is new of them."),
        "validate": ("data:validate", "Check raw rows against their schema, or write a first one from them."),
        "prepare": ("data:prepare", "Compute the rows that are trained on from raw ones, by a query or a function."),
        "pipeline": ("pipeline:command", "Go from raw data to a served model; steps that are done change nothing."),
    },
    "Sweep": {
        "train": ("train:train", "Run a study's trials until all are done; resume it or attach to it."),
        "retry": ("train:retry", "Train a study's failed trials again."),
        "jobs": ("jobs:jobs", "List the running workers."),
        "logs": ("jobs:logs", "Print the workers' logs."),
        "cancel": ("jobs:cancel", "Stop a study's workers and return their trials to the study."),
        "build-train": ("build:build_train", "Build the workers' image and the tracking server's."),
    },
    "Look": {
        "studies": ("studies:studies", "List all studies: state, trials, best value, running workers."),
        "track-experiments": (
            "watch:track_experiments",
            "List experiments with their models, and compare their studies.",
        ),
        "report": ("studies:report", "Write a study's report as one HTML page."),
        "ui": ("ui:command", "Show MLflow's pages on the runs."),
        "dashboard": ("ui:dashboard", "Show Optuna's dashboard on the studies."),
        "delete-study": ("studies:delete_study", "Delete a study with its logs and report; models and runs stay."),
    },
    "Select": {
        "select-model": (
            "select_model:command",
            "Pick the best run that passes the rules, and show why others did not.",
        ),
        "evaluate": ("evaluation:evaluate", "Measure a registered version on rows, with intervals."),
        "compare-ab": ("evaluation:compare", "Compare two registered versions on the same rows."),
        "predict": ("evaluation:predict", "Score the rows of a file with a registered version."),
        "promote-model": ("evaluation:promote", "Judge a version by the gates of a stage, and move the stage's alias."),
    },
    "Serve": {
        "build-prod": ("build:build_prod", "Build the image that serves the selected model."),
        "prod": ("prod:prod", "Serve the selected model."),
        "prod-status": ("prod:status", "Show what is being served."),
        "prod-remove": ("prod:remove", "Stop serving."),
        "rollback": ("prod:rollback", "Serve the previous model again."),
        "plan-rollout": ("rollouts:plan", "Show how long the steps of a rollout take."),
        "rollout-status": (
            "rollouts:status",
            "Show how a rollout goes: step, requests, errors, answer times, verdicts.",
        ),
        "rollout-promote": ("rollouts:promote", "Send all requests to the candidate of a rollout."),
        "rollout-pause": ("rollouts:pause", "Leave the weights of a rollout as they are."),
        "rollout-resume": ("rollouts:resume", "Go on with a rollout."),
        "rollout-abort": ("rollouts:abort", "Send all requests back to the revision that served before."),
        "rollout-verdict": ("rollouts:verdict", "Wait for the verdict on a step that Argo Rollouts moves."),
        "serve-hooks": ("rollouts:serve_hooks", "Roll a deployment back when an alert about it fires."),
        "render": ("rollouts:render", "Print what a platform would be sent, without asking it."),
        "gitops-init": ("files:gitops_init", "Write manifests into a clone, for Argo CD or Flux to apply."),
        "gitops-promote": (
            "files:gitops_promote",
            "Judge a version by a stage's gates, and commit it to the manifests.",
        ),
        "gitops-rollback": ("files:gitops_rollback", "Revert the last promotion of a stage by a commit."),
        "outcomes": ("watch:outcomes", "Measure each revision by the outcomes of its predictions."),
        "inference-one": ("inference_one:command", "Get one prediction from a served model."),
    },
    "Watch": {
        "monitor": ("watch:monitor", "Look for drift, worse outcomes and passed limits, and tell of alarms."),
        "why": ("watch:why", "Say where a version comes from, and what became of it."),
        "retrain": ("watch:retrain", "Train a model again where data, an alarm or the schedule says so."),
    },
    "Stack": {
        "mlflow-init": (
            "stacks:mlflow_init",
            "Start the tracking stack (Postgres, MinIO and MLflow) for every verb to use.",
        ),
        "mlflow-remove": ("stacks:mlflow_remove", "Remove the stack; its data stays unless --volumes is given."),
        "kubernetes-secrets": (
            "stacks:kubernetes_secrets",
            "Create the Secret that `kubectl apply -k k8s/tracking` needs.",
        ),
        "compose-logs": ("stacks:compose_logs", "Print the stack's logs."),
        "monitoring-init": (
            "stacks:monitoring_init",
            "Start Prometheus, Alertmanager and Grafana, which watch deployments.",
        ),
        "monitoring-remove": ("stacks:monitoring_remove", "Remove what monitoring-init started."),
        "spark-init": ("stacks:spark_init", "Start a master and a worker of Spark, for prepare."),
        "spark-remove": ("stacks:spark_remove", "Remove what spark-init started."),
        "monitoring-rules": ("stacks:monitoring_rules", "Print Prometheus rules, or the Grafana dashboard."),
        "airflow-dags": ("files:airflow_dags", "Write DAGs of Airflow that call these verbs for an experiment."),
        "ci-init": ("files:ci_init", "Write the pipeline of a project for GitHub, Jenkins or GitLab."),
        "airflow-local": ("stacks:airflow_local", "Run Airflow on this machine, without Docker, until Ctrl-C."),
        "airflow-init": (
            "stacks:airflow_init",
            "Start Airflow and Postgres in containers; on Kubernetes, print manifests.",
        ),
        "airflow-remove": (
            "stacks:airflow_remove",
            "Remove what airflow-init started; runs stay unless --volumes is given.",
        ),
        "airflow-logs": ("stacks:airflow_logs", "Print Airflow's logs."),
        "audit": (
            "files:audit",
            "List software and licences of this project and its images, and look for known faults.",
        ),
        "diff": ("prod:diff", "Show what mlflow-init and prod on Kubernetes would change in the cluster."),
        "feature-server": ("project:feature_server", "Serve Feast's features to replicas that look them up."),
        "install-tool": (
            "project:install_tool",
            "Install a tool in an environment of its own: Airflow, DVC, Feast, Spark and others.",
        ),
    },
    "Develop": {
        "config-reference": ("project:config_reference", "Update or check the generated parts of the documents."),
    },
}
"""By task: verb → its command (module:function in this package), and its line in `--help`."""

VERBS = {verb: line for verbs in GROUPS.values() for verb, line in verbs.items()}


_COLUMN = max(map(len, VERBS))


class LazyVerbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module, _, attribute = VERBS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(f"winnow.cli.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        nearest = did_you_mean(args[0], VERBS)
        if args[0] not in VERBS and nearest:
            ctx.fail(f"No such command '{args[0]}'. {nearest}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group, verbs in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(verb.ljust(_COLUMN), sentence) for verb, (_, sentence) in verbs.items()])


@click.group(cls=LazyVerbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="winnow", prog_name="winnow")
def winnow() -> None:
    """Sweep, select and serve PyTorch models.

    \b
    winnow train --config FILE     run a cross-validated sweep, tracked in MLflow
    winnow select-model            pick the best run that passes the rules
    winnow prod                    serve the selected model
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit. Only this user can read the files that it and its children write."""
    try:
        check_system()
    except InputError as error:
        sys.exit(_print_error(error))
    # The libraries of a verb bring so many objects that looking for garbage among them takes a sixth of its start.
    gc.set_threshold(100_000, 20, 20)
    restrict_umask()
    tighten(home_of())
    accept_any_text(sys.stdout, sys.stderr)
    repeat_ignored_interrupts()
    os.environ.update(own_addresses_directly(os.environ))
    report_errors(os.environ)
    leave(run(arguments))


def report_errors(environment: Mapping[str, str]) -> None:
    """Send bugs of verbs to Sentry, if SENTRY_DSN is set. Errors with a message for the user are not sent."""
    if not environment.get("SENTRY_DSN"):
        return
    from winnow.config import error_reports

    if silent := error_reports.start(environment, {"part": "verb"}):
        click.echo(f"warning: {silent}", err=True)


def run(arguments: Sequence[str] | None = None, command: click.Command = winnow) -> int:
    """Run the command line and return its exit status. Bugs are raised."""
    try:
        status = command.main(arguments, prog_name="winnow", standalone_mode=False)
    except click.NoSuchOption as error:
        if error.option_name == "--target":
            return _print_error(OLD_TARGET)
        error.show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return CommandExit.INTERRUPTED
    except WinnowError as error:
        # If the store's file cannot be written, that is the cause, and not "the store does not answer".
        refused = next((each for each in _causes(error) if type(each).__module__ == "sqlite3"), None)
        explained = None if refused is None else _database_fault(refused)
        return _print_error(explained or error)
    except Exception as error:
        if is_interrupted_query(error):
            return CommandExit.INTERRUPTED
        explained = explain(error)
        if explained is None:
            raise
        return _print_error(explained)
    return status if isinstance(status, int) else CommandExit.DONE


def _print_error(error: WinnowError) -> int:
    # click itself omits colour if standard error is not a terminal. https://no-color.org
    colour = False if os.environ.get("NO_COLOR") else None
    for message in (str(error), *getattr(error, "__notes__", ())):
        click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True, color=colour)
    return error.exit_code


def explain(error: BaseException) -> InputError | None:
    """The user error behind an exception, if a full, read-only or forbidden disk caused it; else None."""
    for cause in _causes(error):
        found = _database_fault(cause) if type(cause).__module__ == "sqlite3" else None
        if isinstance(cause, OSError):
            found = disk_fault(cause, home_of())
        if found is not None:
            return found
    return None


def _database_fault(error: BaseException) -> InputError | None:
    """Which database file cannot be written, and why. SQLite does not name it."""
    if not getattr(error, "sqlite_errorname", "").startswith(("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return None
    from winnow.config.settings import Settings

    settings = Settings.from_environment()
    files = [Path(url.partition(":///")[2]) for url in (settings.storage_url, settings.tracking_uri) if "sqlite" in url]
    for file in files:
        refusal = probe(file)
        fault = None if refusal is None else disk_fault(refusal, settings.home, file)
        if fault is not None:
            return fault
    return InputError(
        " or ".join(map(str, files)) or "a database file",
        expected="a file that can be written",
        found=f"'{error}'",
        remedy="Free some space or grant permission, or set WINNOW_HOME to another folder.",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, nearest first. SQLAlchemy keeps the driver's error in `orig`."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        original = getattr(current, "orig", None)
        current = original if isinstance(original, BaseException) else current.__cause__ or current.__context__
