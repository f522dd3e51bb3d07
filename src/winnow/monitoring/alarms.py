"""Which alarms hold after a look at a deployment, which of them began, and which ended. Pure.

An alarm begins when what it is about is found, and ends when it is judged again and not found, when another version
serves, or when its rule is gone. A look that cannot judge changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from winnow.config.monitoring import RuleConfig
from winnow.config.quantities import seconds_of
from winnow.finding import Finding, Result
from winnow.monitoring.report import Alarm, ColumnDrift, LiveQuality
from winnow.monitoring.rules import ABOUT_ANSWERS

DRIFT, QUALITY, NO_REPLICA = "WinnowDrift", "WinnowQuality", "WinnowNoReplica"
OWN = (DRIFT, QUALITY, NO_REPLICA)
"""Names of the alarms that need no rule."""
JOINT = "all columns"
"""Subject of the alarm about all columns together."""


RUNBOOKS = "docs/monitoring.md#runbook-"


class Judged(Struct, frozen=True):
    """What one look says of one thing that there may be an alarm about.

    Attributes:
        alarm: the one that holds where the result is `fail`.
    """

    alarm: Alarm
    result: Result


class AlarmChanges(Struct, frozen=True):
    """What a look changes.

    Attributes:
        held: all alarms that hold now, the oldest first.
        began, ended: since the look before.
    """

    held: tuple[Alarm, ...]
    began: tuple[Alarm, ...]
    ended: tuple[Alarm, ...]


def runbook_of(alarm: Alarm) -> str:
    """Where a person on call reads what to do."""
    return RUNBOOKS + (alarm.name.lower() if alarm.name in OWN else "rule")


def changes(held: Sequence[Alarm], judged: Sequence[Judged], version: str, rules: Sequence[RuleConfig]) -> AlarmChanges:
    """Compare the alarms that held with what a look found.

    Args:
        held: before the look.
        version: that serves now.
        rules: those of the experiment file.
    """
    results = {each.alarm.identity: each for each in judged}
    known = {*OWN, *(rule.name for rule in rules)}

    def holds(alarm: Alarm) -> bool:
        found = results.get(alarm.identity)
        is_gone = alarm.version != version or alarm.name not in known
        return not is_gone and (found is None or found.result is not Result.PASS)

    def renewed(alarm: Alarm) -> Alarm:
        """The alarm with the words of the latest look, and its own beginning."""
        found = results.get(alarm.identity)
        return replace(found.alarm, since=alarm.since) if found and found.result is Result.FAIL else alarm

    before = {alarm.identity for alarm in held}
    began = [each.alarm for each in judged if each.result is Result.FAIL and each.alarm.identity not in before]
    kept = [renewed(alarm) for alarm in held if holds(alarm)]
    ended = [alarm for alarm in held if not holds(alarm)]
    return AlarmChanges((*kept, *began), tuple(began), tuple(ended))


def of_drift(drift: Sequence[ColumnDrift], joint: Finding | None, version: str, since: float) -> list[Judged]:
    """What a look says of each column and output, and of all together.

    Args:
        since: when the window began.
    """
    found = [
        Judged(
            Alarm(DRIFT, each.name, f"{each.name}: {_worst(each).reason}", each.since or since, version, "ticket"),
            each.result,
        )
        for each in drift
        if each.findings
    ]
    if joint is not None:
        found.append(Judged(Alarm(DRIFT, JOINT, joint.reason, since, version, "ticket"), joint.result))
    return found


def of_replicas(replicas: int, version: str, now: float) -> Judged:
    """What a look says of the replicas. `replicas`: how many answered."""
    summary = f"No replica of version {version} answers."
    return Judged(Alarm(NO_REPLICA, "", summary, now, version), Result.PASS if replicas else Result.FAIL)


def of_quality(quality: LiveQuality | None, version: str, since: float) -> list[Judged]:
    """What a look says of the outcomes."""
    if quality is None:
        return []
    begun = since if quality.since is None else quality.since
    alarm = Alarm(QUALITY, quality.metric, quality.degradation.reason, begun, version)
    return [Judged(alarm, quality.degradation.result)]


def of_rules(
    rules: Sequence[RuleConfig], findings: Sequence[Finding], holding: Mapping[str, float], version: str, now: float
) -> list[Judged]:
    """What a look says of each rule, whose limit must have been passed for `rule.wait` before it is an alarm.

    Args:
        findings: of the rules, in their order.
        holding: since when each rule that fails has failed.
    """
    found = []
    for rule, finding in zip(rules, findings, strict=True):
        began = holding.get(rule.name, now)
        is_early = finding.result is Result.FAIL and now - began < seconds_of(rule.wait)
        is_about_answers = rule.metric in ABOUT_ANSWERS
        summary = rule.summary or finding.reason
        subject = rule.column or rule.of_class or ""
        alarm = Alarm(rule.name, subject, summary, began, version, rule.severity, is_about_answers)
        found.append(Judged(alarm, Result.NOT_ENOUGH_DATA if is_early else finding.result))
    return found


def still_holding(findings: Sequence[Finding], holding: Mapping[str, float], now: float) -> dict[str, float]:
    """Since when each rule that fails has failed. A rule that could not be judged stays as it was."""
    failing = {each.condition: holding.get(each.condition, now) for each in findings if each.result is Result.FAIL}
    unknown = {each.condition for each in findings if each.result is Result.NOT_ENOUGH_DATA}
    return {**{name: began for name, began in holding.items() if name in unknown}, **failing}


def _worst(drift: ColumnDrift) -> Finding:
    """The finding that is farthest beyond its threshold; the first one where none is."""
    failed = [each for each in drift.findings if each.result is Result.FAIL]
    return max(failed, key=lambda each: (each.estimate or 0.0) / (each.margin or 1.0), default=drift.findings[0])
