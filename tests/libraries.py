"""Imports the libraries that winnow's verbs import, for `winnow_command`; and of winnow nothing that stays."""

import gc
import importlib
import os
import sys

from winnow.tracking.connection import apply_settings

LIBRARIES = (
    "mlflow.store.db.utils",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "optuna",
    "scipy.stats",
    "sklearn.datasets",
    "torch._dynamo",  # what shapes without memory and optimizers bring with them
    "torchmetrics",
)

_before = dict(os.environ)
apply_settings()
for _name in LIBRARIES:
    importlib.import_module(_name)
os.environ.clear()
os.environ.update(_before)
for _name in [each for each in sys.modules if each.split(".")[0] == "winnow"]:
    del sys.modules[_name]
# A collection in a fork would go through all of these objects, and copy their pages.
gc.collect()
gc.freeze()
