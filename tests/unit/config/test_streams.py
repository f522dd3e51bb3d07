"""Streams whose encoding lacks a character."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from winnow.config.streams import accept_any_text

TEXT = "best – · 3 ± 1 … │ ━╌ größe → 北 \udcff"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("ascii", "best - | 3 +- 1 ~ | =. gr\\xf6\\xdfe > \\u5317 \\udcff"),
        ("latin-1", "best - · 3 ± 1 ~ | =. größe > \\u5317 \\udcff"),
        ("cp1252", "best – · 3 ± 1 … | =. größe > \\u5317 \\udcff"),
        ("utf-8", "best – · 3 ± 1 … │ ━╌ größe → 北 \\udcff"),
    ],
)
def test_a_stream_gets_plain_words_for_what_its_encoding_lacks(encoding: str, written: str) -> None:
    kept = io.BytesIO()
    stream = io.TextIOWrapper(kept, encoding=encoding)
    accept_any_text(stream, io.StringIO(), None)
    stream.write(TEXT)
    stream.flush()
    assert kept.getvalue().decode(encoding) == written


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_command_prints_in_every_encoding(variables: dict[str, str]) -> None:
    program = (
        "import atexit\n"
        "import winnow.cli as cli\n"
        "atexit.register(print, '0.97 \\u00b1 0.01 \\u21b3 \\u5317')\n"
        "cli.main(['--version'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env={"PATH": os.environ["PATH"], **variables}, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b" 0.01 > \\u5317\n")


def test_a_worker_writes_utf_8_in_every_locale() -> None:
    program = "from winnow.config.streams import write_utf8; write_utf8(); print('± 北')"
    ascii_only = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=ascii_only, check=True)
    assert done.stdout.decode() == "± 北\n"
