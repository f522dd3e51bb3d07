"""Does the winner of a sweep predict a table as well as a scikit-learn pipeline? Compared on the same folds.

Each seed draws a table of customers (churn) and one of weather. winnow sweeps the shipped experiment. The peers are
logistic regression and histogram gradient boosting with the preprocessing that their documentation recommends, each
tuned over as many candidates as winnow has trials, by the same metric on the same folds. All tune on the folds
that they are scored on, so the differences are fair, and every score is a little too high.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
METRICS = ("auroc", "f1", "loss")
CODES = ["contract_months", "sales_channel"]
Scores = dict[str, float]
Folds = list[tuple[Any, Any]]


def prepared(frame: pd.DataFrame) -> pd.DataFrame:
    """Dates as days, year and week in cycles; codes and booleans as categories."""
    frame = frame.copy()
    for name in frame.select_dtypes("datetime").columns:
        date = frame.pop(name).dt
        frame[f"{name}_days"] = (date.normalize() - pd.Timestamp("2020-01-01")).dt.days
        for part, length in ((date.day_of_year, 365.25), (date.dayofweek, 7)):
            angle = 2 * np.pi * part / length
            frame[f"{name}_sin_{length}"], frame[f"{name}_cos_{length}"] = np.sin(angle), np.cos(angle)
    kinds = {
        name: float if pd.api.types.is_numeric_dtype(values) and values.dtype.name.lower()[:4] != "bool" else object
        for name, values in frame.items()
    }
    kinds |= {name: object for name in CODES if name in frame}
    return frame.astype(kinds).where(frame.notna(), np.nan)


def peers(frame: pd.DataFrame, candidates: int) -> Iterator[tuple[str, list[Any]]]:
    """Each peer with its candidates."""
    categories = list(frame.select_dtypes(object).columns)
    numbers = [name for name in frame if name not in categories]

    def pipeline(model: Any, *steps: Any) -> Any:
        encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=5, sparse_output=False)
        scaled = make_pipeline(SimpleImputer(add_indicator=True), *steps)
        return make_pipeline(make_column_transformer((scaled, numbers), (encoder, categories)), model)

    strengths = np.geomspace(0.01, 10, candidates)
    yield (
        "logistic regression",
        [pipeline(LogisticRegression(C=strength, max_iter=3000), StandardScaler()) for strength in strengths],
    )
    boosted = list(product((0.03, 0.1), (50, 150), (2, 4)))[:candidates]
    yield (
        "gradient boosting",
        [
            pipeline(
                HistGradientBoostingClassifier(learning_rate=rate, max_iter=trees, max_depth=depth, random_state=0)
            )
            for rate, trees, depth in boosted
        ],
    )


def scored(model: Any, frame: pd.DataFrame, target: Any, folds: Folds) -> Scores:
    """The mean of each metric over the folds."""
    found: dict[str, list[float]] = {metric: [] for metric in METRICS}
    for train, validation in folds:
        share = model.fit(frame.iloc[train], target[train]).predict_proba(frame.iloc[validation])[:, 1]
        truth = target[validation]
        found["auroc"].append(roc_auc_score(truth, share))
        found["f1"].append(f1_score(truth, share > 0.5))
        found["loss"].append(log_loss(truth, share, labels=[0, 1]))
    return {metric: statistics.fmean(values) for metric, values in found.items()}


def swept(kind: str, source: Path, seed: int, trials: int) -> tuple[Scores, Folds]:
    """The winner's scores, and the folds that it was scored on."""
    import winnow
    from winnow.config.experiment import Experiment
    from winnow.data.sources import load_data
    from winnow.data.splits import deal_folds, split_holdout

    file = next(EXPERIMENTS.rglob(f"{kind}.yaml"))
    content = yaml.safe_load(file.read_text())
    content["data"] |= {"source": str(source), "holdout": 0}
    content["search"] |= {"metrics": ["f1", "loss"], "seed": seed, "trials": trials}
    best = winnow.train(content, study=f"{kind}-{seed}").best
    assert best is not None
    scores = {name: statistics.fmean(fold.metrics[name] for fold in best.folds) for name in METRICS}
    asked = Experiment.model_validate(content)
    data = load_data(asked.data)
    rest = split_holdout(data, 0, asked.cross_validation.splitter, seed).rest
    return scores, [(fold.train, fold.validation) for fold in deal_folds(data, rest, asked.cross_validation, seed)]


def compared(kind: str, generate: Callable[..., Any], arguments: argparse.Namespace) -> None:
    """Print a line for each peer: its scores, and how much better winnow's are."""
    found: dict[str, list[Scores]] = {}
    for seed in range(arguments.seeds):
        table = generate(arguments.rows, seed)
        source = Path(os.environ["WINNOW_HOME"]) / f"{kind}-{seed}.parquet"
        table.frame.to_parquet(source)
        scores, folds = swept(kind, source, seed, arguments.trials)
        found.setdefault("winnow", []).append(scores)
        target = (table.frame[table.target] == "yes").to_numpy().astype(int)
        left_out = [name for name in ("customer_id", "comment", "date", table.target) if name in table.frame]
        frame = prepared(table.frame.drop(columns=left_out))
        for name, models in peers(frame, arguments.trials):
            tried = [scored(model, frame, target, folds) for model in models]
            found.setdefault(name, []).append(max(tried, key=lambda scores: scores["auroc"]))
        print(f"{kind} seed {seed}:", {name: rows[-1] for name, rows in found.items()}, file=sys.stderr, flush=True)
    print(f"\n{kind}, {arguments.rows} rows, {arguments.seeds} seeds, {arguments.trials} candidates each")
    for name, rows in found.items():
        cells = []
        for metric in METRICS:
            values = [row[metric] for row in rows]
            cell = f"{metric} {statistics.fmean(values):.3f} ± {statistics.pstdev(values):.3f}"
            if name != "winnow":
                sign = -1 if metric == "loss" else 1
                gains = [
                    sign * (ours[metric] - theirs[metric]) for ours, theirs in zip(found["winnow"], rows, strict=True)
                ]
                error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
                cell += f" (winnow {statistics.fmean(gains):+.3f} ± {error:.3f})"
            cells.append(cell)
        print(f"{name:28} " + "  ".join(cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--kinds", default="churn,weather")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as home:
        os.environ["WINNOW_HOME"] = home
        from winnow.data.churn import generate_churn
        from winnow.data.weather import generate_weather

        for kind, generate in (("churn", generate_churn), ("weather", generate_weather)):
            if kind in arguments.kinds.split(","):
                compared(kind, generate, arguments)


if __name__ == "__main__":
    main()
