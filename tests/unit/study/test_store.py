"""A study as a whole: made, continued, refused, read."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.unit.study.studies import (
    SPACE,
    claim,
    complete,
    experiment,
    fail,
    finish,
    fold,
    leases_of,
    make_study,
    record_fold,
    statements,
    sweep,
    url,
)
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.user_code import digest_of_code
from winnow.study.database import Database, NoStudiesError
from winnow.study.leases import Leases, ScoredFold
from winnow.study.status import StudyStatus, WorkerStatus
from winnow.study.store import StudyStore, schedule_rules, study_names
from winnow.study.tables import studies

ROOT = Path(__file__).parents[3]
CLAIM = """
import sys
from pathlib import Path
from tests.unit.study.studies import claim, fail, finish, fail, leases_of, url
from winnow.study.database import Database
from winnow.study.store import StudyStore
store = StudyStore(Database(url(Path(sys.argv[1]))), "a-study")
fail(leases_of(store), claim(leases_of(store)), "no reason")
store.database.close()
"""
REFUSAL = InputError("data.source", expected="these rows", found="others", remedy="Start another study.")
AT_WORK = WorkerStatus("w0", "training", 3, 2, 3, 1, 10, 500)


def test_a_study_is_found_again_with_its_experiment(tmp_path: Path) -> None:
    make_study(tmp_path)
    store = StudyStore(Database(url(tmp_path)), "a-study")
    assert store.exists()
    assert store.header.experiment == experiment()
    assert store.header.sweep == sweep()
    assert study_names(store.database) == ["a-study"]


def test_opening_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Database(url(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["studies", "version_info", "all of them"])
def test_a_file_that_a_killed_process_left_without_its_tables_is_made_whole(tmp_path: Path, missing: str) -> None:
    make_study(tmp_path).database.close()
    file = tmp_path / "studies.db"
    if missing == "all of them":
        file.write_bytes(b"")
    else:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute(f"DROP TABLE {missing}")
    with pytest.raises(NoStudiesError):
        Database(url(tmp_path))
    Database(url(tmp_path), create=True).close()
    assert study_names(Database(url(tmp_path))) == (["a-study"] if missing == "version_info" else [])


def test_opening_a_study_twice_keeps_the_first_up_to_date(tmp_path: Path) -> None:
    first = make_study(tmp_path)
    assert first.counts()["all"] == 0
    StudyStore(Database(url(tmp_path), create=True), "a-study").target()
    for number in range(1, 3):
        # Another process that is the last to close the file would delete the log that the first reads, were it not
        # for the first one's lock.
        subprocess.run([sys.executable, "-c", CLAIM, str(tmp_path)], cwd=ROOT, check=True, timeout=60)
        assert first.counts()["all"] == number


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"found a file at {tmp_path}/file"):
        Database(f"sqlite:///{tmp_path}/file/studies.db", create=True)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "studies.db").write_text("these are notes, not tables" * 100)
    with pytest.raises(InputError, match="a database that answers"):
        Database(url(tmp_path), create=True)
    assert (tmp_path / "studies.db").read_text().startswith("these are notes")


def test_an_unknown_study_is_refused_with_those_there_are(tmp_path: Path) -> None:
    database = make_study(tmp_path).database
    with pytest.raises(InputError, match="a-study"):
        _ = StudyStore(database, "another").header


def test_another_space_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    with pytest.raises(InputError, match=r"search\.space\.lr\.float"):
        store.create(experiment(space={"lr": {"float": [1e-4, 0.5], "log": True}}, trials=9), sweep())
    assert store.header.experiment == experiment()
    assert store.target() == 5


def test_other_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="content"):
        make_study(tmp_path).create(experiment(), sweep(data_sha256="b" * 64))


def test_what_only_says_how_much_and_where_may_change(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    changed = experiment(trials=7, sampler="random").model_copy(
        update={"execution": Experiment.model_fields["execution"].get_default().model_copy(update={"workers": 5})}
    )
    store.create(changed, sweep())
    assert (store.target(), store.header.experiment.execution.workers) == (7, 5)


def test_folds_race_unless_they_differ_in_size_or_another_pruner_is_named() -> None:
    pruners = {}
    for splitter, pruner in itertools.product(("stratified", "time_series"), ("auto", "racing", "median", "off")):
        named = experiment(pruner={"type": pruner, "threshold": 0.001})
        pruners[splitter, pruner] = schedule_rules(named, sweep(splitter=splitter))
    assert {key: rules.pruner for key, rules in pruners.items()} == {
        ("stratified", "auto"): "racing",
        ("stratified", "racing"): "racing",
        ("stratified", "median"): "median",
        ("stratified", "off"): "off",
        ("time_series", "auto"): "off",
        ("time_series", "racing"): "racing",
        ("time_series", "median"): "median",
        ("time_series", "off"): "off",
    }
    assert {rules.racing_threshold for rules in pruners.values()} == {0.001}


def test_a_study_never_shrinks(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    for owner in ("w0/1", "w1/1"):
        claim(leases_of(store), owner)
    store.create(experiment(trials=1), sweep())
    assert store.target() == 2


def test_a_trial_is_read_as_it_stands(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    lease = claim(leases)
    record_fold(leases, lease, fold(0), 0.5)
    running = store.trial(0)
    assert (running.state, running.value, running.ended_at_ms) == ("running", None, None)
    assert running.folds == (fold(0),)
    finish(leases, lease, "complete", 0.5)
    ended = store.trial(0)
    assert (ended.state, ended.value, ended.ended_at_ms, ended.attempts) == ("complete", 0.5, 1000, 1)
    assert store.trials() == (ended,)


def test_a_fold_keeps_its_learning_curves_and_the_last_ones_where_it_is_stored_again(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    leases = leases_of(store)
    lease = claim(leases)
    for curves in ({"train_loss": ((1, 0.5),)}, {"train_loss": ((1, 0.4), (2, 0.3)), "val_f1": ((2, 0.9),)}):
        assert leases.record([ScoredFold(lease, fold(0), 0.5, curves)]) == ()
    assert store.trial(0).curves == {0: curves}


def test_a_study_without_the_table_of_curves_is_read_and_gets_it_with_the_next_sweep(tmp_path: Path) -> None:
    make_study(tmp_path).database.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "studies.db")) as connection:
        connection.execute("DROP TABLE winnow_curves")
    old = Database(url(tmp_path))
    assert StudyStore(old, "a-study").trials() == ()
    old.close()
    store = make_study(tmp_path)
    leases = leases_of(store)
    record_fold(leases, claim(leases), fold(0), 0.5)
    assert store.trial(0).curves == {}


def test_a_refit_gives_its_trial_the_holdout_and_the_calibration(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases = leases_of(store)
    complete(leases, claim(leases), 0.5)
    leases.finish_task(claim(leases), result={"version": "4", "metrics": {"f1": 0.8}, "calibration": {"t": 0.3}})
    assert (store.trial(0).holdout, store.trial(0).calibration) == ({"f1": 0.8}, {"t": 0.3})
    assert [(refit.trial, refit.version) for refit in store.refits()] == [(0, "4")]


def test_an_ended_trial_is_untracked_until_its_last_state_was_sent(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases: Leases = leases_of(store)
    complete(leases, claim(leases), 0.5)
    assert store.untracked() == [0]
    sent = store.trial(0)
    store.set_tracked([sent])
    assert store.untracked() == []
    leases.finish_task(claim(leases), result={"version": "1", "metrics": {"f1": 0.8}})
    store.set_tracked([sent])
    assert store.untracked() == [0]


def test_a_report_that_did_not_reach_the_tracking_store_is_written_again(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases = leases_of(store)
    fail(leases, claim(leases), "diverged")
    store.set_tracked([store.trial(0)])
    leases.finish_task(claim(leases), reason="tracking store away")
    assert (store.is_done(), store.is_told()) == (True, False)
    store.reopen_report()
    assert not store.is_done()
    leases.finish_task(claim(leases), result={})
    assert (store.is_done(), store.is_told()) == (True, True)


def test_a_worker_is_heard_of_until_it_ends(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    store.hear("w0/1", "w0", "host", AT_WORK, ttl_s=60)
    (life,) = store.workers()
    assert (life.owner, life.status, life.is_heard) == ("w0/1", AT_WORK, True)
    store.hear("w0/1", "w0", "host", AT_WORK, ttl_s=0)
    assert [life.is_heard for life in store.workers()] == [False]
    store.hear("w0/2", "w0", "host", AT_WORK, ttl_s=60)
    assert [(life.owner, life.is_heard) for life in store.workers()] == [("w0/2", True)]


def test_the_status_counts_folds_from_where_this_sweep_began(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=3)
    leases = leases_of(store)
    complete(leases, claim(leases), 0.5)
    fail(leases, claim(leases), "diverged")
    record_fold(leases, claim(leases), fold(0), 0.5)
    status = store.status(started_at_ms=0, folds_before=1)
    assert (status.trials_done, status.trials_total, status.failed) == (2, 3, 1)
    assert (status.best, status.best_trial) == (0.5, 0)
    assert (status.folds_done, status.folds_total) == (3, 5)


def test_the_status_is_everything_that_is_known_at_one_moment(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=3)
    leases = leases_of(store)
    complete(leases, claim(leases), 0.5)
    fail(leases, claim(leases), "diverged")
    record_fold(leases, claim(leases, "w1/2"), fold(0), 0.5)
    for owner, ttl_s in (("w1/1", 0), ("w1/2", 60), ("w0/1", 0)):
        store.hear(owner, owner[:2], "host", dataclasses.replace(AT_WORK, worker=owner), ttl_s=ttl_s)
    store.set_stopped(True)
    store.set_refusal(REFUSAL)
    status = store.status(started_at_ms=5)
    assert dataclasses.replace(status, refusal=None) == StudyStatus(
        study="a-study",
        trials_done=2,
        trials_total=3,
        failed=1,
        pruned=0,
        best=0.5,
        best_trial=0,
        goal="maximize",
        workers=(dataclasses.replace(AT_WORK, worker="w1/2"),),
        started_at_ms=5,
        now_ms=1000,
        folds_done=4,
        folds_total=6,
        training_since_ms=5,
        is_stopped=True,
        owners={"w1": frozenset({"w1/2"})},
    )
    assert str(status.refusal) == str(REFUSAL)


def test_the_status_of_a_study_is_done_once_its_report_has_ended(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=1)
    leases = leases_of(store, refit_top=0)
    complete(leases, claim(leases), 0.5)
    assert not store.status(started_at_ms=0).is_done
    leases.finish_task(claim(leases), reason="tracking store away")
    assert store.status(started_at_ms=0).is_done


def test_the_status_costs_one_statement(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=3)
    leases = leases_of(store)
    complete(leases, claim(leases), 0.5)
    store.hear("w0/1", "w0", "host", AT_WORK, ttl_s=60)
    store.status(started_at_ms=0)
    with statements(store) as sent:
        store.status(started_at_ms=0)
    assert len(sent) == 1


def test_the_header_is_read_with_the_first_trial_and_never_again(tmp_path: Path) -> None:
    made = make_study(tmp_path, trials=2)
    complete(leases_of(made), claim(leases_of(made)), 0.5)
    store = StudyStore(Database(url(tmp_path)), "a-study")
    with statements(store) as sent:
        first = store.trial(0)
        assert sum("winnow_studies" in statement for statement in sent) == 1
        sent.clear()
        assert (store.trial(0), store.header) == (first, made.header)
        assert sum("winnow_studies" in statement for statement in sent) == 0


def test_the_view_names_the_best_trial_and_what_was_lost(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=2)
    leases = leases_of(store)
    complete(leases, claim(leases), 0.5)
    leases.give_back(claim(leases), "it was killed", is_lost=True)
    complete(leases, claim(leases), 0.9)
    view = store.view()
    assert view.winner == 1
    assert [(lost.trial, lost.fold, lost.what) for lost in view.incidents] == [(1, 0, "it was killed")]


def test_lone_ends_are_counted_for_each_node_until_the_study_gets_on(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    assert [store.count_lone_end("p0", 1) for _ in range(3)] == [1, 2, 3]
    assert store.count_lone_end("p0", 2) == 1
    assert store.count_lone_end("p1", 1) == 1
    leases = leases_of(store)
    record_fold(leases, claim(leases), fold(0), 0.5)
    assert [store.count_lone_end("p0", 1) for _ in range(2)] == [1, 2]


def test_lone_ends_are_counted_anew_when_the_study_is_run_again(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    assert [store.count_lone_end("p0", 1) for _ in range(2)] == [1, 2]
    store.set_stopped(False)
    assert store.count_lone_end("p0", 1) == 1
    assert not store.is_stopped()


OLD, NEW = {"net.py": "1" * 64}, {"net.py": "2" * 64}


def test_changed_code_is_refused_with_the_name_of_its_file(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    store.create(experiment(), sweep(code=OLD))
    store.check_code(OLD, "")
    with pytest.raises(InputError) as refused:
        store.check_code(NEW, "Allow it.")
    assert str(refused.value).startswith(
        "study 'a-study': net.py: expected the code that the study was made with: sha256 111111111111, found "
        "222222222222."
    )
    assert str(refused.value).endswith("Allow it.")
    with pytest.raises(InputError, match="which did not use this file, found that it is used"):
        store.check_code({**OLD, "more.py": "3" * 64}, "")


def test_a_study_from_before_code_was_kept_takes_any_and_keeps_it(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    complete(leases_of(store), claim(leases_of(store)), 0.5)
    store.check_code(NEW, "")
    store.create(store.header.experiment, sweep(code=NEW))
    assert store.header.sweep == sweep(code=NEW)
    assert [(trial.code, trial.has_other_code) for trial in store.trials()] == [("", False)]


def test_trials_of_other_code_are_marked_and_unfinished_ones_are_trained_from_their_first_fold(tmp_path: Path) -> None:
    store = make_study(tmp_path, trials=3)
    store.create(store.header.experiment, sweep(code=OLD))
    leases = leases_of(store)
    complete(leases, claim(leases), 0.5)
    unfinished = claim(leases)
    record_fold(leases, unfinished, fold(0), 0.5)
    leases.give_back(unfinished, "it was asked to stop", is_lost=False)
    store.create(store.header.experiment, sweep(code=NEW))
    again = claim(leases)
    assert (again.number, store.trial(again.number).folds) == (unfinished.number, ())
    old, new = digest_of_code(OLD), digest_of_code(NEW)
    assert [(trial.code, trial.has_other_code) for trial in store.trials()] == [(old, True), (new, False)]
    assert store.status(started_at_ms=0).of_other_code == 1


def test_trials_without_a_mark_are_of_the_code_before_a_change(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    complete(leases_of(store), claim(leases_of(store)), 0.5)
    store.create(store.header.experiment, sweep(code=OLD))
    store.create(store.header.experiment, sweep(code=NEW))
    assert [trial.code for trial in store.trials()] == [digest_of_code(OLD)]


def test_a_study_of_a_version_without_conditions_and_options_continues(tmp_path: Path) -> None:
    store = make_study(tmp_path)
    with store.database.writing() as connection:
        kept = json.loads(connection.execute(sa.select(studies.c.experiment)).scalar_one())
        kept["search"] = {key: value for key, value in kept["search"].items() if key not in ("budget", "warm_start")}
        kept["search"] |= {"sampler": "tpe", "pruner": {"type": "racing", "threshold": 0.01}}
        for parameter in kept["search"]["space"].values():
            del parameter["when"]
        connection.execute(sa.update(studies).values(experiment=json.dumps(kept)))
    again = StudyStore(Database(url(tmp_path)), "a-study")
    again.create(experiment(trials=7), sweep())
    assert (again.target(), again.ended_by()) == (7, "trials")
    with pytest.raises(InputError, match=r"search\.space\.lr\.when"):
        conditional = {**SPACE, "lr": {"float": [1e-4, 1.0], "log": True, "when": {"hidden": [[64]]}}}
        again.create(experiment(space=conditional), sweep())
