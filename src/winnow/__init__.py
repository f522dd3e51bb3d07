"""winnow: sweep, select and serve PyTorch models.

The functions of `winnow.api` are at hand here: `winnow.train`, `winnow.select_model`, `winnow.serve`, `winnow.predict`.
They are imported when they are first named, so that `import winnow` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from winnow.config.version import __version__

if TYPE_CHECKING:
    from winnow.api import (
        Experiment,
        WinnowError,
        load_experiment,
        plan,
        predict,
        select_model,
        serve,
        stop_serving,
        train,
    )

__all__ = [
    "Experiment",
    "WinnowError",
    "__version__",
    "load_experiment",
    "plan",
    "predict",
    "select_model",
    "serve",
    "stop_serving",
    "train",
]


def __getattr__(name: str) -> object:
    if name in __all__:
        from winnow import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
