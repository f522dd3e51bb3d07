"""Look at a deployment once: compare what its replicas have counted with the model's profile, and tell of alarms.

A look decides by pure functions of `winnow.monitoring`, writes what the next look needs, and only then tells receivers,
so that nothing is lost where one is away or this process dies.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs

from winnow.bundle.profile import Profile
from winnow.config.atomic_write import replace_text
from winnow.config.disk import disk_fault, home_of
from winnow.config.errors import InputError, WinnowError
from winnow.config.monitoring import MonitoringConfig
from winnow.config.next_command import next_flag
from winnow.config.private import make_home, share
from winnow.config.quantities import seconds_of
from winnow.config.settings import Settings
from winnow.config.tools import tool_python
from winnow.finding import Finding, Result
from winnow.monitoring.alarms import (
    QUALITY,
    changes,
    of_drift,
    of_quality,
    of_replicas,
    of_rules,
    still_holding,
)
from winnow.monitoring.drift import alpha_per_check, find_drift, needed_rows
from winnow.monitoring.exposition import in_bins_of
from winnow.monitoring.gauges import gauges
from winnow.monitoring.live import LiveCounts
from winnow.monitoring.notices import Notice
from winnow.monitoring.prometheus import check_address
from winnow.monitoring.report import LiveQuality, MonitoringReport
from winnow.monitoring.rules import check_rules, evaluate
from winnow.monitoring.state import MonitoringState, looked
from winnow.orchestrators.alert_delivery import NotDeliveredError, check_receiver, deliver
from winnow.orchestrators.deployments import ask_deployers, find_deployment
from winnow.orchestrators.log_findings import (
    SKIPPED,
    judge_importances,
    judge_rows,
    rows_to_compare,
    write_evidently_page,
)
from winnow.orchestrators.monitoring_store import MonitoringStore
from winnow.orchestrators.releases import profile_of, with_bundle
from winnow.orchestrators.replica_counts import ReplicaReader
from winnow.orchestrators.serving_config import experiment_of_model
from winnow.orchestrators.settings import current
from winnow.platforms.deployer import Say, UnknownDeploymentError
from winnow.routing import Release
from winnow.tracking.history import AlertRecord
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import TrackingUnavailableError

SHARES = {"drift": 0.55, "joint": 0.2, "quality": 0.25}
"""Of the false alarms, where there are logs to judge by; else the columns' drift has all of them."""
IMPORTANCES_ALPHA = 0.01
"""Of a single look: importances inform, and raise no alarm."""
ALARM_LASTS = 3
"""After how many missed looks an Alertmanager takes an alarm for ended, and how many seconds more."""
ALARM_LASTS_S = 300.0


def into_history(model: str, entry: AlertRecord, at: datetime) -> None:
    """Add a record to a model's history in the registry."""
    Registry(current().tracking_uri).note(model, entry, at)


@dataclass(frozen=True)
class MonitorRequest:
    """What to look at.

    Attributes:
        name: the deployment; None for the only one.
        platform: None for the one that serves it.
        config: an experiment file, which counts if it has the model's name; else its study says how it is watched.
        study: the study whose experiment counts instead.
        prometheus: overrides `monitoring.prometheus`.
        html: a page to write.
        output: a file of gauges to write.
        evidently: a page of Evidently to write.
    """

    name: str | None = None
    platform: str | None = None
    config: Path | None = None
    study: str | None = None
    prometheus: str | None = None
    html: Path | None = None
    output: Path | None = None
    evidently: Path | None = None


@dataclass(frozen=True)
class Watched:
    """A deployment, and what it takes to judge it. `place`: what errors about `config` name."""

    name: str
    platform: str
    release: Release
    profile: Profile
    config: MonitoringConfig
    place: str
    reader: ReplicaReader
    settings: Settings

    def share(self, test: str) -> float:
        """How much of the false alarms of a month a test may make."""
        share = SHARES[test] if self.config.quality.outcomes else float(test == "drift")
        return share * self.config.false_alarms_per_month


@dataclass(frozen=True)
class LogFindings:
    """What the prediction log shows; None where that was not judged.

    Attributes:
        joint: all columns together.
        importances: of the columns, by rank.
        quality: of the outcomes.
        skipped: what was not judged and why, a sentence each.
    """

    joint: Finding | None = None
    importances: Finding | None = None
    quality: LiveQuality | None = None
    skipped: tuple[str, ...] = ()


def monitor(
    settings: Settings, request: MonitorRequest, say: Say, wall: Callable[[], float] = time.time
) -> MonitoringReport:
    """Look at a deployment once. See `winnow.api.monitor`. `wall`: seconds since the epoch."""
    watched = find_watched(settings, request, say)
    python = None if request.evidently is None else tool_python("evidently", settings.home, next_flag("evidently"))
    make_home(settings.home)
    report = look(watched, MonitoringStore(settings.home, watched.platform, watched.name), say, wall)
    _write(request.output, next_flag("output"), lambda: gauges(report))
    _write(request.html, next_flag("html"), lambda: _page(report, watched.profile))
    if request.evidently is not None and python is not None:
        rows = rows_to_compare(
            watched.name, watched.release, watched.config, report.since, report.until, watched.settings
        )
        if unwritten := write_evidently_page(rows, request.evidently, python):
            say(f"warning: {unwritten}")
    return report


def look(
    watched: Watched,
    store: MonitoringStore,
    say: Say,
    wall: Callable[[], float] = time.time,
    note: Callable[[str, AlertRecord, datetime], None] = into_history,
) -> MonitoringReport:
    """Judge what was counted since the look before, keep it, and tell of alarms that begin and end.

    Args:
        note: adds a record to the history of a model.

    Raises:
        InputError: a replica serves another model, or the stored state cannot be read. Nothing is changed then.
        UnreachableError: the Prometheus does not answer.
    """
    with store.held(on_wait=lambda: say(f"waiting for another process that looks at '{watched.name}'")):
        state, source = count(watched, store.read(), wall())
        report, state = judge(watched, state, judge_logs(watched, state, say), source)
        store.write(state)
        store.append(report)
        state = tell(watched, store, state, say)
        record(watched, store, state, say, note)
    return report


def find_watched(settings: Settings, request: MonitorRequest, say: Say) -> Watched:
    """Find the deployment, its profile and how it is to be watched. Changes nothing.

    Raises InputError if it is not served, its bundle has no profile, a rule names what the model does not have, or the
    receiver of alarms cannot be told.
    """
    deployers, _ = ask_deployers(settings, request.platform, say)
    platform, name = find_deployment(deployers, request.name)
    observed = deployers[platform].observe(name)
    if observed.record.serving is None:
        raise UnknownDeploymentError(name)
    release = with_bundle(observed.record.serving.release, settings)
    found = experiment_of_model(settings, release.model, config=request.config, study=request.study)
    config, place = (MonitoringConfig(), release.model) if found is None else (found.experiment.monitoring, found.place)
    check_receiver(config.alert, place)
    where = next_flag("prometheus") if request.prometheus else f"{place}: monitoring.prometheus"
    prometheus = request.prometheus or config.prometheus
    if prometheus is not None:
        check_address(prometheus, where)
    profile = profile_of(release)
    check_rules(config.rules, profile, place)
    reader = ReplicaReader(deployers[platform], observed, prometheus, where)
    return Watched(name, platform, release, profile, config, place, reader, settings)


def count(watched: Watched, state: MonitoringState, now: float) -> tuple[MonitoringState, str]:
    """The state with what the replicas have counted by now, and where that comes from."""
    release, reader = watched.release, watched.reader
    none = LiveCounts(release.model, release.version, release.digest, now, now, 0, {}, {})
    lookback_s = max((seconds_of(rule.over) for rule in watched.config.rules), default=0.0)
    first = now - max(watched.config.every_s, lookback_s)
    if not state.sums and (before := reader.before(first)) is not None:
        state = looked(state, before, none, first, lookback_s)
        state = structs.replace(state, judged=state.sums[-1])
    found = reader.read(now, state.sums[-1].until if state.sums else first)
    return looked(state, found, none, now, lookback_s), reader.described(found)


def judge(
    watched: Watched, state: MonitoringState, logs: LogFindings, source: str
) -> tuple[MonitoringReport, MonitoringState]:
    """What a look finds, and the state after it, with what receivers have to be told. Pure.

    `source`: where the counts come from.
    """
    config, release, profile = watched.config, watched.release, watched.profile
    window = in_bins_of(profile, state.window)
    now, alpha = window.until, _alpha(watched, window, "drift")
    needed = needed_rows(profile, alpha, window.rows_per_request)
    drift = find_drift(profile, window, alpha, earlier=state.drift)
    rules = tuple(
        evaluate(rule, profile, in_bins_of(profile, state.last(seconds_of(rule.over)))) for rule in config.rules
    )
    holding = still_holding(rules, state.holding, now)
    found = changes(
        state.alarms,
        [
            *of_drift(drift, logs.joint, release.version, window.since),
            of_replicas(window.replicas, release.version, now),
            *of_quality(logs.quality, release.version, window.since),
            *of_rules(config.rules, rules, holding, release.version, now),
        ],
        release.version,
        config.rules,
    )
    report = MonitoringReport(
        deployment=watched.name,
        model=release.model,
        version=release.version,
        digest=release.digest,
        checked_at=now,
        since=window.since,
        until=now,
        rows=window.rows,
        needed_rows=needed,
        source=source,
        drift=drift,
        joint=logs.joint,
        importances=logs.importances,
        quality=logs.quality,
        rules=rules,
        skipped=(*_unjudged(window, needed, profile.left_out), *logs.skipped),
        alarms=found.held,
        false_alarms_per_month=config.false_alarms_per_month,
        semantic=release.semantic,
    )
    if window.rows >= needed:
        drifted = tuple(each for each in drift if each.result is Result.FAIL)
        state = structs.replace(state, judged=state.sums[-1], drift=drifted)
    # Each has a time of its own, by which the model's history keeps it.
    at = (now + index * 1e-6 for index in itertools.count())
    notices = [
        *(Notice("resolved", each, watched.name, release.model, next(at)) for each in found.ended),
        *(Notice("firing", each, watched.name, release.model, next(at)) for each in found.began),
    ]
    outbox, unrecorded = (*state.outbox, *notices), (*state.unrecorded, *notices)
    return report, structs.replace(state, holding=holding, alarms=found.held, outbox=outbox, unrecorded=unrecorded)


def tell(watched: Watched, store: MonitoringStore, state: MonitoringState, say: Say) -> MonitoringState:
    """Tell the receiver what it has not heard, and return the state with what is left for the next look."""
    now = state.sums[-1].until
    held = [Notice("firing", each, watched.name, watched.release.model, now) for each in state.alarms]
    until = now + ALARM_LASTS * watched.config.every_s + ALARM_LASTS_S
    try:
        for taken in deliver(watched.config.alert, state.outbox, held, until):
            if taken:
                left = tuple(each for each in state.outbox if each not in taken)
                state = structs.replace(state, outbox=left)
                store.write(state)
    except NotDeliveredError as error:
        say(f"warning: alarms: {error}; {len(state.outbox)} to tell wait for the next look")
    return state


def record(
    watched: Watched,
    store: MonitoringStore,
    state: MonitoringState,
    say: Say,
    note: Callable[[str, AlertRecord, datetime], None],
) -> None:
    """Add alarms that began or ended to the model's history; those that it does not take wait for the next look."""
    try:
        for each in state.unrecorded:
            alarm = each.alarm
            entry = AlertRecord(alarm.version, each.deployment, each.status, alarm.name, alarm.subject, alarm.summary)
            note(each.model, entry, datetime.fromtimestamp(each.at, UTC))
    except (WinnowError, TrackingUnavailableError) as error:  # the registry, or the stack that has it, is away
        say(f"warning: the history of {watched.release.model} lacks alarms until the next look: {error}")
        return
    if state.unrecorded:
        store.write(structs.replace(state, unrecorded=()))


def judge_logs(watched: Watched, state: MonitoringState, say: Say) -> LogFindings:
    """Judge the logs of `monitoring.quality.outcomes`; rows of the window only where there are enough to judge drift.

    Logs that cannot be read are said, and leave drift and rules to be judged all the same.
    """
    paths, window = watched.config.quality.outcomes, state.window
    if not paths:
        return LogFindings(skipped=("Outcomes were not judged: `monitoring.quality.outcomes` names no logs.",))
    quality, unjudged = _quality(watched, state, say)
    if not _is_enough(watched, window):
        skipped = (f"{SKIPPED}: there are too few rows.", unjudged)
        return LogFindings(quality=quality, skipped=tuple(filter(None, skipped)))
    name, release, alpha = watched.name, watched.release, _alpha(watched, window, "joint")
    joint, apart = judge_rows(name, release, watched.config, window.since, window.until, alpha, watched.settings)
    importances, uncompared = judge_importances(name, release, watched.profile, paths, IMPORTANCES_ALPHA)
    return LogFindings(joint, importances, quality, tuple(filter(None, (apart, uncompared, unjudged))))


def _quality(watched: Watched, state: MonitoringState, say: Say) -> tuple[LiveQuality | None, str]:
    """What became of the predictions; or None, and why that is not known."""
    # It imports DuckDB.
    from winnow.monitoring.quality import judge_quality

    config, version = watched.config, watched.release.version
    try:
        found = judge_quality(
            config.quality.outcomes,
            watched.profile,
            config.quality,
            deployment=watched.name,
            version=version,
            now=state.sums[-1].until,
            false_alarms_per_month=watched.share("quality"),
            is_open=any(each.name == QUALITY and each.version == version for each in state.alarms),
        )
    except WinnowError as error:
        say(f"warning: {error}")
        return None, f"Outcomes were not judged: {error}"
    return found, ""


def _is_enough(watched: Watched, window: LiveCounts) -> bool:
    """Whether drift is judged."""
    return window.rows >= needed_rows(watched.profile, _alpha(watched, window, "drift"), window.rows_per_request)


def _alpha(watched: Watched, window: LiveCounts, test: str) -> float:
    """The expected number of false findings of a test in one look."""
    # Looks that follow one another sooner than `every` have less of the budget each.
    seconds = min(watched.config.every_s, max(window.until - window.since, 1.0))
    return alpha_per_check(watched.share(test), seconds)


def _unjudged(window: LiveCounts, needed: int, left_out: int) -> Iterator[str]:
    if not window.replicas:
        yield "No replica answered."
    if window.since > window.until:
        yield "The clock says that the look before is still to come: it was ahead then, or is behind now."
    if window.rows < needed:
        each = f"; the rows of one request are one observation, and here it has {window.rows_per_request:.3g}"
        why = each if window.rows_per_request > 1 else ""
        yield f"Drift was not judged: {window.rows:,} of the {needed:,} rows that it takes were counted{why}."
    if left_out:
        yield f"{left_out} columns of the least importance are not counted."


def _page(report: MonitoringReport, profile: Profile) -> str:
    from winnow.monitoring.page import render_page

    return render_page(report, profile)


def _write(path: Path | None, place: str, text: Callable[[], str]) -> None:
    if path is None:
        return
    try:
        replace_text(path, text())
        share(path)
    except OSError as error:
        explained = disk_fault(error, home_of(), path)
        raise explained or InputError(
            place, expected="a file that can be written", found=f"{path}: {error.strerror}", remedy="Name another one."
        ) from error
