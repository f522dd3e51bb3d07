"""Tells in passing whether a CSV file has to be checked line by line, which takes longer than to read it."""

from __future__ import annotations

import codecs
from typing import IO

QUOTE = b'"'


class WatchedBytes:
    """The bytes of a CSV file in UTF-8 on their way to a reader, who reads them once from start to end.

    They leave no doubt about where fields end if no byte is NUL and every quote opens a field, closes it, or is one of
    a pair within it. All readers agree on such a file.

    Attributes:
        is_doubtful: whether there is doubt in what was read so far; also with a quote that is not closed at the end.
        is_quoted: whether what was read ends within quotes.
    """

    closed = False

    def __init__(self, content: IO[bytes], delimiter: str) -> None:
        """Watch `content`, whose fields are separated by one byte."""
        import numpy as np

        self.is_doubtful = False
        self._content = content
        self.is_quoted, self._is_first, self._last = False, True, b"\n"
        self._may_adjoin = np.zeros(256, bool)  # a quote, on its outer side
        self._may_adjoin[[*delimiter.encode(), *b'\r\n"']] = True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; none at the end."""
        block = self._content.read(size)
        if not block:
            self.is_doubtful = self.is_doubtful or self.is_quoted
        elif not self.is_doubtful:
            self.is_doubtful = self._has_doubt(block.removeprefix(codecs.BOM_UTF8) if self._is_first else block)
            self._is_first = False
        return block

    def close(self) -> None:
        """Leave the content open: it may be read again."""

    def _has_doubt(self, block: bytes) -> bool:
        import numpy as np

        if b"\0" in block:
            return True
        has_just_closed = self._last == QUOTE and not self.is_quoted
        if not block or not (has_just_closed or QUOTE in block):
            self._last = block[-1:] or self._last
            return False
        text = np.frombuffer(self._last + block, np.uint8)
        quotes = np.flatnonzero(text[1:] == ord(QUOTE)) + 1
        opening, closing = quotes[int(self.is_quoted) :: 2], quotes[1 - int(self.is_quoted) :: 2]
        outer = [text[opening - 1], text[closing[closing < len(text) - 1] + 1], text[1:2] if has_just_closed else ()]
        self.is_quoted ^= len(quotes) % 2 == 1
        self._last = block[-1:]
        return not all(self._may_adjoin[each].all() for each in outer if len(each))
