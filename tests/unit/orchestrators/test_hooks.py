"""Alerts that arrive by HTTP, and which of them act."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime

import msgspec
import pytest

from winnow.config.errors import InputError, WinnowError
from winnow.orchestrators.hooks import MOST_BYTES, Alert, Receiver, listening, token_of
from winnow.routing import Record, Rejected

TOKEN = "a-token-of-32-characters-or-more"
BEARER = f"Bearer {TOKEN}"


def alert(name: str = "Errors", status: str = "firing", at: str = "2026-11-29T05:00:00.123456789Z", **labels: str):
    labels = {"alertname": name, "deployment": "cells", **labels}
    said = {"summary": "too many\n errors"}
    return {"status": status, "labels": labels, "annotations": said, "startsAt": at, "fingerprint": name}


def notification(*alerts: object) -> bytes:
    return msgspec.json.encode({"version": "4", "groupKey": "{}", "status": "firing", "alerts": alerts})


class Site:
    """A deployment that remembers what was done, and a receiver."""

    def __init__(self, *errors: WinnowError, **labels: str) -> None:
        self.acted: list[str] = []
        self.said: list[str] = []
        self.record = Record("cells")
        self.errors = list(errors)
        self.receiver = Receiver(TOKEN, labels or {"deployment": "cells"}, self.act, lambda: self.record, self.say)

    def say(self, line: str) -> None:
        self.said.append(line)

    def act(self, alert: Alert) -> None:
        if self.errors:
            raise self.errors.pop()
        self.acted.append(f"{alert.name}: {alert.reason}")

    def post(self, *alerts: object, rounds: int = 1) -> tuple[int, str]:
        answer = self.receiver.take(BEARER, notification(*alerts))
        for _ in range(rounds):
            self.receiver.run_next()
        return answer


def test_a_firing_alert_about_the_deployment_acts_once_however_often_it_is_reported() -> None:
    site = Site()
    assert site.post(alert()) == (202, "1 of 1 alerts are about this deployment")
    site.post(alert())
    assert site.acted == ["Errors: too many errors"]
    assert site.said == [
        "alert Errors (too many errors): acting",
        "alert Errors: done",
        "alert Errors: nothing to do, it has been acted on",
    ]
    site.post(alert(at="2026-11-29T09:00:00Z"))
    assert len(site.acted) == 2


@pytest.mark.parametrize("other", [alert(status="resolved"), alert(deployment="wine")])
def test_alerts_that_ended_or_are_about_others_do_nothing(other: object) -> None:
    assert Site().receiver.take(BEARER, notification(other)) == (202, "0 of 1 alerts are about this deployment")


def test_the_labels_that_an_alert_needs_can_be_chosen() -> None:
    site = Site(alertname="Slow", severity="page")
    assert site.post(alert(), alert("Slow"), alert("Slow", severity="page"))[1].startswith("1 of 3")
    assert site.acted == ["Slow: too many errors"]


def test_alerts_of_an_incident_that_was_dealt_with_do_nothing_also_for_a_receiver_started_since() -> None:
    site = Site()
    at = datetime(2026, 11, 29, 5, 10, tzinfo=UTC).timestamp()
    site.record = Record("cells", rejected=(Rejected("cells", "3", "digest", at, "the alert Errors rolled it back"),))
    site.post(alert("Slow", at="2026-11-29T05:00:00Z"), alert("Late", at="2026-11-29T05:19:00+00:00"), rounds=2)
    assert site.acted == []
    assert site.said[0] == (
        "alert Slow: nothing to do, it is about version 3, which was sent away since (the alert Errors rolled it back)"
    )
    site.post(alert("New", at="2026-11-29T05:21:00Z"))
    assert site.acted == ["New: too many errors"]


def test_an_action_that_failed_is_tried_at_the_next_notification() -> None:
    site = Site(WinnowError("the platform does not answer"))
    site.post(alert())
    assert site.said[-1] == "alert Errors: not done: the platform does not answer"
    site.post(alert())
    assert site.acted == ["Errors: too many errors"]


@pytest.mark.parametrize("authorization", ["", "Bearer wrong", TOKEN, "Bearer ü"])
def test_a_wrong_token_is_refused(authorization: str) -> None:
    assert Site().receiver.take(authorization, notification(alert()))[0] == 401


@pytest.mark.parametrize("body", [b"", b"{", b'{"version": "3", "alerts": []}', b'{"version": "4", "alerts": [1]}'])
def test_a_body_that_is_no_notification_is_refused(body: bytes) -> None:
    status, said = Site().receiver.take(BEARER, body)
    assert (status, said.startswith("no notification of Alertmanager (version 4): ")) == (400, True)


def test_a_flood_of_alerts_is_refused() -> None:
    site = Site()
    assert site.receiver.take(BEARER, notification(*(alert(f"A{i}") for i in range(101))))[0] == 503


def test_requests_are_answered_while_an_action_runs() -> None:
    site, begun, may_end = Site(), threading.Event(), threading.Event()

    def act(_alert: Alert) -> None:
        begun.set()
        may_end.wait(10)

    receiver = Receiver(TOKEN, {"deployment": "cells"}, act, lambda: site.record, site.say)
    with listening(receiver, "127.0.0.1", 0) as url:
        thread = threading.Thread(target=receiver.run_next)
        assert posted(url, notification(alert())) == 202
        thread.start()
        assert begun.wait(10)
        assert [posted(url, notification(alert())), posted(url, b"{"), posted(url, b"{}", token="x")] == [202, 400, 401]
        assert posted(url, b"", length=str(MOST_BYTES + 1)) == 413
        may_end.set()
        thread.join()


def posted(url: str, body: bytes, token: str = TOKEN, length: str = "") -> int:
    headers = {"authorization": f"Bearer {token}", "content-length": length or str(len(body))}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_an_address_in_use_is_one_error() -> None:
    with (
        listening(Site().receiver, "127.0.0.1", 0) as url,
        pytest.raises(InputError, match="an address to listen on"),
        listening(Site().receiver, "127.0.0.1", int(url.rpartition(":")[2])),
    ):
        pass


def test_a_receiver_needs_a_token(tmp_path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert token_of({"WINNOW_HOOKS_TOKEN_FILE": str(tmp_path / "token")}) == TOKEN
    assert token_of({"WINNOW_HOOKS_TOKEN": TOKEN}) == TOKEN
    for environment, found in (
        ({}, "found none"),
        ({"WINNOW_HOOKS_TOKEN": "short"}, "found one of 5"),
        ({"WINNOW_HOOKS_TOKEN_FILE": str(tmp_path / "none")}, "no such file"),
    ):
        with pytest.raises(InputError, match=found):
            token_of(environment)
