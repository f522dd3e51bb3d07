"""The real data sets that scikit-learn carries: no download, no account.

Tabular sets keep their own names of features and classes; digits become images [1, 8, 8] with values in 0..1.
"""

from __future__ import annotations

import difflib

import numpy as np

from winnow.config.errors import InputError
from winnow.config.functions import BUNDLED
from winnow.data.raw import RawData

PREFIX = BUNDLED
TARGETS = {
    "breast_cancer": "diagnosis",
    "diabetes": "progression",
    "digits": "digit",
    "iris": "species",
    "wine": "cultivar",
}
"""The sets, and what the target of each one is called; scikit-learn itself names only the features."""

DARKEST = 16.0
"""The largest value of a pixel of digits."""


def load_bundled(source: str) -> RawData:
    """Load `sklearn:NAME`.

    Raises:
        InputError: there is no such set; the nearest name is proposed.
    """
    name = source.removeprefix(PREFIX)
    if name not in TARGETS:
        nearest = difflib.get_close_matches(name, TARGETS, n=1)
        raise InputError(
            "data.source",
            expected=f"one of {', '.join(PREFIX + one for one in TARGETS)}",
            found=f"'{source}'",
            remedy=f"Did you mean '{PREFIX}{nearest[0]}'?" if nearest else "Correct the name, or load your own data.",
        )
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    classes = tuple(str(one) for one in bunch.target_names) if "target_names" in bunch else None
    if name == "digits":
        images = (bunch.images / DARKEST).astype(np.float32)[:, np.newaxis]
        return RawData(name, images, bunch.target, class_names=classes, target_names=(TARGETS[name],))
    return RawData(
        name,
        bunch.data,
        bunch.target,
        feature_names=tuple(str(one) for one in bunch.feature_names),
        class_names=classes,
        target_names=(TARGETS[name],),
    )
