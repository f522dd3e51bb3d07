"""Values from outside: a Prometheus query, or a URL that answers with a number. The one part that asks the network."""

from __future__ import annotations

import http.client
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from winnow.rollout.plan import OF_ADDRESSES, Condition, Step
from winnow.routing import OutcomeCounts

TIMEOUT_S = 5.0
MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Measured:
    """What a condition's query has found.

    Attributes:
        value: None where there is none.
        reason: why there is none.
        outcomes: of the stable revision and the candidate; only for the type `outcomes`.
    """

    value: float | None
    reason: str = ""
    outcomes: tuple[OutcomeCounts, OutcomeCounts] | None = None


Fetch = Callable[[str], bytes]


def fetch(url: str) -> bytes:
    """The body of a GET. Raises OSError, ValueError or http.client.HTTPException where there is none."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is no http address")
    with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # nosec B310 (checked above)
        body: bytes = answer.read(MOST_BYTES)
        return body


def measure(condition: Condition, fetch: Fetch = fetch) -> Measured:
    """Ask for the value of a condition of the type `prometheus` or `metric`. Never raises for what it is answered.

    `prometheus`: an instant query (`/api/v1/query`) whose result is a scalar or exactly one series. `metric`: a number
    as plain text or JSON, or a JSON object with one under `value`.
    """
    try:
        if condition.type == "prometheus":
            query = urllib.parse.urlencode({"query": condition.query})
            value = _of_prometheus(json.loads(fetch(f"{condition.url.rstrip('/')}/api/v1/query?{query}")))
        else:
            found = json.loads(fetch(condition.url))
            value = float(found["value"] if isinstance(found, dict) else found)
    except (OSError, http.client.HTTPException, urllib.error.URLError) as error:
        return Measured(None, f"{condition.url} does not answer: {error}")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return Measured(None, f"{condition.url} answers with no single number: {error}")
    if not math.isfinite(value):
        return Measured(None, f"{condition.url} answers with {value}")
    return Measured(value)


def _of_prometheus(answer: dict[str, dict[str, object]]) -> float:
    """The number of an instant query's answer. Source: Prometheus, "HTTP API", "Expression query result formats"."""
    kind, result = answer["data"]["resultType"], answer["data"]["result"]
    if not isinstance(result, list):
        raise TypeError(f"a result of type {kind}")
    if kind == "scalar":
        return float(result[1])
    if len(result) != 1:
        raise ValueError(f"{len(result)} series")
    return float(result[0]["value"][1])


def measure_all(step: Step, fetch: Fetch = fetch) -> dict[int, Measured]:
    """The values of a step's conditions that an address answers, by the condition's index."""
    return {i: measure(each, fetch) for i, each in enumerate(step.conditions) if each.type in OF_ADDRESSES}
