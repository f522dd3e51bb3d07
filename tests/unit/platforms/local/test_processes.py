"""Processes of a deployment on this machine."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec

from winnow.config.clock import Clock
from winnow.config.process_identity import ProcessIdentity
from winnow.platforms.local.processes import Processes
from winnow.platforms.local.revision_plan import Folder, Process


def test_a_router_that_is_killed_while_it_answers_gives_no_report(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        folder.ready("router-1-0").write_bytes(msgspec.json.encode({"control_port": listener.getsockname()[1]}))

        def answer() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.recv(1000)
                caller.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")

        server = threading.Thread(target=answer)
        server.start()
        router = Process(ProcessIdentity(1, ""), "router-1-0", token="token")
        assert Processes(folder, {}, Clock()).renew(router, is_read_only=True) is None
        server.join()
