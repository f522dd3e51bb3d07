"""A namespace for tests, and who works there: a person with the Role of k8s/role.yaml, and nothing else.

Where the cluster is comes from the environment, as for a user: KUBECONFIG, WINNOW_CONTEXT; whoever runs the tests may
make namespaces there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import connect
from winnow.platforms.kubernetes.manifests import to_yaml

ROOT = Path(__file__).parents[2]
PYTHON_IMAGE = "python:3.11-slim-bookworm"
TIMEOUT_S = 120.0

PERSON = "winnow-user"
_OF_THE_TESTER = ("KUBECONFIG", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True)
class Kubectl:
    """The command, as whoever owns the cluster; `namespace` is where it looks unless told otherwise."""

    namespace: str = ""

    def __call__(self, *arguments: str, given: str | None = None, timeout_s: float = TIMEOUT_S) -> str:
        """What it prints; an error has what it says. `given` is its standard input."""
        context = os.environ.get("WINNOW_CONTEXT")
        where = [
            *(["--context", context] if context else []),
            *(["--namespace", self.namespace] if self.namespace else []),
        ]
        done = subprocess.run(
            ["kubectl", *where, *arguments], input=given, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """What it prints as JSON."""
        return json.loads(self(*arguments, "--output", "json"))

    def names(self, *arguments: str) -> list[str]:
        """Names of what `kubectl get` finds, as `kind/name`."""
        return self("get", *arguments, "--output", "name").split()


@dataclass(frozen=True)
class Place:
    """A namespace with the `restricted` Pod Security Standard, and a least-privileged person in it.

    Attributes:
        admin: kubectl in this namespace, with all rights: for cruelty, and to look behind the product's back.
        environment: what the product is run with: that person's kubeconfig, the namespace, a home of its own, and
            nothing else of this machine's settings for winnow but how images get to the cluster.
    """

    namespace: str
    admin: Kubectl
    environment: Mapping[str, str]

    @property
    def home(self) -> Path:
        """WINNOW_HOME."""
        return Path(self.environment["WINNOW_HOME"])

    def cluster(self) -> Cluster:
        """The namespace, as that person reaches it."""
        return connect(self.environment)

    def with_home(self, home: Path) -> Place:
        """The same person in the same namespace, at another machine."""
        return Place(self.namespace, self.admin, {**self.environment, "WINNOW_HOME": str(home)})


@contextlib.contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A namespace of a name that nobody else has; it goes at the end, with all that is in it.

    Args:
        folder: an empty one, for the kubeconfig and the home.
    """
    namespace = f"winnow-test-{uuid.uuid4().hex[:8]}"
    admin = Kubectl(namespace)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    admin("create", "--filename", "-", given=to_yaml([manifest]))
    try:
        file = _kubeconfig(admin, folder / "kubeconfig")
        yield Place(namespace, admin, environment(file, namespace, folder / "home"))
    finally:
        # Without pods that are made anew, and what they get to end, a namespace goes in seconds; nobody waits for it.
        admin("create", "quota", "none", "--hard=pods=0")
        admin("delete", "pods", "--all", "--force", "--grace-period=0", "--wait=false")
        admin("delete", "namespace", namespace, "--wait=false")


def environment(kubeconfig: Path, namespace: str, home: Path) -> dict[str, str]:
    """This process's environment, with these settings of winnow and none of the tester's own."""
    kept = ("WINNOW_REGISTRY", "WINNOW_IMAGE_LOAD")
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in kept or not (name.startswith("WINNOW_") or name in _OF_THE_TESTER)
    }
    own = {"KUBECONFIG": str(kubeconfig), "WINNOW_NAMESPACE": namespace, "WINNOW_HOME": str(home)}
    return {**inherited, **own, "PYTHONUNBUFFERED": "1"}


def least_privileged(admin: Kubectl, name: str, role: Path) -> str:
    """A token of a new service account that has the Role in a file, and nothing else."""
    admin("create", "serviceaccount", name)
    admin("apply", "--filename", str(role))
    granted = yaml.safe_load(role.read_text())["metadata"]["name"]
    admin("create", "rolebinding", name, f"--role={granted}", f"--serviceaccount={admin.namespace}:{name}")
    return admin("create", "token", name, "--duration=4h").strip()


def kubeconfig_of(admin: Kubectl, token: str, file: Path) -> Path:
    """A kubeconfig like the tester's own, of whoever has this token, and without a namespace."""
    whole = admin.json("config", "view", "--minify", "--flatten")
    context = whole["contexts"][0]
    context["context"].pop("namespace", None)
    context["context"]["user"] = whole["users"][0]["name"]
    whole["users"] = [{"name": whole["users"][0]["name"], "user": {"token": token}}]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(whole))
    file.chmod(0o600)
    return file


def _kubeconfig(admin: Kubectl, file: Path) -> Path:
    return kubeconfig_of(admin, least_privileged(admin, PERSON, ROOT / "k8s" / "role.yaml"), file)
