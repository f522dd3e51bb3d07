"""Which cluster and which namespace are meant: what `kubectl` points at, unless something else is said.

The namespace is never guessed: it is set, or the context in kubeconfig names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.cluster.api import Cluster
from winnow.config.errors import InputError

CONTEXT, NAMESPACE = "WINNOW_CONTEXT", "WINNOW_NAMESPACE"
"""Environment variables that name another context, or another namespace, than kubeconfig's current ones."""

_CONNECTIONS = 32


def connect(
    environment: Mapping[str, str] = os.environ, *, context: str | None = None, namespace: str | None = None
) -> Cluster:
    """The cluster of the current context. Nothing is contacted before something is asked of it.

    Args:
        context, namespace: what a stack in use names; the environment's variables win over them.

    Raises:
        InputError: the SDK is not installed, there is no kubeconfig, no such context, or no namespace is named.
    """
    _check_sdk()
    import kubernetes.client
    import kubernetes.config
    from kubernetes.config.config_exception import ConfigException

    wanted = environment.get(CONTEXT) or context
    file = environment.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    try:
        contexts, current = kubernetes.config.list_kube_config_contexts(config_file=file)
    except ConfigException as error:
        raise _no_cluster(file, str(error)) from error
    chosen = _chosen(contexts, current, wanted, file)
    configuration = type.__call__(kubernetes.client.Configuration)
    configuration.connection_pool_maxsize = _CONNECTIONS
    try:
        client = kubernetes.config.new_client_from_config(
            config_file=file, context=chosen["name"], client_configuration=configuration
        )
    except ConfigException as error:
        raise _no_cluster(file, str(error)) from error
    return Cluster(client, _namespace(environment, namespace, chosen), chosen["name"])


def _chosen(contexts: list[Any], current: Any, wanted: str | None, file: str) -> Any:
    if wanted is None:
        if not current:
            raise _no_cluster(file, "no current context")
        return current
    named = {each["name"]: each for each in contexts}
    if wanted not in named:
        raise InputError(
            CONTEXT,
            expected=f"a context of {file}: {', '.join(sorted(named))}",
            found=f"'{wanted}'",
            remedy="Correct or unset it; `kubectl config get-contexts` lists them.",
        )
    return named[wanted]


def _namespace(environment: Mapping[str, str], of_stack: str | None, context: Any) -> str:
    namespace = environment.get(NAMESPACE) or of_stack or context["context"].get("namespace")
    if not namespace:
        raise InputError(
            NAMESPACE,
            expected=f"a namespace of the cluster '{context['name']}' to work in",
            found="none, neither set nor in kubeconfig's context",
            remedy=f"Set {NAMESPACE}, or `kubectl config set-context --current --namespace NAME`.",
        )
    return str(namespace)


def _no_cluster(file: str, found: str) -> InputError:
    return InputError(
        f"kubeconfig {file}",
        expected="a cluster and a current context",
        found=found,
        remedy="Name another file with KUBECONFIG; `kubectl cluster-info` has to work.",
    )


def _check_sdk() -> None:
    try:
        import kubernetes  # noqa: F401
    except ImportError as error:
        raise InputError(
            "the Kubernetes SDK for Python",
            expected="the package 'kubernetes', which the Kubernetes back-ends need",
            found="none",
            remedy="Install it: pip install 'kubernetes>=34'.",
        ) from error
