"""What `mlflow-init` applies in a namespace of a cluster, decided without asking it: the manifests of k8s/tracking.

The settings decide which parts there are, and set single fields of them; everything else is as in the files. Applying
them is left to `stack`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from winnow.config.addresses import without_password
from winnow.config.errors import InputError
from winnow.config.quantities import bytes_of
from winnow.config.stack_record import ClusterStackRecord
from winnow.platforms import stack_variables as variables
from winnow.platforms.kubernetes import kinds
from winnow.platforms.kubernetes import stack_settings as settings
from winnow.platforms.kubernetes.kinds import Kind, Manifest
from winnow.platforms.kubernetes.manifests import APPEND, FieldPath, Named, changed, load, secret, to_yaml
from winnow.platforms.kubernetes.overlay import SERVER, lay_over, named
from winnow.platforms.kubernetes.revision_plan import MANAGED_BY
from winnow.platforms.kubernetes.stack_settings import Chosen
from winnow.platforms.labels import ROLE, STACK
from winnow.platforms.stack import MINIO, MLFLOW, POSTGRES
from winnow.platforms.stack_variables import (
    ALLOWED_HOSTS,
    ALLOWED_ORIGINS,
    DESTINATION,
    EGRESS,
    ENDPOINT,
    egress_of,
    origins,
    quantity,
)
from winnow.platforms.sweep import CONTAINER_PYTHON

FOLDER = Path("k8s/tracking")
SECRET_NAME = "winnow-tracking"
OWNER = "winnow.stack.owner"
"""Annotation of the Secret: the home that made it, `USER@HOST:PATH`."""
LABELS: Mapping[str, str] = {STACK: "tracking"}
"""Labels of every part of a stack; a namespace has one stack."""

KINDS: tuple[Kind, ...] = (kinds.NETWORK_POLICY, kinds.DEPLOYMENT, kinds.STATEFUL_SET, kinds.SERVICE, kinds.CONFIG_MAP)
"""The kinds of a stack's objects, without those that hold data."""

WORKERS = "workers"
"""The folder of what a stack holds for workers; nothing in it runs."""

POSTGRES_PORT = 5432

_SETTINGS_DIGEST = "winnow.settings"
_POD: FieldPath = ("spec", "template", "spec")
_AT_MLFLOW: FieldPath = (*_POD, "containers", Named(MLFLOW))
_ALLOWED_HOSTS: FieldPath = (*_AT_MLFLOW, "env", Named("MLFLOW_SERVER_ALLOWED_HOSTS"), "value")


class Place(NamedTuple):
    """A namespace of a cluster; `identity` tells the cluster from another one that kubeconfig calls `context` too."""

    context: str
    namespace: str
    identity: str = ""


@dataclass(frozen=True)
class ClusterStackPlan:
    """The objects of a stack in a namespace.

    Attributes:
        chosen: the settings and secrets that it is started with.
        manifests: in the order in which they are applied; the Secret first.
        services: those that have to become ready.
        record: what other verbs will read.
    """

    chosen: Chosen
    manifests: tuple[Manifest, ...]
    services: tuple[str, ...]
    record: ClusterStackRecord

    def render(self) -> str:
        """The manifests as YAML, every secret starred."""
        return to_yaml(self.manifests)


def labels_of(role: str) -> dict[str, str]:
    """Labels of a service's pods."""
    return {**LABELS, ROLE: role}


def plan_stack(folder: Path, chosen: Chosen, image: str, place: Place) -> ClusterStackPlan:
    """The plan for a namespace.

    Args:
        folder: of the manifests, as `k8s/tracking`.
        image: the MLflow server's, by the name that the nodes know.

    Raises:
        InputError: a manifest is missing or lacks a field that is set here, a part of the overlay names none of them,
            or asks for several pods of a service that has one volume.
    """
    services = (
        *((POSTGRES,) if chosen.has_postgres else ()),
        *((MINIO,) if not chosen.has_own_artifacts else ()),
        MLFLOW,
    )
    patched = [_patched(manifest, chosen, image) for part in (WORKERS, *services) for manifest in load(folder / part)]
    overlaid = lay_over(patched, chosen.settings.get("TRACKING_OVERLAY", ""))
    _check_single(overlaid)
    if variables.can_check(chosen.settings.get(DESTINATION, "")):
        overlaid = [_with_check(each) if named(each) == SERVER else each for each in overlaid]
    own = chosen.own_storage
    record = ClusterStackRecord(
        context=place.context,
        namespace=place.namespace,
        tracking_url=settings.tracking_url(place.namespace),
        storage_url=without_password(own) if own else settings.storage_url(place.namespace),
        is_own_storage=own is not None,
        identity=place.identity,
    )
    return ClusterStackPlan(chosen, (secret_manifest(chosen.secret), *overlaid), services, record)


def secret_manifest(values: Mapping[str, str], owner: str = "") -> Manifest:
    """The stack's Secret, with the home that made it where that is known."""
    annotations = {OWNER: owner} if owner else None
    return secret(SECRET_NAME, {**LABELS, **MANAGED_BY}, values, annotations)


def _check_single(manifests: Sequence[Manifest]) -> None:
    """Refuse several replicas of a database: behind one address, each would get half of the studies."""
    for manifest in manifests:
        replicas = manifest["spec"].get("replicas", 1) if manifest["kind"] == "StatefulSet" else 1
        if replicas != 1:
            raise InputError(
                f"TRACKING_OVERLAY: {named(manifest)}: spec.replicas",
                expected="1, for its data is in one pod's volume",
                found=str(replicas),
                remedy="Remove it; MLflow's server, which keeps no data, may have more.",
            )


def _patched(manifest: Manifest, chosen: Chosen, image: str) -> Manifest:
    match named(manifest):
        case "StatefulSet winnow-postgres":
            return changed(manifest, _stateful(manifest, POSTGRES, chosen.settings))
        case "StatefulSet winnow-minio":
            return changed(manifest, _stateful(manifest, MINIO, chosen.settings))
        case "Deployment winnow-mlflow":
            return changed(manifest, _mlflow(manifest, chosen, image))
        case "NetworkPolicy winnow-workers":
            return changed(manifest, {("spec", "egress"): _egress(manifest, chosen)})
    return manifest


def _egress(manifest: Manifest, chosen: Chosen) -> list[dict[str, Any]]:
    """The egress rules of workers: the file's, with public addresses or without, and those that are set."""
    is_public, networks = egress_of(chosen.settings.get(EGRESS, ""))
    rules = [
        rule
        for rule in _at(manifest, ("spec", "egress"))
        if is_public or not any("ipBlock" in each for each in rule.get("to", ()))
    ]
    if networks:
        rules.append({"to": [{"ipBlock": {"cidr": network}} for network in networks]})
    if chosen.own_storage is not None:
        # Its address may be a host name, which a NetworkPolicy cannot hold.
        rules.append({"ports": [{"port": urlsplit(chosen.own_storage).port or POSTGRES_PORT}]})
    return rules


def _stateful(manifest: Manifest, service: str, given: Mapping[str, str]) -> dict[FieldPath, Any]:
    prefix = service.upper()
    claim: FieldPath = ("spec", "volumeClaimTemplates", 0, "spec")
    wanted = {
        (*_POD, "containers", Named(service), "image"): given.get(f"{prefix}_IMAGE"),
        (*claim, "resources", "requests", "storage"): _amount(given, f"{prefix}_VOLUME"),
        (*claim, "storageClassName"): given.get("STORAGE_CLASS"),
        **_limits(manifest, service, given),
    }
    return {path: value for path, value in wanted.items() if value is not None}


def _mlflow(manifest: Manifest, chosen: Chosen, image: str) -> dict[FieldPath, Any]:
    given = chosen.settings
    wanted: dict[FieldPath, Any] = {
        (*_AT_MLFLOW, "image"): image,
        _env("MLFLOW_WORKERS"): given.get("MLFLOW_WORKERS"),
        _ALLOWED_HOSTS: f"{_at(manifest, _ALLOWED_HOSTS)},{more}" if (more := given.get(ALLOWED_HOSTS)) else None,
        **_limits(manifest, MLFLOW, given),
        ("spec", "template", "metadata", "annotations"): {_SETTINGS_DIGEST: digest(chosen.secret)},
    }
    if chosen.has_own_artifacts:
        wanted[_env(DESTINATION)] = given[DESTINATION]
        wanted[_env(settings.REGION)] = given.get(settings.REGION)
        wanted[_env("AWS_ENDPOINT_URL_S3")] = given.get(ENDPOINT)
    else:
        wanted[(*_POD, "initContainers", Named("bucket"), "image")] = image
    changes = {path: value for path, value in wanted.items() if value is not None}
    if chosen.has_own_artifacts:
        # None removes a field.
        changes[(*_POD, "initContainers")] = None
        if ENDPOINT not in given:
            changes[(*_AT_MLFLOW, "env", Named("AWS_ENDPOINT_URL_S3"))] = None
    if allowed := origins(given.get(ALLOWED_HOSTS, "")):
        changes[(*_AT_MLFLOW, "env", APPEND)] = {"name": ALLOWED_ORIGINS, "value": allowed}
    return changes


def _with_check(server: Manifest) -> Manifest:
    """MLflow's Deployment with a container before it that opens the artifact store, with all that the server has."""
    own = next(each for each in _at(server, (*_POD, "containers")) if each["name"] == MLFLOW)
    shared = {name: own[name] for name in ("image", "env", "envFrom", "securityContext", "volumeMounts") if name in own}
    container = {
        "name": "store",
        "command": [CONTAINER_PYTHON, "-c", variables.STORE_CHECK],
        **shared,
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}},
    }
    before = server["spec"]["template"]["spec"].get("initContainers") or []
    return changed(server, {(*_POD, "initContainers"): [*before, container]})


def _env(name: str) -> FieldPath:
    return (*_AT_MLFLOW, "env", Named(name), "value")


def _limits(manifest: Manifest, service: str, given: Mapping[str, str]) -> dict[FieldPath, Any]:
    """A service's limits. Its requests stay as in the file, but for those above the limits."""
    place: FieldPath = (*_POD, "containers", Named(service), "resources")
    found: dict[FieldPath, Any] = {}
    prefix = service.upper()
    for name, limit, amount in (
        ("cpu", given.get(f"{prefix}_CPUS"), _cores),
        ("memory", _amount(given, f"{prefix}_MEMORY"), bytes_of),
    ):
        if limit is None:
            continue
        found[(*place, "limits", name)] = limit
        if amount(str(_at(manifest, (*place, "requests", name)))) > amount(limit):
            found[(*place, "requests", name)] = limit
    return found


def _cores(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def _at(manifest: Manifest, path: FieldPath) -> Any:
    """The value at a path of a manifest. Raises InputError where the project's file lacks it."""
    place: Any = manifest
    for part in path:
        try:
            if isinstance(part, Named):
                place = next(each for each in place if each["name"] == part.name)
            else:
                place = place[part]
        except (KeyError, TypeError, StopIteration) as error:
            raise InputError(
                named(manifest),
                expected=f"{part} of {' '.join(str(each) for each in path)}",
                found="none",
                remedy="Put it back in the manifest below k8s/.",
            ) from error
    return place


def _amount(given: Mapping[str, str], name: str) -> str | None:
    return quantity(given[name]) if given.get(name) else None


def digest(secret: Mapping[str, str]) -> str:
    """A digest of the Secret on MLflow's pods, so that a changed key replaces them.

    It includes generated passwords, which cannot be guessed, and so reveals nothing of those that a person chose.
    """
    text = "\n".join(f"{name}={secret[name]}" for name in sorted(secret) if name != settings.KEPT)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
