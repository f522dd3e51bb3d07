"""The comparison of last night's figures with tonight's. The benchmarks themselves are not run."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

COMPARE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "nightly" / "compare.py"))
OUTPUTS = {
    "fold_overhead.py": (
        "overhead, cold        888.0 ms a fold (6 trials)\n"
        "ratio: 99 times less overhead per fold than a process for every trial\n",
        {"ratio": 99.0},
    ),
    "training_loop.py": (
        "small   winnow    29.0 ms (f1 0.972)  script    69.0 ms (f1 0.972)  script/winnow 2.38  winnow/slicing 0.83\n"
        "digits  winnow   319.0 ms (f1 0.972)  script   545.0 ms (f1 0.972)  script/winnow 1.71  winnow/slicing 0.73\n",
        {"small": 2.38, "digits": 1.71},
    ),
    "stacking.py": ("small    alone    29.0 ms  20 as one     8.2 ms (3.55×)\n", {"small": 3.55}),
}


@pytest.mark.parametrize("command", COMPARE["COMMANDS"])
def test_a_benchmark_s_figures_are_read_from_its_lines(command: tuple[str, ...]) -> None:
    output, figures = OUTPUTS[command[0]]
    assert COMPARE["figures_in"](output, COMPARE["COMMANDS"][command]) == figures


def test_a_figure_that_fell_by_more_than_the_threshold_or_is_gone_is_named() -> None:
    previous = {"same": 2.0, "a little": 2.0, "much": 2.0, "gone": 2.0}
    now = {"same": 2.0, "a little": 1.6, "much": 1.4, "new": 0.1}
    assert list(COMPARE["fallen"](previous, now, 0.25)) == [
        "much: 2.00 before, 1.40 now (-30%)",
        "gone: 2.00 before, gone now",
    ]
