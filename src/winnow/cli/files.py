"""Verbs that write files for other people's tools, and look for known faults: GitOps, CI, Airflow, audit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.build import shown_steps
from winnow.cli.evaluation import NOT_PROMOTED, verdict_lines
from winnow.cli.options import (
    StoreVerb,
    config_option,
    force_option,
    in_order,
    json_option,
    model_version_option,
    option_with_default,
    rules_option,
    say,
)
from winnow.cli.wording import as_text, show
from winnow.config.exit_codes import CommandExit
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.integrations import Audit, ManifestCommit


repo_option = click.option(
    "--repo",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    show_default="this folder",
    help="A clone of the repository with the manifests.",
)
commit_options = in_order(
    config_option,
    click.option("--stage", type=click.Choice(["staging", "production"]), required=True, help="Stage to change."),
    repo_option,
    click.option("--branch", metavar="NAME", help="Push to a new branch, for a pull request."),
)


@click.command("gitops-init")
@config_option
@repo_option
@force_option("Overwrite files that differ; what they deploy stays.")
def gitops_init(config: Path, repo: Path, force: bool) -> None:
    """Write manifests that Argo CD or Flux applies: a base, an overlay for each stage, Argo CD's objects.

    They are yours to change, to commit and to push. Equal input gives equal files.
    """
    from winnow import integrations

    for path in integrations.gitops_init(config, repo=repo, force=force):
        say(str(path))
    say("next: commit and push them (git add, git commit, git push), and then")
    say(f"      {next_command('gitops-promote', config=config, repo=repo, stage='staging')}")


@click.command("gitops-promote", cls=StoreVerb)
@commit_options
@click.option(
    "--image", default="", metavar="R@sha256:…", help="The version's image; by default it is built and pushed."
)
@click.option(
    "--registry", metavar="HOST/PATH", default="", help="Registry of the image; by default that of the deployed one."
)
@model_version_option
@click.option("--input", "source", help="Rows with the target for the gates; by default the holdout.")
@rules_option
@click.option(
    "--replicas", type=click.IntRange(min=1), help="How many the stage has; by default what the overlay says."
)
@click.option("--again", is_flag=True, help="Promote the version even if it was rolled back.")
@json_option
def gitops_promote(as_json: bool, **options: Any) -> int:
    """Judge a version by the gates of a stage; where it passes, commit it to the stage's overlay and push.

    One file changes, on top of the remote's branch. Exit status 3: a gate did not pass.
    """
    from winnow import integrations

    with shown_steps() as show:
        found = integrations.gitops_promote(**options, show=show, say=say)
    if as_json:
        click.echo(as_text(found))
    else:
        click.echo("\n".join(verdict_lines(found.promotion)))
        if found.commit is not None:
            click.echo("\n".join(commit_lines(found.commit)))
        elif found.promotion.is_promoted:
            click.echo(f"The manifests of {found.promotion.stage} deploy it already; nothing was committed.")
    return 0 if found.promotion.is_promoted else NOT_PROMOTED


@click.command("gitops-rollback")
@commit_options
@click.option("--reason", default="", help="Why, for the commit and the model's history.")
@json_option
def gitops_rollback(as_json: bool, **options: Any) -> None:
    """Revert the last promotion of a stage by a commit, and push it. The cluster is not asked."""
    from winnow import integrations

    found = integrations.gitops_rollback(**options, say=say)
    show(found, as_json, commit_lines)


def commit_lines(found: ManifestCommit) -> list[str]:
    """A pushed commit, as lines for people."""
    instead = f" in place of version {found.replaced}" if found.replaced else ""
    lines = [
        f"{found.path}: version {found.version}{instead}",
        f"  commit {found.commit[:12]} on {found.branch} of {found.repository}",
    ]
    return lines if found.is_local else [*lines, "  this clone does not have it yet (git fetch)"]


@click.command("ci-init")
@click.option("--kind", type=click.Choice(("github", "jenkins", "gitlab")), required=True, help="The server.")
@config_option
@rules_option
@click.option(
    "--source",
    metavar="URL",
    help="Where the server gets winnow from: git+https://HOST/PATH@COMMIT, or a wheel's URL; by default the checkout.",
)
@option_with_default(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="The project's folder.",
)
@force_option()
def ci_init(kind: Any, config: Path, **options: Any) -> None:
    """Write the pipeline of a project: checks, data, sweep, selection, gates, image, scan, promotion by a commit.

    It is yours to change. Its stages call make. Equal input gives equal files.
    """
    from winnow import integrations

    for path in integrations.ci_init(kind, config, **options, say=say):
        say(str(path))


@click.command("airflow-dags")
@config_option
@rules_option
@option_with_default(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("airflow/dags"),
    help="The folder of DAGs.",
)
@click.option("--azure", is_flag=True, help="Also the DAGs that serve on Azure ML.")
@force_option()
def airflow_dags(config: Path, rules: Path | None, output: Path, azure: bool, force: bool) -> None:
    """Write DAGs of Airflow that call winnow's verbs for an experiment: data, training, deployment, rollback.

    They are yours to change. Equal input gives equal files.
    """
    from winnow import integrations

    for path in integrations.airflow_dags(config, rules=rules, output=output, azure=azure, force=force):
        say(str(path))


MARKS = {"clean": "✓", "findings": "✗", "not run": "-"}


@click.command("audit")
@click.option("--image", default="", metavar="NAME,…", help="Images on the engine; by default those of this folder.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder for the reports; by default audit in WINNOW_HOME.",
)
@click.option("--key", default="", metavar="FILE", help="Public key that the images have to be signed with (cosign).")
@click.option("--identity", default="", help="Who has to have signed them without a key: an e-mail address or a URL.")
@click.option("--issuer", default="", metavar="URL", help="The OIDC issuer that vouches for the identity.")
@click.option("--strict", is_flag=True, help="A check that cannot run is a failure.")
@json_option
def audit(image: str, as_json: bool, **options: Any) -> int:
    """List software and licences of this folder's project and its images, and look for known faults.

    Writes CycloneDX documents, a page of licences, and the reports of bandit, pip-audit and trivy. Programs that are
    not there are named. Exit status 1: something was found, or --strict and something did not run.
    """
    from winnow import integrations

    found = integrations.audit(images=[each.strip() for each in image.split(",") if each.strip()], **options)
    click.echo((found.folder / "audit.json").read_text(encoding="utf-8") if as_json else "\n".join(audit_lines(found)))
    return 0 if found.is_passed else CommandExit.FAILED


def audit_lines(audit: Audit) -> Iterator[str]:
    """The audit for people."""
    for each in audit.checks:
        says = f"not run: {each.says}" if each.state.value == "not run" else each.says
        yield f"{MARKS[each.state.value]} {each.name}: {says}"
        yield from (f"    {line}" for line in each.findings)
    yield f"Reports are in {audit.folder}"
