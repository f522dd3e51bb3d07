"""A body as plain JSON values, within bounds of time and memory."""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import Any

import msgspec

from winnow.serving import problems
from winnow.serving.problems import Finding, ProblemError
from winnow.serving.signature import Signature

SPARE_CONTAINERS = 10_000
_STRING = re.compile(rb'("(?:[^"\\]|\\.)*+(?:"|\\?\Z))', re.DOTALL)


def standard_json(body: bytes) -> bytes:
    """The body without a byte order mark; bare `NaN` and `Infinity` become null and numbers beyond float32.

    Python's `json` writes them, but its decoder would hold the interpreter's lock, and health checks, for too long.
    """
    body = body.removeprefix(codecs.BOM_UTF8)
    if b"NaN" not in body and b"Infinity" not in body:
        return body
    if b"\\" in body:
        mark, parts = b"", _STRING.split(body)
    else:
        mark, parts = b'"', body.split(b'"')
    outside = b'"'.join(parts[::2]).replace(b"NaN", b"null")
    outside = outside.replace(b"-Infinity", b" -1e300 ").replace(b"Infinity", b" 1e300 ")
    parts[::2] = outside.split(b'"')
    return mark.join(parts)


def json_of(body: bytes, signature: Signature) -> Any:
    """The body, in the form of `standard_json`, as plain JSON values.

    Raises ProblemError where it is not JSON in UTF-8, or holds more arrays and objects than the most rows can need.
    """
    # Each array or object takes twenty times its two bytes.
    in_names = sum(name.count("[") + name.count("{") for name in signature.names or ())
    most = SPARE_CONTAINERS + signature.most_rows * (4 + in_names + math.prod(signature.input_shape[:-1]))
    if body.count(b"[") + body.count(b"{") > most:
        detail = f"Expected at most {most} arrays and objects in a body, found more: send the rows in several requests."
        raise ProblemError("too-large", detail)
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise ProblemError("malformed-body", "The JSON is nested too deeply.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
    try:
        content = json.loads(body.decode(), parse_float=_finite)
    except (ValueError, RecursionError):
        raise ProblemError("malformed-body", f"Expected JSON; {reason}.") from None
    if b"\\u" in body:
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # which UTF-8 cannot write (RFC 8259, 8.2)
            detail = "Expected names and texts in Unicode, found half of a surrogate pair"
            raise problems.invalid([Finding(detail)]) from None
        except RecursionError:
            raise ProblemError("malformed-body", "The JSON is nested too deeply.") from None
    return content


def _finite(text: str) -> float:
    """A number; one beyond float64 stays beyond float32, as in `standard_json`, also when it is written again."""
    return min(max(float(text), -1e300), 1e300)
