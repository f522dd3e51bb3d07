"""Optuna's tables and private names: the only module of winnow that knows them.

winnow changes trials in transactions of its own, together with its own tables (`tables.py`). Optuna's public API cannot
take part in such a transaction, so this module reads and writes Optuna's tables itself. Every function runs inside the
caller's transaction; what a claim or a lease means is left to the caller. Statements of the hot path are built once:
building one costs three times as much as running it.

`tests/contracts/test_optuna_tables.py` compares the tables with those that the installed Optuna makes, and what is
written here with what Optuna's public API reads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal

import optuna
import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages import InMemoryStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.study.study import _SYSTEM_ATTR_METRIC_NAMES
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import orm
from sqlalchemy.engine import Connection

from winnow.tracking import records

Goal = Literal["maximize", "minimize"]
Params = Mapping[str, Any]
"""Parameters of a trial by name, in the form in which Optuna gives them out."""
StoredParams = tuple[dict[str, Any], dict[str, BaseDistribution]]
"""Parameters of a trial and their distributions, by name."""

STATES: Mapping[TrialState, records.TrialState] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
"""winnow's name of every state."""
OPTUNA_STATES: Mapping[records.TrialState, TrialState] = {name: state for state, name in STATES.items()}

_studies: Any = models.StudyModel.__table__
_directions: Any = models.StudyDirectionModel.__table__
_attributes: Any = models.StudySystemAttributeModel.__table__
_trials: Any = models.TrialModel.__table__
_params: Any = models.TrialParamModel.__table__
_values: Any = models.TrialValueModel.__table__
_intermediate: Any = models.TrialIntermediateValueModel.__table__
_marks: Any = models.TrialUserAttributeModel.__table__
_notes: Any = models.TrialSystemAttributeModel.__table__

NAMES = frozenset(models.BaseModel.metadata.tables)
"""Names of Optuna's tables."""


class SampledStorage(InMemoryStorage):
    """What samplers and pruners see: one study whose trials are those that `trials` gives.

    TPE leaves a note of each proposal in its trial. It is dropped, because `trials` shows the parameters themselves.
    Other samplers remember what they know in such notes; with `keeps_notes` they are kept in `written` until they are
    stored, by trial (None: the study) and name.
    """

    def __init__(self, trials: Callable[[], Iterable[FrozenTrial]], *, keeps_notes: bool = False) -> None:
        super().__init__()
        self._trials = trials
        self._keeps_notes = keeps_notes
        self.written: dict[tuple[int | None, str], Any] = {}

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials in these states, all by default; never copies."""
        return [trial for trial in self._trials() if states is None or trial.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial with this id. Raises KeyError."""
        found = next((trial for trial in self._trials() if trial._trial_id == trial_id), None)
        if found is None:
            raise KeyError(trial_id)
        return found

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """The best complete trial, of equal ones the first. Raises ValueError if there is none."""
        complete = [trial for trial in self._trials() if trial.state is TrialState.COMPLETE and trial.value is not None]
        if not complete:
            raise ValueError("No trials are completed yet.")
        sign = -1.0 if self.get_study_directions(study_id)[0] is StudyDirection.MAXIMIZE else 1.0
        return min(complete, key=lambda trial: (sign * trial.values[0], trial.number))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keep a note of a sampler or a pruner in its trial."""
        if self._keeps_notes:
            self.get_trial(trial_id).system_attrs[key] = value
            self.written[trial_id, key] = value

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Keep a note of a sampler in the study."""
        super().set_study_system_attr(study_id, key, value)
        if self._keeps_notes:
            self.written[None, key] = value

    def load_study_notes(self, notes: Mapping[str, Any]) -> None:
        """Set the study's notes as they are stored."""
        for study in self.get_all_studies():
            for key, value in notes.items():
                super().set_study_system_attr(study._study_id, key, value)


REVISION = "v3.2.0.a"
"""The newest migration of Optuna's tables, as Alembic names it."""
_revision = sa.Table(
    "alembic_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


def make_tables(connection: Connection) -> None:
    """Make Optuna's tables in a database that has none, as Optuna does."""
    models.BaseModel.metadata.create_all(connection)
    _revision.create(connection)
    connection.execute(sa.insert(_revision).values(version_num=REVISION))
    version: Any = models.VersionInfoModel.__table__
    connection.execute(
        sa.insert(version).values(
            version_info_id=1, schema_version=models.SCHEMA_VERSION, library_version=optuna.__version__
        )
    )


def are_current(connection: Connection) -> bool:
    """Whether a database has all of Optuna's tables, and as the installed Optuna makes them."""
    if not set(sa.inspect(connection).get_table_names()) >= NAMES | {_revision.name}:
        return False
    return connection.execute(sa.select(_revision.c.version_num)).scalars().all() == [REVISION]


def accepts(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter of this distribution can have the value, given in the form that people use."""
    return bool(distribution._contains(distribution.to_internal_repr(value)))


# Studies


def study_id_of(connection: Connection, name: str) -> int | None:
    """The id of the study called `name`, None where there is none."""
    query = sa.select(_studies.c.study_id).where(_studies.c.study_name == name)
    found: int | None = connection.execute(query).scalar()
    return found


def add_study(connection: Connection, name: str, goal: Goal) -> int:
    """Add a study; return its id. Raises IntegrityError where there is one of that name."""
    made = connection.execute(sa.insert(_studies).values(study_name=name)).inserted_primary_key
    assert made is not None, "a single row was inserted"
    direction = StudyDirection.MINIMIZE if goal == "minimize" else StudyDirection.MAXIMIZE
    connection.execute(sa.insert(_directions).values(study_id=made[0], objective=0, direction=direction))
    return int(made[0])


def lock_study(connection: Connection, study_id: int) -> None:
    """Make other transactions that lock this study wait for this one; its trials and attributes can be written."""
    query = sa.select(_studies.c.study_id).where(_studies.c.study_id == study_id)
    # With a full lock, a claim that adds a trial would wait for this transaction, which may wait for the claim.
    connection.execute(query.with_for_update(key_share=True)).one()


def study_names(connection: Connection) -> dict[int, str]:
    """The name of every study by its id, in the order in which they were made."""
    query = sa.select(_studies.c.study_id, _studies.c.study_name).order_by(_studies.c.study_id)
    return {int(study_id): str(name) for study_id, name in connection.execute(query)}


def delete_study(connection: Connection, study_id: int) -> None:
    """Remove a study with its trials; Optuna's models delete what belongs to it."""
    with orm.Session(bind=connection) as session:
        session.delete(session.query(models.StudyModel).filter_by(study_id=study_id).one())
        session.commit()


def attributes(connection: Connection, study_id: int) -> dict[str, Any]:
    """The study's attributes."""
    query = sa.select(_attributes.c.key, _attributes.c.value_json).where(_attributes.c.study_id == study_id)
    return {key: json.loads(value_json) for key, value_json in connection.execute(query)}


def attribute(connection: Connection, study_id: int, key: str) -> Any:
    """One attribute of the study, None where it is not set."""
    return attributes(connection, study_id).get(key)


def set_attribute(connection: Connection, study_id: int, key: str, value: Any) -> None:
    """Set an attribute of the study."""
    is_it = (_attributes.c.study_id == study_id) & (_attributes.c.key == key)
    connection.execute(sa.delete(_attributes).where(is_it))
    connection.execute(sa.insert(_attributes).values(study_id=study_id, key=key, value_json=json.dumps(value)))


def name_metric(connection: Connection, study_id: int, name: str) -> None:
    """Name the study's value, as `Study.set_metric_names` does, for Optuna's tables, plots and dashboard."""
    set_attribute(connection, study_id, _SYSTEM_ATTR_METRIC_NAMES, [name])


def remove_attributes(connection: Connection, study_id: int, prefix: str) -> None:
    """Remove the study's attributes whose names begin with `prefix`."""
    begins = _attributes.c.key.startswith(prefix, autoescape=True)
    connection.execute(sa.delete(_attributes).where(_attributes.c.study_id == study_id, begins))


def attribute_rows(study_id: int, keys: Sequence[str]) -> sa.Subquery:
    """`key` and `value_json` of these attributes of the study, as far as they are set; for a query of the caller's."""
    rows = sa.select(_attributes.c.key, _attributes.c.value_json)
    return rows.where(_attributes.c.study_id == study_id, _attributes.c.key.in_(keys)).subquery()


# Trials


def trial_rows(study_id: int, attribute: str) -> sa.Subquery:
    """The study's trials, one row each, for a query of the caller's.

    The columns are `trial_id`, `number`, `state` (the name of a `TrialState`), `value` and `attribute_json`, the
    attribute of this name.
    """
    return (
        sa.select(
            _trials.c.trial_id,
            _trials.c.number,
            sa.cast(_trials.c.state, sa.String).label("state"),
            _values.c.value,
            _marks.c.value_json.label("attribute_json"),
        )
        .outerjoin(_values, (_values.c.trial_id == _trials.c.trial_id) & (_values.c.objective == 0))
        .outerjoin(_marks, (_marks.c.trial_id == _trials.c.trial_id) & (_marks.c.key == attribute))
        .where(_trials.c.study_id == study_id)
        .subquery()
    )


def count_trials(connection: Connection, study_id: int) -> int:
    """How many trials the study has."""
    query = sa.select(sa.func.count()).select_from(_trials).where(_trials.c.study_id == study_id)
    return int(connection.execute(query).scalar_one())


def counts_by_state(connection: Connection, study_id: int | None = None) -> Mapping[int, Mapping[TrialState, int]]:
    """How many trials each study has, or only this one, by state."""
    columns = (_trials.c.study_id, _trials.c.state)
    query = sa.select(*columns, sa.func.count()).group_by(*columns)
    if study_id is not None:
        query = query.where(_trials.c.study_id == study_id)
    found: dict[int, dict[TrialState, int]] = defaultdict(dict)
    for study, state, count in connection.execute(query):
        found[study][state] = count
    return found


def trial_id_of(connection: Connection, study_id: int, number: int) -> int:
    """The id of the trial with this number."""
    query = sa.select(_trials.c.trial_id).where(_trials.c.study_id == study_id, _trials.c.number == number)
    return int(connection.execute(query).scalar_one())


def best_trial(connection: Connection, study_id: int, goal: Goal) -> tuple[int, float] | None:
    """Number and value of the best complete trial; of equal ones the earlier."""
    value = _values.c.value
    query = (
        sa.select(_trials.c.number, value)
        .join(_values, _values.c.trial_id == _trials.c.trial_id)
        .where(_trials.c.study_id == study_id, _trials.c.state == TrialState.COMPLETE, value.is_not(None))
        .order_by(value.asc() if goal == "minimize" else value.desc(), _trials.c.number)
    )
    best = connection.execute(query.limit(1)).first()
    return None if best is None else (int(best[0]), float(best[1]))


_ADD = sa.insert(_trials)
_START = (
    sa.update(_trials)
    .where(_trials.c.trial_id == sa.bindparam("of"))
    .values(
        state=TrialState.RUNNING,
        datetime_start=sa.func.coalesce(_trials.c.datetime_start, sa.bindparam("now", type_=sa.DateTime())),
    )
)
_REOPEN = (
    sa.update(_trials)
    .where(_trials.c.trial_id == sa.bindparam("of"))
    .values(state=TrialState.WAITING, datetime_complete=None)
)
_END = (
    sa.update(_trials)
    .where(_trials.c.trial_id == sa.bindparam("of"))
    .values(state=sa.bindparam("end"), datetime_complete=sa.bindparam("now"))
)
_SET_VALUE = sa.insert(_values)
_SET_PARAMS = sa.insert(_params)
_SET_INTERMEDIATE = sa.insert(_intermediate)
_SET_MARK = sa.insert(_marks)
_REMOVE_INTERMEDIATE = sa.delete(_intermediate).where(
    _intermediate.c.trial_id == sa.bindparam("of"), _intermediate.c.step == sa.bindparam("at")
)
_READ_PARAMS = (
    sa.select(_params.c.trial_id, _params.c.param_name, _params.c.param_value, _params.c.distribution_json)
    .where(_params.c.trial_id.in_(sa.bindparam("of", expanding=True)))
    .order_by(_params.c.param_id)
)
_MAX_LISTED = 1000
"""How many trials a statement names at most."""
_READ_NOTE = sa.select(_notes.c.value_json).where(
    _notes.c.trial_id == sa.bindparam("of"), _notes.c.key == "fixed_params"
)


def read_notes(connection: Connection, trial_ids: Sequence[int]) -> Mapping[int, dict[str, Any]]:
    """The notes (system attributes) of these trials."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for start in range(0, len(trial_ids), _MAX_LISTED):
        which = _notes.c.trial_id.in_(trial_ids[start : start + _MAX_LISTED])
        for trial_id, key, value_json in connection.execute(
            sa.select(_notes.c.trial_id, _notes.c.key, _notes.c.value_json).where(which)
        ):
            found[trial_id][key] = json.loads(value_json)
    return found


def set_notes(connection: Connection, study_id: int, written: Mapping[tuple[int | None, str], Any]) -> None:
    """Store notes by trial (None: the study) and name."""
    for (trial_id, key), value in written.items():
        if trial_id is None:
            set_attribute(connection, study_id, key, value)
            continue
        is_it = (_notes.c.trial_id == trial_id) & (_notes.c.key == key)
        connection.execute(sa.delete(_notes).where(is_it))
        connection.execute(sa.insert(_notes).values(trial_id=trial_id, key=key, value_json=json.dumps(value)))


def add_running_trial(connection: Connection, study_id: int, number: int) -> int:
    """Add a trial that starts now; return its id."""
    row = {"study_id": study_id, "number": number, "state": TrialState.RUNNING, "datetime_start": _now()}
    made = connection.execute(_ADD, row).inserted_primary_key
    assert made is not None, "a single row was inserted"
    return int(made[0])


def start_trial(connection: Connection, trial_id: int) -> None:
    """Mark a waiting trial as running; its first start is kept."""
    connection.execute(_START, {"of": trial_id, "now": _now()})


def reopen_trial(connection: Connection, trial_id: int) -> None:
    """Mark a trial as waiting, whatever it was."""
    connection.execute(_REOPEN, {"of": trial_id})


def end_trials(connection: Connection, ends: Mapping[int, tuple[TrialState, float | None]]) -> None:
    """End trials now, each with its value if it has one."""
    now = _now()
    connection.execute(_END, [{"of": trial_id, "end": state, "now": now} for trial_id, (state, _) in ends.items()])
    stored = {
        trial_id: models.TrialValueModel.value_to_stored_repr(value)
        for trial_id, (_, value) in ends.items()
        if value is not None
    }
    rows = [
        {"trial_id": trial_id, "objective": 0, "value": value, "value_type": kind}
        for trial_id, (value, kind) in stored.items()
    ]
    if rows:
        connection.execute(_SET_VALUE, rows)


def set_params(connection: Connection, space: Mapping[str, BaseDistribution], params: Mapping[int, Params]) -> None:
    """Set the parameters of trials that have none, given by trial in the form in which Optuna gives them out."""
    rows = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": space[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(space[name]),
        }
        for trial_id, named in params.items()
        for name, value in named.items()
    ]
    if rows:
        connection.execute(_SET_PARAMS, rows)


def read_params(connection: Connection, trial_ids: Sequence[int]) -> Mapping[int, StoredParams]:
    """The parameters of trials, as far as they have any, by trial."""
    found: dict[int, StoredParams] = {}
    for first in range(0, len(trial_ids), _MAX_LISTED):
        listed = {"of": trial_ids[first : first + _MAX_LISTED]}
        for trial_id, name, value, distribution_json in connection.execute(_READ_PARAMS, listed):
            params, distributions = found.setdefault(trial_id, ({}, {}))
            distributions[name] = _from_json(distribution_json)
            params[name] = distributions[name].to_external_repr(value)
    return found


def read_enqueued(connection: Connection, trial_id: int) -> Params:
    """The values that were enqueued for a trial (`study.enqueue_trial`)."""
    value_json = connection.execute(_READ_NOTE, {"of": trial_id}).scalar()
    return {} if value_json is None else dict(json.loads(value_json))


def set_intermediate_values(connection: Connection, values: Mapping[tuple[int, int], float]) -> None:
    """Set the values of trials after steps, by trial and step. There must be none yet."""
    stored = {
        of: models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value) for of, value in values.items()
    }
    rows = [
        {"trial_id": trial_id, "step": step, "intermediate_value": value, "intermediate_value_type": kind}
        for (trial_id, step), (value, kind) in stored.items()
    ]
    connection.execute(_SET_INTERMEDIATE, rows)


def remove_intermediate_values(connection: Connection, of: Sequence[tuple[int, int]]) -> None:
    """Remove values of trials after steps."""
    connection.execute(_REMOVE_INTERMEDIATE, [{"of": trial_id, "at": step} for trial_id, step in of])


def remove_all_intermediate_values(connection: Connection, trial_id: int) -> None:
    """Remove a trial's values after every step."""
    connection.execute(sa.delete(_intermediate).where(_intermediate.c.trial_id == trial_id))


def remove_trial_attributes(connection: Connection, trial_id: int, keys: Sequence[str]) -> None:
    """Remove attributes of a trial."""
    connection.execute(sa.delete(_marks).where(_marks.c.trial_id == trial_id, _marks.c.key.in_(keys)))


def add_trial_attributes(connection: Connection, values: Mapping[int, Mapping[str, Any]]) -> None:
    """Set attributes that trials do not have, given by trial and name."""
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for trial_id, named in values.items()
        for key, value in named.items()
    ]
    if rows:
        connection.execute(_SET_MARK, rows)


def trials_without_attribute(connection: Connection, study_id: int, key: str) -> tuple[int, ...]:
    """Ids of the study's trials on which an attribute is not set."""
    marked = sa.select(_marks.c.trial_id).where(_marks.c.key == key)
    query = sa.select(_trials.c.trial_id).where(_trials.c.study_id == study_id, _trials.c.trial_id.not_in(marked))
    return tuple(connection.execute(query.order_by(_trials.c.trial_id)).scalars())


def _now() -> datetime:
    """Optuna stores times in UTC without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


@lru_cache(maxsize=1024)
def _from_json(distribution_json: str) -> BaseDistribution:
    return json_to_distribution(distribution_json)
