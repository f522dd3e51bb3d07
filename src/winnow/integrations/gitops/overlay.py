"""The overlay of a stage at the tip of a remote branch: what it deploys, and commits that change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import replace as replaced_by
from pathlib import Path
from typing import Any

import yaml

from winnow.api.history import note
from winnow.config.errors import InputError, WinnowError
from winnow.config.experiment import Experiment
from winnow.config.next_command import next_command, next_flag
from winnow.integrations.gitops import ManifestCommit, layout
from winnow.integrations.gitops.promotion import last_promotion
from winnow.integrations.gitops.repository import PastCommit, Repository, open_repository
from winnow.tracking.history import CommitRecord


@dataclass(frozen=True)
class Overlay:
    """The overlay of a stage.

    Attributes:
        tip: the commit that the remote's branch has.
        path: of its kustomization, from the repository's top.
        text: that file's text.
        deployed: what it deploys; None before the first promotion.
    """

    repository: Repository
    tip: str
    stage: str
    path: str
    text: str
    deployed: layout.OverlayChange | None

    @property
    def place(self) -> str:
        """Where it is, for errors."""
        return f"{self.repository.url}: {self.path}"

    def check_rollout(self) -> None:
        """Check the overlay's other manifests for what Argo Rollouts cannot do.

        Raises:
            InputError: they have such a fault, or are no YAML.
        """
        folder = self.path.rpartition("/")[0]
        manifests: list[Mapping[str, Any]] = []
        for path in self.repository.files(self.tip, folder):
            if path == self.path or not path.endswith((".yaml", ".yml")):
                continue
            try:
                found = list(yaml.safe_load_all(self.repository.read(self.tip, path) or ""))
            except yaml.YAMLError as error:
                raise InputError(
                    f"{self.repository.url}: {path}",
                    expected="manifests as YAML",
                    found=" ".join(str(error).split()),
                    remedy="Mend the file, commit and push.",
                ) from error
            manifests += [each for each in found if isinstance(each, dict) and {"kind", "metadata"} <= each.keys()]
        layout.check_rollout(manifests, f"{self.repository.url}: {folder}")

    def check_replicas(self, replicas: int | None) -> None:
        """Check that the overlay itself sets a number of replicas; None for none wanted.

        Raises:
            InputError: another file of the stage does, such as an autoscaler.
        """
        any_change = layout.OverlayChange(f"any/image@sha256:{'0' * 64}", "any", "1", "0" * 64, replicas)
        layout.edited(self.text, any_change, self.place)

    def last_promotion(self) -> tuple[PastCommit, layout.OverlayChange, layout.OverlayChange]:
        """The last promotion that was not rolled back, what it deploys, and what was deployed before it.

        Raises:
            InputError: there is none or nothing before it, or the overlay has been changed since.
        """
        repository = self.repository
        last = last_promotion(repository.history(self.tip, self.path))
        then = None if last is None else self._deployed_at(f"{last.commit}^")
        if last is None or then is None:
            found = "none" if last is None else f"that commit {last.commit[:12]} was the first one"
            shallow = "This clone lacks older commits: git fetch --unshallow. " if repository.is_shallow() else ""
            promote = next_command("gitops-promote", stage=self.stage, repo=repository.folder)
            raise InputError(
                self.place,
                expected="a promotion, and one before it that can be deployed again",
                found=found,
                remedy=f"{shallow}Promote another version: {promote}.",
            )
        if self.deployed is None or _differ(self._deployed_at(last.commit), self.deployed):
            version = "none" if self.deployed is None else f"version {self.deployed.version} of {self.deployed.image}"
            raise InputError(
                self.place,
                expected=f"what commit {last.commit[:12]} promoted",
                found=f"{version}, by a later commit",
                remedy="Revert that one (git log; git revert).",
            )
        return last, self.deployed, replaced_by(then, replicas=None)

    def commit(
        self,
        change: layout.OverlayChange,
        message: str,
        reason: str,
        *,
        branch: str | None,
        say: Callable[[str], None],
        is_rollback: bool = False,
    ) -> ManifestCommit | None:
        """Commit and push a change, and add it to the model's history; None where the overlay has it already.

        Args:
            branch: a new branch to push to; None for the branch itself.
            say: is told if the registry is away; the commit is pushed all the same.

        Raises:
            InputError: the remote refuses the commit, or the overlay was changed meanwhile.
        """
        text = layout.edited(self.text, change, self.place)
        if text == self.text:
            return None
        pushed = self.repository.publish(self.tip, self.path, text, message, branch=branch)
        replaced = "" if self.deployed is None else self.deployed.version
        place = pushed.commit, pushed.branch, self.repository.url
        try:
            note(change.model, CommitRecord(change.version, self.stage, replaced, is_rollback, *place, reason))
        except WinnowError as error:
            say(f"warning: the history of {change.model} in the registry lacks this: {error}")
        return ManifestCommit(self.stage, self.path, change.version, replaced, change.image, *place, pushed.is_local)

    def _deployed_at(self, commit: str) -> layout.OverlayChange | None:
        text = self.repository.read(commit, self.path)
        return None if text is None else layout.current(text, self.place)


def open_overlay(experiment: Experiment, stage: str, repo: Path, branch: str | None) -> Overlay:
    """The overlay of a stage, after everything was checked that can be before a commit.

    Args:
        repo: a folder of a clone.
        branch: a new branch that will be pushed; None for the branch itself.

    Raises:
        InputError: there is no such stage, clone or overlay, the overlay was edited by hand, the clone has commits that
            the remote lacks, or the remote does not take pushes.
    """
    stages = layout.stages_of(experiment)
    if stage not in stages:
        remedy = "Name a stage that has an overlay."
        raise InputError(next_flag("stage"), expected=f"one of {', '.join(stages)}", found=f"'{stage}'", remedy=remedy)
    repository, path = open_repository(repo), layout.overlay_path(experiment.name, stage)
    tip = repository.tip()
    repository.check_clone(tip)
    repository.check_push(branch)
    text, place = repository.read(tip, path), f"{repository.url}: {path}"
    if text is None:
        raise InputError(
            place,
            expected=f"the overlay on branch '{repository.branch}'",
            found="none",
            remedy=f"Run `{next_command('gitops-init', repo=str(repo))}`, commit and push.",
        )
    return Overlay(repository, tip, stage, path, text, layout.current(text, place))


def _differ(one: layout.OverlayChange | None, other: layout.OverlayChange) -> bool:
    """Whether they deploy different versions or images."""
    return one is None or replaced_by(one, replicas=None) != replaced_by(other, replicas=None)
