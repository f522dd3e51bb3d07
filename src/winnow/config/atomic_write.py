"""Replace a file in one step: a reader finds the old content or the new content, never a part.

The content is written to a draft beside the file, which is then renamed. A file that was replaced just before a power
failure may still be lost: nothing is flushed to the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def replace_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Replace a file by UTF-8 text. See `replace_bytes`."""
    replace_bytes(path, text.encode(), mode=mode)


def replace_bytes(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Replace a file, and make its folder where it is missing.

    Args:
        mode: the file's permissions, which it has before it has content; by default what the umask leaves of 0666.

    Raises:
        OSError: the file cannot be written; it stays as it was.
    """
    with replacing(path) as draft:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
        with os.fdopen(descriptor, "wb") as stream:
            if mode is not None:
                draft.chmod(mode)  # the umask may have taken more
            stream.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a draft to write, and move it to `path` at the end; remove it where the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        # A disk that refuses to write a name may refuse to look it up as well.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
