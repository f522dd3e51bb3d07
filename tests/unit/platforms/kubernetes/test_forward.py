"""A port that leads to pods, as far as it is this machine's."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.unit.platforms.kubernetes.api_server import cluster_of, running
from winnow.platforms.kubernetes.forward import Forward


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open nothing; whoever polls must be allowed as many as he polls."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_too_many_open_files_end_no_port_for_good(tmp_path: Path) -> None:
    with running() as api, closing(Forward(cluster_of(api, tmp_path), {"a": "b"}, 80, pod_timeout_s=0)) as forward:
        with socket.socket() as first, no_more_files():
            # Who waits for a call has room for it already; there is none for the next.
            first.connect(("127.0.0.1", forward.port))
            time.sleep(0.2)
        with socket.create_connection(("127.0.0.1", forward.port), timeout=5) as caller:
            # Taken, and led nowhere, since there is no pod.
            assert caller.recv(1) == b""
        assert forward.diagnosis == "no pod is ready"
