"""Clients of an A/B test, who send the outcome of each prediction: right as often as its version is said to be."""

from __future__ import annotations

import json
import random
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AT_ONCE = 50
OTHER = {"malignant": "benign", "benign": "malignant"}


def batch(url: str, rng: random.Random, accuracy: Mapping[str, float], host: str = "") -> int:
    """Send some requests, and all of their outcomes in one request. How many there were."""
    rows = [[[rng.gauss(0, 1) for _ in range(3)]] for _ in range(AT_ONCE)]
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda row: posted(f"{url}/predict", {"rows": row}, host), rows))
    posted(f"{url}/feedback", [outcome(each, rng, accuracy) for each in answers], host)
    return AT_ONCE


def posted(url: str, value: object, host: str = "") -> Any:
    headers = {"content-type": "application/json"} | ({"host": host} if host else {})
    request = urllib.request.Request(url, json.dumps(value).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or b"null")


def outcome(answer: Mapping[str, Any], rng: random.Random, accuracy: Mapping[str, float]) -> dict[str, str]:
    (predicted,) = answer["predictions"]
    is_right = rng.random() < accuracy[answer["model"]["version"]]
    return {"request_id": answer["request_id"], "outcome": predicted if is_right else OTHER[predicted]}
