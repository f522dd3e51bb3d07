"""Replace characters that a stream's encoding lacks by plain ones, instead of raising `UnicodeEncodeError`.

Logs of CI, cron and old locales are often ASCII.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import sys

PLAIN = "winnow-plain"
"""Name of the error handler, for `errors=`."""

# Most are as wide as the original, because lines are cut to the width of a terminal.
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
    """Make text streams replace characters that their encoding lacks; ignore other streams."""
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            # The stream may be closed, or one that cannot be reconfigured.
            with contextlib.suppress(ValueError, io.UnsupportedOperation):
                stream.reconfigure(errors=PLAIN)


def write_utf8() -> None:
    """Write UTF-8 in every locale, because winnow reads this process's output as a log."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=PLAIN)
