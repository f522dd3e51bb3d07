"""The readings of weather stations: raw data that grow, with a known answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from winnow.cli.data import generate_data as command
from winnow.config.errors import InputError
from winnow.data.weather import STATIONS, generate_weather, station_effects
from winnow.data.weather_readings import write_readings


def stats(folder: Path) -> dict[str, tuple[int, int]]:
    return {file.name: (file.stat().st_ino, file.stat().st_size) for file in folder.iterdir()}


def test_readings_are_texts_of_instruments_in_a_file_for_each_month(tmp_path: Path) -> None:
    output = tmp_path / "weather"
    result = CliRunner().invoke(command, ["--kind", "weather", "--rows", "300", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "300 readings, a CSV file for each month; 'rain_tomorrow' is to be prepared from them" in result.output
    assert sorted(file.name for file in output.iterdir()) == ["2021-01.csv", "2021-02.csv"]
    frames = [pd.read_csv(file, dtype=str, keep_default_na=False) for file in sorted(output.iterdir())]
    assert [len(frame) for frame in frames] == [31 * 8, 300 - 31 * 8]
    frame = pd.concat(frames)
    assert list(frame.columns[:4]) == ["station", "date", "observed_at", "min_temp"]
    assert not {"rain_today", "rain_tomorrow"} & set(frame)
    assert set(frame["station"]) == set(STATIONS) and "007" in STATIONS
    assert frame["observed_at"].str.fullmatch(r"2021-0[12]-\d\dT1[45]:\d\d:\d\d\+(08:00|09:30|10:00)|").all()
    assert frame["rainfall"].str.fullmatch(r"\d+\.\d|-9999").all() and (frame["cloud_3pm"] == "-9999").any()
    assert (frame["wind_gust_direction"] == "-").any()


def test_readings_are_the_rows_of_the_table_and_have_its_answer(tmp_path: Path) -> None:
    answer, best = write_readings(tmp_path / "weather", 1000, seed=3)
    frame = pd.concat([pd.read_csv(file) for file in sorted((tmp_path / "weather").iterdir())], ignore_index=True)
    table = generate_weather(1000, seed=3)
    assert np.allclose(frame["pressure_9am"], table.frame["pressure_9am"].fillna(-9999))
    truth = json.loads(answer.read_text())
    assert best == truth["best"]["score"] == pytest.approx(table.best_score, abs=1e-6)
    assert {key: truth[key] for key in ("model", "intercept", "effects")} == {
        key: table.answer[key] for key in ("model", "intercept", "effects")
    }


def test_a_longer_record_adds_months_and_leaves_the_others_untouched(tmp_path: Path) -> None:
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    write_readings(grown, 450, seed=0)
    before = stats(grown)
    write_readings(grown, 800, seed=0)
    assert {name: stats(grown)[name] for name in ("2021-01.csv",)} == {"2021-01.csv": before["2021-01.csv"]}
    write_readings(whole, 800, seed=0)
    content = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in (grown, whole)]
    assert content[0] == content[1] and len(content[0]) == 4
    again = stats(grown)
    write_readings(grown, 800, seed=0)
    assert stats(grown) == again


@pytest.mark.parametrize(("rows", "seed"), [(300, 0), (500, 1)])
def test_another_record_does_not_replace_one_without_force(rows: int, seed: int, tmp_path: Path) -> None:
    output = tmp_path / "weather"
    write_readings(output, 500, seed=0)
    before = stats(output)
    with pytest.raises(InputError, match=r"the beginning of the same record, found other rows.*FORCE|--force"):
        write_readings(output, rows, seed)
    assert stats(output) == before
    write_readings(output, rows, seed, force=True)
    assert sum(len(file.read_text().splitlines()) - 1 for file in output.iterdir()) == rows


def test_a_folder_of_others_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found a folder"):
        write_readings(tmp_path, 100, 0, force=True)


def test_large_records_have_more_stations() -> None:
    effects = station_effects(0, 1200)
    assert (len(effects), next(iter(effects)), effects["0007"]) == (1200, "0001", STATIONS["007"])
    assert abs(np.mean(list(effects.values()))) < 0.05
