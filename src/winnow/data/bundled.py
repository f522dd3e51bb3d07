"""The data sets that ship with scikit-learn; loading them needs no network.

Tabular sets keep scikit-learn's feature and class names. Digits become images [1, 8, 8] with values in 0..1.
"""

from __future__ import annotations

import numpy as np

from winnow.config.errors import InputError
from winnow.config.functions import BUNDLED
from winnow.config.nearest import did_you_mean
from winnow.data.raw import RawData

TARGETS = {
    "breast_cancer": "diagnosis",
    "diabetes": "progression",
    "digits": "digit",
    "iris": "species",
    "wine": "cultivar",
}
"""The name of each set's target, which scikit-learn does not give."""


def load_bundled(source: str) -> RawData:
    """Load `sklearn:NAME`. Raises InputError for another name, with the nearest one."""
    name = source.removeprefix(BUNDLED)
    if name not in TARGETS:
        sources = [BUNDLED + known for known in TARGETS]
        raise InputError(
            "data.source",
            expected=f"one of {', '.join(sources)}",
            found=f"'{source}'",
            remedy=did_you_mean(source, sources, cutoff=0.85) or "Correct the name, or load your own data.",
        )
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    is_images = name == "digits"
    return RawData(
        name,
        (bunch.images / 16.0).astype(np.float32)[:, np.newaxis] if is_images else bunch.data,
        bunch.target,
        feature_names=None if is_images else tuple(str(one) for one in bunch.feature_names),
        class_names=tuple(str(one) for one in bunch.target_names) if "target_names" in bunch else None,
        target_names=(TARGETS[name],),
    )
