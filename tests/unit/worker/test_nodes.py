"""The nodes of a group: told what to do, heard when their part of a world ends."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.worker.waiting import wait_until
from winnow.training.launch import GroupFiles, Launch
from winnow.worker.node import RemoteNode, SupervisorGoneError
from winnow.worker.nodes import Nodes
from winnow.worker.stop import Stop, StopRequestedError

FAILS = """
import sys, pathlib
from winnow.training.rank_errors import RankError, write_error
error = RankError(kind="exception", reason="ValueError: no", detail="", rank=3, trial=1, fold=0)
write_error(pathlib.Path(sys.argv[1]), error)
sys.exit(13)
"""
WAITS = """
import sys, time, pathlib
pathlib.Path(sys.argv[1], "began").touch()
time.sleep(60)
"""


def plan(code: str) -> Callable[[GroupFiles], Launch]:
    return lambda files: Launch((sys.executable, "-c", code, str(files.logs)), {})


class Running:
    """A node in a thread of its own, with what it raised."""

    def __init__(
        self,
        nodes: Nodes,
        folder: Path,
        code: str,
        patience_s: float = 20.0,
        check_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self.node = RemoteNode(1, ("127.0.0.1", nodes.port), plan(code), folder, {}, patience_s, check_stop)
        self.raised: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.node.run()
        except (SupervisorGoneError, StopRequestedError) as error:
            self.raised = error

    def has_ended(self) -> bool:
        self.thread.join(timeout=15.0)
        return not self.thread.is_alive()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(0, "127.0.0.1")
    yield made
    made.dismiss()


def test_what_a_rank_of_another_node_left_is_heard_here(nodes: Nodes, tmp_path: Path) -> None:
    running = Running(nodes, tmp_path, FAILS)
    wait_until(lambda: bool(nodes.connected))
    nodes.start_world("{}")
    error = nodes.guilty_rank(timeout_s=15.0)
    assert error is not None
    assert (error.reason, error.rank) == ("ValueError: no", 3)
    nodes.dismiss()
    assert running.has_ended()


def test_a_node_that_comes_late_gets_the_world_that_is_up(nodes: Nodes, tmp_path: Path) -> None:
    nodes.start_world('{"late": true}')
    Running(nodes, tmp_path, WAITS)
    wait_until((tmp_path / "began").exists)
    assert (tmp_path / "experiment.json").read_text() == '{"late": true}'


def test_a_world_that_is_stopped_ends_on_every_node_and_another_starts(nodes: Nodes, tmp_path: Path) -> None:
    Running(nodes, tmp_path, WAITS)
    nodes.start_world("{}")
    wait_until((tmp_path / "began").exists)
    nodes.stop_world()
    (tmp_path / "began").unlink()
    nodes.start_world("{}")
    wait_until((tmp_path / "began").exists)


def test_a_dismissed_node_ends(nodes: Nodes, tmp_path: Path) -> None:
    running = Running(nodes, tmp_path, WAITS)
    wait_until(lambda: bool(nodes.connected))
    nodes.dismiss()
    assert running.has_ended()
    assert running.raised is None


def test_a_node_without_a_supervisor_gives_up(nodes: Nodes, tmp_path: Path) -> None:
    nodes.dismiss()
    running = Running(nodes, tmp_path, WAITS, patience_s=0.5)
    assert running.has_ended()
    assert "first node" in str(running.raised)


def test_a_node_that_comes_again_is_kept_for_the_next_world(nodes: Nodes, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", nodes.port)) as life:
        life.sendall(b'{"type":"Hello","node":1}\n')
        wait_until(lambda: nodes.connected == (1,))
        nodes.start_world("{}")
    wait_until(lambda: nodes.connected == ())
    Running(nodes, tmp_path, WAITS)
    wait_until(lambda: nodes.connected == (1,))
    began = time.monotonic()
    assert nodes.guilty_rank(timeout_s=15.0) is None
    assert time.monotonic() - began < 10.0
    assert not (tmp_path / "began").exists()
    nodes.start_world("{}")
    wait_until((tmp_path / "began").exists)


def test_a_node_that_is_asked_to_stop_says_so_before_its_ranks_end(nodes: Nodes, tmp_path: Path) -> None:
    stop = Stop()
    running = Running(nodes, tmp_path, WAITS, check_stop=stop.check)
    wait_until(lambda: nodes.are_complete)
    nodes.start_world("{}")
    wait_until((tmp_path / "began").exists)
    stop.request()
    assert nodes.guilty_rank(timeout_s=15.0) is None
    assert (nodes.left, nodes.are_complete) == ((1,), False)
    assert running.has_ended()
    assert isinstance(running.raised, StopRequestedError)
    nodes.start_world("{}")
    assert nodes.left == ()


def test_nobody_is_waited_for_where_no_node_is_there(nodes: Nodes) -> None:
    nodes.start_world("{}")
    assert nodes.guilty_rank(timeout_s=5.0) is None


def test_the_nodes_are_complete_once_each_has_called() -> None:
    made = Nodes(0, "127.0.0.1", count=2)
    try:
        with socket.create_connection(("127.0.0.1", made.port)) as first:
            first.sendall(b'{"type":"Hello","node":1}\n')
            wait_until(lambda: made.connected == (1,))
            assert not made.are_complete
            with socket.create_connection(("127.0.0.1", made.port)) as second:
                second.sendall(b'{"type":"Hello","node":2}\n')
                wait_until(lambda: made.are_complete)
            wait_until(lambda: not made.are_complete)
    finally:
        made.dismiss()
