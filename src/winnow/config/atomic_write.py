"""Replace a file in one step: readers see the old or the new content, never a part.

The content is written to a draft next to the file, which is then renamed. Nothing is flushed to the disk, so a power
failure just after the replacement can still lose the file.
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
    """Replace a file; create its folder if it is missing.

    Args:
        mode: the file's permissions, set before it has content; by default 0666 minus the umask.

    Raises:
        OSError: the file cannot be written. It keeps its old content.
    """
    with replacing(path) as draft:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
        with os.fdopen(descriptor, "wb") as stream:
            if mode is not None:
                draft.chmod(mode)  # the umask may have taken more
            stream.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a draft to write. Move it to `path` at the end, or remove it if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield draft
        draft.replace(path)
    except BaseException:
        # A disk that refuses to write a name may also refuse to look it up.
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
