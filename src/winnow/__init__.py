"""winnow: sweep, select and serve PyTorch models.

Every public name of `winnow.api` is available here: `winnow.train`, `winnow.select_model`, `winnow.serve`, …. It is
imported when a name is first used, so that `import winnow` costs nothing.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from winnow.api import *  # noqa: F403
    from winnow.config.version import __version__ as __version__

# ONNX Runtime reports what it runs to its makers since 1.29, unless it finds this when it is imported; on a network
# that leads nowhere it also holds up a server's end by seconds.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Optuna imports tqdm, which warns in a notebook without ipywidgets. winnow shows none of its bars.
warnings.filterwarnings("ignore", message="IProgress not found")


def __getattr__(name: str) -> object:
    if name == "__all__":
        return [*importlib.import_module("winnow.api").__all__, "__version__"]
    # Not `from winnow import api`, which would ask this function for `api`.
    if name == "api":
        return importlib.import_module("winnow.api")
    if name == "__version__":
        return importlib.import_module("winnow.config.version").__version__
    if not name.startswith("_") and name in (api := importlib.import_module("winnow.api")).__all__:
        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *importlib.import_module("winnow.api").__all__})
