"""Manifests in a git repository that Argo CD or Flux applies, and commits that change which version they deploy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import silent

if TYPE_CHECKING:
    from winnow.api import BuildStep, Promotion
    from winnow.model_query.gates import Stage


@dataclass(frozen=True)
class ManifestCommit:
    """A commit that changed which version the manifests of a stage deploy.

    Attributes:
        stage: staging or production.
        path: of the changed file in the repository.
        version: number of the version that they deploy now.
        replaced: number of the version before; empty where there was none.
        image: its image, by digest.
        commit: its full name.
        branch: where it was pushed to.
        repository: the remote's address, without a password.
        is_local: the clone's own branch has it, too; else `git pull` fetches it.
    """

    stage: str
    path: str
    version: str
    replaced: str
    image: str
    commit: str
    branch: str
    repository: str
    is_local: bool


@dataclass(frozen=True)
class GitopsPromotion:
    """What `gitops_promote` did.

    Attributes:
        promotion: what the gates said.
        commit: None where a gate did not pass, or the manifests deploy the version already.
    """

    promotion: Promotion
    commit: ManifestCommit | None


def gitops_init(config: Path | str, *, repo: Path | str = ".", force: bool = False) -> list[Path]:
    """Write manifests for an experiment into a clone: a base, an overlay for each stage, and Argo CD's objects.

    They are readable files, to be kept and changed; commit and push them. What an overlay deploys stays.

    Args:
        repo: a folder of the clone.
        force: overwrite files that differ.

    Returns:
        The files.

    Raises:
        InputError: the experiment is wrong, a name is too long, there is no clone, or a file is there and differs.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(config)
    from winnow.integrations.gitops import layout
    from winnow.integrations.gitops.repository import open_repository
    from winnow.integrations.rendered import write_rendered

    repository, stages = open_repository(Path(repo)), layout.stages_of(experiment)
    files = dict(layout.base_files(experiment))
    for stage in stages:
        files |= layout.overlay_files(experiment, stage)
        path = layout.overlay_path(experiment.name, stage)
        if (kept := repository.folder / path).is_file():
            deployed = layout.current(kept.read_text(encoding="utf-8"), str(kept))
            if deployed is not None:
                files[path] = layout.edited(files[path], replace(deployed, replicas=None), str(kept))
    files |= layout.argocd_files(experiment, stages, repository.url, repository.branch)
    return write_rendered(files, repository.folder, is_forced=force, flag="repo")


def gitops_promote(
    stage: Stage,
    config: Path | str,
    *,
    repo: Path | str = ".",
    branch: str | None = None,
    image: str = "",
    version: str | None = None,
    source: Path | str | None = None,
    rules: Path | str | None = None,
    registry: str = "",
    replicas: int | None = None,
    again: bool = False,
    show: Callable[[BuildStep], None] = silent,
    say: Callable[[str], None] = silent,
) -> GitopsPromotion:
    """Judge a version by the gates of a stage, and commit it to the stage's overlay where it passes them all.

    One file changes. The commit is made on top of the remote's branch and pushed; the clone follows if it can.

    Args:
        repo: a folder of a clone of the repository with the manifests.
        branch: a new branch to push to, for a pull request; by default the clone's branch at the remote.
        image: the version's image, `REPOSITORY@sha256:…`; by default it is built and pushed.
        version: number of the version, as in `3` or `1.2.0`; by default that of `@candidate`.
        source: rows to judge on, as for `promote_model`.
        rules: the rules file with the gates; by default `retrain.rules`.
        registry: HOST/PATH of the images; by default that of the deployed one, else WINNOW_REGISTRY.
        replicas: how many the stage has from now on; by default as many as the overlay says.
        again: promote the version even if its last promotion was rolled back.

    Raises:
        InputError: the stage has no gates or no overlay, the version was rolled back, the overlay was edited by hand,
            the image is of another registry, an autoscaler owns the replicas, or the remote refuses. Nothing is
            committed then.
        BuildFailedError: the build or the push of the image failed. Nothing is committed then.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(config)
    from winnow import api
    from winnow.integrations.gitops import promotion
    from winnow.integrations.gitops.layout import OverlayChange
    from winnow.integrations.gitops.overlay import open_overlay

    overlay = open_overlay(experiment, stage, Path(repo), branch)
    overlay.check_rollout()
    overlay.check_replicas(replicas)
    chosen = promotion.registry_for(image, registry, overlay.deployed)
    alias = None if version is not None else "candidate"
    origin = api.why(config, alias=alias, version=version).origin
    if not again:
        key = promotion.key_of(origin.name, stage, origin.version, origin.digest)
        promotion.refuse_rolled_back(overlay.repository.history(overlay.tip, overlay.path), key)
    named = rules if rules is not None else experiment.retrain.rules
    judged = api.promote_model(stage, config, version=origin.version, source=source, rules=named)
    if not judged.is_promoted:
        return GitopsPromotion(judged, None)
    if not image:
        options = api.ImageOptions(registry=chosen)
        image = api.build_prod(config, version=origin.version, options=options, show=show).reference
        promotion.registry_for(image, chosen, None)
    change = OverlayChange(image, origin.name, origin.version, origin.digest, replicas)
    story = api.why(config, version=origin.version)
    message = promotion.promotion_message(judged, story, change)
    reason = promotion.reason_of(judged, story)
    return GitopsPromotion(judged, overlay.commit(change, message, reason, branch=branch, say=say))


def gitops_rollback(
    stage: Stage,
    config: Path | str,
    *,
    repo: Path | str = ".",
    branch: str | None = None,
    reason: str = "",
    say: Callable[[str], None] = silent,
) -> ManifestCommit:
    """Revert the last promotion of a stage by a commit. The cluster is not asked: what applies the manifests follows.

    Args:
        repo: a folder of a clone of the repository with the manifests.
        branch: a new branch to push to, for a pull request; by default the clone's branch at the remote.
        reason: why, as a clause; by default who did it.

    Raises:
        InputError: there is no promotion to revert or none before it, the overlay was changed since, or the remote
            refuses. Nothing is committed then.
    """
    from winnow.config.loader import load_experiment

    experiment = load_experiment(config)
    from winnow.integrations.gitops.overlay import open_overlay
    from winnow.integrations.gitops.promotion import rollback_message

    overlay = open_overlay(experiment, stage, Path(repo), branch)
    last, now, then = overlay.last_promotion()
    reason = reason or f"{overlay.repository.author()} rolled it back"
    message = rollback_message(stage, last, now, then, reason)
    done = overlay.commit(then, message, reason, branch=branch, say=say, is_rollback=True)
    assert done is not None  # the last promotion changed the overlay
    return done
