"""Training loops for tests of the sweep: quick, slow, or failing in the ways in which real ones fail.

Every fold leaves a line in the file that WINNOW_TEST_LOG names, so that a test can see which folds were trained again.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def quick(fold: Any, params: Mapping[str, Any]) -> dict[str, float]:
    _note(fold)
    return {"f1": params["x"]}


def slow(fold: Any, params: Mapping[str, Any]) -> dict[str, float]:
    """Half a second a fold, long enough to be caught in the middle."""
    _note(fold)
    time.sleep(0.5)
    return {"f1": params["x"]}


def faulty(fold: Any, params: Mapping[str, Any]) -> dict[str, float]:
    """Fails as `fault` says."""
    match params["fault"]:
        case "raises":
            raise ValueError("no such layer")
        case "diverges":
            return {"f1": float("nan")}
        case "out of memory":
            raise MemoryError
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
    return {"f1": params["x"]}


def _note(fold: Any) -> None:
    with Path(os.environ["WINNOW_TEST_LOG"]).open("a") as log:
        log.write(f"{fold.index}\n")
