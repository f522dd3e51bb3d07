"""Finds the cluster and the namespace: kubectl's current ones, unless the environment or the stack names others.

The namespace is never guessed. The namespace of the stack in use counts only on the stack's own cluster.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from winnow.config.errors import InputError, UnavailableError
from winnow.platforms.kubernetes.client import Cluster

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

CONTEXT, NAMESPACE = "WINNOW_CONTEXT", "WINNOW_NAMESPACE"
"""Environment variables that override kubeconfig's current context and namespace."""

IN_CLUSTER = "in-cluster"
"""Name of the cluster in which this process runs, if there is no kubeconfig."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

WAYS = ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
"""Environment variables that locate clusters; `CONTEXT` and `NAMESPACE` choose among them."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CONNECTIONS = 64
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@dataclass(frozen=True)
class Context:
    """A context of kubeconfig, or the cluster in which this process runs; `identity` as for `Cluster`."""

    name: str
    namespace: str | None = None
    identity: str = ""


def connect(
    environment: Mapping[str, str] = os.environ, *, in_use: Context | None = None, account: Path = SERVICE_ACCOUNT
) -> Cluster:
    """The cluster of the current context, or the one in which this process runs, without a request to it.

    Args:
        in_use: where the stack in use is; the environment overrides it.
        account: folder with a pod's service account.

    Raises:
        UnavailableError: the SDK is not installed, there is no kubeconfig, or no namespace is named.
        InputError: there is no such context, or the stack in use is on an earlier cluster of that name.
    """
    _check_sdk()
    chosen, client = _found(environment, in_use, account)
    # Records of older versions have no identity.
    is_there = in_use is not None and chosen.name == in_use.name and in_use.identity in ("", chosen.identity)
    if in_use is not None and not is_there and not environment.get(CONTEXT):
        raise InputError(
            f"the stack in use, in namespace {in_use.namespace} of the cluster '{in_use.name}'",
            expected="the cluster that it was started on",
            found=f"another one, '{chosen.name}'",
            remedy=f"Set KUBECONFIG to the file of the stack's cluster, or {CONTEXT} to another cluster. If the "
            "stack's cluster is gone, delete stack.json in WINNOW_HOME.",
        )
    namespace = in_use.namespace if in_use is not None and is_there else None
    return Cluster(
        client(), _namespace(environment, namespace, chosen), chosen.name, identity=chosen.identity, renew=client
    )


def _found(
    environment: Mapping[str, str], in_use: Context | None, account: Path
) -> tuple[Context, Callable[[], ApiClient]]:
    file = environment.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    has_file = any(Path(part).expanduser().is_file() for part in file.split(os.pathsep) if part)
    if not has_file and "KUBERNETES_SERVICE_HOST" in environment and (account / "token").is_file():
        facts = {"server": environment["KUBERNETES_SERVICE_HOST"]}
        if (account / "ca.crt").is_file():
            facts["certificate-authority-data"] = (account / "ca.crt").read_text(encoding="utf-8")
        own = account / "namespace"
        namespace = own.read_text(encoding="utf-8").strip() or None if own.is_file() else None
        inside = Context(IN_CLUSTER, namespace, _identity(IN_CLUSTER, facts))
        return inside, lambda: _from_inside(environment, account)
    chosen = _chosen(file, environment.get(CONTEXT) or (in_use.name if in_use is not None else None))
    return chosen, lambda: _from_file(file, chosen.name)


def _from_file(file: str, context: str) -> ApiClient:
    import kubernetes.config
    from kubernetes.config.config_exception import ConfigException

    try:
        return kubernetes.config.new_client_from_config(
            config_file=file, context=context, client_configuration=_configuration()
        )
    except (ConfigException, KeyError, TypeError, OSError) as error:
        # A hand-written kubeconfig raises any of these.
        raise _no_cluster(file, str(error)) from error


def _from_inside(environment: Mapping[str, str], account: Path) -> ApiClient:
    import kubernetes.client
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.incluster_config import InClusterConfigLoader

    configuration = _configuration()
    try:
        InClusterConfigLoader(
            token_filename=str(account / "token"), cert_filename=str(account / "ca.crt"), environ=environment
        ).load_and_set(configuration)
    except ConfigException as error:
        raise _no_cluster(str(account), str(error)) from error
    return kubernetes.client.ApiClient(configuration)


def _configuration() -> Any:
    import kubernetes.client
    import urllib3.connection

    # Calling the class would copy the default configuration, which another library may have set.
    configuration = type.__call__(kubernetes.client.Configuration)
    configuration.connection_pool_maxsize = _CONNECTIONS
    # With keep-alive, an idle watch or log notices that the server is gone.
    configuration.socket_options = [
        *urllib3.connection.HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *((socket.IPPROTO_TCP, getattr(socket, name), s) for name, s in _KEEP_ALIVE.items() if hasattr(socket, name)),
    ]
    return configuration


def _chosen(file: str, wanted: str | None) -> Context:
    # The first of several files wins, as for kubectl. The SDK would take the last `current-context`.
    files = list(_files(file))
    clusters = _first(files, "clusters", "cluster")
    contexts = {
        name: Context(name, each.get("namespace"), _identity(name, clusters.get(str(each.get("cluster")), {})))
        for name, each in _first(files, "contexts", "context").items()
    }
    current = next((each["current-context"] for each in files if each.get("current-context")), None)
    if wanted is None and current is None:
        raise _no_cluster(file, "no current context")
    name = wanted if wanted is not None else str(current)
    if name not in contexts:
        raise InputError(
            CONTEXT if wanted is not None else f"kubeconfig {file}: current-context",
            expected=f"a context of {file}: {', '.join(sorted(contexts)) or 'there is none'}",
            found=f"'{name}'",
            remedy="Correct or unset it; `kubectl config get-contexts` lists them.",
        )
    return contexts[name]


def _first(files: Sequence[Mapping[str, Any]], section: str, what: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for each in (entry for file in files for entry in file.get(section) or ()):
        found.setdefault(each["name"], each.get(what) or {})
    return found


def _identity(name: str, cluster: Mapping[str, Any]) -> str:
    """A cluster's identity; by its certificate authority it changes when the cluster is recreated."""
    facts = [str(cluster.get(key, "")) for key in ("server", "certificate-authority-data", "certificate-authority")]
    return f"{name} {hashlib.sha256(' '.join(facts).encode()).hexdigest()[:12]}"


def _files(file: str) -> Iterator[dict[str, Any]]:
    """The contents of the existing kubeconfigs among several paths."""
    paths = [Path(part).expanduser() for part in file.split(os.pathsep) if part]
    there = [path for path in paths if path.is_file()]
    if not there:
        raise _no_cluster(file, "no such file")
    for path in there:
        try:
            whole = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise _no_cluster(str(path), str(error).partition("\n")[0]) from error
        if not isinstance(whole, dict):
            raise _no_cluster(str(path), "something else")
        yield whole


def _namespace(environment: Mapping[str, str], of_stack: str | None, context: Context) -> str:
    namespace = environment.get(NAMESPACE) or of_stack or context.namespace
    if not namespace:
        raise UnavailableError(
            NAMESPACE,
            expected=f"a namespace of the cluster '{context.name}' to work in",
            found="none, neither set nor in kubeconfig's context",
            remedy=f"Set {NAMESPACE}, or `kubectl config set-context --current --namespace NAME`.",
        )
    if not _LABEL.fullmatch(namespace):
        raise InputError(
            NAMESPACE,
            expected="a namespace's name: lower-case letters, digits and dashes, 63 at most",
            found=f"'{namespace}'",
            remedy="Correct it; `kubectl get namespaces` lists them.",
        )
    return namespace


def _no_cluster(file: str, found: str) -> UnavailableError:
    return UnavailableError(
        f"kubeconfig {file}",
        expected="a cluster and a current context",
        found=found,
        remedy="Name another file with KUBECONFIG; `kubectl cluster-info` has to work.",
    )


def _check_sdk() -> None:
    try:
        import kubernetes  # noqa: F401
    except ImportError as error:
        raise UnavailableError(
            "the Kubernetes SDK for Python",
            expected="the package 'kubernetes', which the platform Kubernetes needs",
            found="none",
            remedy="Install it: pip install 'kubernetes>=34'.",
        ) from error
