"""What receivers are told of alarms that begin and end: a command, a webhook, an Alertmanager. Pure.

Sources of the forms: Prometheus, "Alertmanager configuration", `webhook_config`, version 4; Alertmanager, "API v2",
`postableAlert`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from winnow.monitoring.alarms import runbook_of
from winnow.monitoring.report import Alarm

RECEIVER = "winnow-monitor"


class Notice(Struct, frozen=True):
    """An alarm that began or ended, which a receiver has to be told of.

    Attributes:
        deployment, model: what was watched.
        at: when it began or ended, in seconds since the epoch.
    """

    status: Literal["firing", "resolved"]
    alarm: Alarm
    deployment: str
    model: str
    at: float

    @property
    def labels(self) -> dict[str, str]:
        """What identifies the alarm; equal when it begins and ends."""
        alarm = self.alarm
        labels = {
            "alertname": alarm.name,
            "deployment": self.deployment,
            "model": self.model,
            "version": alarm.version,
            "severity": alarm.severity,
        }
        if alarm.subject:
            labels["subject"] = alarm.subject
        if alarm.is_about_answers:
            labels["rollback"] = "true"
        return labels

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits for the labels."""
        return hashlib.sha256(msgspec.json.encode(self.labels, order="sorted")).hexdigest()[:16]

    @property
    def annotations(self) -> dict[str, str]:
        """What people read."""
        return {"summary": self.alarm.summary, "runbook": runbook_of(self.alarm)}


def for_command(notice: Notice) -> bytes:
    """The JSON on a command's standard input: one alert, as in the webhook's `alerts`."""
    return msgspec.json.encode(_alert(notice)) + b"\n"


def for_webhook(notices: Sequence[Notice]) -> bytes:
    """The body for a webhook. All notices have the same status and deployment."""
    first = notices[0]
    labels, said = [each.labels for each in notices], [each.annotations for each in notices]
    group = {"deployment": first.deployment}
    return msgspec.json.encode(
        {
            "version": "4",
            "groupKey": f"{{}}:{{deployment={first.deployment!r}}}",
            "truncatedAlerts": 0,
            "status": first.status,
            "receiver": RECEIVER,
            "groupLabels": group,
            "commonLabels": _common(labels),
            "commonAnnotations": _common(said),
            "externalURL": "",
            "alerts": [_alert(each) for each in notices],
        }
    )


def for_alertmanager(notices: Sequence[Notice], until: float) -> bytes:
    """The body for an Alertmanager.

    Args:
        until: when an alarm that holds is taken to have ended if no later look repeats it, in seconds since the epoch.
    """
    return msgspec.json.encode(
        [
            {
                "labels": each.labels,
                "annotations": each.annotations,
                "startsAt": _time(each.alarm.since),
                "endsAt": _time(each.at if each.status == "resolved" else until),
            }
            for each in notices
        ]
    )


def _alert(notice: Notice) -> dict[str, Any]:
    return {
        "status": notice.status,
        "labels": notice.labels,
        "annotations": notice.annotations,
        "startsAt": _time(notice.alarm.since),
        "endsAt": _time(notice.at) if notice.status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": notice.fingerprint,
    }


def _common(given: Sequence[dict[str, str]]) -> dict[str, str]:
    return {name: text for name, text in given[0].items() if all(each.get(name) == text for each in given)}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
