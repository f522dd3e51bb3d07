"""What every tracker does, whatever it writes to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from tests.unit.tracking.made_up import STUDY, bundle, fold, new_store, sweep, trial
from winnow.testing.tracker import MemoryTracker
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.tracker import Sent, Tracker, TrackingUnavailableError


@dataclass(frozen=True)
class Seen:
    """A run as somebody who looks at the store sees it; `history` has every point of every metric."""

    run_id: str
    name: str
    status: str
    started_at_ms: int
    ended_at_ms: int | None
    params: dict[str, str]
    tags: dict[str, str]
    history: frozenset[tuple[str, float, int, int]]
    data_set: tuple[str, str] | None


class Backend(Protocol):
    """A tracker, a second one on the same store, its runs, and a way to cut it off."""

    def tracker(self) -> Tracker: ...
    def runs(self) -> list[Seen]: ...
    def versions(self) -> int: ...
    def go_away(self) -> None: ...
    def come_back(self) -> None: ...


class MlflowBackend:
    def __init__(self, folder: Path) -> None:
        self.uri = new_store(folder)
        self._file = Path(self.uri.removeprefix("sqlite:///"))

    def tracker(self) -> MlflowTracker:
        return MlflowTracker(self.uri)

    def runs(self) -> list[Seen]:
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(STUDY)
        assert experiment is not None
        return [self._seen(client, run) for run in client.search_runs([experiment.experiment_id])]

    def versions(self) -> int:
        from mlflow import MlflowClient

        return len(MlflowClient(self.uri).search_model_versions(f"name = '{STUDY}'"))

    def go_away(self) -> None:
        self._file.rename(self._file.with_suffix(".away"))
        # In place of a missing file, the tracker would make a new store.
        self._file.mkdir()

    def come_back(self) -> None:
        self._file.rmdir()
        self._file.with_suffix(".away").rename(self._file)

    @staticmethod
    def _seen(client: object, run: object) -> Seen:
        history = frozenset(
            (point.key, point.value, point.timestamp, point.step)
            for key in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, key)
        )
        inputs = [(one.dataset.name, one.dataset.digest) for one in run.inputs.dataset_inputs]
        return Seen(
            run.info.run_id,
            run.info.run_name,
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            run.data.params,
            {key: value for key, value in run.data.tags.items() if key != "mlflow.runName"},
            history,
            inputs[0] if inputs else None,
        )


class MemoryBackend:
    def __init__(self) -> None:
        self._tracker = MemoryTracker()

    def tracker(self) -> MemoryTracker:
        return self._tracker

    def runs(self) -> list[Seen]:
        return [
            Seen(
                run.run_id,
                run.name,
                run.status,
                run.started_at_ms,
                run.ended_at_ms,
                run.params,
                run.tags,
                frozenset((point.key, point.value, point.timestamp_ms, point.step) for point in run.points),
                run.data_set,
            )
            for run in self._tracker.runs.values()
        ]

    def versions(self) -> int:
        return len(self._tracker.versions)

    def go_away(self) -> None:
        self._tracker.is_unavailable = True

    def come_back(self) -> None:
        self._tracker.is_unavailable = False


@pytest.fixture(params=["mlflow", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    yield MlflowBackend(tmp_path) if request.param == "mlflow" else MemoryBackend()


def run_of(backend: Backend, number: int) -> Seen:
    (found,) = [run for run in backend.runs() if run.tags.get("winnow.trial") == str(number)]
    return found


def newest(run: Seen) -> dict[str, float]:
    return {key: value for key, value, _, _ in sorted(run.history, key=lambda point: (point[3], point[2]))}


def test_a_sweep_is_found_again_instead_of_made_twice(backend: Backend) -> None:
    first = backend.tracker().start_sweep(sweep())
    assert backend.tracker().start_sweep(sweep()) == first
    (run,) = backend.runs()
    assert (run.name, run.status, run.started_at_ms) == ("made-up sweep", "RUNNING", sweep().started_at_ms)
    assert run.tags["winnow.metric"] == "f1"
    assert run.tags["mlflow.source.git.commit"] == "74d0cfd"
    assert run.tags["team"] == "oncology"
    assert run.data_set == ("sklearn:breast_cancer", "ab12ab12ab12ab12")
    assert run.params["search.space.lr.float"] == "[0.0001, 0.1]"
    assert "search.trials" not in run.params


def test_a_trial_written_fold_by_fold_is_the_trial_written_at_once(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    whole = trial(0)
    sent = tracker.sync_trial(record, parent, trial(0, state="running", scores=(), value=None), Sent())
    for count in range(1, 6):
        running = replace(whole, state="running", folds=whole.folds[:count], value=None, ended_at_ms=None)
        sent = tracker.sync_trial(record, parent, running, sent)
    sent = tracker.sync_trial(record, parent, whole, sent)
    assert sent == Sent(sent.run_id, frozenset(range(5)), True, False, "complete")
    step_by_step = run_of(backend, 0)
    late = tracker.sync_trial(record, parent, replace(whole, number=1), Sent())
    assert late.is_final
    at_once = run_of(backend, 1)
    assert at_once.history == step_by_step.history
    assert (
        at_once.params
        == step_by_step.params
        == {
            "lr": "0.01",
            "hidden": "[64, 32]",
            "activation": "relu",
            "bias": "true",
        }
    )
    assert (step_by_step.status, step_by_step.ended_at_ms) == ("FINISHED", whole.ended_at_ms)
    assert step_by_step.tags["mlflow.parentRunId"] == parent


def test_a_complete_trial_has_mean_spread_and_every_fold(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    tracker.sync_trial(record, tracker.start_sweep(record), trial(0), Sent())
    run = run_of(backend, 0)
    values = newest(run)
    assert values["f1"] == trial(0).value
    assert values["f1.std"] == pytest.approx(math.sqrt(0.001))
    assert values["param.lr"] == 0.01
    assert values["train_s"] == 2.5
    assert values["folds.done"] == 5
    folds = sorted((step, value) for key, value, _, step in run.history if key == "f1.fold")
    assert folds == [(0, 0.90), (1, 0.92), (2, 0.94), (3, 0.96), (4, 0.98)]
    assert "param.bias" not in values


@pytest.mark.parametrize(("state", "status"), [("pruned", "KILLED"), ("failed", "FAILED")])
def test_a_trial_without_a_result_says_why_and_has_no_mean(backend: Backend, state: str, status: str) -> None:
    tracker, record = backend.tracker(), sweep()
    ended = trial(0, scores=(0.5, 0.6), state=state, reason="the loss is nan after epoch 3")  # type: ignore[arg-type]
    tracker.sync_trial(record, tracker.start_sweep(record), ended, Sent())
    run = run_of(backend, 0)
    assert (run.status, run.tags["winnow.state"]) == (status, state)
    assert run.tags["winnow.reason"] == "the loss is nan after epoch 3"
    assert run.tags["mlflow.note.content"] == f"**{state}**: the loss is nan after epoch 3"
    assert "f1" not in newest(run)
    assert newest(run)["f1.fold"] == 0.6


def test_writing_everything_again_changes_nothing(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    whole = trial(0, holdout={"f1": 0.95}, holdout_at_ms=trial(0).started_at_ms + 20_000)
    sent = tracker.sync_trial(record, parent, whole, Sent())
    before = run_of(backend, 0)
    again = backend.tracker()
    assert again.sync_trial(record, parent, whole, Sent()) == sent
    assert again.sync_trial(record, parent, whole, sent) == sent
    assert run_of(backend, 0) == before


def test_a_retried_trial_goes_on_in_its_run(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    whole = trial(0)
    lost = replace(whole, state="running", folds=whole.folds[:3], value=None, ended_at_ms=None)
    sent = tracker.sync_trial(record, parent, lost, Sent())
    handed_back = tracker.sync_trial(record, parent, replace(lost, state="waiting"), sent)
    assert run_of(backend, 0).status == "SCHEDULED"
    other = backend.tracker()
    found = other.sync_trial(record, parent, replace(lost, attempts=2), Sent())
    assert found.run_id == handed_back.run_id
    assert run_of(backend, 0).status == "RUNNING"
    other.sync_trial(record, parent, replace(whole, attempts=2), found)
    values = [value for key, value, _, _ in run_of(backend, 0).history if key == "f1.fold"]
    assert sorted(values) == [0.90, 0.92, 0.94, 0.96, 0.98]


def test_a_trial_that_never_began_leaves_no_run(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    assert tracker.sync_trial(record, parent, trial(0, (), "waiting", attempts=0), Sent()) == Sent()
    assert [run.name for run in backend.runs()] == ["made-up sweep"]


def test_values_that_are_not_finite_are_left_out(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    odd = trial(0, state="failed", folds=(fold(0, 0.9, metrics={"f1": math.nan, "loss": math.inf, "r2": 0.5}),))
    tracker.sync_trial(record, tracker.start_sweep(record), odd, Sent())
    assert {key for key in newest(run_of(backend, 0)) if key.endswith(".fold")} == {
        "r2.fold",
        "epochs.fold",
        "train_s.fold",
    }


def test_of_two_runs_for_one_trial_the_kept_one_stays(backend: Backend) -> None:
    kept: dict[int, str] = {}
    record, begun = sweep(), trial(0, (), "running", value=None)
    parent = backend.tracker().start_sweep(record)
    first, second = (
        tracker.sync_trial(record, parent, begun, Sent(), lambda run_id: kept.setdefault(0, run_id))
        for tracker in (backend.tracker(), backend.tracker())
    )
    assert first == second
    assert run_of(backend, 0).run_id == first.run_id == kept[0]
    assert run_of(backend, 0).data_set is not None


def test_a_run_that_could_not_be_kept_is_found_by_the_next_try(backend: Backend) -> None:
    def away(run_id: str) -> str:
        raise ConnectionError("the study is away")

    tracker, record, begun = backend.tracker(), sweep(), trial(0, (), "running", value=None)
    parent = tracker.start_sweep(record)
    with pytest.raises(ConnectionError):
        tracker.sync_trial(record, parent, begun, Sent(), away)
    tracker.sync_trial(record, parent, begun, Sent())
    assert run_of(backend, 0).params["lr"] == "0.01"


def twice(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """A tracker that makes each run twice, as a client does that repeats a request whose answer was lost."""
    create = tracker._create
    monkeypatch.setattr(tracker, "_create", lambda *what: (create(*what), create(*what))[1])
    return tracker


def test_runs_of_which_no_answer_came_are_gone_when_the_sweep_ends(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, begun = sweep(), trial(0, (), "running", value=None)
    with monkeypatch.context() as lossy:
        tracker = twice(backend.tracker(), lossy)
        parent = tracker.start_sweep(record)
        kept = tracker.sync_trial(record, parent, begun, Sent()).run_id
    assert [run.status for run in backend.runs()] == ["RUNNING"] * 4
    whole = replace(trial(0), run_id=kept)
    tracker.sync_trial(record, parent, whole, Sent(kept))
    tracker.finish_sweep(record, parent, [whole], None)
    assert {(run.run_id, run.status) for run in backend.runs()} == {(parent, "FINISHED"), (kept, "FINISHED")}


def test_a_sweep_that_is_resumed_goes_on_in_the_run_that_the_study_keeps(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = sweep()

    def killed(run_id: str) -> str:
        raise ConnectionError("the process is killed")

    with monkeypatch.context() as lossy, pytest.raises(ConnectionError):
        twice(backend.tracker(), lossy).start_sweep(record, killed)
    first, kept = sorted(run.run_id for run in backend.runs())
    assert backend.tracker().start_sweep(record, run_id=kept) == kept
    assert [run.run_id for run in backend.runs()] == [kept], f"the killed process left {first}"


def test_runs_of_another_study_of_the_same_name_stay(backend: Backend) -> None:
    record, other = sweep(), replace(sweep(), started_at_ms=sweep().started_at_ms + 1)
    tracker = backend.tracker()
    parent = tracker.start_sweep(other)
    theirs = trial(0, (), "running", value=None)
    running = tracker.sync_trial(other, parent, theirs, Sent()).run_id
    ours = replace(trial(0), started_at_ms=theirs.started_at_ms + 1)
    begun = replace(ours, state="running", folds=(), value=None, ended_at_ms=None)
    kept = backend.tracker().sync_trial(record, parent, begun, Sent()).run_id
    tracker.sync_trial(record, parent, ours, Sent(kept))
    tracker.finish_sweep(record, parent, [replace(ours, run_id=kept)], None)
    assert {running, kept, parent} == {run.run_id for run in backend.runs()}


def test_the_run_that_a_record_names_is_the_one_that_is_written_to(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    one, other = (tracker.sync_trial(record, parent, trial(number), Sent()).run_id for number in range(2))
    named = replace(trial(0), run_id=other)
    assert backend.tracker().sync_trial(record, parent, named, Sent()).run_id == other != one


def test_an_unavailable_store_is_one_error_and_loses_nothing(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    whole = trial(0)
    running = replace(whole, state="running", folds=whole.folds[:2], value=None, ended_at_ms=None)
    sent = tracker.sync_trial(record, parent, running, Sent())
    backend.go_away()
    with pytest.raises(TrackingUnavailableError):
        backend.tracker().sync_trial(record, parent, whole, sent)
    with pytest.raises(TrackingUnavailableError):
        backend.tracker().start_sweep(record)
    backend.come_back()
    backend.tracker().sync_trial(record, parent, whole, sent)
    alike = replace(whole, number=1)
    backend.tracker().sync_trial(record, parent, alike, Sent())
    assert run_of(backend, 0).history == run_of(backend, 1).history


def test_a_trial_costs_six_requests_and_one_per_fold(backend: Backend) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    whole, before = trial(0), tracker.calls
    sent = tracker.sync_trial(record, parent, trial(0, (), "running", value=None), Sent())
    for count in range(1, 6):
        running = replace(whole, state="running", folds=whole.folds[:count], value=None, ended_at_ms=None)
        sent = tracker.sync_trial(record, parent, running, sent)
    tracker.sync_trial(record, parent, whole, sent)
    assert tracker.calls - before <= 6 + 5


def test_a_bundle_is_registered_once_per_run_and_digest(backend: Backend, tmp_path: Path) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    refitted = trial(0, holdout={"f1": 0.95}, holdout_at_ms=trial(0).started_at_ms + 20_000)
    first = bundle(tmp_path / "first", refitted)
    version = tracker.log_bundle(record, parent, refitted, first)
    assert (version.name, version.version) == (STUDY, "1")
    assert backend.tracker().log_bundle(record, parent, refitted, first) == version
    assert backend.versions() == 1
    other = tracker.log_bundle(record, parent, refitted, bundle(tmp_path / "second", refitted, scale=2.0))
    assert (other.version, other.run_id) == ("2", version.run_id)
    assert newest(run_of(backend, 0))["holdout.f1"] == 0.95


def test_a_finished_sweep_says_what_came_of_it(backend: Backend, tmp_path: Path) -> None:
    tracker, record = backend.tracker(), sweep()
    parent = tracker.start_sweep(record)
    report = tmp_path / "report.html"
    report.write_text("<p>made up</p>")
    trials = [trial(0), trial(1, (0.99,) * 5), trial(2, (0.2,), "pruned"), trial(3, (), "failed", reason="boom")]
    tracker.finish_sweep(record, parent, trials, report)
    tracker.finish_sweep(record, parent, trials, report)
    (run,) = backend.runs()
    assert run.status == "FINISHED"
    assert newest(run) == {"trials.complete": 2, "trials.pruned": 1, "trials.failed": 1, "best.f1": trials[1].value}
    assert run.tags["winnow.best_trial"] == "1"
    assert "4 trials (2 complete, 1 pruned, 1 failed)" in run.tags["mlflow.note.content"]
    tracker.start_sweep(record)
    assert backend.runs()[0].status == "RUNNING"
