"""Looks at a deployment, one after the other, with replicas that count in memory."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.monitoring.watched import AGE, DIGEST, PROFILE, REGION
from tests.unit.orchestrators.serving import revision
from tests.unit.orchestrators.test_alert_delivery import Posted
from winnow.bundle.profile import CONFIDENCE, PREDICTION, ColumnCounts
from winnow.config.errors import InputError, UnreachableError
from winnow.config.monitoring import MonitoringConfig
from winnow.config.settings import Settings
from winnow.finding import Result
from winnow.monitoring.gauges import gauges
from winnow.monitoring.report import Alarm, MonitoringReport
from winnow.orchestrators.monitor import Watched, look
from winnow.orchestrators.monitoring_store import MonitoringStore
from winnow.orchestrators.replica_counts import ReplicaReader
from winnow.routing import Observation, Record, Release, Route
from winnow.tracking.history import AlertRecord
from winnow.tracking.tracker import TrackingUnavailableError

START = 1_796_000_000.0
HOUR = 3600.0
LIKE_TRAINING, SHIFTED = (250, 250, 250, 250), (0, 100, 200, 700)


class Replicas:
    """Replicas that have counted what a test says, and what a platform publishes of them."""

    def __init__(self) -> None:
        self.bins: dict[str, list[int]] = {"a": [0, 0, 0, 0]}
        self.digest = DIGEST
        self.started = START

    def count(self, bins: tuple[int, ...], replica: str = "a") -> None:
        """Count rows whose ages are in the bins; the rest is as in training."""
        known = self.bins.setdefault(replica, [0] * len(bins))
        self.bins[replica] = [one + other for one, other in zip(known, bins, strict=True)]

    def metrics(self, observed: Observation) -> Mapping[str, str]:
        return {name: self._text(bins) for name, bins in self.bins.items()}

    def _text(self, bins: list[int]) -> str:
        rows = sum(bins)
        counts = {
            ("feature", "column", "age"): tuple(bins),
            ("feature", "column", "region"): _alike(REGION.counts, rows),
            ("output", "output", PREDICTION): _alike(ColumnCounts((70, 30)), rows),
            ("output", "output", CONFIDENCE): _alike(ColumnCounts((50, 50)), rows),
        }
        lines = [
            f'winnow_model_info{{digest="{self.digest}",name="cells",version="3"}} 1.0',
            f"process_start_time_seconds {self.started}",
            f"winnow_counted_rows_total {rows}",
            f'winnow_requests_total{{route="/predict",status="200"}} {rows}',
        ]
        for (kind, label, name), found in counts.items():
            for index, value in enumerate(found):
                lines.append(f'winnow_{kind}_values_total{{{label}="{name}",bin="{index:02}"}} {value}')
        return "\n".join(lines)


def _alike(counts: ColumnCounts, rows: int) -> tuple[int, ...]:
    first, *rest = (round(count * rows / counts.rows) for count in counts.bins)
    return (rows - sum(rest), *rest) if first or rest else (0,)


class Site:
    """A deployment that is looked at every hour."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.replicas = Replicas()
        self.store = MonitoringStore(folder, "local", "cells")
        self.said: list[str] = []
        self.history: list[tuple[datetime, AlertRecord]] = []
        self.registry_error: Exception | None = None
        self.kills = 0
        self.config = MonitoringConfig.model_validate(config)
        self.looks = 0
        self.prometheus: str | None = None
        self.settings = Settings.from_environment({"WINNOW_HOME": str(folder)})

    def note(self, model: str, entry: AlertRecord, at: datetime) -> None:
        if self.kills:
            self.kills -= 1
            raise KeyboardInterrupt
        if self.registry_error is not None:
            raise self.registry_error
        assert model == "cells"
        self.history.append((at, entry))

    def look(self, *counted: tuple[int, ...], at: float | None = None) -> MonitoringReport:
        for bins in counted:
            self.replicas.count(bins)
        self.looks += 1
        release = Release("cells", "3", DIGEST, Path("/models/3"))
        served = revision("cells", 1)
        record = Record(
            "cells", revisions=(type(served)(1, release, served.settings, served.scale),), route=Route(1, 1)
        )
        reader = ReplicaReader(self.replicas, Observation(record), self.prometheus, "PROMETHEUS=")
        watched = Watched("cells", "local", release, PROFILE, self.config, "cells.yaml", reader, self.settings)
        now = START + self.looks * HOUR if at is None else at
        return look(watched, self.store, self.said.append, lambda: now, self.note)


def drift_of(report: MonitoringReport) -> dict[str, Result]:
    return {each.name: each.result for each in report.drift}


def test_rows_like_those_of_training_raise_nothing_and_the_window_begins_anew(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = site.look(LIKE_TRAINING)
    assert (first.result, first.alarms, first.rows) == (Result.PASS, (), 1000)
    assert (first.since, first.until, first.source) == (START, START + HOUR, "1 replica")
    second = site.look(LIKE_TRAINING, LIKE_TRAINING)
    assert (second.since, second.rows) == (START + HOUR, 2000)
    assert site.history == []
    assert site.said == []


def test_a_drift_is_one_alarm_until_it_is_over(tmp_path: Path) -> None:
    receiver = Posted(200)
    with receiver.listening() as url:
        site = Site(tmp_path, alert={"webhook": url})
        site.look(LIKE_TRAINING)
        found = [site.look(SHIFTED), site.look(SHIFTED), site.look((0, 0, 0, 0)), site.look(LIKE_TRAINING)]
    assert [each.result for each in found] == [Result.FAIL, Result.FAIL, Result.FAIL, Result.PASS]
    (alarm,) = found[1].alarms
    assert (alarm.name, alarm.subject, alarm.version, alarm.since) == ("WinnowDrift", "age", "3", START + HOUR)
    assert drift_of(found[1]) == {
        "prediction": Result.PASS,
        "confidence": Result.PASS,
        "age": Result.FAIL,
        "region": Result.PASS,
    }
    posted = [body for _, _, body in receiver.requests]
    assert [(body["status"], len(body["alerts"])) for body in posted] == [("firing", 1), ("resolved", 1)]  # type: ignore[index,call-overload]
    began, ended = site.history
    assert (began[0], ended[0]) == (
        datetime.fromtimestamp(START + 2 * HOUR, UTC),
        datetime.fromtimestamp(START + 5 * HOUR, UTC),
    )
    assert began[1] == AlertRecord("3", "cells", "firing", "WinnowDrift", "age", found[0].alarms[0].summary)
    assert (ended[1].status, ended[1].subject) == ("resolved", "age")
    lines = site.store.lines_file.read_text().splitlines()
    assert len(lines) == 5
    assert '"drift":["age"],"alarms":[["WinnowDrift","age"]]' in lines[1]


def test_outcomes_that_become_worse_are_one_alarm_until_no_evidence_is_left(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    site = Site(tmp_path / "home", quality={"outcomes": [str(log)], "window": "1h"})
    found = []
    for hour, right in enumerate((190, 120, 190, 190, 190)):
        with log.open("a") as file:
            for number in range(200):
                line = {"time": START + hour * HOUR + number, "request_id": f"{hour}-{number}"}
                known = {"event": "prediction", "deployment": "cells", "version": "3", "prediction": "benign"}
                outcome = {"event": "outcome", "outcome": "benign" if number < right else "malignant"}
                file.write(f"{json.dumps(line | known)}\n{json.dumps(line | outcome)}\n")
        found.append(site.look())  # too few rows for what else the log would be read for

    assert [[each.name for each in report.alarms] for report in found] == [
        [],
        ["WinnowQuality"],
        ["WinnowQuality"],
        ["WinnowQuality"],
        [],
    ]
    assert found[3].alarms[0].since == (START + HOUR) // HOUR * HOUR
    assert [(entry.status, entry.subject) for _, entry in site.history] == [
        ("firing", "accuracy"),
        ("resolved", "accuracy"),
    ]


def test_too_few_rows_are_said_and_wait_in_the_window(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = site.look((0, 0, 0, 20))
    assert (first.result, first.alarms) == (Result.NOT_ENOUGH_DATA, ())
    assert first.skipped[0] == f"Drift was not judged: 20 of the {first.needed_rows} rows that it takes were counted."
    second = site.look((0, 0, 0, 500))
    assert (second.since, second.rows, second.result) == (START, 520, Result.FAIL)


def test_a_receiver_that_is_away_is_one_warning_and_hears_everything_once_later(tmp_path: Path) -> None:
    with Posted(200).listening() as url:
        pass
    site = Site(tmp_path, alert={"webhook": url})
    site.look(SHIFTED)
    site.look(LIKE_TRAINING)
    assert [line.split(": ", 2)[2].partition(";")[2] for line in site.said] == [
        " 1 to tell wait for the next look",
        " 2 to tell wait for the next look",
    ]
    receiver = Posted(200, 500, 200)
    with receiver.listening() as url:
        site.config = MonitoringConfig.model_validate({"alert": {"webhook": url}})
        for _ in range(3):
            site.look(LIKE_TRAINING)
    statuses = [body["status"] for _, _, body in receiver.requests]  # type: ignore[index,call-overload]
    assert statuses == ["firing", "resolved", "resolved"]
    assert [entry.status for _, entry in site.history] == ["firing", "resolved"]


@pytest.mark.parametrize("error", [TrackingUnavailableError, UnreachableError])
def test_alarms_reach_the_history_once_the_registry_answers(tmp_path: Path, error: type[Exception]) -> None:
    site = Site(tmp_path)
    site.registry_error = error("connection refused")
    site.look(SHIFTED)
    assert site.said == ["warning: the history of cells lacks alarms until the next look: connection refused"]
    site.registry_error = None
    site.look(SHIFTED)
    site.look(SHIFTED)
    ((at, entry),) = site.history
    assert (at, entry.subject) == (datetime.fromtimestamp(START + HOUR, UTC), "age")


def test_a_replica_of_another_model_is_one_error_and_changes_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.look(LIKE_TRAINING)
    before = site.store.state_file.read_bytes()
    site.replicas.digest = "e" * 64
    with pytest.raises(InputError) as refused:
        site.look(SHIFTED)
    assert str(refused.value) == (
        "replica a of 'cells': expected a model of this deployment: version 3 (dddddddddddd), found cells version 3 "
        "(eeeeeeeeeeee). Its counts belong to another model's profile: deploy the model again, or correct what the "
        "metrics are read from."
    )
    assert site.store.state_file.read_bytes() == before


def test_that_no_replica_answers_is_an_alarm_until_one_does(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.look(LIKE_TRAINING)
    bins = dict(site.replicas.bins)
    site.replicas.bins.clear()
    found = site.look()
    assert found.alarms == (Alarm("WinnowNoReplica", "", "No replica of version 3 answers.", START + 2 * HOUR, "3"),)
    assert found.skipped[0] == "No replica answered."
    site.replicas.bins.update(bins)
    assert site.look(LIKE_TRAINING).alarms == ()


def test_a_damaged_state_is_one_error(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.look(LIKE_TRAINING)
    site.store.state_file.write_text('{"sum": []}')
    with pytest.raises(InputError, match=r"cells\.json: expected the state that `winnow monitor` has written, found"):
        site.look(LIKE_TRAINING)


def test_looks_that_are_more_frequent_than_configured_have_less_of_the_budget_each(tmp_path: Path) -> None:
    def thresholds(folder: str, every: str) -> list[float]:
        drift = Site(tmp_path / folder, every=every).look(SHIFTED).drift
        return [finding.margin for each in drift for finding in each.findings]

    hourly = thresholds("hourly", "1h")
    assert thresholds("daily", "1d") == hourly
    assert thresholds("by the minute", "1m") != hourly


def test_a_report_becomes_gauges(tmp_path: Path) -> None:
    text = gauges(Site(tmp_path).look(SHIFTED))
    labels = '{deployment="cells",version="3"'
    assert f"winnow_monitor_rows{labels}}} 1000.0" in text
    assert f'winnow_monitor_alarm{labels},alertname="WinnowDrift",subject="age"}} 1.0' in text
    (psi,) = (
        line
        for line in text.splitlines()
        if line.startswith(f'winnow_monitor_drift{labels},kind="feature",column="{AGE.name}",statistic="psi"}}')
    )
    assert float(psi.rpartition(" ")[2]) > 0.2


def test_two_looks_at_once_wait_for_each_other(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.look(LIKE_TRAINING)
    with ThreadPoolExecutor(1) as threads:
        with site.store.held(on_wait=lambda: None):
            second = threads.submit(site.look, LIKE_TRAINING)
            while not site.said:
                time.sleep(0.01)
            assert not second.done()
        assert second.result(timeout=30).rows == 1000
    assert site.said == ["waiting for another process that looks at 'cells'"]


def test_a_look_that_is_killed_while_it_tells_loses_nothing(tmp_path: Path) -> None:
    receiver = Posted(200)
    with receiver.listening() as url:
        site = Site(tmp_path, alert={"webhook": url})
        site.kills = 1
        with pytest.raises(KeyboardInterrupt):
            site.look(SHIFTED)
        assert site.look(SHIFTED).alarms[0].since == START
    assert [entry.status for _, entry in site.history] == ["firing"]
    assert len(receiver.requests) == 1
