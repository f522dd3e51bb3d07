"""The command line with a registry of its own, in which two models wait for their crown."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.unit.serving import bundles
from tests.unit.tracking import made_up
from tests.winnow_command import winnow
from winnow.platforms.docker.client import connect
from winnow.platforms.labels import DEPLOYMENT
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.store import prepare
from winnow.tracking.tracker import ModelVersion

ROOT = Path(__file__).parents[2]


class Winnow:
    """The command line with a home of its own, and two registered models."""

    def __init__(
        self, home: Path, environment: Mapping[str, str] = os.environ, serving: Mapping[str, Any] | None = None
    ) -> None:
        self.home = home
        self._environment = environment
        self.name = f"t{secrets.token_hex(4)}"
        self.uri = f"sqlite:///{home}/mlflow.db"
        prepare(self.uri)
        tracker = MlflowTracker(self.uri)
        sweep = made_up.sweep(self.name)
        parent = tracker.start_sweep(sweep)
        self.versions: list[ModelVersion] = []
        for number, scale in enumerate((1.0, 2.0)):
            bundle = bundles.classification(home / f"bundle-{number}", name=self.name, scale=scale)
            trial = made_up.trial(number, study=self.name)
            self.versions.append(tracker.log_bundle(sweep, parent, trial, bundle))
        self.file = home / "experiment.yaml"
        self.serve_as(serving or {})

    def serve_as(self, serving: Mapping[str, Any]) -> None:
        """Write the experiment file with another section `serving`."""
        search = {"space": {"lr": {"float": [0.01, 0.1]}}, "trials": 1, "metric": {"name": "f1"}}
        whole = {"name": self.name, "data": {"source": "sklearn:iris"}, "search": search, "serving": dict(serving)}
        self.file.write_text(json.dumps(whole), encoding="utf-8")

    def crown(self, number: int) -> None:
        Registry(self.uri).crown(self.versions[number], "test")

    def run(self, verb: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = {**self._environment, "WINNOW_HOME": str(self.home), "MLFLOW_TRACKING_URI": self.uri, **environment}
        return winnow(verb, "--config", str(self.file), *arguments, env=variables, timeout=200)

    def forget(self) -> None:
        """Remove the images that were built for its models."""
        engine = connect()
        for image in engine.images.list(filters={"label": f"winnow.model.name={self.name}"}):
            engine.images.remove(str(image.id), force=True)

    def containers(self) -> int:
        filters = {"label": f"{DEPLOYMENT}={self.name}"}
        return len(connect().containers.list(all=True, filters=filters, ignore_removed=True))
