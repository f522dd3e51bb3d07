"""Write synthetic data with a known answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class GeneratedData:
    """A generated data set.

    Attributes:
        path: the data set.
        answer: JSON file with the coefficients, the noise and the best possible score.
        metric: name of that score.
        best_score: the best score that any model can reach.
    """

    path: Path
    answer: Path
    metric: str
    best_score: float


def generate_data(
    output: Path | str = Path("data/generated.csv"),
    *,
    rows: int = 1000,
    features: int = 10,
    informative: int = 4,
    classes: int = 2,
    noise: float = 0.5,
    groups: int = 0,
    seed: int = 0,
    force: bool = False,
) -> GeneratedData:
    """Write a synthetic data set with a known answer.

    Args:
        output: a .csv or .parquet file. The answer is written to OUTPUT.answer.json.
        rows: number of rows.
        features: number of feature columns.
        informative: number of features that influence the target.
        classes: number of classes; 0 for regression.
        noise: standard deviation (regression) or scale (classification) of the part that no model can predict.
        groups: number of groups of similar rows; 0 for none.
        seed: the same seed gives the same file.
        force: overwrite existing files.

    Raises:
        InputError: the numbers do not fit together, the file exists, or it cannot be written.
    """
    from winnow.data.generate import Recipe, generate, write_generated

    path = Path(output)
    generated = generate(Recipe(rows, features, informative, classes, noise, groups, seed))
    answer = write_generated(generated, path, force=force)
    return GeneratedData(path, answer, generated.truth.metric, generated.truth.best_score)
