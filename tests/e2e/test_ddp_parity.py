"""One, two and three ranks train the same model: every step, the weights and every metric, within float32's rounding.

Without BatchNorm and dropout, which differ between rank counts by their nature (see docs/training.md).
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.ddp_steps import CASES, WORLDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory) -> dict[int, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("worlds")
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.e2e.ddp_steps", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return {processes: dict(np.load(folder / f"{processes}.npz")) for processes in WORLDS}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("processes", [2, 3])
def test_every_step_weight_and_metric_agrees_with_one_rank(worlds, processes, case):
    alone = {name: value for name, value in worlds[1].items() if name.startswith(f"{case}: ")}
    together = {name: value for name, value in worlds[processes].items() if name.startswith(f"{case}: ")}
    assert alone.keys() == together.keys()
    assert len(alone[f"{case}: steps"]) > 1
    for name, value in alone.items():
        np.testing.assert_allclose(together[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_all_rows_are_trained_on_in_the_expected_steps(worlds):
    steps = {case: len(worlds[1][f"{case}: steps"]) for case in CASES}
    assert steps["batches"] == 2 * 9  # 569 rows make 8 batches of 64 and one of 57
    assert steps["one row left"] == 2 * 2
    assert steps["accumulated and clipped"] == 2 * 10
    assert steps["accumulated, one row left"] == 2 * 1
