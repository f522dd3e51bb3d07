"""The settings of a verb that works on runs and studies: with a stack on a cluster, its stores are made to answer here.

A terminal reaches MLflow and Postgres in a cluster through the API server's port-forward, and workers reach them by
their Services. A forward is opened once a process, listens on this machine alone, and is kept until the process ends.
Verbs that need neither store read `Settings.from_environment`, which contacts nobody. Which cluster a verb means is
decided here too.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from winnow.config.addresses import with_password
from winnow.config.errors import InputError
from winnow.config.next_command import next_command
from winnow.config.settings import Settings
from winnow.config.stack_record import OWN_STORAGE, OWN_WORKER_STORAGE, PASSWORD, AnyStack, ClusterStackRecord
from winnow.platforms.stack import MLFLOW, POSTGRES

if TYPE_CHECKING:
    from winnow.platforms.kubernetes.client import Cluster
    from winnow.platforms.kubernetes.connection import Context
    from winnow.platforms.kubernetes.forward import Forward

_Way: TypeAlias = tuple[tuple[str, str], ...]
_forwards: dict[tuple[ClusterStackRecord, str], Forward] = {}
"""What this process holds open, by stack and role."""


def current(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings with addresses that answer on this machine.

    Raises:
        InputError: a setting is wrong, or of the stack in use the cluster is another one, the way there is not allowed,
            or the Secret is gone.
        UnreachableError: that stack's cluster does not answer.
    """
    settings = Settings.from_environment(environment)
    stack = settings.stack
    if not isinstance(stack, ClusterStackRecord):
        return settings
    has_runs, has_studies = settings.tracking_uri == stack.tracking_url, settings.storage_url == stack.storage_url
    if has_runs or has_studies:
        _check_way(_way(environment), stack)
    if has_runs:
        settings = replace(settings, tracking_uri=tracking_of(stack, environment))
    if has_studies:
        here, inside = studies_of(stack, environment)
        is_set = settings.worker_storage_url != stack.storage_url
        inside = settings.worker_storage_url if is_set else inside
        settings = replace(settings, storage_url=here, worker_storage_url=inside)
    return settings


def tracking_of(stack: ClusterStackRecord, environment: Mapping[str, str] = os.environ, *, listen: int = 0) -> str:
    """The address on this machine of a stack's MLflow.

    Args:
        listen: the port that it gets here, where none has been opened yet; 0: any that is free.
    """
    return f"http://127.0.0.1:{_open(environment, stack, MLFLOW, 5000, listen)}"


def studies_of(stack: ClusterStackRecord, environment: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """A stack's database for studies as this terminal and as workers reach it, password included.

    Raises:
        InputError: the stack's Secret is gone, or may not be read.
        UnreachableError: its cluster does not answer.
    """
    secret = _secret(environment, stack)
    if stack.is_own_storage:
        own = _from(secret, OWN_STORAGE, stack)
        return own, secret.get(OWN_WORKER_STORAGE) or own
    password = _from(secret, PASSWORD, stack)
    port = _open(environment, stack, POSTGRES, 5432)
    here = f"postgresql+psycopg://winnow@127.0.0.1:{port}/winnow"
    return with_password(here, password), with_password(stack.storage_url, password)


def _secret(environment: Mapping[str, str], stack: ClusterStackRecord) -> dict[str, str]:
    from winnow.platforms.kubernetes.stack import read_secret

    return read_secret(cluster_of(stack, environment)) or {}


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


def cluster_for(stack: AnyStack | None, environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster and namespace that are meant: those that are set, else those of the stack in use, else kubeconfig's.

    Raises:
        InputError: no namespace is named, or there is no such cluster.
    """
    from winnow.platforms.kubernetes.connection import connect

    return connect(environment, in_use=_place(stack))


def cluster_of(stack: ClusterStackRecord, environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster and namespace of a stack in use, whichever others are asked for beside it.

    Raises:
        InputError: kubeconfig does not know it, or knows another of its name.
    """
    return _cluster(_way(environment), stack)


def diagnosis_of(stack: ClusterStackRecord, role: str) -> str:
    """Why the last connection to a stack's service came to nothing; empty where none has, or none was wanted."""
    forward = _forwards.get((stack, role))
    return forward.diagnosis if forward is not None else ""


def _way(environment: Mapping[str, str]) -> _Way:
    """What of an environment leads to clusters, without which of them is asked for: this very one is."""
    from winnow.platforms.kubernetes.connection import WAYS

    return tuple((name, environment[name]) for name in WAYS if name in environment)


def _place(stack: AnyStack | None) -> Context | None:
    from winnow.platforms.kubernetes.connection import Context

    if not isinstance(stack, ClusterStackRecord):
        return None
    return Context(stack.context, stack.namespace, stack.identity)


@functools.cache
def _cluster(way: _Way, stack: ClusterStackRecord) -> Cluster:
    from winnow.platforms.kubernetes.connection import connect

    return connect(dict(way), in_use=_place(stack))


@functools.cache
def _check_way(way: _Way, stack: ClusterStackRecord) -> None:
    """Ask once whether the stores may be reached: a connection that is refused would only be seen to break."""
    from winnow.platforms.kubernetes.permissions import check
    from winnow.platforms.kubernetes.stack import REACH_PERMISSIONS

    check(_cluster(way, stack), REACH_PERMISSIONS, f"using {stack.shown}")


def _open(environment: Mapping[str, str], stack: ClusterStackRecord, role: str, port: int, listen: int = 0) -> int:
    """A port of this machine that leads to the stack's pod of that role."""
    from winnow.platforms.kubernetes.forward import Forward
    from winnow.platforms.kubernetes.stack_plan import labels_of

    if (stack, role) not in _forwards:
        _forwards[stack, role] = Forward(cluster_of(stack, environment), labels_of(role), port, listen=listen)
    return _forwards[stack, role].port
