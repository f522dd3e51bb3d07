"""`POST /feedback`: what turned out to be true of earlier predictions, into the same log as these.

    {"request_id": "5f0c9a-1b", "outcome": "malignant"}            with "row" for another row of the request than 0
    [{"request_id": "5f0c9a-1c", "row": 2, "outcome": 3.5}, …]

A replica does not know the requests of the others, so it takes every id; the join with the predictions finds those that
belong to none. An outcome may be sent again, as after an answer that was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from winnow.bundle.columns import category_text
from winnow.serving import codec, problems, request
from winnow.serving.prediction_log import Outcome, PredictionLog
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.signature import Signature

MOST = 1e300
"""The largest number that is an outcome; its square need not be finite."""
_FORM = '{"request_id": …, "outcome": …}, with "row" where it is not 0, or an array of them'


class Feedback:
    """The route for one model.

    Args:
        log: where outcomes go; None where the server keeps no log.
    """

    media_types = (codec.JSON,)

    def __init__(self, signature: Signature, log: PredictionLog | None) -> None:
        self._signature = signature
        self._log = log
        self._decoder = msgspec.json.Decoder(list[Outcome] | Outcome)

    def take(self, body: bytes, request_id: str) -> bytes:
        """Hand the outcomes over to the log; the body of the answer.

        Raises ProblemError where the body is none of outcomes for this model, or there is no log, or no room in it.
        """
        if self._log is None:
            raise ProblemError("not-found", "This server keeps no log of predictions, so it takes no outcomes.")
        outcomes = self._read(body)
        findings = [
            Finding(f"outcomes[{place}].{fault}", place)
            for place, each in enumerate(outcomes)
            if (fault := self._fault_in(each)) is not None
        ]
        if findings:
            raise ProblemError("invalid-outcome", findings[0].detail, findings)
        if not self._log.learnt([self._named(each) for each in outcomes]):
            raise problems.too_busy("Expected room for more outcomes, found none: send them again in a moment.")
        return msgspec.json.encode({"accepted": len(outcomes), "request_id": request_id})

    def problem_members(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        return members

    def _read(self, body: bytes) -> list[Outcome]:
        try:
            found = self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise ProblemError("wrong-form", f"Expected {_FORM}. {error}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProblemError("malformed-body", f"Expected JSON in UTF-8: {_FORM}.") from None
        outcomes = found if isinstance(found, list) else [found]
        most = self._signature.most_rows
        if not 1 <= len(outcomes) <= most:
            kind = "too-large" if outcomes else "wrong-form"
            raise ProblemError(kind, f"Expected 1 to {most} outcomes, found {len(outcomes)}.")
        return outcomes

    def _fault_in(self, given: Outcome) -> str | None:
        """What is wrong with an outcome, as a clause that does not contain it."""
        signature, outcome = self._signature, given.outcome
        if not request.is_request_id(given.request_id):
            return "request_id: expected the id of an answer: 1 to 128 letters, digits or ._:/+=@-"
        if not 0 <= given.row < signature.most_rows:
            return f"row: expected 0 to {signature.most_rows - 1}"
        if signature.classes is not None:
            return (
                None if self._class_of(outcome) else f"outcome: expected one of the classes {_shown(signature.classes)}"
            )
        if len(signature.targets) == 1:
            return None if _is_number(outcome) else "outcome: expected a number"
        is_whole = isinstance(outcome, dict) and set(outcome) == set(signature.targets)
        is_finite = isinstance(outcome, dict) and all(map(_is_number, outcome.values()))
        return None if is_whole and is_finite else f"outcome: expected a number for each of {_shown(signature.targets)}"

    def _named(self, given: Outcome) -> Outcome:
        """The outcome with its class as predictions name it."""
        if self._signature.classes is None:
            return given
        return Outcome(given.request_id, self._class_of(given.outcome) or "", given.row)

    def _class_of(self, outcome: object) -> str | None:
        """The class's name; numbers and booleans may be sent as such."""
        written = (str(outcome), category_text(outcome))
        return next((each for each in written if each in (self._signature.classes or ())), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST


def _shown(names: tuple[str, ...]) -> str:
    first = ", ".join(map(problems.shorten, names[:5]))
    return first if len(names) <= 5 else f"{first}, … ({len(names)})"
