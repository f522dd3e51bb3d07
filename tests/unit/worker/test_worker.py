"""A supervisor with real ranks' processes that do as they are told, and a tracking store in memory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.unit.study.studies import make_study, sweep
from tests.unit.worker.waiting import wait_until
from winnow.config.errors import InputError
from winnow.config.experiment import ExecutionConfig
from winnow.study.leases import Failure
from winnow.study.store import StudyStore
from winnow.testing.tracker import MemoryTracker
from winnow.tracking.records import SweepRecord, TrialRecord
from winnow.tracking.tracker import Keep, ModelVersion, TrackingUnavailableError, as_offered
from winnow.training.launch import CHANNEL, EXPERIMENT, LOG_DIR, GroupFiles, Launch
from winnow.training.messages import Ready
from winnow.worker.heartbeat import Identity
from winnow.worker.nodes import Nodes
from winnow.worker.ranks import Ranks, RanksEndedError
from winnow.worker.stop import FolderRemovedError, Stop, StopRequestedError
from winnow.worker.worker import NodesGoneError, Worker
from winnow.worker.world import CannotStartError, other_data

SCRIPTED = (sys.executable, "-m", "tests.unit.worker.scripted_rank")


def ranks(
    folder: Path,
    argv: tuple[str, ...] = SCRIPTED,
    env: Mapping[str, str] | None = None,
    nodes: Nodes | None = None,
) -> Ranks:
    def plan(files: GroupFiles) -> Launch:
        variables = {CHANNEL: str(files.channel), EXPERIMENT: str(files.experiment), LOG_DIR: str(files.logs)}
        return Launch(argv, {**variables, **(env or {})})

    experiment = folder / "experiment.json"
    experiment.write_text("{}")
    return Ranks(plan, experiment, folder, {**os.environ, "PET_NNODES": "2"}, nodes or Nodes(count=0))


def study(folder: Path, do: str, **search: Any) -> StudyStore:
    space = {"do": {"choice": [do]}, "score": {"float": [0.0, 1.0]}}
    return make_study(folder, space=space, trials=search.pop("trials", 2), sampler="random", **search)


def work(
    store: StudyStore, folder: Path, tracker: MemoryTracker, stop: Stop | None = None, env: Mapping[str, str] = {}
) -> None:
    identity = Identity(group="w0", owner="w0/1", host="here")
    write_report = lambda _store, path: path.write_text("<html></html>")  # noqa: E731
    own_ranks = ranks(folder, env=env)
    Worker(store, own_ranks, lambda: tracker, write_report, identity, stop or Stop(), folder).run()


def test_a_worker_ends_when_the_study_is_done_and_told(tmp_path: Path) -> None:
    store, tracker = study(tmp_path, "score"), MemoryTracker()
    work(store, tmp_path, tracker)
    trials = store.trials()
    assert [(trial.state, trial.value) for trial in trials] == [("complete", trial.params["score"]) for trial in trials]
    assert store.is_done()
    assert store.untracked() == []
    assert all(trial.run_id is not None for trial in trials)


def test_a_failed_trial_keeps_its_reason_and_the_end_of_its_traceback(tmp_path: Path) -> None:
    store = study(tmp_path, "raise")
    work(store, tmp_path, MemoryTracker())
    assert [trial.reason for trial in store.trials()] == ["fold 1: ValueError: no such layer"] * 2
    failure = Failure(("Traceback", "ValueError: no such layer"), str(tmp_path / "rank-0.log"))
    assert store.failure(0) == failure


def test_a_failed_trial_keeps_only_what_its_own_job_wrote_to_the_log(tmp_path: Path) -> None:
    (tmp_path / "rank-0.log").write_text("words of an earlier sweep\n")
    store = study(tmp_path, "diverge", trials=2)
    work(store, tmp_path, MemoryTracker())
    log = str(tmp_path / "rank-0.log")
    assert [store.failure(number) for number in (0, 1)] == [
        Failure(("words of trial 0",), log),
        Failure(("words of trial 1",), log),
    ]


def test_a_rank_that_leaves_a_record_fails_its_trial_at_once(tmp_path: Path) -> None:
    store = study(tmp_path, "leave", trials=1)
    work(store, tmp_path, MemoryTracker())
    (trial,) = store.trials()
    assert (trial.state, trial.attempts, trial.reason) == ("failed", 1, "fold 1: rank 1: boom")
    assert store.failure(0) == Failure(("the guilty rank's last words",), str(tmp_path / "rank-1.log"))


def test_a_killed_rank_is_replaced_and_its_trial_continued(tmp_path: Path) -> None:
    store = study(tmp_path, "die", trials=1)
    work(store, tmp_path, MemoryTracker(), env={"SCRIPTED_RANK_DIES_ONCE": "1"})
    (trial,) = store.trials()
    assert (trial.state, trial.attempts) == ("complete", 2)
    assert [lost.what for lost in store.incidents()] == ["its ranks were ended by SIGKILL"]


def test_the_sweep_s_run_says_why_models_trained_one_after_another(tmp_path: Path) -> None:
    store, tracker = study(tmp_path, "score"), MemoryTracker()
    work(store, tmp_path, tracker)
    assert tracker.runs[store.parent_run_id() or ""].tags["winnow.not_packed"] == "this rank trains one fold at a time"


def test_a_member_of_a_batch_that_fails_fails_alone(tmp_path: Path) -> None:
    space = {"do": {"choice": ["score", "diverge"]}, "score": {"float": [0.0, 1.0]}}
    store = make_study(tmp_path, space=space, trials=6, sampler="random", pack=18)
    work(store, tmp_path, MemoryTracker())
    states = {trial.number: (trial.params["do"], trial.state, len(trial.folds)) for trial in store.trials()}
    assert set(states.values()) == {("score", "complete", 3), ("diverge", "failed", 0)}


def test_a_batch_that_dies_loses_no_recorded_fold_and_its_trials_go_on_one_by_one(tmp_path: Path) -> None:
    store = study(tmp_path, "die in fold 2", trials=4, pack=6)
    work(store, tmp_path, MemoryTracker(), env={"SCRIPTED_RANK_DIES_ONCE": "1"})
    ended = [("complete", 2), ("complete", 2), ("complete", 1), ("complete", 1)]
    assert [(trial.state, trial.attempts) for trial in store.trials()] == ended
    assert [(lost.trial, lost.fold) for lost in store.incidents()] == [(0, 1), (1, 0)]


def test_hopeless_trials_are_pruned_before_their_last_fold(tmp_path: Path) -> None:
    store = study(tmp_path, "score", trials=12, pruner="median")
    work(store, tmp_path, MemoryTracker())
    pruned = [trial for trial in store.trials() if trial.state == "pruned"]
    assert pruned
    assert all(len(trial.folds) < 3 and trial.number >= 5 for trial in pruned)
    best = max(store.trials(), key=lambda trial: float(trial.params["score"]))
    assert best.state == "complete"


def test_a_worker_that_is_asked_to_stop_hands_its_trial_back(tmp_path: Path) -> None:
    store, stop = study(tmp_path, "wait", trials=1), Stop()
    threading.Timer(1.5, stop.request).start()
    with pytest.raises(StopRequestedError):
        work(store, tmp_path, MemoryTracker(), stop)
    assert [trial.state for trial in store.trials()] == ["waiting"]
    assert store.incidents() == ()


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_a_worker_whose_home_is_removed_ends_with_its_ranks(tmp_path: Path, is_made_anew: bool) -> None:
    home, stop = tmp_path / "home", Stop()
    store, lock = study(home, "wait", trials=1), home / "lock"
    lock.touch()
    stop.watch(lock)

    def remove() -> None:
        wait_until(lambda: store.counts()["running"] == 1)
        kept = home.rename(tmp_path / "removed")
        if is_made_anew:
            home.mkdir()
            lock.touch()
        shutil.rmtree(kept)

    threading.Thread(target=remove).start()
    with pytest.raises(FolderRemovedError, match="home was removed"):
        work(store, home, MemoryTracker(), stop)
    living = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert [child for child in living if "scripted_rank" in " ".join(child.cmdline())] == []


def test_ranks_that_never_come_up_end_the_worker(tmp_path: Path) -> None:
    store, tracker = study(tmp_path, "score"), MemoryTracker()
    broken = ranks(tmp_path, (sys.executable, "-c", "raise SystemExit('no such package')"))
    worker = Worker(
        store, broken, lambda: tracker, lambda _s, _p: None, Identity("w0", "w0/1", "here"), Stop(), tmp_path
    )
    with pytest.raises(CannotStartError, match="exit code 1"):
        worker.run()
    assert [trial.state for trial in store.trials()] == ["waiting"]
    assert "no such package" in broken.started_log.read_text()


def test_ranks_with_other_rows_than_the_study_end_the_worker_and_spend_no_trial(tmp_path: Path) -> None:
    store = study(tmp_path, "score")
    with pytest.raises(InputError) as refused:
        work(store, tmp_path, MemoryTracker(), env={"SCRIPTED_RANK_HAS_OTHER_ROWS": "1"})
    assert str(refused.value).startswith(
        "data.source of study 'a-study': expected the rows that the study was made with (sha256 aaaaaaaaaaaa) in "
        "worker w0, found others (rank 1: its rows have sha256 bbbbbbbbbbbb). The data has changed since"
    )
    assert [(trial.state, trial.number) for trial in store.trials()] == [("waiting", 0)]
    assert store.incidents() == ()


def test_a_data_function_that_gives_other_rows_is_to_be_seeded() -> None:
    of_function = other_data(sweep(data_source="rows.py:load"), "w0", "rank 0: its rows have sha256 bbbbbbbbbbbb")
    assert "The data function gives other rows in each process; seed it." in of_function.remedy


def test_ranks_that_never_connect_end_the_worker(tmp_path: Path) -> None:
    store, tracker = study(tmp_path, "score"), MemoryTracker()
    mute = ranks(tmp_path, (sys.executable, "-c", "import time; time.sleep(60)"))
    identity = Identity("w0", "w0/1", "here")
    worker = Worker(
        store, mute, lambda: tracker, lambda _s, _p: None, identity, Stop(), tmp_path, startup_timeout_s=0.6
    )
    with pytest.raises(CannotStartError, match="not ready within"):
        worker.run()
    assert not mute.are_running
    assert [trial.state for trial in store.trials()] == ["waiting"]


def test_a_model_that_waits_for_the_tracking_store_says_so(tmp_path: Path) -> None:
    class AwayOnce(MemoryTracker):
        seen: tuple[str | None, ...] = ()

        def log_bundle(
            self,
            sweep: SweepRecord,
            parent_run_id: str,
            trial: TrialRecord,
            bundle: Path,
            keep: Keep = as_offered,
            artifacts: Sequence[Path] = (),
        ) -> ModelVersion:
            self.seen = (*self.seen, *(life.status.waits_for for life in store.workers()))
            if len(self.seen) == 1:
                raise TrackingUnavailableError("no answer from minio:9000")
            return ModelVersion("a-study", "1", "run")

    store, tracker = study(tmp_path, "export", trials=1), AwayOnce()
    work(store, tmp_path, tracker)
    assert tracker.seen == (None, "no answer from minio:9000")
    assert [refit.version for refit in store.refits()] == ["1"]


def test_ranks_inherit_their_supervisors_variables_but_for_those_of_another_world(tmp_path: Path) -> None:
    code = "import os; print(os.environ.get('PET_NNODES'), 'PATH' in os.environ, flush=True); raise SystemExit(1)"
    started = ranks(tmp_path, (sys.executable, "-c", code))
    started.start()
    with pytest.raises(RanksEndedError, match="exit code 1"):
        started.receive(10.0)
    assert started.started_log.read_text() == "None True\n"


def test_ranks_are_ready_before_they_are_spoken_to_and_end_with_their_channel(tmp_path: Path) -> None:
    started = ranks(tmp_path)
    started.start()
    assert isinstance(started.receive(10.0), Ready)
    assert started.receive(0.05) is None
    assert started.are_running
    began = time.monotonic()
    started.stop()
    started.stop()
    assert not started.are_running
    assert time.monotonic() - began < 5.0


def test_a_killed_supervisor_s_socket_is_removed_by_the_next(tmp_path: Path) -> None:
    killed, next_one = ranks(tmp_path), ranks(tmp_path)
    killed.start()
    assert isinstance(killed.receive(10.0), Ready)
    left = (tmp_path / "socket").readlink()
    next_one.start()
    assert not left.exists()
    assert (tmp_path / "socket" / "channel").exists()
    next_one.stop()
    killed.stop()
    assert not (tmp_path / "socket").is_symlink()


def impatient_worker(
    folder: Path, nodes: Nodes, argv: tuple[str, ...] = SCRIPTED, do: str = "score"
) -> tuple[StudyStore, Worker]:
    store = study(folder, do)
    impatient = store.header.experiment.model_copy(update={"execution": ExecutionConfig(storage_patience_s=1)})
    store.create(impatient, store.header.sweep)
    identity = Identity(group="w0", owner="w0/1", host="here")
    own = ranks(folder, argv, nodes=nodes)
    return store, Worker(store, own, MemoryTracker, lambda _store, _path: None, identity, Stop(), folder)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(0, "127.0.0.1")
    yield made
    made.dismiss()


def test_a_worker_whose_node_does_not_come_claims_nothing_and_leaves(tmp_path: Path, nodes: Nodes) -> None:
    store, worker = impatient_worker(tmp_path, nodes)
    with pytest.raises(NodesGoneError, match="one is missing"):
        worker.run()
    assert store.trials() == ()


def test_a_node_that_is_lost_while_ranks_start_costs_the_trial_nothing(tmp_path: Path, nodes: Nodes) -> None:
    # These wait for others for ever, as the ranks of a world do that does not become whole.
    store, worker = impatient_worker(tmp_path, nodes, (sys.executable, "-c", "import time; time.sleep(60)"))
    node = socket.create_connection(("127.0.0.1", nodes.port))
    node.sendall(b'{"type":"Hello","node":1}\n')

    def leave() -> None:
        for line in node.makefile("rb"):
            if b"StartWorld" in line:
                node.shutdown(socket.SHUT_RDWR)

    leaving = threading.Thread(target=leave)
    leaving.start()
    began = time.monotonic()
    with pytest.raises(NodesGoneError):
        worker.run()
    leaving.join()
    node.close()
    assert time.monotonic() - began < 30
    assert [trial.state for trial in store.trials()] == ["waiting"]
    assert store.incidents() == ()


@pytest.mark.parametrize(
    ("how", "lost"), [(signal.SIGTERM, []), (signal.SIGKILL, ["its ranks ended with exit code 1 and left no reason"])]
)
def test_a_node_counts_as_lost_unless_it_was_asked_to_stop(
    tmp_path: Path, nodes: Nodes, how: signal.Signals, lost: list[str]
) -> None:
    store, worker = impatient_worker(tmp_path, nodes, do="meet")
    folder = tmp_path / "node"
    other = subprocess.Popen((sys.executable, "-m", "tests.unit.worker.scripted_node", str(nodes.port), str(folder)))
    wait_until(lambda: nodes.connected == (1,))

    def end_while_it_trains() -> None:
        wait_until((folder / "met").exists)
        other.send_signal(how)

    ending = threading.Thread(target=end_while_it_trains)
    ending.start()
    with pytest.raises(NodesGoneError):
        worker.run()
    ending.join()
    other.wait(10.0)
    assert [trial.state for trial in store.trials()] == ["waiting"]
    assert [incident.what for incident in store.incidents()] == lost
