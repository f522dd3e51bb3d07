"""A small run of benchmarks/prepare.py: winnow's rows are DuckDB's, in bounded memory. Time is not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "prepare.py"


def test_rows_are_those_of_duckdb_alone_in_less_than_a_gigabyte(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARK), "--gb", "0.01", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, "same rows in the same order: yes" in done.stdout) == (0, True), done.stdout + done.stderr
