"""Versions with simulated answers, for tests of gates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from winnow.bundle.manifest import Manifest
from winnow.model_query.evidence import Answers, Evidence

Floats = NDArray[np.float64]


def manifest(classes: tuple[str, ...] | None = ("no", "yes"), **changes: Any) -> Manifest:
    given = Manifest(
        name="cells",
        task="regression" if classes is None else "classification",
        input_shape=(3,),
        feature_names=("a", "b", "c"),
        class_names=classes,
        target_names=("y",),
        study="cells",
        trial=0,
        params={},
        metrics={},
        parity=0.0,
        data_name="cells",
        data_sha256="0" * 64,
        git_commit="",
        created_at="",
        files={},
    )
    return Manifest(**{**{name: getattr(given, name) for name in given.__struct_fields__}, **changes})


def classifier(is_right: NDArray[np.bool_], target: NDArray[np.int64], version: str = "2", **changes: Any) -> Answers:
    """A version of two classes that is right about some rows."""
    guess = np.where(is_right, target, 1 - target)
    outputs = np.where(guess[:, None] == np.arange(2), 0.8, 0.2).astype(np.float32)
    return replace(Answers(version, manifest(), outputs), **changes)


def pair(rows: int, both: float, candidate: float, champion: float, seed: int = 0) -> Evidence:
    """Two versions: the shares of rows that both have right, and that each alone has right."""
    random = np.random.default_rng(seed)
    target, kind = random.integers(2, size=rows), random.random(rows)
    shared = kind < both
    own = (kind >= both) & (kind < both + candidate)
    other = (kind >= both + candidate) & (kind < both + candidate + champion)
    return Evidence(
        source="rows.parquet",
        rows=pd.DataFrame({"sex": random.choice(["f", "m"], rows), "amount": random.random(rows)}),
        target=target,
        candidate=classifier(shared | own, target),
        champion=classifier(shared | other, target, "1"),
        is_unseen=np.ones(rows, dtype=bool),
    )
