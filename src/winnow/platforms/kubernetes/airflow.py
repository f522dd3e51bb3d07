"""Airflow on a cluster: the manifests of k8s/airflow with a project's image, for a person or a repository to apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.config.stack_record import ClusterStackRecord
from winnow.platforms.airflow_stack import (
    DATABASE_PASSWORD,
    AirflowRequest,
    keep_secrets,
    known_secrets,
    secrets_file,
)
from winnow.platforms.images import ImageBuild, Show, silent
from winnow.platforms.kubernetes.kinds import CONFIG_MAP, DEPLOYMENT, Manifest, name_of
from winnow.platforms.kubernetes.manifests import APPEND, FieldPath, Named, changed, load, to_yaml
from winnow.platforms.kubernetes.verb_pod import STORES
from winnow.platforms.labels import AIRFLOW

FOLDER = Path("k8s/airflow")
NAME = "winnow-airflow"
"""The ConfigMap with the settings, and the Secret."""
DATABASE = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"


@dataclass(frozen=True)
class KubernetesAirflowPlan:
    """The objects to apply; implements `winnow.platforms.stack.Plan`."""

    manifests: tuple[Manifest, ...]
    image: ImageBuild
    secrets_file: Path
    secrets: Mapping[str, str] = field(repr=False)
    port: int
    unknown: tuple[str, ...] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)

    def render(self) -> str:
        """The manifests as YAML, below the commands that go with them."""
        commands = [
            *self.image.render().splitlines(),
            "kubectl apply -f k8s/role.yaml -f k8s/driver.yaml",
            f"kubectl create secret generic {NAME} --from-env-file={self.secrets_file}",
            f"kubectl apply -f -    # what is below; a Job that is there, first: kubectl delete job {NAME}-migration",
            f"kubectl port-forward service/{NAME} {self.port}:8080",
        ]
        return "".join(f"# {each}\n" for each in commands) + to_yaml(self.manifests)


class KubernetesAirflow:
    """Implements `winnow.platforms.airflow_stack.AirflowStack` as far as its secrets and its manifests."""

    def __init__(self, settings: Settings, image: Callable[[], ImageBuild], folder: Path) -> None:
        self._settings, self._image, self._folder = settings, image, folder / FOLDER
        self._secrets_file = secrets_file(settings.home, "kubernetes")

    def plan(self, request: AirflowRequest, *, is_dry_run: bool = False) -> KubernetesAirflowPlan:
        """See `AirflowStack.plan`. No cluster is asked."""
        known, image = known_secrets(self._secrets_file), self._image()
        database = f"postgresql+psycopg2://airflow:{known[DATABASE_PASSWORD]}@{NAME}-postgres:5432/airflow"
        stack = self._settings.stack
        stores = STORES if isinstance(stack, ClusterStackRecord) and not stack.is_own_storage else ()
        return KubernetesAirflowPlan(
            manifests=tuple(_planned(each, request, image.tag, stores) for each in load(self._folder)),
            image=image,
            secrets_file=self._secrets_file,
            secrets={**known, DATABASE: database},
            port=request.port,
        )

    def start(self, plan: KubernetesAirflowPlan, timeout_s: float, show: Show = silent) -> None:
        """Write the secrets, unless they are there. What is to be applied is in the plan."""
        keep_secrets(plan.secrets_file, plan.secrets)

    def plan_end(self, *, volumes: bool) -> NoReturn:
        """Raises InputError: kubectl removes what it has applied."""
        raise _by_hand("airflow-remove", f"kubectl delete all,configmap,pvc,networkpolicy -l {AIRFLOW}")

    def end(self, *, volumes: bool) -> NoReturn:
        """Raises InputError, like `plan_end`."""
        self.plan_end(volumes=volumes)

    def logs(self, service: str | None, lines: int, *, follow: bool) -> NoReturn:
        """Raises InputError: kubectl prints them."""
        raise _by_hand("airflow-logs", f"kubectl logs --tail {lines} deployment/{NAME}-{service or 'scheduler'}")


def _planned(manifest: Manifest, request: AirflowRequest, image: str, stores: Sequence[Manifest]) -> Manifest:
    """A manifest with the request's values."""
    if manifest["kind"] == CONFIG_MAP.kind:
        values: dict[FieldPath, Any] = {
            ("data", "AIRFLOW__API__BASE_URL"): f"http://localhost:{request.port}",
            ("data", "AIRFLOW__CORE__PARALLELISM"): str(request.parallelism),
        }
        return changed(manifest, values)
    pod: tuple[str, ...] = ("spec", "template", "spec")
    spec = manifest.get("spec", {}).get("template", {}).get("spec", {})
    changes: dict[FieldPath, Any] = {
        (*pod, kind, index, "image"): image
        for kind in ("initContainers", "containers")
        for index, each in enumerate(spec.get(kind, ()))
        if each["image"].partition(":")[0] == NAME
    }
    made = changed(manifest, changes)
    if (manifest["kind"], name_of(manifest)) == (DEPLOYMENT.kind, f"{NAME}-scheduler"):
        for each in stores:
            made = changed(made, {(*pod, "containers", Named("scheduler"), "env", APPEND): each})
    return made


def _by_hand(verb: str, command: str) -> InputError:
    return InputError(
        f"{verb} on kubernetes",
        expected=f"what kubectl does: winnow applies none of the manifests of `{next_command('airflow-init')}`",
        found="this platform",
        remedy=f"`{command}`.",
    )
