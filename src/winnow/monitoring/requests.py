"""Finds one request in the prediction log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, structs

from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.monitoring.outcomes import open_log

_FOUND = """
SELECT p.time, coalesce(p."row", 0), coalesce(p.deployment, ''), coalesce(p.revision, 0), coalesce(p.kind, 'assigned'),
    coalesce(p.model, ''), coalesce(p.version, ''), p.prediction, p.probability,
    (SELECT arg_max(o.outcome, coalesce(o.time, 0)) FROM lines o WHERE o.event = 'outcome'
        AND o.request_id = $id AND coalesce(o."row", 0) = coalesce(p."row", 0))
FROM lines p WHERE p.event = 'prediction' AND p.request_id = $id
ORDER BY coalesce(p.kind, '') = 'mirrored', p.time, 2
"""


class LoggedRow(Struct, frozen=True):
    """One predicted row of a request, as the log has it.

    Attributes:
        time: seconds since the epoch.
        kind: assigned, fallback, mirrored or chosen, as docs/outcomes.md says.
        outcome: the latest one; None where none is known.
    """

    time: float
    row: int
    deployment: str
    revision: int
    kind: str
    model: str
    version: str
    prediction: Any
    probability: float | None
    outcome: Any


def find_request(paths: Sequence[str], request_id: str, place: str) -> tuple[LoggedRow, ...]:
    """The rows of a request, those of the answer that the client saw first.

    Args:
        paths: as `log_files.local_files`.
        place: what errors about the paths name.

    Raises:
        InputError: there is no file, or the log does not have the request.
        WinnowError: the files cannot be read.
    """
    with open_log(paths, place) as connection:
        rows = connection.execute(_FOUND, {"id": request_id}).fetchall()
    if not rows:
        raise InputError(
            f"request {request_id!r}",
            expected=f"the x-request-id of an answer that the log has ({', '.join(paths)})",
            found="no line with it",
            remedy=f"Name the files that have it ({next_flag('input')}); a log that samples lacks some requests.",
        )
    return tuple(
        structs.replace(each, prediction=_value(each.prediction), outcome=_value(each.outcome))
        for each in (LoggedRow(*row) for row in rows)
    )


def _value(text: str | None) -> Any:
    return None if text is None else json.loads(text)
