"""One HTTP request to a port of a pod, through the API server."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.client import HTTPException, HTTPResponse

from winnow.config.errors import WinnowError
from winnow.platforms.kubernetes.client import Cluster

TIMEOUT_S = 5.0


def ask(cluster: Cluster, pod: str, port: int, method: str, path: str, token: str = "") -> bytes | None:
    """The body of the answer to a request without a body; None where the pod gives no success."""
    headers = f"content-length: 0\r\nauthorization: Bearer {token}\r\n" if token else ""
    head = f"{method} {path} HTTP/1.0\r\n{headers}\r\n"
    try:
        stream = cluster.open(pod, port)
    except (WinnowError, OSError):
        return None
    near, far = socket.socketpair()
    carrier = threading.Thread(target=stream.carry, args=(far,), name="winnow-pod-request", daemon=True)
    carrier.start()
    try:
        near.settimeout(TIMEOUT_S)
        near.sendall(head.encode())
        with contextlib.closing(HTTPResponse(near, method=method)) as answer:
            answer.begin()
            body = answer.read()
            return body if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        near.close()
        stream.close()
        carrier.join(TIMEOUT_S)
