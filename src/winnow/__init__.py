"""winnow: sweep, select and serve PyTorch models.

The functions of `winnow.api` are at hand here: `winnow.train`, `winnow.select_model`, `winnow.serve`, `winnow.predict`.
They are imported when they are first named, so that `import winnow` costs nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from winnow.config.version import __version__

if TYPE_CHECKING:
    from winnow.api import (
        Experiment,
        WinnowError,
        delete_study,
        load_experiment,
        plan,
        predict,
        retry,
        select_model,
        serve,
        stop_serving,
        studies,
        train,
    )

# ONNX Runtime reports what it runs to its makers since 1.29, unless it finds this when it is imported; on a network
# that leads nowhere it also holds up a server's end by seconds.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Experiment",
    "WinnowError",
    "__version__",
    "delete_study",
    "load_experiment",
    "plan",
    "predict",
    "retry",
    "select_model",
    "serve",
    "stop_serving",
    "studies",
    "train",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from winnow import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
