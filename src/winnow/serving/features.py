"""Look up features of rows that have entity keys, at Feast's feature server.

Rows of `/predict` may have the keys of entities in place of features. `FeatureLookup.read` finds such rows in a body,
`ask` asks the server over a kept connection and within a time limit, and `fill` writes what it found into the body, so
that everything behind it sees ordinary rows. A feature that the server does not give becomes its fallback, or the
request is refused.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from prometheus_client import CollectorRegistry, Counter, Histogram

from winnow.routing import FeatureSettings, KeyKind
from winnow.serving import problems, rows
from winnow.serving.json_body import json_of, standard_json
from winnow.serving.metrics import BUCKETS_S
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.router.upstream import Request, Upstream, UpstreamError
from winnow.serving.settings import SettingError
from winnow.serving.signature import Signature

log = logging.getLogger("winnow.serving")

PATH = "/get-online-features"
Failure = Literal["timeout", "unavailable"]
"""Why the server gave no answer."""
PRESENT = "PRESENT"
REASONS = {"NOT_FOUND": "not_found", "OUTSIDE_MAX_AGE": "too_old"}
"""Why it gave no value, by Feast's status of the value; with all others it is `null`."""
DETAILS = {
    "not_found": "the feature store does not know its keys",
    "too_old": "its value in the feature store is too old",
    "null": "its value in the feature store is missing",
}
PROBLEMS: Mapping[Failure, tuple[str, str]] = {
    "timeout": ("features-timeout", "Expected features for the keys in time, found none."),
    "unavailable": ("features-unavailable", "Expected features for the keys, found no feature server that gives them."),
}
EXPECTED: Mapping[KeyKind | None, str] = {
    "int32": "a whole number of 32 bits",
    "int64": "a whole number of 64 bits",
    "double": "a number",
    "string": "a text",
    "boolean": "true or false",
    None: "a text or a number",
}
"""What a key of each kind, or of a kind that is not known, has to be."""


class Asked(NamedTuple):
    """A body with rows to look up.

    Attributes:
        content: the body.
        places: the numbers of the rows.
        request: what the feature server is asked, as JSON.
    """

    content: dict[str, Any]
    places: list[int]
    request: bytes


class _Names(msgspec.Struct):
    feature_names: list[str]


class _Vector(msgspec.Struct):
    values: list[Any]
    statuses: list[str]


class _Answer(msgspec.Struct):
    metadata: _Names
    results: list[_Vector]


class FeatureLookup:
    """The look-ups of one server.

    Raises:
        SettingError: the model has no columns with names, or not the one that a fallback is for.
    """

    def __init__(self, signature: Signature, settings: FeatureSettings, registry: CollectorRegistry) -> None:
        if signature.columns is None:
            raise SettingError("features", "a model with named columns", "a model of tensors")
        self._signature, self._settings = signature, settings
        self._kinds = {column.name: column.kind for column in signature.columns}
        self._key_kinds: Mapping[str, KeyKind] = settings.kinds or {}
        given = settings.fallback if isinstance(settings.fallback, dict) else {}
        unknown = next((name for name in given if name not in self._kinds), None)
        if unknown is not None:
            raise SettingError("features.fallback", f"columns among {', '.join(self._kinds)}", repr(unknown))
        is_missing = settings.fallback == "missing"
        self._fallback: Mapping[str, Any] = dict.fromkeys(self._kinds) if is_missing else given
        self._own_keys = tuple(key for key in settings.keys if key not in self._kinds)
        names = self._own_keys or settings.keys
        self._marks = {json.dumps(key, ensure_ascii=is_ascii).encode() for key in names for is_ascii in (True, False)}
        parts = urlsplit(settings.url)
        self._upstream = Upstream([f"{parts.hostname}:{parts.port or 80}"])
        self._head = f"POST {parts.path.rstrip('/')}{PATH} HTTP/1.1\r\nhost: {parts.netloc}\r\n".encode()
        self._is_failing = False
        lookups = Counter("winnow_feature_lookups", "Look-ups of features.", ["outcome"], registry=registry)
        self._outcomes = {name: lookups.labels(name) for name in ("found", *PROBLEMS)}
        fallbacks = Counter("winnow_feature_fallbacks", "Values from the fallback.", ["reason"], registry=registry)
        self._reasons = {name: fallbacks.labels(name) for name in (*DETAILS, *PROBLEMS)}
        self._seconds = Histogram(
            "winnow_feature_lookup_seconds", "How long look-ups take.", buckets=BUCKETS_S, registry=registry
        )

    def is_asked(self, body: bytes) -> bool:
        """Whether a body may have keys; `read` says whether it has. Bodies without cost a search for their names."""
        return any(mark in body for mark in self._marks)

    def read(self, body: bytes) -> Asked | None:
        """The rows to look up; None where there are none, also in a body of another form.

        Raises:
            ProblemError: the body is no JSON, or a row lacks some of the keys.
        """
        content = json_of(standard_json(body), self._signature)
        items = content.get("rows") if isinstance(content, dict) else None
        if not isinstance(items, list):
            return None
        rows.check_count(len(items), self._signature)
        places = [place for place, item in enumerate(items) if isinstance(item, dict) and self._has_keys(item)]
        if not places:
            return None
        wrong = [
            Finding(f'rows[{place}]: key "{key}": {fault}', place, key)
            for place in places
            for key in self._settings.keys
            if (fault := _fault_in(items[place], key, self._key_kinds.get(key)))
        ]
        if wrong:
            raise problems.invalid(wrong)
        entities = {
            key: [_sent(items[place][key], self._key_kinds.get(key)) for place in places] for key in self._settings.keys
        }
        asked = {"feature_service": self._settings.service, "entities": entities}
        return Asked(content, places, msgspec.json.encode(asked))

    async def ask(self, asked: Asked) -> bytes | Failure:
        """What the feature server answers, or why it does not."""
        length = len(asked.request)
        head = self._head + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % length
        started = time.perf_counter()
        try:
            answer = await self._upstream.ask(Request(head, asked.request), self._settings.timeout_s)
            body = answer.body
            while answer.rest is not None and (
                piece := await answer.rest.next_piece(self._settings.timeout_s - (time.perf_counter() - started))
            ):
                body += piece
        except UpstreamError as error:
            return self._failed("timeout" if error.is_late else "unavailable", str(error))
        finally:
            self._seconds.observe(time.perf_counter() - started)
        if answer.status != 200:
            return self._failed("unavailable", f"status {answer.status}")
        return body

    def fill(self, asked: Asked, answer: bytes | Failure) -> tuple[bytes, bytes]:
        """The body with features in place of keys, and what of it is from the fallback, as JSON; empty for nothing.

        Raises:
            ProblemError: a feature is not there and has no fallback.
        """
        found = self._values(answer, len(asked.places)) if isinstance(answer, bytes) else answer
        used: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
        lost: list[Finding] = []
        for index, place in enumerate(asked.places):
            row = asked.content["rows"][place]
            for name in self._kinds:
                if name in row or (not isinstance(found, str) and name not in found):
                    continue  # a column that the caller gives, or has to: the codec says so
                value, reason = (None, found) if isinstance(found, str) else found[name][index]
                if reason is not None and name in self._fallback:
                    value = self._fallback[name]
                    used[name, reason].append(place)
                elif isinstance(found, str):
                    raise _no_answer(found)
                elif reason is not None:
                    lost.append(Finding(f'rows[{place}]: column "{name}": {DETAILS[reason]}', place, name))
                row[name] = value
            for key in self._own_keys:
                del row[key]
        if lost:
            raise problems.invalid(lost)
        for (_, reason), places in used.items():
            self._reasons[reason].inc(len(places))
        told = [{"column": name, "reason": reason, "rows": places} for (name, reason), places in used.items()]
        return msgspec.json.encode(asked.content), msgspec.json.encode(told) if told else b""

    def close(self) -> None:
        """Close idle connections."""
        self._upstream.close()

    def _has_keys(self, row: Mapping[str, Any]) -> bool:
        if self._own_keys:
            return any(key in row for key in self._own_keys)
        return not row.keys() >= self._kinds.keys()

    def _failed(self, failure: Failure, detail: str) -> Failure:
        self._outcomes[failure].inc()
        if not self._is_failing:  # once, and not for each request
            log.warning("the feature server %s gives no features: %s", self._settings.url, detail)
        self._is_failing = True
        return failure

    def _values(self, body: bytes, count: int) -> dict[str, list[tuple[Any, str | None]]] | Failure:
        """Values by feature, each with the reason why it is missing."""
        try:
            answer = msgspec.json.decode(body, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._failed("unavailable", str(error))
        sizes = {len(each) for vector in answer.results for each in (vector.values, vector.statuses)}
        if len(answer.results) != len(answer.metadata.feature_names) or sizes - {count}:
            return self._failed("unavailable", "an answer of another size")
        self._outcomes["found"].inc()
        self._is_failing = False
        return {
            name: [
                _value(value, status, self._kinds.get(name))
                for value, status in zip(vector.values, vector.statuses, strict=True)
            ]
            for name, vector in zip(answer.metadata.feature_names, answer.results, strict=True)
        }


def with_fallback(answer: bytes, told: bytes) -> bytes:
    """The JSON object of an answer, with what of its rows is from the fallback."""
    return answer[:-1] + b',"fallback":' + told + b"}" if told else answer


def _value(value: Any, status: str, kind: str | None) -> tuple[Any, str | None]:
    """A value as the model's column takes it, or why there is none. Feast writes NaN as text, and times as seconds."""
    if value is None or (kind == "number" and value == "NaN") or status != PRESENT:
        return None, REASONS.get(status, "null")
    if kind != "date" or not isinstance(value, int):
        return value, None
    try:
        return datetime.fromtimestamp(value, UTC).replace(tzinfo=None).isoformat(), None
    except (OverflowError, ValueError, OSError):  # milliseconds, say, are of no year that Python knows
        return None, "null"


def _fault_in(row: Mapping[str, Any], key: str, kind: KeyKind | None) -> str:
    """What is wrong with a key; empty for nothing. Feast's server would fail the whole request."""
    if key not in row:
        return "expected it in every row that has a key, found none"
    value = row[key]
    if _fits(value, kind):
        return ""
    is_number = type(value) in (int, float) and kind not in ("string", "boolean")
    return f"expected {EXPECTED[kind]}, found {'another number' if is_number else problems.kind_of(value)}"


def _fits(value: Any, kind: KeyKind | None) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, str):
        return kind in ("string", None)
    if kind == "string" or isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(value, float) and not (value.is_integer() if kind in ("int32", "int64") else math.isfinite(value)):
        return False
    if kind == "double" or (isinstance(value, float) and kind is None):
        return abs(value) <= sys.float_info.max
    most = 2**31 if kind == "int32" else 2**63
    return -most <= value < most


def _sent(value: Any, kind: KeyKind | None) -> Any:
    """A key as Feast takes it, which reads `7.0` as no whole number."""
    return int(value) if kind in ("int32", "int64") else value


def _no_answer(failure: Failure) -> ProblemError:
    kind, detail = PROBLEMS[failure]
    again = (b"retry-after", b"1")
    return ProblemError(kind, f"{detail} Send the request again, or send the features.", headers=[again])
