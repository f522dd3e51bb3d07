"""winnow as a library: every verb of the `winnow` command as a function.

    import winnow

    winnow.train("experiments/breast_cancer.yaml", trials=60)
    winnow.select_model("experiments/breast_cancer.yaml")
    served = winnow.serve("experiments/breast_cancer.yaml")
    winnow.predict(served.url, [{"mean radius": 14.2, …}])

A function does what the command of the same name does, but returns frozen values instead of printing text, and raises
WinnowError instead of printing an error. The same environment variables apply (WINNOW_HOME, MLFLOW_TRACKING_URI, …).
Functions that take `config` and `study` work on the study named by `study`, else by the experiment file. Arguments that
several functions share are described in `winnow.api.arguments.ARGUMENTS`.

Importing this package is cheap: a module is imported when a name of it is first used, and functions import what they
need when they are called. `__init__.pyi` lists the names (https://scientific-python.org/specs/spec-0001/).
"""

from __future__ import annotations

import importlib
import re
from importlib.resources import files

_MODULES = {
    name: module
    for module, name in re.findall(
        r"^from (\S+) import (\w+) as \w+$", (files(__name__) / "__init__.pyi").read_text("utf-8"), re.MULTILINE
    )
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
