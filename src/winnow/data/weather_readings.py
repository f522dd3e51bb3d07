"""Weather as its instruments write it: a CSV file for each month, which together are raw data that grow.

Codes have zeros in front, times the offset of their place, and values that an instrument did not read are `-9999`,
`-` or empty. A month is drawn and written before the next one, so that memory does not grow with the rows.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from winnow.config.private import share
from winnow.data.generated import ANSWER_SUFFIX, area_below, check_numbers, drawing, occupied, write_answer
from winnow.data.weather import STATIONS, Month, answer, weather_by_month

if TYPE_CHECKING:
    import pyarrow as pa

MOST_DAYS = 20 * 365
"""Longer records have more stations instead."""
OFFSETS = ("+10:00", "+08:00", "+09:30")
NO_NUMBER, NO_TEXT = "-9999", "-"
BINS = 100_000
"""Of probabilities, for the best score."""


def write_readings(output: Path, rows: int, seed: int, *, force: bool = False) -> tuple[Path, float]:
    """Write the files `YYYY-MM.csv` into the folder `output`, and the truth beside it.

    A folder that holds the beginning of the same record gets the months that it lacks; the others stay as they are.

    Returns:
        The path of the answer, `OUTPUT.answer.json`, and the best AUROC that any model can reach.

    Raises:
        InputError: a number out of range, a folder that holds something else (without `force`, or that this function
            did not write), or a disk that is full or read-only.
    """
    check_numbers(rows, seed)
    stations = max(len(STATIONS), -(-rows // MOST_DAYS))
    known = output.with_name(output.name + ANSWER_SUFFIX)
    record = {"seed": seed, "stations": stations, "rows": rows}
    before = _rows_before(output, known, record)
    if before is None and output.exists() and not (force and known.is_file()):
        found = "other rows" if known.is_file() else "a folder" if output.is_dir() else "a file"
        expected = "a path that does not exist, or the beginning of the same record"
        raise occupied(output, expected, found, is_ours=known.is_file())
    kept = 0 if before is None or force else before
    score = _Score()
    with drawing(output) as scratch:
        for month, end in _months(rows, seed, stations):
            score.add(month.probabilities)
            if end > kept:
                _write(month.frame, scratch / f"{month.name}.csv")
        if not kept and output.exists():
            shutil.rmtree(output)
        output.mkdir(exist_ok=True)
        share(output)
        for file in sorted(scratch.iterdir()):
            share(file)
            file.replace(output / file.name)
        best = {"metric": "auroc", "score": score.auroc}
        write_answer(known, {**answer(seed, stations), "best": best, "share of yes": score.share, "record": record})
    return known, score.auroc


def _rows_before(output: Path, known: Path, record: dict[str, int]) -> int | None:
    """How many rows of the same record the folder holds; None where it holds no beginning of it."""
    if not known.is_file() or not output.is_dir():
        return None
    try:
        held = json.loads(known.read_text(encoding="utf-8")).get("record")
    except ValueError:
        return None
    is_beginning = held is not None and {**held, "rows": record["rows"]} == record and held["rows"] <= record["rows"]
    return int(held["rows"]) if is_beginning else None


def _months(rows: int, seed: int, stations: int) -> Iterator[tuple[Month, int]]:
    """The months of a record, the last one cut off, each with the number of rows up to its end."""
    end = 0
    for month in weather_by_month(seed, stations):
        left = rows - end
        if len(month.frame) > left:
            month = Month(month.name, month.frame[:left], month.is_rainy_tomorrow[:left], month.probabilities[:left])
        end += len(month.frame)
        yield month, end
        if end == rows:
            return


def _write(frame: pd.DataFrame, file: Path) -> None:
    """Write a month. Arrow is several times faster here than pandas."""
    from pyarrow.csv import WriteOptions, write_csv

    readings = _readings(frame)
    with file.open("wb") as written:
        written.write((",".join(readings.column_names) + "\n").encode())
        write_csv(readings, written, WriteOptions(include_header=False, quoting_style="none"))


def _readings(frame: pd.DataFrame) -> pa.Table:
    """The rows as an instrument has them: all columns are text, and rain today and tomorrow are for others to say."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: dict[str, Any] = {"station": pa.array(frame["station"], pa.string())}
    columns["date"] = pa.array(frame["date"].dt.date, pa.date32()).cast(pa.string())
    columns["observed_at"] = pc.fill_null(pa.array(_local_times(frame), pa.string()), "")
    for name in frame.columns.drop(["station", "date", "observed_at", "rain_today"]):
        values = pa.array(frame[name], from_pandas=True)
        token = NO_TEXT if pa.types.is_string(values.type) or pa.types.is_large_string(values.type) else NO_NUMBER
        if pa.types.is_floating(values.type):  # one decimal, and no -0.0
            values = pc.round(values, 1).cast(pa.decimal128(9, 1), safe=False)
        columns[name] = pc.fill_null(values.cast(pa.string()), token)
    return pa.table(columns)


def _local_times(frame: pd.DataFrame) -> NDArray[np.object_]:
    offsets = np.array(OFFSETS)[frame["station"].astype(int).to_numpy() % len(OFFSETS)]
    text = np.datetime_as_string(frame["observed_at"].to_numpy("datetime64[s]"))
    times: NDArray[np.object_] = np.char.add(text, offsets).astype(object)
    times[frame["observed_at"].isna()] = None
    return times


class _Score:
    """The best AUROC, from counts of probabilities, whose number does not grow with the rows."""

    def __init__(self) -> None:
        self._positive, self._negative = np.zeros(BINS + 1), np.zeros(BINS + 1)

    def add(self, probabilities: NDArray[np.float64]) -> None:
        bins = (probabilities * BINS).astype(int)
        self._positive += np.bincount(bins, weights=probabilities, minlength=BINS + 1)
        self._negative += np.bincount(bins, weights=1.0 - probabilities, minlength=BINS + 1)

    @property
    def auroc(self) -> float:
        return area_below(self._positive, self._negative)

    @property
    def share(self) -> float:
        return float(self._positive.sum() / (self._positive.sum() + self._negative.sum()))
