"""The settings of a verb that works on runs and studies: with a stack on a cluster, its stores are made to answer here.

A terminal reaches MLflow and Postgres in a cluster through the API server's port-forward, and workers reach them by
their Services. A forward is opened once a process, listens on this machine alone, and is kept until the process ends.
Verbs that need neither store read `Settings.from_environment`, which contacts nobody.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from winnow.config.addresses import with_password
from winnow.config.errors import InputError
from winnow.config.settings import Settings, home_folder
from winnow.config.stack_record import OWN_STORAGE, OWN_WORKER_STORAGE, PASSWORD, ClusterStackRecord, read_stack
from winnow.stack.plan import MLFLOW, POSTGRES

if TYPE_CHECKING:
    from winnow.cluster.api import Cluster
    from winnow.cluster.forward import Forward

_KUBECONFIG = "KUBECONFIG"


def current(environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings with addresses that answer on this machine.

    Raises:
        InputError: a setting is wrong, or the Secret of the stack in use is gone or may not be read.
        UnreachableError: that stack's cluster does not answer.
    """
    settings = Settings.from_environment(environment)
    stack = settings.stack
    if not isinstance(stack, ClusterStackRecord):
        return settings
    if settings.tracking_uri == stack.tracking_url:
        settings = replace(settings, tracking_uri=tracking_of(stack, environment))
    if settings.storage_url == stack.storage_url:
        here, inside = studies_of(stack, environment)
        is_set = settings.worker_storage_url != stack.storage_url
        inside = settings.worker_storage_url if is_set else inside
        settings = replace(settings, storage_url=here, worker_storage_url=inside)
    return settings


def tracking_of(stack: ClusterStackRecord, environment: Mapping[str, str] = os.environ) -> str:
    """The address on this machine of a stack's MLflow."""
    return f"http://127.0.0.1:{_open(environment, stack, MLFLOW, 5000)}"


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
    from winnow.stack.kubernetes import read_secret

    return read_secret(cluster_of(stack, environment)) or {}


def _from(secret: Mapping[str, str], name: str, stack: ClusterStackRecord) -> str:
    if not secret.get(name):
        raise InputError(
            "the Secret winnow-tracking",
            expected=f"{name} of {stack.shown}",
            found="none",
            remedy=f"Run `make mlflow-init TARGET=kubernetes` again, or end its use with `{stack.ending}`.",
        )
    return secret[name]


def cluster_in_use(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster and namespace that are meant: those that are set, else the stack's in use, else kubeconfig's.

    Raises:
        InputError: no namespace is named, or there is no such cluster.
    """
    from winnow.cluster.connection import connect

    stack = read_stack(home_folder(environment))
    if isinstance(stack, ClusterStackRecord):
        return connect(environment, context=stack.context, namespace=stack.namespace)
    return connect(environment)


def cluster_of(stack: ClusterStackRecord, environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster and namespace of a stack in use, whichever others are asked for beside it.

    Raises:
        InputError: kubeconfig does not know it.
    """
    return _cluster(environment.get(_KUBECONFIG, ""), stack)


@functools.cache
def _cluster(kubeconfig: str, stack: ClusterStackRecord) -> Cluster:
    from winnow.cluster.connection import connect

    return connect({_KUBECONFIG: kubeconfig}, context=stack.context, namespace=stack.namespace)


def _open(environment: Mapping[str, str], stack: ClusterStackRecord, role: str, port: int) -> int:
    """A port of this machine that leads to the stack's pod of that role."""
    return _forward(environment.get(_KUBECONFIG, ""), stack, role, port).port


@functools.cache
def _forward(kubeconfig: str, stack: ClusterStackRecord, role: str, port: int) -> Forward:
    from winnow.cluster.forward import Forward
    from winnow.stack.kubernetes_plan import labels_of

    return Forward(_cluster(kubeconfig, stack), labels_of(role), port)
