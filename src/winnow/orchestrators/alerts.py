"""Alerts as Alertmanager reports them to a webhook, and which of them call for an action. Pure.

Source of the form: Prometheus, "Alertmanager configuration", `webhook_config`, version 4.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from winnow.routing import Record

SETTLED_AFTER_S = 600.0
"""Alerts that begin so soon after a version was sent away are still about that version: rules look back for minutes."""

LONGEST_REASON = 200


class Alert(Struct, frozen=True):
    """One alert.

    Attributes:
        starts_at: when it began to fire, with a time zone.
        fingerprint: identifies its labels.
    """

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: datetime = field(name="startsAt")
    annotations: dict[str, str] = {}
    fingerprint: str = ""

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.labels.get("alertname", "without a name")

    @property
    def reason(self) -> str:
        """What it says, in one line."""
        said = self.annotations.get("summary") or self.annotations.get("description") or ""
        return " ".join(said.split())[:LONGEST_REASON]

    @property
    def identity(self) -> tuple[str, datetime]:
        """Equal for all notifications of one alert while it fires."""
        return (self.fingerprint or str(sorted(self.labels.items())), self.starts_at)


class Notification(Struct, frozen=True):
    """What Alertmanager posts: the alerts of one group, also those that were posted before."""

    version: Literal["4"]
    alerts: tuple[Alert, ...]


def matching(alerts: Iterable[Alert], labels: Mapping[str, str]) -> tuple[Alert, ...]:
    """Those that fire and have all labels."""
    return tuple(each for each in alerts if each.status == "firing" and labels.items() <= each.labels.items())


def reason_to_ignore(alert: Alert, record: Record, handled: Collection[tuple[str, datetime]]) -> str:
    """Why an alert calls for nothing, as a clause; empty where it does.

    Args:
        handled: identities of the alerts that were acted on.
    """
    if alert.identity in handled:
        return "it has been acted on"
    for each in record.rejected:
        if alert.starts_at.timestamp() < each.at + SETTLED_AFTER_S:
            return f"it is about version {each.version}, which was sent away since ({each.reason})"
    return ""
