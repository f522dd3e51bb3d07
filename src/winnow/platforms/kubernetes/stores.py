"""Makes the stores of a stack on a cluster available on this machine.

Commands reach MLflow and Postgres in the cluster through port-forwards; workers reach them by their Services. A forward
is opened once per process, listens on 127.0.0.1 only, and stays open until the process ends.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import replace

from winnow.config.addresses import with_password
from winnow.config.errors import InputError, WinnowError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.config.stack_record import OWN_STORAGE, OWN_WORKER_STORAGE, PASSWORD, AnyStack, ClusterStackRecord
from winnow.platforms.kubernetes import permissions
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.connection import WAYS, Context, connect
from winnow.platforms.kubernetes.forward import Forward, ready_pods
from winnow.platforms.kubernetes.stack import STORE_PERMISSIONS, read_secret
from winnow.platforms.kubernetes.stack_plan import labels_of
from winnow.platforms.stack import MLFLOW, POSTGRES, ChoosePort, any_port

_forwards: dict[tuple[ClusterStackRecord, str], Forward] = {}
"""The open forwards, by stack and role."""


def local_settings(
    settings: Settings,
    stack: ClusterStackRecord,
    environment: Mapping[str, str] = os.environ,
    choose_port: ChoosePort = any_port,
) -> Settings:
    """The settings with local addresses of the stack's stores.

    Raises:
        InputError: kubeconfig's cluster is another one, a permission is missing, or the Secret is gone.
        UnreachableError: the cluster does not answer.
    """
    has_runs, has_studies = settings.tracking_uri == stack.tracking_url, settings.storage_url == stack.storage_url
    if has_runs or has_studies:
        _check_access(cluster_of(stack, environment), stack.shown)
    if has_runs:
        port = _open(environment, stack, MLFLOW, 5000, choose_port)
        settings = replace(settings, tracking_uri=f"http://127.0.0.1:{port}")
    if has_studies:
        here, inside = _studies(stack, environment)
        is_set = settings.worker_storage_url != stack.storage_url
        inside = settings.worker_storage_url if is_set else inside
        settings = replace(settings, storage_url=here, worker_storage_url=inside)
    return settings


def silence(settings: Settings, stack: ClusterStackRecord, environment: Mapping[str, str] = os.environ) -> str | None:
    """What is wrong with a stack that accepts no connections; None if nothing is, or its cluster does not answer."""
    uses_studies = settings.storage_url == stack.storage_url and not stack.is_own_storage
    used = {MLFLOW: settings.tracking_uri == stack.tracking_url, POSTGRES: uses_studies}
    try:
        cluster = cluster_of(stack, environment)
        down = [role for role, is_used in used.items() if is_used and not ready_pods(cluster, labels_of(role))]
    except WinnowError:
        return None
    if not down:
        broken = {role: diagnosis for role in used if (diagnosis := diagnosis_of(stack, role))}
        told = "; ".join(f"to {role}: {diagnosis}" for role, diagnosis in broken.items())
        return f"{stack.shown}: expected connections through the cluster's API server, found {told}" if told else None
    return (
        f"{stack.shown}: expected an answer, found no ready pod of {' and '.join(down)}. Start the stack again with "
        f"`{next_command('mlflow-init', platform='kubernetes')}`, or end its use with `{stack.ending}`."
    )


def cluster_of(stack: ClusterStackRecord, environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster and namespace of a stack, even if the environment names others. Raises InputError."""
    # Without the variables that choose another cluster than the stack's.
    return _cluster(tuple((name, environment[name]) for name in WAYS if name in environment), stack)


def diagnosis_of(stack: ClusterStackRecord, role: str) -> str:
    """Why the last connection to a stack's service failed; empty if it did not, or if there was none."""
    forward = _forwards.get((stack, role))
    return forward.diagnosis if forward is not None else ""


def cluster_named(stack: AnyStack | None, environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster and namespace that the environment names, else those of the stack in use, else kubeconfig's."""
    return connect(environment, in_use=_context(stack) if isinstance(stack, ClusterStackRecord) else None)


def _context(stack: ClusterStackRecord) -> Context:
    return Context(stack.context, stack.namespace, stack.identity)


def _studies(stack: ClusterStackRecord, environment: Mapping[str, str]) -> tuple[str, str]:
    """The addresses of the stack's database for this machine and for workers, with the password."""
    secret = read_secret(cluster_of(stack, environment)) or {}
    if stack.is_own_storage:
        own = _from(secret, OWN_STORAGE, stack)
        return own, secret.get(OWN_WORKER_STORAGE) or own
    password = _from(secret, PASSWORD, stack)
    port = _open(environment, stack, POSTGRES, 5432)
    here = f"postgresql+psycopg://winnow@127.0.0.1:{port}/winnow"
    return with_password(here, password), with_password(stack.storage_url, password)


def _from(secret: Mapping[str, str], name: str, stack: ClusterStackRecord) -> str:
    if not secret.get(name):
        raise InputError(
            "the Secret winnow-tracking",
            expected=f"{name} of {stack.shown}",
            found="none",
            remedy=f"Run `{next_command('mlflow-init', platform='kubernetes')}` again, or end its use with "
            f"`{stack.ending}`.",
        )
    return secret[name]


@functools.cache
def _cluster(located_by: tuple[tuple[str, str], ...], stack: ClusterStackRecord) -> Cluster:
    return connect(dict(located_by), in_use=_context(stack))


@functools.cache
def _check_access(cluster: Cluster, shown: str) -> None:
    """Check the permissions once: a refused connection would only look broken."""
    permissions.check(cluster, STORE_PERMISSIONS, f"using {shown}")


def _open(
    environment: Mapping[str, str],
    stack: ClusterStackRecord,
    role: str,
    port: int,
    choose_port: ChoosePort = any_port,
) -> int:
    """A local port that is forwarded to the stack's pod of that role."""
    if (stack, role) not in _forwards:
        _forwards[stack, role] = Forward(cluster_of(stack, environment), labels_of(role), port, listen=choose_port())
    return _forwards[stack, role].port
