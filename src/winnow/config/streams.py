"""Print plain characters where a stream's encoding lacks one, instead of raising an exception.

Logs of CI, cron and old locales are often ASCII. Python's own answer on standard output is `UnicodeEncodeError`.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys

PLAIN = "winnow-plain"
"""Name of the error handler, for `errors=` of any encoding."""

# Most are as wide as what they replace, since lines are cut to the width of a terminal.
_PLAIN_TEXT = {
    "–": "-",
    "·": "|",
    "…": "~",
    "±": "+-",
    "│": "|",
    "━": "=",
    "╌": ".",
    "─": "-",
    "→": ">",
    "↳": ">",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "’": "'",
    "“": '"',
    "”": '"',
}


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = "".join(_PLAIN_TEXT.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lacking)
    return plain, error.end


codecs.register_error(PLAIN, _replace)


def accept_any_text(*streams: object) -> None:
    """Let text streams replace what their encoding lacks; leave other streams as they are."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            # The caller may have closed the stream, or replaced it by one that cannot be reconfigured.
            with contextlib.suppress(ValueError, io.UnsupportedOperation):
                stream.reconfigure(errors=PLAIN)


def write_utf8() -> None:
    """Let this process, whose output becomes a log that winnow reads, write UTF-8 in every locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=PLAIN)
