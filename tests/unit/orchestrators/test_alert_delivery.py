"""Alarms reach a command, a webhook or an Alertmanager, once each."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from tests.unit.orchestrators.test_hooks import TOKEN, Site
from winnow.config.errors import InputError
from winnow.config.monitoring import AlertConfig
from winnow.monitoring.notices import Notice
from winnow.monitoring.report import Alarm
from winnow.orchestrators.alert_delivery import NotDeliveredError, check_receiver, deliver
from winnow.orchestrators.hooks import listening

PATH = "/usr/local/bin:/usr/bin:/bin"
AGE = Alarm("WinnowDrift", "age", "age moved by 0.6 sd.", 1_796_000_000.0, "3")
SLOW = Alarm("Errors", "", "10 % of the requests failed.", 1_796_000_100.0, "3", "page", is_about_answers=True)


def notice(status: str = "firing", alarm: Alarm = AGE) -> Notice:
    return Notice(status, alarm, "cells", "cells", 1_796_003_600.0)  # type: ignore[arg-type]


def told(
    alert: AlertConfig, waiting: Sequence[Notice], held: Sequence[Notice] = (), environment: Mapping[str, str] = {}
) -> list[Notice]:
    given = {"PATH": PATH, **environment}
    return [each for taken in deliver(alert, waiting, held, 1_796_010_000.0, given) for each in taken]


class Posted:
    """A receiver that answers with statuses in turn, the last one from then on, and keeps what was posted."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[tuple[str, str, object]] = []

    @contextmanager
    def listening(self) -> Iterator[str]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append((self.path, self.headers.get("authorization", ""), msgspec.json.decode(body)))
                status = outer.statuses.pop(0) if len(outer.statuses) > 1 else outer.statuses[0]
                self.send_response(status)
                if status == 302:
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()


def script(folder: Path, text: str) -> AlertConfig:
    file = folder / "tell it.sh"
    file.write_text(f"#!/bin/sh\ncd '{folder}'\n{text}\n")
    file.chmod(0o755)
    return AlertConfig(command=f"'{file}' --to me")


def test_a_command_is_run_for_each_notice_with_the_alarm_as_json_and_in_variables(tmp_path: Path) -> None:
    lines = 'cat >> stdin; echo "$@ $WINNOW_ALERT_NAME $WINNOW_ALERT_STATUS $WINNOW_ALERT_SUMMARY $MAKEFLAGS" >> said'
    waiting = [notice(), notice("resolved")]
    assert told(script(tmp_path, lines), waiting, environment={"MAKEFLAGS": " -- JSON=1"}) == waiting
    assert (tmp_path / "said").read_text() == (
        "--to me WinnowDrift firing age moved by 0.6 sd. \n--to me WinnowDrift resolved age moved by 0.6 sd. \n"
    )
    first, second = map(msgspec.json.decode, (tmp_path / "stdin").read_bytes().splitlines())
    assert first == {
        "status": "firing",
        "labels": {
            "alertname": "WinnowDrift",
            "deployment": "cells",
            "model": "cells",
            "version": "3",
            "severity": "page",
            "subject": "age",
        },
        "annotations": {"summary": "age moved by 0.6 sd.", "runbook": "docs/monitoring.md#runbook-winnowdrift"},
        "startsAt": "2026-11-30T00:53:20.000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": notice().fingerprint,
    }
    assert (second["status"], second["endsAt"]) == ("resolved", "2026-11-30T01:53:20.000Z")
    assert second["fingerprint"] == first["fingerprint"]


def test_a_command_that_fails_keeps_the_notices_of_that_alarm_and_no_others(tmp_path: Path) -> None:
    lines = 'echo "$WINNOW_ALERT_NAME" >> said; [ "$WINNOW_ALERT_NAME" = Errors ] || { echo no one there; exit 4; }'
    taken: list[Notice] = []
    with pytest.raises(NotDeliveredError, match=r"tell it.sh' --to me' ended with status 4: no one there"):
        for each in deliver(
            script(tmp_path, lines), [notice(), notice("resolved"), notice(alarm=SLOW)], (), 0.0, {"PATH": PATH}
        ):
            taken += each
    assert taken == [notice(alarm=SLOW)]
    assert (tmp_path / "said").read_text() == "WinnowDrift\nErrors\n"


def test_serve_hooks_takes_what_is_posted_to_a_webhook() -> None:
    site = Site(rollback="true")
    with listening(site.receiver, "127.0.0.1", 0) as url:
        alert = AlertConfig(webhook=f"{url}/hook", token_env="HOOK_TOKEN")
        waiting = [notice(), notice(alarm=SLOW), notice("resolved")]
        assert told(alert, waiting, [notice()], {"HOOK_TOKEN": TOKEN}) == waiting
    site.receiver.run_next()
    assert site.acted == ["Errors: 10 % of the requests failed."]


def test_a_webhook_receives_notices_of_one_status_in_one_request_and_nothing_that_it_has_heard() -> None:
    receiver = Posted(200)
    with receiver.listening() as url:
        assert told(AlertConfig(webhook=url), [], [notice()]) == []
        told(AlertConfig(webhook=url), [notice(), notice(alarm=SLOW), notice("resolved")])
    (path, bearer, first), (_, _, second) = receiver.requests
    assert (path, bearer) == ("/", "")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert [(each["status"], len(each["alerts"])) for each in (first, second)] == [("firing", 2), ("resolved", 1)]
    assert {name: first[name] for name in ("version", "groupLabels", "commonLabels", "commonAnnotations")} == {
        "version": "4",
        "groupLabels": {"deployment": "cells"},
        "commonLabels": {"deployment": "cells", "model": "cells", "version": "3", "severity": "page"},
        "commonAnnotations": {},
    }


def test_an_alertmanager_is_told_of_all_alarms_that_hold_at_every_look() -> None:
    receiver = Posted(200)
    with receiver.listening() as url:
        alert = AlertConfig(alertmanager=f"{url}/am/")
        assert told(alert, [notice("resolved")], [notice(alarm=SLOW)]) == [notice("resolved")]
        assert told(alert, [notice()], [notice(), notice(alarm=SLOW)]) == [notice()]
        assert told(alert, [], []) == []
    (path, _, first), (_, _, second) = receiver.requests
    assert path == "/am/api/v2/alerts"
    assert isinstance(first, list)
    assert isinstance(second, list)
    assert [(each["labels"]["alertname"], each["startsAt"], each["endsAt"]) for each in first] == [
        ("WinnowDrift", "2026-11-30T00:53:20.000Z", "2026-11-30T01:53:20.000Z"),
        ("Errors", "2026-11-30T00:55:00.000Z", "2026-11-30T03:40:00.000Z"),
    ]
    assert [each["labels"]["alertname"] for each in second] == ["WinnowDrift", "Errors"]


@pytest.mark.parametrize(
    ("status", "fault"), [(503, "answered 503"), (401, "answered 401"), (302, "answered 302")], ids=str
)
def test_a_receiver_that_refuses_is_one_error_and_keeps_what_it_did_not_take(status: int, fault: str) -> None:
    receiver = Posted(200, status)
    taken: list[Notice] = []
    with receiver.listening() as url, pytest.raises(NotDeliveredError) as failed:
        for each in deliver(AlertConfig(webhook=url), [notice(), notice("resolved"), notice(alarm=SLOW)], (), 0.0, {}):
            taken += each
    assert str(failed.value) == f"{url} {fault}"
    assert taken == [notice()]
    assert len(receiver.requests) == 2


def test_a_receiver_that_is_away_is_one_error() -> None:
    with Posted(200).listening() as url:
        pass
    with pytest.raises(NotDeliveredError, match=r"did not answer: .*Connection refused"):
        told(AlertConfig(alertmanager=url), [notice()])


def test_without_a_receiver_nothing_waits() -> None:
    assert told(AlertConfig(), [notice()]) == [notice()]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"command": "no-such-program --now"},
            "cells.yaml: monitoring.alert.command: expected a command, found 'no-such-program', which is no program "
            "here. Correct it.",
        ),
        (
            {"command": "sh -c 'open"},
            "cells.yaml: monitoring.alert.command: expected a command, found 'sh -c 'open': No closing quotation. "
            "Correct it.",
        ),
        (
            {"webhook": "http://localhost:1", "token_env": "HOOK_TOKEN"},
            "cells.yaml: monitoring.alert.token_env: expected a variable with the receiver's token, found HOOK_TOKEN, "
            "which is not set. Set HOOK_TOKEN, or remove `token_env`.",
        ),
    ],
)
def test_a_receiver_that_cannot_be_told_is_one_error_before_anything_is_looked_at(
    keys: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        check_receiver(AlertConfig(**keys), "cells.yaml", {"PATH": PATH})
    assert str(refused.value) == message
