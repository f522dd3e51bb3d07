"""A receiver of Alertmanager's webhook that carries out one named action for one deployment. It runs no commands.

Requests are answered at once, on threads; the actions are carried out one after the other by the thread that calls
`Receiver.run`, so that Ctrl-C reaches a driver as usual. Source of the form: Prometheus, "Alertmanager configuration",
`webhook_config`, version 4.
"""

from __future__ import annotations

import hmac
import queue
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import msgspec
from msgspec import Struct, field

from winnow.config.errors import InputError, WinnowError
from winnow.config.settings import Settings
from winnow.orchestrators.deploy import plan_rollback
from winnow.orchestrators.deployments import ask_deployers, find_deployment
from winnow.orchestrators.rollouts import find_rollout
from winnow.platforms.api_key import key_in
from winnow.platforms.deployer import Say
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

    `handled`: identities of the alerts that were acted on.
    """
    if alert.identity in handled:
        return "it has been acted on"
    for each in record.rejected:
        if alert.starts_at.timestamp() < each.at + SETTLED_AFTER_S:
            return f"it is about version {each.version}, which was sent away since ({each.reason})"
    return ""


TOKEN, TOKEN_FILE = "WINNOW_HOOKS_TOKEN", "WINNOW_HOOKS_TOKEN_FILE"
SHORTEST_TOKEN = 16
MOST_BYTES = 2**20
TIMEOUT_S = 10.0
MOST_WAITING = 100
MOST_HANDLED = 1000

Act = Callable[[Alert], None]
"""The action for an alert. Raises WinnowError where it fails."""


def token_of(environment: Mapping[str, str]) -> str:
    """The bearer token that requests have to carry.

    Raises InputError if there is none, its file cannot be read, or it is easily guessed.
    """
    path = environment.get(TOKEN_FILE)
    token = key_in(TOKEN_FILE, path, "Correct it.") if path else environment.get(TOKEN, "").strip()
    if len(token) >= SHORTEST_TOKEN:
        return token
    raise InputError(
        TOKEN_FILE if path else TOKEN,
        expected=f"a bearer token of at least {SHORTEST_TOKEN} characters",
        found=f"one of {len(token)}" if token else "none",
        remedy=f"Write one to a file (`openssl rand -hex 32`) and name the file in {TOKEN_FILE}; Alertmanager reads it "
        "by `http_config.authorization.credentials_file`.",
    )


class Receiver:
    """Takes notifications and carries out an action for the alerts that call for one.

    Args:
        labels: an alert must have all of them.
        act: the action.
        record: returns the deployment's record.
        say: receives a line for each alert and what became of it.
    """

    def __init__(self, token: str, labels: Mapping[str, str], act: Act, record: Callable[[], Record], say: Say) -> None:
        self._token, self._labels, self._act, self._record, self._say = token, labels, act, record, say
        self._waiting: queue.Queue[Alert] = queue.Queue(MOST_WAITING)
        self._handled: dict[tuple[str, datetime], None] = {}

    def take(self, authorization: str, body: bytes) -> tuple[int, str]:
        """Status and text of the answer to a notification. Alerts that call for an action wait for it."""
        if not hmac.compare_digest(authorization.encode(), f"Bearer {self._token}".encode()):
            return 401, "the bearer token is missing or wrong"
        try:
            notification = msgspec.json.decode(body, type=Notification)
        except (msgspec.DecodeError, ValueError) as error:
            return 400, f"no notification of Alertmanager (version 4): {error}"
        found = matching(notification.alerts, self._labels)
        for each in found:
            try:
                self._waiting.put_nowait(each)
            except queue.Full:
                return 503, "too many alerts are waiting"
        return 202, f"{len(found)} of {len(notification.alerts)} alerts are about this deployment"

    def run_next(self) -> None:
        """Wait for an alert, and do what it calls for. Errors are said, and the next notification tries again."""
        alert = self._waiting.get()
        try:
            if why := reason_to_ignore(alert, self._record(), self._handled):
                self._say(f"alert {alert.name}: nothing to do, {why}")
                return
            self._say(f"alert {alert.name} ({alert.reason}): acting")
            self._act(alert)
            self._handled[alert.identity] = None
            if len(self._handled) > MOST_HANDLED:
                del self._handled[next(iter(self._handled))]
            self._say(f"alert {alert.name}: done")
        except WinnowError as error:
            self._say(f"alert {alert.name}: not done: {error}")

    def run(self, host: str, port: int) -> None:
        """Listen until Ctrl-C. Raises InputError where the address cannot be listened on."""
        with listening(self, host, port) as url:
            self._say(f"listening on {url} for alerts with {_shown(self._labels)}")
            while True:
                self.run_next()


@contextmanager
def listening(receiver: Receiver, host: str, port: int) -> Iterator[str]:
    """Pass what is posted on to a receiver, on threads, while the context is open. Gives the address.

    Raises InputError if the address cannot be listened on.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = TIMEOUT_S

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > MOST_BYTES:
                status = 413 if length.isdecimal() else 411
                self._answer(status, f"expected a content-length of up to {MOST_BYTES} bytes")
                return
            body = self.rfile.read(int(length))
            self._answer(*receiver.take(self.headers.get("authorization", ""), body))

        def _answer(self, status: int, text: str) -> None:
            content = f"{text}\n".encode()
            self.send_response(status)
            if status == 401:
                self.send_header("www-authenticate", "Bearer")
            self.send_header("content-type", "text/plain; charset=utf-8")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            """What becomes of alerts is said by the receiver."""

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise InputError(
            f"{host}:{port}", expected="an address to listen on", found=str(error), remedy="Choose another one."
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def receiver_for(
    settings: Settings, name: str, platform: str | None, labels: Mapping[str, str], token: str, say: Say
) -> Receiver:
    """The receiver that rolls a deployment back. See `winnow.api.serve_hooks`.

    Raises InputError if nothing is served under the name.
    """
    deployers, _ = ask_deployers(settings, platform, say)
    found_on, _ = find_deployment(deployers, name)
    deployer = deployers[found_on]

    def roll_back(alert: Alert) -> None:
        """Send requests away from the version that was taken into service last: a candidate, or the serving one."""
        rollout = deployer.observe(name).record.rollout
        by = f"the alert {alert.name}"
        if rollout is not None and rollout.is_open:
            reason = f"{by} aborted it" + (f": {alert.reason}" if alert.reason else "")
            find_rollout(settings, name, found_on, say).change("abort", reason)
        else:
            plan_rollback(settings, name, found_on, by=by, reason=alert.reason, say=say).deploy()

    return Receiver(token, labels, roll_back, lambda: deployer.observe(name).record, say)


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f'{label}="{value}"' for label, value in labels.items())
