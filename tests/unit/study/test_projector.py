"""What is sent to the tracking store, when, and by which process."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from tests.unit.study.studies import claim, fail, fold, leases_of, make_study, record_fold
from tests.unit.tracking.made_up import new_store
from tests.unit.worker.waiting import wait_until
from winnow.study.projector import Projector, start_run
from winnow.testing.tracker import MemoryTracker
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.projection import RunStart
from winnow.tracking.records import SweepRecord, TrialRecord
from winnow.tracking.run_search import MlflowRunSearch
from winnow.tracking.tracker import Keep, Sent, TrackingUnavailableError, as_offered


class Watched(MemoryTracker):
    """Notes which trials are sent, in which state; refuses trial 0 where `is_choosy`."""

    def __init__(self, *, is_choosy: bool = False) -> None:
        super().__init__()
        self.sent: list[tuple[int, str, int]] = []
        self._is_choosy = is_choosy

    def sync_trial(
        self, sweep: SweepRecord, parent_run_id: str, trial: TrialRecord, sent: Sent, keep: Keep = as_offered
    ) -> Sent:
        if self._is_choosy and trial.number == 0:
            raise ValueError("a parameter that is too long")
        self.sent.append((trial.number, trial.state, len(trial.folds)))
        return super().sync_trial(sweep, parent_run_id, trial, sent, keep)


def test_nothing_is_loaded_or_sent_before_the_first_fold(tmp_path: Path) -> None:
    store, made = make_study(tmp_path), []
    projector = Projector(store, lambda: made.append("a client") or MemoryTracker(), tmp_path, "w0")
    projector.start()
    assert projector.close(5.0)
    assert (made, store.parent_run_id()) == ([], None)


def test_the_sweep_s_run_is_made_with_the_first_trial_and_a_short_trial_is_sent_once(tmp_path: Path) -> None:
    store, tracker = make_study(tmp_path), Watched()
    leases = leases_of(store)
    # The study's clock stands still at 1 s.
    projector = Projector(store, lambda: tracker, tmp_path, "w0", clock_ms=lambda: 2000)
    projector.start()
    lease = claim(leases)
    record_fold(leases, lease, fold(0), 0.5)
    projector.begin()
    wait_until(lambda: store.parent_run_id() is not None)
    record_fold(leases, lease, fold(1), 0.5)
    fail(leases, lease, "boom")
    assert projector.close(5.0)
    assert tracker.sent == [(0, "failed", 2)]
    assert [run.status for run in tracker.runs.values()] == ["RUNNING", "FAILED"]


def test_a_long_trial_is_shown_while_it_is_at_work(tmp_path: Path) -> None:
    store, tracker = make_study(tmp_path), Watched()
    leases = leases_of(store)
    projector = Projector(store, lambda: tracker, tmp_path, "w0", clock_ms=lambda: 60_000)
    projector.start()
    lease = claim(leases)
    for number in range(2):
        record_fold(leases, lease, fold(number), 0.5)
        projector.begin()
        wait_until(lambda folds=number + 1: (0, "running", folds) in tracker.sent)
    assert projector.close(5.0)


def test_one_process_of_a_machine_projects_and_another_takes_over(tmp_path: Path) -> None:
    store, first, second = make_study(tmp_path), Watched(), Watched()
    projectors = [Projector(store, lambda own=own: own, tmp_path, "w0") for own in (first, second)]
    for projector in projectors:
        projector.start()
        projector.begin()
        wait_until(lambda: store.parent_run_id() is not None)
    assert [projector.is_elsewhere for projector in projectors] == [False, True]
    leases = leases_of(store)
    fail(leases, claim(leases), "boom")
    assert projectors[1].flush(5.0), "the other process has sent it"
    assert projectors[0].close(5.0)
    fail(leases, claim(leases), "boom")
    wait_until(lambda: second.sent == [(1, "failed", 0)])
    assert projectors[1].close(5.0)


def test_a_process_that_takes_over_with_nothing_left_to_send_does_not_start_the_run_again(tmp_path: Path) -> None:
    store, tracker = make_study(tmp_path, trials=1), MemoryTracker()
    leases = leases_of(store)
    fail(leases, claim(leases), "boom")
    projectors = [Projector(store, lambda: tracker, tmp_path, "w0") for _ in range(2)]
    for projector in projectors:
        projector.start()
    assert projectors[0].flush(5.0)
    projectors[1].begin()
    parent = str(store.parent_run_id())
    tracker.finish_sweep(store.header.sweep, parent, store.trials(), None)
    assert all(projector.close(5.0) for projector in projectors)
    late = Projector(store, lambda: tracker, tmp_path, "w0")
    late.start()
    assert late.flush(5.0)
    assert late.close(5.0)
    assert tracker.runs[parent].status == "FINISHED"


def test_trials_of_other_machines_are_left_to_those_until_all_is_flushed(tmp_path: Path) -> None:
    store, tracker = make_study(tmp_path), Watched()
    leases = leases_of(store)
    for group in ("w0", "elsewhere"):
        fail(leases, claim(leases, f"{group}/1"), "boom")
    projector = Projector(store, lambda: tracker, tmp_path, "w0")
    projector.start()
    projector.begin()
    wait_until(lambda: tracker.sent == [(0, "failed", 0)])
    assert projector.flush(5.0)
    assert projector.close(5.0)
    assert tracker.sent == [(0, "failed", 0), (1, "failed", 0)]


def test_a_trial_that_the_tracking_store_refuses_does_not_hold_up_the_others(tmp_path: Path) -> None:
    store, tracker = make_study(tmp_path), Watched(is_choosy=True)
    leases = leases_of(store)
    for _ in range(2):
        fail(leases, claim(leases), "boom")
    projector = Projector(store, lambda: tracker, tmp_path, "w0")
    projector.start()
    assert projector.flush(5.0)
    assert projector.close(5.0)
    assert store.untracked() == [0]


def test_an_outage_of_the_tracking_store_loses_nothing(tmp_path: Path) -> None:
    store, tracker = make_study(tmp_path), MemoryTracker()
    tracker.is_unavailable = True
    projector = Projector(store, lambda: tracker, tmp_path, "w0", pauses_s=(0.01,))
    projector.start()
    leases = leases_of(store)
    fail(leases, claim(leases), "boom")
    assert not projector.flush(0.2)
    tracker.is_unavailable = False
    assert projector.flush(5.0)
    assert projector.close(5.0)
    assert store.untracked() == []
    assert store.trial(0).run_id is not None


def test_two_machines_that_lose_the_study_while_they_make_the_sweep_s_run_leave_one_run(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    store = make_study(tmp_path, trials=1)
    both_have_made_one = threading.Barrier(2)

    class Cut(MlflowTracker):
        """Loses the study after it has made a run, as when the database restarts or the process is killed."""

        def _create(self, experiment_id: str, start: RunStart) -> str:
            super()._create(experiment_id, start)
            both_have_made_one.wait(30.0)
            raise TrackingUnavailableError("no answer came")

    def cut_off() -> None:
        with contextlib.suppress(TrackingUnavailableError):
            start_run(store, Cut(uri))

    machines = [threading.Thread(target=cut_off) for _ in range(2)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join(30.0)
    assert running_runs(uri, store.name) == 2
    parent = start_run(store, MlflowTracker(uri))
    assert (store.parent_run_id(), running_runs(uri, store.name)) == (parent, 1)


def running_runs(uri: str, study: str) -> int:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study)
    assert experiment is not None
    return len(client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"))


def test_two_machines_that_send_one_trial_at_once_leave_one_run(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    store = make_study(tmp_path)
    leases = leases_of(store)
    fail(leases, claim(leases), "boom")
    both_have_looked = threading.Barrier(2)

    class Simultaneous(MlflowTracker):
        """Makes its run only when the other is about to make its own too."""

        def _create(self, experiment_id: str, start: RunStart) -> str:
            both_have_looked.wait(30.0)
            return super()._create(experiment_id, start)

    folders = [tmp_path / name for name in ("one", "other")]
    projectors = [Projector(store, lambda: Simultaneous(uri), folder, "w0") for folder in folders]
    for folder, projector in zip(folders, projectors, strict=True):
        folder.mkdir()
        projector.start()
        projector.begin()
    assert all(projector.flush(30.0) for projector in projectors)
    assert all(projector.close(30.0) for projector in projectors)
    assert store.untracked() == []
    (run,) = MlflowRunSearch(uri).trials(store.name, [], [])
    assert store.trial(0).run_id == run.run_id
    assert run.tags["winnow.reason"] == "boom"
