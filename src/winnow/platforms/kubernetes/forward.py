"""Forwards a local port to pods, through the API server.

Every connection looks for a ready pod, so the port outlives any single pod.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping

from winnow.config.errors import WinnowError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.kinds import POD, Manifest, name_of
from winnow.platforms.kubernetes.permissions import verbs
from winnow.platforms.kubernetes.port_stream import PortStream
from winnow.platforms.kubernetes.refusals import NotFoundError

PERMISSIONS = (
    *verbs("list", POD),
    # Opening a web socket is a GET; since Kubernetes 1.35 it also needs "create".
    *verbs("create get", POD, subresource="portforward"),
)
POD_TIMEOUT_S = 15.0
_RETRY_S = 0.5


class Forward:
    """Listens on 127.0.0.1 and carries every connection to a port of a ready pod with these labels.

    Args:
        pod_timeout_s: how long a connection waits for a ready pod before it is closed.
        listen: the port to listen on; 0: any free one.

    Attributes:
        diagnosis: why the last connection failed; empty if it did not.
    """

    def __init__(
        self,
        cluster: Cluster,
        labels: Mapping[str, str],
        port: int,
        *,
        pod_timeout_s: float = POD_TIMEOUT_S,
        listen: int = 0,
    ) -> None:
        self._cluster = cluster
        self._labels = dict(labels)
        self._target = port
        self._pod_timeout_s = pod_timeout_s
        self._is_closed = threading.Event()
        self._lock = threading.Lock()
        self._streams: set[PortStream] = set()
        self._name = f"winnow-forward-{port}"
        self.diagnosis = ""
        self._listener = socket.create_server(("127.0.0.1", listen), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name=self._name, daemon=True).start()

    def close(self) -> None:
        """Stop listening and end all connections; may be called again."""
        self._is_closed.set()
        with contextlib.suppress(OSError):
            # Wakes the accepting thread; `close` alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for stream in self._streams:
                stream.close()

    def _accept(self) -> None:
        while not self._is_closed.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                # For example, too many open files.
                self._is_closed.wait(_RETRY_S)
                continue
            threading.Thread(target=self._carry, args=(accepted,), name=self._name, daemon=True).start()

    def _carry(self, accepted: socket.socket) -> None:
        with accepted:
            stream = self._connection()
            if stream is None:
                return
            with self._lock:
                self._streams.add(stream)
            if self._is_closed.is_set():
                stream.close()
            self.diagnosis = ""
            stream.carry(accepted)
            self.diagnosis = stream.diagnosis
            with self._lock:
                self._streams.discard(stream)

    def _connection(self) -> PortStream | None:
        """A connection to the first ready pod that accepts it; None if none does in time."""
        deadline = time.monotonic() + self._pod_timeout_s
        while not self._is_closed.is_set():
            try:
                for pod in ready_pods(self._cluster, self._labels):
                    with contextlib.suppress(NotFoundError):
                        return self._cluster.open(name_of(pod), self._target)
                self.diagnosis = "no pod is ready"
            except (WinnowError, OSError) as error:
                # The API server or the node may come back.
                self.diagnosis = str(error)
            if time.monotonic() > deadline:
                return None
            self._is_closed.wait(_RETRY_S)
        return None


def ready_pods(cluster: Cluster, labels: Mapping[str, str]) -> list[Manifest]:
    """The pods with these labels that are ready and not being deleted, the newest first."""
    found = [pod for pod in cluster.find(POD, labels).items if is_ready(pod)]
    return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)


def is_ready(pod: Manifest) -> bool:
    """Whether a pod takes connections and is not being deleted."""
    conditions = pod.get("status", {}).get("conditions") or ()
    has_passed = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return has_passed and "deletionTimestamp" not in pod["metadata"]
