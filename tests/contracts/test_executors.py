"""What every executor promises, over every platform."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from winnow.platforms.executor import Executor, GroupResources, GroupSpec, GroupState, UnknownGroupError
from winnow.platforms.local.executor import LocalExecutor
from winnow.platforms.processors import visible_gpus
from winnow.testing.executor import MemoryExecutor

if TYPE_CHECKING:
    from tests.kubernetes.places import Place

# As a supervisor does, which would otherwise not be stopped where it is a container's first process.
SLEEP = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(143)); "
    "print('at work', flush=True); time.sleep(60)"
)
DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('at work', flush=True); time.sleep(60)"
)


def group(name: str = "w0", code: str = SLEEP, study: str = "a-study", python: str = sys.executable) -> GroupSpec:
    return GroupSpec(study, name, (python, "-c", code), {"WINNOW_TEST": "1"})


@dataclass(frozen=True)
class Platform:
    """One platform; `make` gives another executor over it, as another process would have it."""

    make: Callable[[], Executor]
    study: str = "a-study"
    python: str = sys.executable
    resources: GroupResources = field(default_factory=GroupResources)

    def group(self, name: str = "w0", code: str = SLEEP) -> GroupSpec:
        return replace(group(name, code, self.study, self.python), resources=self.resources)

    def start(self, **of_group: Any) -> Executor:
        """Start a group and wait until it has said something."""
        executor = self.make()
        spec = self.group(**of_group)
        executor.start(spec)
        wait_until(lambda: any("at work" in line for line in executor.log(self.study, spec.name)))
        return executor


@pytest.fixture(scope="module")
def namespace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A namespace of a cluster, for the tests of this module."""
    from tests.kubernetes.places import place

    with place(tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture(
    params=[
        "local",
        "memory",
        pytest.param("docker", marks=pytest.mark.docker),
        pytest.param("kubernetes", marks=pytest.mark.kubernetes),
    ]
)
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    """Each in turn, without groups; what a test leaves there is taken away."""
    if request.param == "docker":
        from tests.docker.groups import sandbox

        with sandbox(tmp_path) as made:
            yield Platform(made.executor, made.study, "python3")
    elif request.param == "kubernetes":
        from tests.kubernetes import groups

        here = groups.sandbox(request.getfixturevalue("namespace"), tmp_path)
        yield Platform(here.executor, here.study, "python3", here.group().resources)
        groups.remove(here)
    elif request.param == "local":
        yield Platform(lambda: LocalExecutor(tmp_path))
        executor = LocalExecutor(tmp_path)
        for left in executor.groups():
            executor.cancel(left.study, left.name, 0.0)
    else:
        memory = MemoryExecutor()
        yield Platform(lambda: memory)


def wait_until(fact: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Look until it is so, ever less often: a cluster has better things to do while it starts a pod."""
    deadline, pause_s = time.monotonic() + timeout_s, 0.02
    while not fact():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.3)


def pid_of(home: Path) -> int:
    return int(json.loads((home / "studies" / "a-study" / "groups" / "w0" / "process.json").read_text())["pid"])


def test_a_plan_starts_nothing(platform: Platform) -> None:
    assert any("at work" in line for line in platform.make().plan([platform.group()]))
    assert platform.make().groups(platform.study) == ()


def test_a_started_group_runs_and_is_found_by_others(platform: Platform) -> None:
    platform.start()
    (found,) = platform.make().groups(platform.study)
    assert (found.name, found.state, found.exit_code, found.lacks_nodes) == ("w0", GroupState.RUNNING, None, False)
    assert found in platform.make().groups()
    assert platform.make().groups("another-study") == ()


def test_starting_a_running_group_changes_nothing(platform: Platform) -> None:
    executor = platform.start()
    before = executor.status(platform.study, "w0")
    executor.start(platform.group())
    platform.make().start(platform.group())
    assert platform.make().groups(platform.study) == (before,)
    assert len(list(executor.log(platform.study, "w0"))) == 1


def test_a_cancelled_group_is_over_and_may_be_cancelled_again(platform: Platform) -> None:
    executor = platform.start()
    executor.cancel(platform.study, "w0", grace_s=5.0)
    assert executor.status(platform.study, "w0").state.is_over
    executor.cancel(platform.study, "w0", grace_s=5.0)
    assert executor.status(platform.study, "w0").state.is_over


def test_all_groups_of_a_study_are_cancelled_at_once(platform: Platform) -> None:
    executor = platform.make()
    for name in ("w0", "w1"):
        executor.start(platform.group(name))
    wait_until(
        lambda: all(any("at work" in line for line in executor.log(platform.study, name)) for name in ("w0", "w1"))
    )
    platform.make().cancel_all("another-study", grace_s=5.0)
    assert not any(found.state.is_over for found in executor.groups(platform.study))
    platform.make().cancel_all(platform.study, grace_s=5.0)
    assert [found.state.is_over for found in executor.groups(platform.study)] == [True, True]
    executor.cancel_all(platform.study, grace_s=5.0)


def test_a_group_is_cancelled_by_any_process_that_finds_it(platform: Platform) -> None:
    executor = platform.start()
    platform.make().cancel(platform.study, "w0", grace_s=5.0)
    assert executor.status(platform.study, "w0").state.is_over


def test_a_group_that_is_over_can_be_started_again_and_keeps_its_logs(platform: Platform) -> None:
    executor = platform.start()
    executor.cancel(platform.study, "w0", grace_s=5.0)
    executor.start(platform.group())
    assert executor.status(platform.study, "w0").state is GroupState.RUNNING
    wait_until(lambda: sum("at work" in line for line in executor.log(platform.study, "w0")) == 2)


def test_logs_survive_the_end_and_the_clearing(platform: Platform) -> None:
    executor = platform.start()
    executor.cancel(platform.study, "w0", grace_s=5.0)
    assert any("at work" in line for line in platform.make().log(platform.study, "w0"))
    executor.clear(platform.study)
    executor.clear(platform.study)
    assert any("at work" in line for line in platform.make().log(platform.study, "w0"))
    assert [found.name for found in platform.make().groups(platform.study)] == ["w0"]
    assert platform.make().status(platform.study, "w0").state.is_over
    platform.make().cancel(platform.study, "w0", grace_s=1.0)


def test_clearing_leaves_running_groups_alone(platform: Platform) -> None:
    executor = platform.start()
    executor.clear(platform.study)
    assert executor.status(platform.study, "w0").state is GroupState.RUNNING


def test_a_log_that_is_followed_ends_with_its_group(platform: Platform) -> None:
    executor = platform.start()
    seen: list[str] = []
    following = threading.Thread(target=lambda: seen.extend(executor.log(platform.study, "w0", follow=True)))
    following.start()
    following.join(0.5)
    assert following.is_alive()
    platform.make().cancel(platform.study, "w0", grace_s=5.0)
    following.join(20)
    assert not following.is_alive()
    assert sum("at work" in line for line in seen) == 1


def test_an_unknown_group_is_one_error_everywhere(platform: Platform) -> None:
    executor = platform.make()
    with pytest.raises(UnknownGroupError):
        executor.status(platform.study, "w9")
    with pytest.raises(UnknownGroupError):
        executor.cancel(platform.study, "w9", grace_s=1.0)
    with pytest.raises(UnknownGroupError):
        list(executor.log(platform.study, "w9"))
    with pytest.raises(UnknownGroupError):
        list(executor.log(platform.study, "w9", follow=True))


def test_a_plan_shows_no_password(tmp_path: Path) -> None:
    address = {"WINNOW_STORAGE": "postgresql://me:s3cret@db:5432/studies", "PLAIN": "a b"}
    (line,) = LocalExecutor(tmp_path).plan([GroupSpec("a-study", "w0", ("run",), address)])
    assert line == "PLAIN='a b' WINNOW_STORAGE='postgresql://me:***@db:5432/studies' run"


@pytest.mark.parametrize(("told", "gpus"), [("1,GPU-a", ("1", "GPU-a")), ("", ()), ("-1", ())])
def test_the_gpus_that_the_environment_names_are_the_visible_ones(told: str, gpus: tuple[str, ...]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": told}) == gpus


def test_a_local_group_ends_with_its_exit_code(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.start(group(code="raise SystemExit(7)"))
    wait_until(lambda: executor.status("a-study", "w0").state.is_over)
    status = executor.status("a-study", "w0")
    assert (status.state, status.exit_code) == (GroupState.FAILED, 7)


def test_how_a_local_group_ended_is_unknown_to_others(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.start(group(code="print('at work')"))
    wait_until(lambda: executor.status("a-study", "w0").state.is_over)
    assert LocalExecutor(tmp_path).status("a-study", "w0").state is GroupState.ENDED


def test_a_local_group_that_ignores_the_request_is_killed_with_its_children(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {DEAF}"
    executor.start(group(code=code))
    wait_until(lambda: len(list(executor.log("a-study", "w0"))) == 2)
    supervisor = psutil.Process(pid_of(tmp_path))
    started = [supervisor, *supervisor.children(recursive=True)]
    assert len(started) == 2
    executor.cancel("a-study", "w0", grace_s=0.2)
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []


def test_a_local_group_lives_in_a_session_of_its_own(tmp_path: Path) -> None:
    executor = LocalExecutor(tmp_path)
    executor.start(group())
    pid = pid_of(tmp_path)
    assert os.getsid(pid) == pid != os.getsid(0)
    executor.cancel("a-study", "w0", grace_s=5.0)


def test_a_local_group_is_found_after_the_clock_was_set(tmp_path: Path) -> None:
    LocalExecutor(tmp_path).start(group())
    file = tmp_path / "studies" / "a-study" / "groups" / "w0" / "process.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"created_at": kept["created_at"] - 3600}))
    executor = LocalExecutor(tmp_path)
    assert executor.status("a-study", "w0").state is GroupState.RUNNING
    executor.cancel("a-study", "w0", grace_s=5.0)
    assert executor.status("a-study", "w0").state is GroupState.ENDED


def test_a_local_group_of_an_earlier_version_is_known_by_the_time_of_its_start(tmp_path: Path) -> None:
    LocalExecutor(tmp_path).start(group())
    pid = pid_of(tmp_path)
    earlier = {"pid": pid, "created_at": psutil.Process(pid).create_time()}
    (tmp_path / "studies" / "a-study" / "groups" / "w0" / "process.json").write_text(json.dumps(earlier))
    executor = LocalExecutor(tmp_path)
    assert executor.status("a-study", "w0").state is GroupState.RUNNING
    executor.cancel("a-study", "w0", grace_s=5.0)
    assert executor.status("a-study", "w0").state is GroupState.ENDED


@pytest.mark.parametrize("kept", [{"created_at": 1.0}, {"created_at": time.time(), "started": "1 another-boot"}])
def test_a_recycled_pid_is_not_taken_for_the_group(tmp_path: Path, kept: dict[str, Any]) -> None:
    folder = tmp_path / "studies" / "a-study" / "groups" / "w0"
    folder.mkdir(parents=True)
    (folder / "process.json").write_text(json.dumps({"pid": os.getpid(), **kept}))
    executor = LocalExecutor(tmp_path)
    assert executor.status("a-study", "w0").state is GroupState.ENDED
    executor.cancel("a-study", "w0", grace_s=0.0)
