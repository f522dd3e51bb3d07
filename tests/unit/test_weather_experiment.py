"""The shipped pipeline of the weather: engines prepare the same rows, which know nothing of the next day."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pytest

from winnow.config.experiment import Engine, Experiment
from winnow.config.loader import load_experiment
from winnow.data.weather import LEAST_RAIN, TARGET
from winnow.data.weather_readings import write_readings
from winnow.orchestrators.ingest import ingest
from winnow.orchestrators.prepare import prepare

CONFIG = Path("experiments/weather/weather.yaml")
DAY = timedelta(days=1)
AMOUNTS = {"-9999": "-9999", "0.0": "0.1"}
"""Amounts that say the same as others about whether a day is rainy."""


def weather(raw: Path) -> Experiment:
    """The shipped experiment, on the files in a folder."""
    return load_experiment(CONFIG, {"data.raw.source": str(raw / "*.csv")})


def prepared(raw: Path, home: Path, engine: Engine = "duckdb") -> pd.DataFrame:
    """The rows in their order."""
    ingest(weather(raw), home)
    made = prepare(weather(raw), home, engine)
    assert made.path is not None and made.prepared is not None
    return pd.concat([pd.read_parquet(made.path / file) for file in made.prepared.files])


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "weather"
    write_readings(folder, 2000, seed=1)
    return folder


def assert_agrees(engine: Engine, folder: Path) -> None:
    """Check that an engine prepares the rows that DuckDB prepares. The suite of Spark calls it, too."""
    write_readings(folder / "weather", 2000, seed=1)
    expected, found = (prepared(folder / "weather", folder / "home", each) for each in ("duckdb", engine))
    pd.testing.assert_frame_equal(expected, found, check_exact=False, rtol=0, atol=1e-9)
    exact = expected.select_dtypes(exclude="float")
    assert len(found) > 1800 and found[exact.columns].equals(exact)


def test_polars_prepares_the_rows_that_duckdb_prepares(tmp_path: Path) -> None:
    assert_agrees("polars", tmp_path)


def test_what_happens_later_changes_no_feature_of_a_day(raw: Path, tmp_path: Path) -> None:
    whole = prepared(raw, tmp_path / "whole")
    last = date(2021, 4, 20)
    cut = tmp_path / "cut"
    cut.mkdir()
    for file in sorted(raw.iterdir()):
        readings = pd.read_csv(file, dtype=str, keep_default_na=False)
        readings = readings[readings["date"] <= str(last + DAY)]
        # Of the last day only the rain is left, the target of the day before; its amount is another one.
        kept, is_last = ["station", "date", "rainfall"], readings["date"] == str(last + DAY)
        readings.loc[is_last, [name for name in readings if name not in kept]] = ""
        readings.loc[is_last, "rainfall"] = readings["rainfall"].map(lambda mm: AMOUNTS.get(mm, "99.9"))
        if len(readings):
            readings.to_csv(cut / file.name, index=False)
    known = prepared(cut, tmp_path / "known")
    assert known["date"].max() == last
    pd.testing.assert_frame_equal(known, whole[whole["date"] <= last].reset_index(drop=True))


def test_the_target_is_the_next_days_rain_and_lags_skip_no_missing_day(raw: Path, tmp_path: Path) -> None:
    gap = tmp_path / "gap"
    gap.mkdir()
    frames = [pd.read_csv(file, dtype=str, keep_default_na=False) for file in sorted(raw.iterdir())]
    readings = pd.concat(frames)
    readings = readings[(readings["station"] == "007") & (readings["date"] != "2021-03-10")]
    readings.to_csv(gap / "007.csv", index=False)
    rows = prepared(gap, tmp_path / "home").set_index("date")
    measured = readings.set_index(pd.to_datetime(readings["date"]).dt.date)
    rain = measured["rainfall"].astype(float).where(lambda values: values >= 0)
    tomorrow = {day: "yes" if rain.get(day + DAY) >= LEAST_RAIN else "no" for day in rows.index}
    assert rows[TARGET].to_dict() == tomorrow and set(tomorrow.values()) == {"yes", "no"}
    assert date(2021, 3, 9) not in rows.index and pd.isna(rows.loc[date(2021, 3, 11), "rainfall_yesterday"])
    pressure = measured["pressure_3pm"].astype(float).where(lambda values: values > 0)
    lags = {day: pressure.get(day - DAY, float("nan")) for day in rows.index}
    pd.testing.assert_series_equal(rows["pressure_yesterday"], pd.Series(lags), check_names=False)
