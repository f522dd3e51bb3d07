"""Read replicas' metrics from a Prometheus that scrapes them.

Each target has the label `deployment`; `instance` and `replica` tell replicas apart. What a replica had counted at its
last scrape is read as the text that it published, so that a replica which has ended since the last look still counts.
A replica that starts anew at the same address loses what it had counted since then.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import msgspec

from winnow.config.addresses import holds_password, reached, without_password
from winnow.config.errors import InputError, UnreachableError
from winnow.monitoring.exposition import SERIES, series_text

TIMEOUT_S = 30.0
TARGET_LABELS = frozenset({"__name__", "job", "instance", "deployment", "revision", "replica"})


def check_address(address: str, place: str) -> None:
    """Raise InputError for an address that is none, or has a password."""
    if not address.startswith(("http://", "https://")) or holds_password(address):
        expected = "an address that begins with http:// or https://, without a password"
        raise InputError(place, expected=expected, found=f"'{without_password(address)}'", remedy="Correct it.")


def replica_texts(
    address: str, deployment: str, at: float, lookback_s: float, place: str
) -> tuple[dict[str, str], frozenset[str]]:
    """The metrics of a deployment's replicas at a time, by identifier, and which of these were being scraped then.

    Args:
        address: of the Prometheus.
        at: in seconds since the epoch.
        lookback_s: replicas that were scraped within so many seconds before are read, too.
        place: what errors name.

    Raises:
        UnreachableError: it does not answer.
        InputError: what answers is no Prometheus, or refuses the query.
    """
    name = deployment.replace("\\", "\\\\").replace('"', '\\"')
    query = f'last_over_time({{__name__=~"{SERIES}",deployment="{name}"}}[{max(round(lookback_s), 1)}s])'
    series: dict[str, dict[str, str]] = {}
    for labels, value in _instant(address, query, at, place):
        # As the replica published it, so that a series which two jobs scrape counts once.
        own = {key: text for key, text in labels.items() if key not in TARGET_LABELS}
        series.setdefault(_identifier(labels), {})[series_text(labels["__name__"], own)] = value
    alive = _instant(address, f'winnow_model_info{{deployment="{name}"}}', at, place)
    texts = {
        identifier: "\n".join(f"{name} {value}" for name, value in found.items())
        for identifier, found in series.items()
    }
    return texts, frozenset(_identifier(labels) for labels, _ in alive)


def _identifier(labels: dict[str, str]) -> str:
    return f"{labels.get('replica', '')}@{labels.get('instance', '')}"


def _instant(address: str, query: str, at: float, place: str) -> list[tuple[dict[str, str], str]]:
    """Labels and value of each series of an instant query."""
    body = urllib.parse.urlencode({"query": query, "time": f"{at:.3f}"}).encode()
    url, headers = reached(f"{address.rstrip('/')}/api/v1/query")
    try:
        with urllib.request.urlopen(  # nosec B310 (http or https, as the experiment file is checked)
            urllib.request.Request(url, data=body, headers=headers), timeout=TIMEOUT_S
        ) as reply:
            content = reply.read()
    except urllib.error.HTTPError as error:
        with error:
            content = error.read()
        found = _decoded(content)
        said = found.get("error") if isinstance(found, dict) else None
        raise _no_prometheus(place, address, f"status {error.code}" + (f": {said}" if said else "")) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", "") or error or type(error).__name__
        raise UnreachableError(
            f"{place}: the Prometheus at {address} did not answer: {reason}. Start it, correct the address, or leave "
            "it out to ask the replicas themselves."
        ) from error
    found = _decoded(content)
    if not isinstance(found, dict) or found.get("status") != "success" or "result" not in found.get("data", {}):
        raise _no_prometheus(place, address, "another server's answer")
    return [(each["metric"], each["value"][1]) for each in found["data"]["result"]]


def _decoded(content: bytes) -> Any:
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        return None


def _no_prometheus(place: str, address: str, found: str) -> InputError:
    return InputError(
        place, expected=f"a Prometheus that answers queries at {address}", found=found, remedy="Correct the address."
    )
