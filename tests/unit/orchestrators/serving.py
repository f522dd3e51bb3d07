"""Deployments in memory, for tests of the verbs around serving."""

from __future__ import annotations

from pathlib import Path

import pytest

from winnow.config.clock import Clock
from winnow.config.stack_record import ClusterStackRecord, keep_stack
from winnow.orchestrators.drive import Driver, observe
from winnow.rollout.step import Desired, revision_for
from winnow.routing import Release, ReplicaSettings, Revision, Scale
from winnow.testing.deployer import MemoryDeployer


def revision(model: str, number: int) -> Revision:
    """A revision whose model's version has the same number."""
    release = Release(model, str(number), f"{number:02}" * 32, Path(f"/models/{number}"))
    return Revision(number, release, ReplicaSettings(), Scale())


def serve(deployer: MemoryDeployer, name: str, version: str) -> None:
    """Serve a version of the model called like the deployment."""
    target = revision_for(observe(deployer, name), revision(name, int(version)))
    Driver(deployer, name, Desired(target), clock=Clock(sleep=lambda _seconds: None), wall=lambda: 0.0).drive()


def lose_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `home` the home, with a stack in use on a cluster that this machine cannot reach."""
    keep_stack(home, ClusterStackRecord("a-cluster", "ml", "http://mlflow.ml.svc:5000", "postgresql://db/winnow"))
    monkeypatch.setenv("WINNOW_HOME", str(home))
    monkeypatch.setenv("KUBECONFIG", str(home / "none"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
