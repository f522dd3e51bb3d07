"""A clone with the manifests of an experiment, whose remote is a folder, and rows that its versions have right."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from tests.docker.champions import Winnow
from tests.unit.serving import bundles
from winnow.integrations import gitops_init
from winnow.integrations.gitops.layout import OverlayChange, current, overlay_path
from winnow.tracking.registry import Registry

GATE = {"type": "metric", "metric": "accuracy", "min": 0.7}


def git(folder: Path, *arguments: str) -> str:
    """What git prints in a folder."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@dataclass(frozen=True)
class Manifests:
    """An experiment with two registered versions, and a clone with its manifests.

    Attributes:
        rows: of which both versions have nine tenths right.
        rules: with one gate of production.
    """

    winnow: Winnow
    bare: Path
    clone: Path
    rows: Path
    rules: Path

    @property
    def overlay(self) -> str:
        """The file that promotions change."""
        return overlay_path(self.winnow.name, "production")

    def ask_for(self, number: int) -> None:
        """Give a version the alias `candidate`."""
        Registry(self.winnow.uri).crown(self.winnow.versions[number], "test", "candidate")

    def demand(self, accuracy: float) -> None:
        """Write another gate."""
        self.rules.write_text(yaml.safe_dump({"gates": {"production": [{**GATE, "min": accuracy}]}}))

    def deployed(self) -> OverlayChange | None:
        """What the remote's overlay deploys."""
        return current(git(self.bare, "show", f"main:{self.overlay}") + "\n", self.overlay)

    def references(self) -> tuple[str, str]:
        """All branches of the remote and the clone."""
        return git(self.bare, "for-each-ref"), git(self.clone, "for-each-ref")


def manifests_of(winnow: Winnow, folder: Path, namespace: str = "") -> Manifests:
    """Write the manifests, commit and push them.

    Args:
        namespace: that they name instead of their own.
    """
    features = np.random.default_rng(1).normal(size=(600, 3)).astype(np.float32)
    truth = (features @ bundles.CLASS_WEIGHTS).argmax(axis=1)
    target = np.asarray(bundles.CLASSES)[np.where(np.arange(600) % 10 == 0, 1 - truth, truth)]
    frame = pd.DataFrame(features.astype(np.float64), columns=list(bundles.COLUMNS)).assign(diagnosis=target)
    frame.to_parquet(folder / "rows.parquet")
    bare, clone = folder / "manifests.git", folder / "clone"
    made = Manifests(winnow, bare, clone, folder / "rows.parquet", folder / "rules.yaml")
    made.demand(GATE["min"])
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(bare))
    git(folder, "clone", "--quiet", str(bare), str(clone))
    for key, value in {"user.name": "Ada", "user.email": "ada@example.com", "commit.gpgsign": "false"}.items():
        git(clone, "config", key, value)
    gitops_init(winnow.file, repo=clone)
    if namespace:
        file = clone / made.overlay
        file.write_text(file.read_text().replace(f"namespace: {winnow.name}", f"namespace: {namespace}"))
    git(clone, "checkout", "--quiet", "-B", "main")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message", "Add manifests")
    git(clone, "push", "--quiet", "--set-upstream", "origin", "main")
    return made
