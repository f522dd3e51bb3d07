"""Optuna's tables and private names: the only module of winnow that knows them.

winnow changes trials in transactions of its own, together with its own tables (`tables.py`). Optuna's public API cannot
take part in such a transaction, so this module reads and writes Optuna's tables through Optuna's models. Every function
runs inside the caller's transaction; what a claim or a lease means is left to the caller.

`tests/contracts/test_optuna_tables.py` compares the tables with those that the installed Optuna makes, and what is
written here with what Optuna's public API reads.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import orm

from winnow.tracking import records

Goal = Literal["maximize", "minimize"]

STATES: Mapping[TrialState, records.TrialState] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}
"""winnow's name of every state."""


NAMES = frozenset(models.BaseModel.metadata.tables)
"""Names of Optuna's tables."""


class SampledStorage(_CachedStorage):
    """What samplers see: the study, cached, without the notes that they would leave in it.

    TPE writes each proposal into the trial before its parameters are stored, in a transaction of Optuna's own that
    SQLite refuses as soon as another process has written meanwhile. `set_params` stores all parameters at once, which
    makes that note needless.
    """

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store nothing."""


@dataclass(frozen=True)
class StoredTrial:
    """A trial as Optuna's tables hold it, with its id."""

    trial_id: int
    frozen: FrozenTrial


def accepts(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a parameter of this distribution can have the value, given in the form that people use."""
    return bool(distribution._contains(distribution.to_internal_repr(value)))


# Studies


def study_id_of(session: orm.Session, name: str) -> int | None:
    """The id of the study called `name`, None where there is none."""
    found: int | None = session.execute(sa.select(models.StudyModel.study_id).filter_by(study_name=name)).scalar()
    return found


def lock_study(session: orm.Session, study_id: int) -> None:
    """Make other transactions that lock this study wait for this one."""
    session.query(models.StudyModel).filter_by(study_id=study_id).with_for_update().one()


def study_names(session: orm.Session) -> dict[int, str]:
    """The name of every study by its id, in the order in which they were made."""
    query = sa.select(models.StudyModel.study_id, models.StudyModel.study_name).order_by(models.StudyModel.study_id)
    return {int(study_id): str(name) for study_id, name in session.execute(query)}


def delete_study(session: orm.Session, study_id: int) -> None:
    """Remove a study with its trials; Optuna's models delete what belongs to it."""
    session.delete(session.query(models.StudyModel).filter_by(study_id=study_id).one())


def attributes(session: orm.Session, study_id: int) -> dict[str, Any]:
    """The study's attributes."""
    kept = session.query(models.StudySystemAttributeModel).filter_by(study_id=study_id)
    return {str(one.key): json.loads(str(one.value_json)) for one in kept}


def attribute(session: orm.Session, study_id: int, key: str) -> Any:
    """One attribute of the study, None where it is not set."""
    kept = session.query(models.StudySystemAttributeModel).filter_by(study_id=study_id, key=key).first()
    return None if kept is None else json.loads(str(kept.value_json))


def set_attribute(session: orm.Session, study_id: int, key: str, value: Any) -> None:
    """Set an attribute of the study."""
    kept = session.query(models.StudySystemAttributeModel).filter_by(study_id=study_id, key=key)
    if kept.update({"value_json": json.dumps(value)}) == 0:
        session.add(models.StudySystemAttributeModel(study_id=study_id, key=key, value_json=json.dumps(value)))


def remove_attributes(session: orm.Session, study_id: int, prefix: str) -> None:
    """Remove the study's attributes whose names begin with `prefix`."""
    model = models.StudySystemAttributeModel
    kept = session.query(model).filter_by(study_id=study_id)
    kept.filter(model.key.startswith(prefix, autoescape=True)).delete()


def attribute_rows(study_id: int, keys: Sequence[str]) -> sa.Subquery:
    """`key` and `value_json` of these attributes of the study, as far as they are set; for a query of the caller's."""
    model = models.StudySystemAttributeModel
    return sa.select(model.key, model.value_json).where(model.study_id == study_id, model.key.in_(keys)).subquery()


# Trials


def trial_rows(study_id: int, attribute: str) -> sa.Subquery:
    """The study's trials, one row each, for a query of the caller's.

    The columns are `trial_id`, `number`, `state` (the name of a `TrialState`), `value` and `attribute_json`, the
    attribute of this name.
    """
    trial, value, mark = models.TrialModel, models.TrialValueModel, models.TrialUserAttributeModel
    return (
        sa.select(
            trial.trial_id,
            trial.number,
            sa.cast(trial.state, sa.String).label("state"),
            value.value,
            mark.value_json.label("attribute_json"),
        )
        .outerjoin(value, (value.trial_id == trial.trial_id) & (value.objective == 0))
        .outerjoin(mark, (mark.trial_id == trial.trial_id) & (mark.key == attribute))
        .where(trial.study_id == study_id)
        .subquery()
    )


def count_trials(session: orm.Session, study_id: int) -> int:
    """How many trials the study has."""
    return session.query(models.TrialModel).filter_by(study_id=study_id).count()


def counts_by_state(session: orm.Session, study_id: int | None = None) -> Mapping[int, Mapping[TrialState, int]]:
    """How many trials each study has, or only this one, by state."""
    trial = models.TrialModel
    query = session.query(trial.study_id, trial.state, sa.func.count()).group_by(trial.study_id, trial.state)
    if study_id is not None:
        query = query.filter(trial.study_id == study_id)
    found: dict[int, dict[TrialState, int]] = defaultdict(dict)
    for study, state, count in query:
        found[study][state] = count
    return found


def read_trials(
    session: orm.Session, storage: RDBStorage, study_id: int, number: int | None = None
) -> tuple[StoredTrial, ...]:
    """The study's trials, or only one of them, by number."""
    parts = (
        models.TrialModel.params,
        models.TrialModel.values,
        models.TrialModel.user_attributes,
        models.TrialModel.system_attributes,
        models.TrialModel.intermediate_values,
    )
    query = session.query(models.TrialModel).options(*(orm.selectinload(part) for part in parts))
    query = query.filter_by(study_id=study_id)
    if number is not None:
        query = query.filter_by(number=number)
    return tuple(
        StoredTrial(int(model.trial_id), storage._build_frozen_trial_from_trial_model(model))
        for model in query.order_by(models.TrialModel.number)
    )


def trial_id_of(session: orm.Session, study_id: int, number: int) -> int:
    """The id of the trial with this number."""
    query = sa.select(models.TrialModel.trial_id).filter_by(study_id=study_id, number=number)
    return int(session.execute(query).scalar_one())


def best_trial(session: orm.Session, study_id: int, goal: Goal) -> tuple[int, float] | None:
    """Number and value of the best complete trial; of equal ones the earlier."""
    trial, value = models.TrialModel, models.TrialValueModel.value
    query = (
        session.query(trial.number, value)
        .join(models.TrialValueModel, models.TrialValueModel.trial_id == trial.trial_id)
        .filter(trial.study_id == study_id, trial.state == TrialState.COMPLETE, value.is_not(None))
        .order_by(value.asc() if goal == "minimize" else value.desc(), trial.number)
    )
    best = query.first()
    return None if best is None else (int(best[0]), float(best[1]))


def add_running_trial(session: orm.Session, study_id: int, number: int) -> int:
    """Add a trial that starts now; return its id."""
    trial = models.TrialModel(study_id=study_id, number=number, state=TrialState.RUNNING)
    trial.datetime_start = datetime.now()
    session.add(trial)
    session.flush()
    return int(trial.trial_id)


def start_trial(session: orm.Session, trial_id: int) -> None:
    """Mark a waiting trial as running; its first start is kept."""
    trial = _trial(session, trial_id)
    trial.state = TrialState.RUNNING
    if trial.datetime_start is None:
        trial.datetime_start = datetime.now()


def reopen_trial(session: orm.Session, trial_id: int) -> None:
    """Mark a trial as waiting, whatever it was."""
    trial = _trial(session, trial_id)
    trial.state, trial.datetime_complete = TrialState.WAITING, None


def end_trial(session: orm.Session, trial_id: int, state: TrialState, value: float | None) -> None:
    """End a trial now, with its value if it has one."""
    trial = _trial(session, trial_id)
    trial.state, trial.datetime_complete = state, datetime.now()
    if value is not None:
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        session.add(models.TrialValueModel(trial_id=trial_id, objective=0, value=stored, value_type=kind))


def set_params(
    session: orm.Session, trial_id: int, params: Mapping[str, Any], space: Mapping[str, BaseDistribution]
) -> None:
    """Replace a trial's parameters, given in the form in which Optuna gives them out."""
    session.query(models.TrialParamModel).filter_by(trial_id=trial_id).delete()
    session.add_all(
        models.TrialParamModel(
            trial_id=trial_id,
            param_name=name,
            param_value=space[name].to_internal_repr(value),
            distribution_json=distribution_to_json(space[name]),
        )
        for name, value in params.items()
    )


def set_intermediate_value(session: orm.Session, trial_id: int, step: int, value: float) -> None:
    """Set a trial's value after a step."""
    session.query(models.TrialIntermediateValueModel).filter_by(trial_id=trial_id, step=step).delete()
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    session.add(
        models.TrialIntermediateValueModel(
            trial_id=trial_id, step=step, intermediate_value=stored, intermediate_value_type=kind
        )
    )


def remove_intermediate_values(session: orm.Session, trial_id: int) -> None:
    """Remove a trial's values after every step."""
    session.query(models.TrialIntermediateValueModel).filter_by(trial_id=trial_id).delete()


def trial_attribute(session: orm.Session, trial_id: int, key: str) -> Any:
    """One attribute of a trial, None where it is not set."""
    kept = session.query(models.TrialUserAttributeModel).filter_by(trial_id=trial_id, key=key).one_or_none()
    return None if kept is None else json.loads(str(kept.value_json))


def set_trial_attribute(session: orm.Session, trial_id: int, key: str, value: Any) -> None:
    """Set an attribute of a trial."""
    kept = session.query(models.TrialUserAttributeModel).filter_by(trial_id=trial_id, key=key)
    if kept.update({"value_json": json.dumps(value)}) == 0:
        session.add(models.TrialUserAttributeModel(trial_id=trial_id, key=key, value_json=json.dumps(value)))


def trials_without_attribute(session: orm.Session, study_id: int, key: str) -> tuple[int, ...]:
    """Ids of the study's trials on which an attribute is not set."""
    attribute = models.TrialUserAttributeModel
    marked = session.query(attribute.trial_id).filter(attribute.key == key)
    of_study = session.query(models.TrialModel.trial_id).filter_by(study_id=study_id)
    return tuple(int(row[0]) for row in of_study.filter(models.TrialModel.trial_id.not_in(marked)))


def _trial(session: orm.Session, trial_id: int) -> models.TrialModel:
    trial = session.get(models.TrialModel, trial_id)
    assert trial is not None, "Optuna never deletes a single trial"
    return trial
