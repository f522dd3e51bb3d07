"""What ranks write reaches the supervisor's standard error."""

from __future__ import annotations

import io
from pathlib import Path

from winnow.worker.log_relay import LogRelay


def test_every_line_is_relayed_once_with_its_logs_name(tmp_path: Path) -> None:
    stream = io.StringIO()
    with LogRelay(tmp_path, stream):
        with (tmp_path / "rank-0.log").open("w") as log:
            log.write("one\ntw")
            log.flush()
            log.write("o\nunfinished")
        (tmp_path / "rank-1.log").write_bytes(b"not \xff text\n")
    assert sorted(stream.getvalue().splitlines()) == [
        "rank-0: one",
        "rank-0: two",
        "rank-0: unfinished",
        "rank-1: not � text",
    ]
