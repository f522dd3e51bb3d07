"""Whether a model is to be trained again, and why: decided from records, clock and the data's digest alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from winnow.config.cron import cron_of
from winnow.config.experiment import Experiment
from winnow.config.monitoring import RuleMetric
from winnow.config.quantities import seconds_of
from winnow.monitoring.alarms import NO_REPLICA
from winnow.tracking.history import AlertRecord, RetrainRecord

LONGEST_PAUSE = timedelta(days=7)
_OPERATIONAL: frozenset[RuleMetric] = frozenset({"error_rate", "request_rate", "latency", "live_replicas"})
"""What rules watch that no training mends."""

Timed = tuple[datetime, RetrainRecord]


@dataclass(frozen=True)
class Champion:
    """The version that is to be replaced.

    Attributes:
        trained_at: when it was exported, UTC.
        is_rejected: requests were sent away from it, so that another version answers.
    """

    version: str
    trained_at: datetime
    data_sha256: str
    is_rejected: bool = False


@dataclass(frozen=True)
class Facts:
    """What the decision rests on.

    Attributes:
        now: UTC.
        champion: None before the first one.
        data_sha256: digest of the data as they are now.
        retrainings, alerts: the model's history, oldest first.
    """

    now: datetime
    champion: Champion | None
    data_sha256: str
    retrainings: Sequence[Timed] = ()
    alerts: Sequence[tuple[datetime, AlertRecord]] = ()


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes:
        reasons: why a retraining is due, as clauses; empty where it is not.
        against: what was looked at and is no reason, as clauses.
        study: the study of the last attempt, which was interrupted or failed; empty where it ended.
        waits_until: until when a pause after failures lasts; None without one.
    """

    reasons: tuple[str, ...]
    against: tuple[str, ...] = ()
    study: str = ""
    waits_until: datetime | None = None


def decide(facts: Facts, experiment: Experiment) -> Decision:
    """Whether a retraining is due, by the section `retrain` of the experiment.

    An attempt that was interrupted goes on. One that ended answers all that was a reason when it started, whatever its
    end was: where gates refused its version, the same data and alarms are no reason for another one. Nor are new alarms
    until the data change, for training on the same rows would give the same model.
    """
    end = _last_end(facts.retrainings)
    attempts = [each for each in facts.retrainings if end is None or each[0] > end[0]]
    study = attempts[-1][1].study if attempts else ""
    waits_until = _pause(attempts, seconds_of(experiment.retrain.backoff))
    if waits_until is not None and waits_until <= facts.now:
        waits_until = None
    if attempts and attempts[-1][1].state == "started":
        began = f"{study} was interrupted; it was started because {attempts[0][1].reason}"
        return Decision((began,), (), study, waits_until)
    if facts.champion is None:
        lacking = "there is no champion yet"
        if end is None or end[1].data_sha256 != facts.data_sha256:
            return Decision((lacking,), (), study, waits_until)
        return Decision((), (f"{lacking}; {_trained(end, facts)}",))
    found = [
        _data(facts, experiment, facts.champion),
        _alert(facts, experiment, facts.champion),
        _schedule(facts, experiment, facts.champion),
    ]
    reasons = tuple(text for is_reason, text in found if is_reason)
    against = tuple(text for is_reason, text in found if not is_reason)
    return Decision(reasons, against, study, waits_until if reasons else None)


def next_study(name: str, taken: Sequence[str]) -> str:
    """The name of an experiment's next study: NAME, NAME-2, NAME-3, …"""
    number = _last_number(name, taken)
    return f"{name}-{number + 1}" if number else name


def last_study(name: str, taken: Sequence[str]) -> str | None:
    """The last of an experiment's studies NAME, NAME-2, NAME-3, …; None before the first one."""
    number = _last_number(name, taken)
    return None if not number else name if number == 1 else f"{name}-{number}"


def _last_number(name: str, taken: Sequence[str]) -> int:
    numbers = [
        1 if each == name else int(end)
        for each in taken
        if each == name or ((end := each.removeprefix(f"{name}-")) != each and end.isdecimal() and end[0] != "0")
    ]
    return max(numbers, default=0)


def _data(facts: Facts, experiment: Experiment, champion: Champion) -> tuple[bool, str]:
    if not experiment.retrain.on_data:
        return False, "`retrain.on_data` is false"
    digest = facts.data_sha256[:12]
    if facts.data_sha256 == champion.data_sha256:
        return False, f"the data are those of version {champion.version} (sha256 {digest})"
    end = _last_end(facts.retrainings)
    if end is not None and end[1].data_sha256 == facts.data_sha256:
        return False, _trained(end, facts)
    return True, f"the data have changed: sha256 {digest} instead of {champion.data_sha256[:12]}"


def _trained(end: Timed, facts: Facts) -> str:
    return f"{end[1].study} was trained on these data (sha256 {facts.data_sha256[:12]}) and ended {end[1].state}"


def _alert(facts: Facts, experiment: Experiment, champion: Champion) -> tuple[bool, str]:
    if not experiment.retrain.on_alert:
        return False, "`retrain.on_alert` is false"
    since = _answered(facts, champion)
    operational = {NO_REPLICA} | {rule.name for rule in experiment.monitoring.rules if rule.metric in _OPERATIONAL}
    open_ones: dict[tuple[str, str, str], tuple[datetime, AlertRecord]] = {}
    for at, record in facts.alerts:
        key = (record.deployment, record.name, record.subject)
        open_ones.pop(key, None)
        if record.status == "firing":
            open_ones[key] = (at, record)
    counted = [
        (at, record)
        for at, record in open_ones.values()
        if at > since and record.name not in operational
        if record.version == champion.version or champion.is_rejected
    ]
    if not counted:
        return False, f"no alarm about version {champion.version} began since {_shown(since)}"
    at, record = counted[0]
    more = f" (and {len(counted) - 1} more)" if len(counted) > 1 else ""
    about = f" about {record.subject}" if record.subject else ""
    began = f"{record.name}{about} began at {_shown(at)}{more}"
    end = _last_end(facts.retrainings)
    if end is not None and end[1].data_sha256 == facts.data_sha256:  # else each new version's first alarm would train
        return False, f"{began}, but the data have not changed since {end[1].study} was trained"
    return True, f"{began}: {record.summary.rstrip('.')}"


def _schedule(facts: Facts, experiment: Experiment, champion: Champion) -> tuple[bool, str]:
    schedule = experiment.retrain.schedule
    if schedule is None:
        return False, "there is no `retrain.schedule`"
    cron = cron_of(schedule)
    last = cron.last(facts.now)
    if last <= _answered(facts, champion):
        return False, f"the schedule `{schedule}` is due next at {_shown(cron.next(facts.now))}"
    return True, f"the schedule `{schedule}` was due at {_shown(last)}"


def _answered(facts: Facts, champion: Champion) -> datetime:
    """The time up to which alarms and schedule are answered: the champion's, or that of a later retraining's start."""
    end = _last_end(facts.retrainings)
    started = [at for at, record in facts.retrainings if end is not None and record.study == end[1].study]
    return max([champion.trained_at, *started[:1]])


def _last_end(retrainings: Sequence[Timed]) -> Timed | None:
    ends = [each for each in retrainings if each[1].state not in ("started", "failed")]
    return ends[-1] if ends else None


def _pause(attempts: Sequence[Timed], backoff_s: float) -> datetime | None:
    """Until when to wait after attempts that failed. The first interruption costs no pause: machines are restarted."""
    starts = sum(record.state == "started" for _, record in attempts)
    failures = starts - (1 if attempts and attempts[-1][1].state == "started" else 0)
    if failures < 1:
        return None
    pause_s = min(backoff_s * 2.0 ** (failures - 1), LONGEST_PAUSE.total_seconds())
    return attempts[-1][0] + timedelta(seconds=pause_s)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
