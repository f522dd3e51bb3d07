"""Which cluster and which namespace are meant: what `kubectl` points at, unless something else is said.

The namespace is never guessed: the environment names it, or the stack in use, or the context in kubeconfig. The stack's
namespace counts on its own cluster only: one of the same name on another cluster is not the stack's.
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
"""Environment variables that name another context, or another namespace, than kubeconfig's current ones."""

IN_CLUSTER = "in-cluster"
"""Name of the cluster in which this process runs, where there is no kubeconfig."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Folder in which a pod finds its service account's token, namespace and the API's certificate."""

WAYS = ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")
"""Environment variables that lead to clusters; `CONTEXT` and `NAMESPACE` choose among them."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CONNECTIONS = 64
_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


@dataclass(frozen=True)
class Context:
    """One context of a kubeconfig, or the cluster around this process.

    Attributes:
        identity: tells apart two clusters of the same name, also where one has replaced the other.
    """

    name: str
    namespace: str | None = None
    identity: str = ""


def connect(
    environment: Mapping[str, str] = os.environ, *, in_use: Context | None = None, account: Path = SERVICE_ACCOUNT
) -> Cluster:
    """The cluster of the current context, or the one around this process. Nothing is contacted before it is asked.

    Args:
        in_use: where the stack in use is; the environment's variables win over it.
        account: where a pod finds its service account.

    Raises:
        UnavailableError: the SDK is not installed, there is no kubeconfig, or no namespace is named.
        InputError: there is no such context, or the stack in use is on another cluster than the one of that name.
    """
    _check_sdk()
    chosen, client = _meant(environment, in_use, account)
    is_there = in_use is not None and _is_same(chosen, in_use)
    if in_use is not None and not is_there and not environment.get(CONTEXT):
        raise InputError(
            f"the stack in use, in namespace {in_use.namespace} of the cluster '{in_use.name}'",
            expected="the cluster that it was started on",
            found=f"another one, '{chosen.name}'",
            remedy=f"Name that one's file with KUBECONFIG, or another cluster with {CONTEXT}. Where the stack's is "
            "gone for good, delete stack.json in WINNOW_HOME.",
        )
    namespace = in_use.namespace if in_use is not None and is_there else None
    return Cluster(
        client(), _namespace(environment, namespace, chosen), chosen.name, identity=chosen.identity, renew=client
    )


def _meant(
    environment: Mapping[str, str], in_use: Context | None, account: Path
) -> tuple[Context, Callable[[], ApiClient]]:
    """Which cluster, and what connects to it."""
    file = environment.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    if _is_in_cluster(environment, file, account):
        return _inside(environment, account), lambda: _from_inside(environment, account)
    chosen = _chosen(file, environment.get(CONTEXT) or (in_use.name if in_use is not None else None))
    return chosen, lambda: _from_file(file, chosen.name)


def _is_same(chosen: Context, in_use: Context) -> bool:
    """Whether it is the cluster of the stack in use, by identity. Records of older versions have a name only."""
    return chosen.name == in_use.name and in_use.identity in ("", chosen.identity)


def _from_file(file: str, context: str) -> ApiClient:
    import kubernetes.config
    from kubernetes.config.config_exception import ConfigException

    try:
        return kubernetes.config.new_client_from_config(
            config_file=file, context=context, client_configuration=_configuration()
        )
    except (ConfigException, KeyError, TypeError, OSError) as error:
        # What a hand-written kubeconfig lacks shows in any of these.
        raise _no_cluster(file, str(error)) from error


def _inside(environment: Mapping[str, str], account: Path) -> Context:
    """The cluster around this process."""
    file, authority = account / "namespace", account / "ca.crt"
    facts = {
        "server": environment["KUBERNETES_SERVICE_HOST"],
        "certificate-authority-data": authority.read_text(encoding="utf-8") if authority.is_file() else "",
    }
    namespace = file.read_text(encoding="utf-8").strip() or None if file.is_file() else None
    return Context(IN_CLUSTER, namespace, _identity(IN_CLUSTER, facts))


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

    # A new one: calling the class gives a copy of the default, which another library may have set.
    configuration = type.__call__(kubernetes.client.Configuration)
    configuration.connection_pool_maxsize = _CONNECTIONS
    # An idle watch or log notices by keep-alive that the other end is gone.
    configuration.socket_options = [
        *urllib3.connection.HTTPConnection.default_socket_options,
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *(
            (socket.IPPROTO_TCP, getattr(socket, name), value)
            for name, value in _KEEP_ALIVE.items()
            if hasattr(socket, name)
        ),
    ]
    return configuration


def _chosen(file: str, wanted: str | None) -> Context:
    contexts, current = _contexts(file)
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


def _contexts(file: str) -> tuple[dict[str, Context], str | None]:
    """The contexts, and the current one. Of several files the first that names something counts, as for kubectl."""
    files = list(_files(file))
    clusters = _first(files, "clusters", "cluster")
    contexts = {
        name: Context(name, each.get("namespace"), _identity(name, clusters.get(str(each.get("cluster")), {})))
        for name, each in _first(files, "contexts", "context").items()
    }
    return contexts, next((each["current-context"] for each in files if each.get("current-context")), None)


def _first(files: Sequence[Mapping[str, Any]], section: str, what: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for each in (entry for file in files for entry in file.get(section) or ()):
        found.setdefault(each["name"], each.get(what) or {})
    return found


def _identity(name: str, cluster: Mapping[str, Any]) -> str:
    """An identity from the certificate authority: a cluster re-created under its old name has another one."""
    facts = [str(cluster.get(key, "")) for key in ("server", "certificate-authority-data", "certificate-authority")]
    return f"{name} {hashlib.sha256(' '.join(facts).encode()).hexdigest()[:12]}"


def _files(file: str) -> Iterator[dict[str, Any]]:
    """The kubeconfigs of a list of paths; those that are not there are passed over, unless none is."""
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


def _is_in_cluster(environment: Mapping[str, str], file: str, account: Path) -> bool:
    """This process is in a pod with a service account, and no other cluster is named."""
    has_file = any(Path(part).expanduser().is_file() for part in file.split(os.pathsep) if part)
    return not has_file and "KUBERNETES_SERVICE_HOST" in environment and (account / "token").is_file()


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
