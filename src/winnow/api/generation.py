"""Write synthetic data with a known answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from winnow.config.errors import InputError

if TYPE_CHECKING:
    from winnow.data.generate import Recipe

DataKind = Literal["linear", "churn", "weather", "images"]


@dataclass(frozen=True)
class GeneratedData:
    """A generated data set.

    Attributes:
        path: the data set.
        answer: JSON file with the truth behind the data and the best possible score.
        metric: name of that score.
        best_score: the best score that any model can reach.
        rows: number of rows.
        target: the column to predict; of images what their subfolders name, of weather what has to be prepared.
    """

    path: Path
    answer: Path
    metric: str
    best_score: float
    rows: int
    target: str


def generate_data(
    output: Path | str | None = None,
    *,
    kind: DataKind = "linear",
    rows: int | None = None,
    features: int = 10,
    informative: int = 4,
    classes: int = 2,
    noise: float = 0.5,
    groups: int = 0,
    seed: int = 0,
    drifted: bool = False,
    force: bool = False,
) -> GeneratedData:
    """Write a synthetic data set with a known answer.

    Args:
        output: a .csv or .parquet file; by default data/generated.csv for linear data, and data/churn.csv. For
            images and weather a folder, by default data/KIND. The answer is written to OUTPUT.answer.json.
        kind: `linear`: numbers, with a linear model as the truth. `churn`: customers with text, dates, codes and
            blanks, of whom a fifth leave. `weather`: readings of stations as their instruments write them, a CSV file
            for each month; with more rows than before, the months that are lacking. `images`: PNG files of circles,
            squares and triangles, a subfolder for each.
        rows: number of rows or images; by default 1000 for linear data, 300 images, and else 2000.
        features: linear data: number of feature columns.
        informative: linear data: number of features that influence the target.
        classes: linear data: number of classes; 0 for regression.
        noise: linear data: standard deviation (regression) or scale (classification) of the part that no model can
            predict.
        groups: linear data: number of groups of similar rows; 0 for none.
        seed: the same seed gives the same file.
        drifted: churn: rows after a price rise, whose columns and answers have changed.
        force: overwrite existing files.

    Raises:
        InputError: the numbers do not fit together, an option that the kind does not have, the file exists, or it
            cannot be written.
    """
    from winnow.data.generate import TARGET, Recipe, generate, write_generated
    from winnow.data.generated import write_files

    path = Path(f"data/{'generated' if kind == 'linear' else kind}.csv") if output is None else Path(output)
    if drifted and kind != "churn":
        raise InputError(
            "--drifted",
            expected="the kind 'churn' with it",
            found=f"'{kind}'",
            remedy="Leave it out, or change the kind.",
        )
    recipe = Recipe(1000 if rows is None else rows, features, informative, classes, noise, groups, seed)
    if kind == "linear":
        generated = generate(recipe)
        answer = write_generated(generated, path, force=force)
        return GeneratedData(path, answer, generated.truth.metric, generated.truth.best_score, recipe.rows, TARGET)
    _check_kind(kind, recipe)
    folder = path.with_suffix("") if output is None else path
    if kind == "images":
        from winnow.data.shapes import write_shapes

        images = 300 if rows is None else rows
        return GeneratedData(folder, write_shapes(folder, images, seed, force=force), "accuracy", 1.0, images, "shape")
    count = 2000 if rows is None else rows
    if kind == "weather":
        from winnow.data.weather_readings import write_readings

        answer, best = write_readings(folder, count, seed, force=force)
        return GeneratedData(folder, answer, "auroc", best, count, "rain_tomorrow")
    from winnow.data.churn import generate_churn

    table = generate_churn(count, seed, is_drifted=drifted)
    answer = write_files(table.frame, table.answer, path, force=force)
    return GeneratedData(path, answer, table.metric, table.best_score, len(table.frame), table.target)


def _check_kind(kind: str, recipe: Recipe) -> None:
    """Refuse options that only linear data have."""
    from winnow.data.generate import Recipe

    default = Recipe(rows=recipe.rows, seed=recipe.seed)
    option = next((name for name, value in asdict(recipe).items() if value != getattr(default, name)), None)
    if option is not None:
        raise InputError(
            f"--{option}",
            expected="an option that this kind of data has: rows, seed, output or force",
            found=f"{option} for the kind '{kind}'",
            remedy="Leave it out.",
        )
