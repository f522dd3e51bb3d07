"""A fork server and its clients, with ranks that do without torch."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.unit.training.group import wait_until_gone
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.training.fork_client import ForkedRanks, ForkServer
from winnow.training.fork_messages import Checked
from winnow.training.launch import Launch

EXPERIMENT = Experiment.model_validate(
    {
        "name": "forks",
        "data": {"source": "sklearn:breast_cancer"},
        "model": {"factory": "winnow.models:mlp"},
        "search": {"space": {"lr": {"float": [0.001, 0.1]}}, "metric": {"name": "f1"}},
    }
)
Serve = Callable[..., ForkServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a fake fork server and connect to it."""
    started: list[ForkServer] = []

    def start(**variables: str) -> ForkServer:
        # The path of a socket is short, and a test's own folder may be too deep.
        address = f"/tmp/winnow-test-{os.getpid()}-{time.time_ns()}/fork-server"
        Path(address).parent.mkdir()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            argv = (sys.executable, "-m", "tests.unit.training.fake_fork_server")
            process = subprocess.Popen(argv, stdin=listener.fileno(), env={**os.environ, **variables})
        started.append(ForkServer(address, process))
        return started[-1]

    yield start
    for server in started:
        server.close()


def fork(server: ForkServer, log: Path, do: str, ranks: int = 1, **variables: str) -> ForkedRanks:
    launch = Launch(("false",), {"DO": do, "RANK": "0", **variables}, forked_ranks=ranks)
    return server.start_ranks(launch, os.environ, log, lambda: subprocess.Popen(("sh", "-c", "exit 9")))


def children(server: ForkServer, count: int) -> list[psutil.Process]:
    """The server's ranks, once there are as many."""
    process = psutil.Process(server._process.pid)
    while len(found := process.children()) < count:
        time.sleep(0.01)
    return found


def test_the_server_says_what_it_checks_and_what_it_found(serve: Serve) -> None:
    shown: list[str] = []
    checked = serve().check(EXPERIMENT, show=shown.append)
    assert checked == Checked("f1", "maximize", "classification", 5, "stratified", "rows", 569, "a" * 64)
    assert shown == ["the first part"]


def test_a_refusal_reaches_the_client_as_it_was_raised(serve: Serve) -> None:
    with pytest.raises(InputError) as refused:
        serve(REFUSES="1").check(EXPERIMENT)
    assert str(refused.value) == "data.source: expected a file, found none. Write one."
    assert refused.value.__cause__.args == ("NAME",)


def test_a_rank_has_the_environment_that_was_asked_for_and_none_of_the_servers(serve: Serve, tmp_path: Path) -> None:
    server = serve(OMP_NUM_THREADS="1")
    ranks = fork(server, tmp_path / "log", "say OMP_NUM_THREADS", OMP_NUM_THREADS="7")
    assert ranks.wait(timeout=10) == 0
    assert (tmp_path / "log").read_text() == "7\n"


@pytest.mark.parametrize(("do", "code"), [("end 0", 0), ("fail 1 13", 13), ("fail 0 1", 1)])
def test_the_first_rank_to_fail_ends_the_others_and_gives_their_exit_code(
    serve: Serve, tmp_path: Path, do: str, code: int
) -> None:
    assert fork(serve(), tmp_path / "log", do, ranks=3).wait(timeout=10) == code


def test_a_rank_that_is_killed_ends_its_world_by_that_signal(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    ranks = fork(server, tmp_path / "log", "wait", ranks=2)
    first, second = children(server, 2)
    second.kill()
    assert ranks.wait(timeout=10) == -signal.SIGKILL
    assert wait_until_gone([first], timeout_s=5) == []


def test_ranks_are_asked_to_end(serve: Serve, tmp_path: Path) -> None:
    ranks = fork(serve(), tmp_path / "log", "wait", ranks=2)
    assert ranks.poll() is None
    ranks.terminate()
    assert ranks.wait(timeout=10) == -signal.SIGTERM


def test_ranks_end_with_their_client_and_the_server_with_its_last_one(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    server.share()
    ours, others = fork(server, tmp_path / "log", "wait"), fork(server, tmp_path / "log", "wait")
    processes = children(server, 2)
    ours.kill()
    gone, alive = psutil.wait_procs(processes, timeout=5)
    assert (len(gone), len(alive), others.poll()) == (1, 1, None)
    server.close()
    others.kill()
    assert server._process.wait(timeout=10) == 0
    assert wait_until_gone(alive, timeout_s=5) == []


def test_ranks_of_a_server_that_is_killed_count_as_killed(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    ranks = fork(server, tmp_path / "log", "wait")
    children(server, 1)
    server._process.kill()
    assert ranks.wait(timeout=10) == -signal.SIGKILL


def test_where_the_server_cannot_fork_the_ranks_are_processes_of_their_own(serve: Serve, tmp_path: Path) -> None:
    ranks = fork(serve(CANNOT="2 threads run"), tmp_path / "log", "wait")
    assert ranks.wait(timeout=10) == 9
    assert (tmp_path / "log").read_text() == "ranks are started as processes of their own: 2 threads run\n"
