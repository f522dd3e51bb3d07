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


def climbing(fold: Any, params: Mapping[str, Any]) -> dict[str, float]:
    """Four epochs, each better than the one before."""
    for epoch in range(1, 5):
        fold.report(epoch, 4, 1.0 / epoch, f1=params["x"] * epoch / 4)
    _note(fold)
    return {"f1": params["x"]}


def _note(fold: Any) -> None:
    with Path(os.environ["WINNOW_TEST_LOG"]).open("a") as log:
        log.write(f"{fold.index}\n")


def xgboost_whose_refit_is_kept(fold: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """The example's function; leaves what XGBoost itself answers to the refit's validation rows."""
    import numpy as np

    from winnow.config.functions import load_function

    train_fold = load_function("experiments/loops/xgboost_loop.py:train_fold", "training.loop")
    returned: dict[str, Any] = train_fold(fold, params)
    if fold.is_refit:
        rows = fold.validation_features.numpy()
        np.savez(os.environ["WINNOW_TEST_KEPT"], rows=rows, probabilities=returned["predictions"])
    return returned
