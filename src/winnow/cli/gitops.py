"""`winnow gitops-init`, `gitops-promote` and `gitops-rollback`: manifests in a git repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from winnow.cli.build import shown_steps
from winnow.cli.evaluation import NOT_PROMOTED, verdict_lines
from winnow.cli.options import StoreVerb, config_option, in_order, json_option, rules_option, say
from winnow.cli.wording import as_text
from winnow.config.next_command import next_command

if TYPE_CHECKING:
    from winnow.integrations import ManifestCommit

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
@click.option("--force", is_flag=True, help="Overwrite files that differ; what they deploy stays.")
def init(config: Path, repo: Path, force: bool) -> None:
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
@click.option(
    "--version", metavar="NUMBER", help="Number of the version, as 3 or 1.2.0; by default that of @candidate."
)
@click.option("--input", "source", help="Rows with the target for the gates; by default the holdout.")
@rules_option
@click.option(
    "--replicas", type=click.IntRange(min=1), help="How many the stage has; by default what the overlay says."
)
@click.option("--again", is_flag=True, help="Promote the version even if it was rolled back.")
@json_option
def promote(as_json: bool, **options: Any) -> int:
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
def rollback(as_json: bool, **options: Any) -> None:
    """Revert the last promotion of a stage by a commit, and push it. The cluster is not asked."""
    from winnow import integrations

    found = integrations.gitops_rollback(**options, say=say)
    click.echo(as_text(found) if as_json else "\n".join(commit_lines(found)))


def commit_lines(found: ManifestCommit) -> list[str]:
    """A pushed commit, as lines for people."""
    instead = f" in place of version {found.replaced}" if found.replaced else ""
    lines = [
        f"{found.path}: version {found.version}{instead}",
        f"  commit {found.commit[:12]} on {found.branch} of {found.repository}",
    ]
    return lines if found.is_local else [*lines, "  this clone does not have it yet (git fetch)"]
