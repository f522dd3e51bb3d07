"""Tests of the user's own about a candidate: pytest in a process of its own, with the evidence as fixtures.

The process reads the evidence from a folder that an environment variable names. `winnow.testing.candidate` is the
plugin that does.
"""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from winnow.config.errors import InputError
from winnow.model_query.evidence import Evidence
from winnow.model_query.gates import TestsGate

FOLDER, PLUGIN = "WINNOW_GATE_FOLDER", "winnow.testing.candidate"
CANDIDATE, CHAMPION = "candidate", "champion"
ROWS, TARGET, PREDICTIONS = "rows.parquet", "target.npy", "predictions.npy"
NO_TESTS = 5
"""pytest's exit status where it finds no test (pytest.ExitCode)."""
MOST_SHOWN = 300
"""Characters of a failure that are shown."""


def file_of(gate: TestsGate, evidence: Evidence, place: str) -> Path:
    """The gate's file.

    Raises InputError where it does not exist, pytest is not installed, or the candidate's bundle is not at hand.
    """
    file = Path(gate.file).expanduser().resolve()
    if not file.is_file():
        raise InputError(place, expected=f"a file of tests at {file}", found="no such file", remedy="Correct the path.")
    if importlib.util.find_spec("pytest") is None:
        raise InputError(place, expected="pytest", found="none", remedy="Install it: pip install pytest.")
    if len(evidence.target) and evidence.candidate.bundle is None:
        raise InputError(
            place, expected="the candidate's bundle", found="none", remedy="Evidence for tests needs `Answers.bundle`."
        )
    return file


def run(file: Path, timeout_s: float, evidence: Evidence) -> tuple[bool, int, str]:
    """Run a file of tests: whether they passed, how many passed or failed, and a sentence."""
    with tempfile.TemporaryDirectory(prefix="winnow-gate-") as folder:
        _write(evidence, Path(folder))
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=line", "--color=no", "-p", PLUGIN]
        try:
            ended = subprocess.run(
                [*command, "-p", "no:cacheprovider", str(file)],
                env={**os.environ, FOLDER: folder},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False, 0, f"the tests of {file.name} took longer than {timeout_s:g} s"
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?)\b", ended.stdout)}
    tests = sum(counts.values())
    if ended.returncode == 0:
        return True, tests, f"{counts.get('passed', 0)} of {tests} tests of {file.name} passed"
    if ended.returncode == NO_TESTS:
        return False, 0, f"{file.name} has no tests"
    failed = [line for line in ended.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    first = (failed or ended.stderr.strip().splitlines() or ["pytest failed"])[0]
    first = re.sub(rf"\S*{re.escape(file.name)}", file.name, first)[:MOST_SHOWN]
    return False, tests, f"{tests - counts.get('passed', 0)} of {tests} tests of {file.name} failed: {first}"


def _write(evidence: Evidence, folder: Path) -> None:
    """Write what the fixtures read: bundles by their paths, the rest as files."""
    for name, answers in ((CANDIDATE, evidence.candidate), (CHAMPION, evidence.champion)):
        if answers is not None and answers.bundle is not None:
            (folder / name).write_text(str(answers.bundle.resolve()), encoding="utf-8")
    (folder / ROWS).write_bytes(pickle.dumps(evidence.rows))
    for file, values in ((TARGET, evidence.truth), (PREDICTIONS, evidence.candidate.predictions)):
        np.save(folder / file, values.astype(str) if values.dtype == object else values)
