"""What winnow relies on in Optuna beyond its public API: its tables, and how they show what winnow writes."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState

import winnow
from winnow.study import optuna_tables
from winnow.study.database import Database

COLUMNS = {
    "studies": {"study_id", "study_name"},
    "study_system_attributes": {"study_system_attribute_id", "study_id", "key", "value_json"},
    "trials": {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    "trial_params": {"param_id", "trial_id", "param_name", "param_value", "distribution_json"},
    "trial_values": {"trial_value_id", "trial_id", "objective", "value", "value_type"},
    "trial_intermediate_values": {
        *("trial_intermediate_value_id", "trial_id", "step", "intermediate_value", "intermediate_value_type")
    },
    "trial_user_attributes": {"trial_user_attribute_id", "trial_id", "key", "value_json"},
    "trial_system_attributes": {"trial_system_attribute_id", "trial_id", "key", "value_json"},
}
"""The tables that `optuna_tables` reads and writes."""
DELETED_WITH_A_STUDY = {"study_directions", "study_user_attributes", "trial_heartbeats"}
SPACE = {"lr": FloatDistribution(1e-4, 1.0, log=True), "kind": CategoricalDistribution(("a", "b"))}
PARAMS = {"lr": 0.01, "kind": "b"}


@pytest.fixture
def database(database_url: str) -> Any:
    database = Database(database_url, create=True)
    yield database
    while OPENED:
        storage = OPENED.pop()
        storage.remove_session()
        storage.engine.dispose()
    database.close()


OPENED: list[optuna.storages.RDBStorage] = []
"""Storages of Optuna's that the running test has opened."""


def storage_of(database: Database) -> optuna.storages.RDBStorage:
    """Optuna's own storage of the same database."""
    OPENED.append(optuna.storages.RDBStorage(database.url))
    return OPENED[-1]


def made(database: Database, name: str = "a-study") -> tuple[optuna.Study, int]:
    study = optuna.create_study(storage=storage_of(database), study_name=name, direction="maximize")
    with database.reading() as session:
        study_id = optuna_tables.study_id_of(session, name)
    assert study_id is not None
    return study, study_id


def facts(trial: FrozenTrial) -> tuple[Any, ...]:
    """A trial as Optuna shows it, without its times."""
    return (
        *(trial.number, trial.state, trial.values, trial.params, trial.distributions),
        *(trial.intermediate_values, trial.user_attrs, trial.datetime_start is not None),
        trial.datetime_complete is not None,
    )


def test_the_installed_optuna_makes_the_tables_that_are_used(database_url: str) -> None:
    storage = optuna.storages.RDBStorage(database_url)
    inspected = sa.inspect(storage.engine)
    assert {table: {column["name"] for column in inspected.get_columns(table)} for table in COLUMNS} == COLUMNS
    beside = {"alembic_version", "version_info", *DELETED_WITH_A_STUDY}
    assert set(inspected.get_table_names()) - beside == set(COLUMNS)
    storage.remove_session()
    storage.engine.dispose()


def test_tables_are_made_as_the_installed_optuna_makes_them(tmp_path: Path) -> None:
    def content(engine: sa.Engine) -> tuple[list[Any], ...]:
        queries = (
            "SELECT name, sql FROM sqlite_master ORDER BY name",
            "SELECT * FROM alembic_version",
            "SELECT * FROM version_info",
        )
        with engine.connect() as connection:
            return tuple(list(connection.exec_driver_sql(query)) for query in queries)

    theirs = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/theirs.db").engine
    ours = sa.create_engine(f"sqlite:///{tmp_path}/ours.db")
    with ours.begin() as connection:
        optuna_tables.make_tables(connection)
        assert optuna_tables.are_current(connection)
    assert content(ours) == content(theirs)


def test_no_other_table_is_used(database: Database) -> None:
    statements: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    use_everything(database)
    tables = {name for text in statements for name in re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE) (\w+)", text)}
    assert tables - DELETED_WITH_A_STUDY == set(COLUMNS)


def use_everything(database: Database) -> int:
    """Make a study of one complete trial, a failed one and a waiting one by winnow's own writes; return its id."""
    _, study_id = made(database)
    with database.writing() as session:
        optuna_tables.lock_study(session, study_id)
        optuna_tables.set_attribute(session, study_id, "stopped", False)
        optuna_tables.set_attribute(session, study_id, "stopped", True)
        optuna_tables.set_attribute(session, study_id, "alone:w0", 1)
        optuna_tables.remove_attributes(session, study_id, "alone:")
        complete, failed, waiting = (optuna_tables.add_running_trial(session, study_id, n) for n in range(3))
        optuna_tables.set_params(session, SPACE, {complete: PARAMS})
        optuna_tables.set_intermediate_values(session, {(complete, 0): 0.25, (failed, 0): 0.1})
        optuna_tables.remove_intermediate_values(session, [(complete, 0)])
        optuna_tables.set_intermediate_values(session, {(complete, 0): 0.5, (complete, 1): math.inf})
        optuna_tables.add_trial_attributes(session, {complete: {"code": "sha of 0.25"}})
        optuna_tables.remove_trial_attributes(session, complete, ("code",))
        optuna_tables.add_trial_attributes(session, {complete: {"code": "sha of 0.5"}})
        optuna_tables.remove_all_intermediate_values(session, failed)
        ends = {complete: (TrialState.COMPLETE, 0.5), failed: (TrialState.FAIL, None)}
        optuna_tables.end_trials(session, ends)
        optuna_tables.reopen_trial(session, waiting)
        optuna_tables.start_trial(session, waiting)
        optuna_tables.reopen_trial(session, waiting)
        assert optuna_tables.trials_without_attribute(session, study_id, "code") == (failed, waiting)
        assert optuna_tables.read_enqueued(session, waiting) == {}
        for scores in ([0.4], [0.4, 0.6]):
            optuna_tables.remove_trial_attributes(session, complete, ["fold_scores"])
            optuna_tables.add_trial_attributes(session, {complete: {"fold_scores": scores}, failed: {}})
        optuna_tables.name_metric(session, study_id, "f1")
    with database.reading() as session:
        optuna_tables.read_params(session, [complete])
    return study_id


ATTRIBUTES = {"code": "sha of 0.5", "fold_scores": [0.4, 0.6]}


def test_optuna_reads_what_is_written(database: Database) -> None:
    use_everything(database)
    study = optuna.load_study(study_name="a-study", storage=storage_of(database))
    nothing = (None, {}, {}, {}, {}, True)
    assert [facts(trial) for trial in study.trials] == [
        (0, TrialState.COMPLETE, [0.5], PARAMS, SPACE, {0: 0.5, 1: math.inf}, ATTRIBUTES, True, True),
        (1, TrialState.FAIL, *nothing, True),
        (2, TrialState.WAITING, *nothing, False),
    ]
    assert study.best_trial.number == 0
    assert study.metric_names == ["f1"]
    assert storage_of(database).get_study_system_attrs(1) == {"stopped": True, "study:metric_names": ["f1"]}


def test_what_optuna_writes_is_read_like_optuna_reads_it(database: Database) -> None:
    study, study_id = made(database)
    for value in (0.5, 0.9, 0.9):
        trial = study.ask(SPACE)
        trial.report(value, 0)
        trial.set_user_attr("code", "a digest")
        study.tell(trial, value)
    study.enqueue_trial(PARAMS)
    with database.reading() as session:
        ids = [optuna_tables.trial_id_of(session, study_id, number) for number in range(4)]
        read = {
            trial_id: (trial.params, trial.distributions) for trial_id, trial in zip(ids, study.trials, strict=True)
        }
        assert optuna_tables.read_params(session, ids) == {trial_id: read[trial_id] for trial_id in ids[:3]}
        assert [optuna_tables.read_enqueued(session, trial_id) for trial_id in ids] == [{}, {}, {}, PARAMS]
        assert optuna_tables.count_trials(session, study_id) == 4
        counts = {TrialState.COMPLETE: 3, TrialState.WAITING: 1}
        assert optuna_tables.counts_by_state(session, study_id) == {study_id: counts}
        best = optuna_tables.best_trial(session, study_id, "maximize")
        assert best == (study.best_trial.number, study.best_value)
        assert optuna_tables.best_trial(session, study_id, "minimize") == (0, 0.5)
        rows = session.execute(sa.select(optuna_tables.trial_rows(study_id, "code"))).all()
        assert sorted(rows)[0] == (ids[0], 0, "COMPLETE", 0.5, '"a digest"')
        assert sorted(rows)[3] == (ids[3], 3, "WAITING", None, None)


def test_a_deleted_study_leaves_no_row(database: Database) -> None:
    study_id = use_everything(database)
    kept, kept_id = made(database, "kept")
    kept.ask(SPACE)
    with database.writing() as session:
        optuna_tables.delete_study(session, study_id)
    with database.reading() as session:
        assert optuna_tables.study_names(session) == {kept_id: "kept"}
        rows = {name: session.execute(sa.text(f"SELECT count(*) FROM {name}")).scalar() for name in COLUMNS}
    assert rows == dict.fromkeys(COLUMNS, 0) | {"studies": 1, "trials": 1, "trial_params": 2}


def test_a_sampler_leaves_no_note_in_a_trial() -> None:
    trial = optuna.trial.create_trial(params=PARAMS, distributions=SPACE, value=0.5)
    storage = optuna_tables.SampledStorage(lambda: [trial])
    study = optuna.create_study(storage=storage)
    storage.set_trial_system_attr(1, "a note", 1)
    assert (study.trials, trial.system_attrs) == ([trial], {})


def test_a_distribution_tells_which_values_it_has() -> None:
    asked = [(SPACE["lr"], 0.01), (SPACE["lr"], 2.0), (SPACE["kind"], "a")]
    assert [optuna_tables.accepts(distribution, value) for distribution, value in asked] == [True, False, True]


def test_private_names_of_optuna_are_used_in_one_module_only() -> None:
    root = Path(winnow.__file__).parent
    used = {
        str(path.relative_to(root)) for path in root.rglob("*.py") if _names_private_parts(ast.parse(path.read_text()))
    }
    assert used == {"study/optuna_tables.py"}


PRIVATE = {"_study_id", "_trial_id", "_storage", "_backend", "_contains", "_build_frozen_trial_from_trial_model"}


def _names_private_parts(module: ast.Module) -> bool:
    """Whether a module imports a private module of Optuna, or names a private attribute of its classes."""
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and re.search(r"^optuna\b.*\._", node.module or ""):
            return True
        # `self._storage` may be an attribute of winnow's own.
        is_own = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE and not is_own:
            return True
    return False
