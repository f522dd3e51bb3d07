"""Errors as callers see them: RFC 9457 problem details that say where and what, never which value.

A value may be personal, and errors end up in logs, tickets and screenshots. So findings name rows, columns and kinds
("a string"), but never values. Unknown column names are shortened, since a value may stand where a name should.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = b"application/problem+json"
LONGEST_NAME = 60
MOST_FINDINGS = 20

TITLES: Mapping[str, tuple[int, str]] = {
    "malformed-body": (400, "The body cannot be read"),
    "malformed-request": (400, "The request is no HTTP"),
    "wrong-form": (400, "The body has another form than this route takes"),
    "key-required": (401, "An API key is required"),
    "not-found": (404, "Nothing is here"),
    "method-not-allowed": (405, "This route takes other methods"),
    "request-timeout": (408, "The request did not arrive in time"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The content type is not one that this route takes"),
    "invalid-input": (422, "The rows do not fit the model"),
    "invalid-outcome": (422, "The outcomes do not fit the model"),
    "no-answer": (422, "The model gives no answer for these rows"),
    "too-busy": (429, "The server has too many requests"),
    "head-too-large": (431, "The request's head is too large"),
    "model-failed": (500, "The model failed"),
    "server-failed": (500, "The server failed"),
    "unavailable": (503, "No replica answers"),
    "features-unavailable": (503, "The features cannot be looked up"),
    "answer-timeout": (504, "The answer did not come in time"),
    "features-timeout": (504, "The features did not come in time"),
}
"""Every kind of problem with its status and title; the documentation page lists them."""


@dataclass(frozen=True)
class Finding:
    """One fault in the input.

    Attributes:
        detail: a sentence without values.
        row: 0-based; None if no single row is at fault.
        column: a column's name, or an index inside the row's tensor; None if no single one is at fault.
    """

    detail: str
    row: int | None = None
    column: str | tuple[int, ...] | None = None


class ProblemError(Exception):
    """A request that is answered with a problem.

    Args:
        kind: a key of `TITLES`.
        detail: what is wrong in this request, and what is expected.
        findings: the single faults, if they are several or have a place.
        headers: further response headers (`allow`, `retry-after`).
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        findings: Sequence[Finding] = (),
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status, self.title = TITLES[kind]
        self.detail = detail
        self.findings = tuple(findings)
        self.headers = tuple(headers)


def members_of(problem: ProblemError, request_id: str) -> dict[str, Any]:
    """The problem as JSON members; the first finding's place stands at the top as well."""
    members: dict[str, Any] = {
        "type": f"/docs#{problem.kind}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "request_id": request_id,
    }
    if problem.findings:
        members |= _place_of(problem.findings[0])
        members["errors"] = [{"detail": each.detail, **_place_of(each)} for each in problem.findings[:MOST_FINDINGS]]
    return members


def invalid(findings: Sequence[Finding]) -> ProblemError:
    """The problem for rows that do not fit; its detail is the first finding and the number of the others."""
    more = len(findings) - 1
    rest = f" ({more} more below)" if 0 < more < MOST_FINDINGS else " (more below)" if more > 0 else ""
    return ProblemError("invalid-input", findings[0].detail + rest, findings)


def server_failed() -> ProblemError:
    """The problem for an unforeseen error."""
    return ProblemError("server-failed", "The server's log has the error, by this request's id.")


def too_busy(detail: str) -> ProblemError:
    """The problem for a request that may succeed a moment later."""
    return ProblemError("too-busy", detail, headers=[(b"retry-after", b"1"), (b"connection", b"close")])


def shorten(name: str) -> str:
    """A name that the model does not know: quoted, printable and at most 60 characters long."""
    return f'"{printable(name)}…"' if len(name) > LONGEST_NAME else f'"{printable(name)}"'


def printable(name: str) -> str:
    """The first 60 characters of a name, with a question mark for each that cannot be printed or encoded."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[:LONGEST_NAME])


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean "…"?` where a known name is close, else an empty string."""
    lowered = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name[:LONGEST_NAME].lower(), lowered, n=1, cutoff=0.6)
    return f', did you mean "{lowered[found[0]]}"?' if found else ""


def kind_of(value: object) -> str:
    """What a JSON value is, without saying which: "a string", "an array of 3"."""
    if isinstance(value, list):
        return f"an array of {len(value)}"
    return _KINDS.get(type(value), "an object")


_KINDS = {type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "a string"}


def _place_of(finding: Finding) -> dict[str, Any]:
    place = {"row": finding.row, "column": finding.column}
    return {name: value for name, value in place.items() if value is not None}
