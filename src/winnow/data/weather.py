"""Synthetic weather, day by day and station by station, with a known answer.

    P(rain tomorrow = yes) = sigmoid(intercept + the sum of `EFFECTS`)

Fronts pass over all stations and die away in days; they move pressure, humidity, clouds and wind. Every measurement
is blank now and then, and some stations lack an instrument. The answer knows the values that are left out, so its
best score is an upper bound. Months are drawn one after the other, so that a longer record begins like a shorter one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from winnow.data.generated import GeneratedTable, check_numbers, intercept_for, sigmoid, yes_no_table

TARGET = "rain_tomorrow"
SHARE = 0.25
FIRST_MONTH = np.datetime64("2021-01")
SAMPLE_DAYS = 3000
LEAST_RAIN = 0.2
"""What a rainy day has at least, in mm."""
STATIONS = {"001": 0.5, "002": -0.2, "003": -1.0, "004": 0.3, "005": 0.2, "006": -0.4, "007": 0.0, "008": 0.6}
"""The effects of the stations of a small record, by their codes."""
DIRECTIONS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")
WET_WINDS = ("WSW", "W", "WNW", "NW")
EFFECTS = {
    "humidity_3pm, for each 15 points above 55": 1.2,
    "pressure_3pm, for each 7 hPa above 1015": -0.5,
    "pressure, for each 3 hPa of its fall since 9 am": 0.6,
    "wind_gust_direction from WSW to NW": 0.5,
    "wind_gust_direction from WSW to NW, for each 3 hPa of the fall": 1.0,
    "winter, by the cosine of the year": 0.5,
    "cloud_3pm above 6": 0.7,
    "rain_today": 0.6,
}
BLANKS = {"min_temp": 0.02, "max_temp": 0.02, "rainfall": 0.03, "evaporation": 0.4, "sunshine": 0.45,
          "wind_gust_direction": 0.07, "wind_gust_speed": 0.07, "wind_direction_9am": 0.08, "humidity_9am": 0.02,
          "humidity_3pm": 0.03, "pressure_9am": 0.1, "pressure_3pm": 0.1, "cloud_3pm": 0.3, "visibility_m": 0.15,
          "rain_today": 0.03, "observed_at": 0.01}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Month:
    """The rows of a month, all stations of a day one after the other.

    Attributes:
        frame: what is known in the evening of each day, with blanks; times are local.
        is_rainy_tomorrow: the truth, [rows].
        probabilities: of rain on the next day, [rows].
    """

    name: str
    frame: pd.DataFrame
    is_rainy_tomorrow: NDArray[np.bool_]
    probabilities: NDArray[np.float64]


def generate_weather(rows: int, seed: int) -> GeneratedTable:
    """Draw days with the rain of the next one; the same numbers give the same rows."""
    check_numbers(rows, seed)
    months: list[Month] = []
    for month in weather_by_month(seed):
        months.append(month)
        if sum(len(each.frame) for each in months) >= rows:
            break
    frame = pd.concat([month.frame for month in months], ignore_index=True)
    is_rainy = np.concatenate([month.is_rainy_tomorrow for month in months])
    frame[TARGET] = np.where(is_rainy, "yes", "no")
    probabilities = np.concatenate([month.probabilities for month in months])[:rows]
    return yes_no_table(frame[:rows], TARGET, probabilities, answer(seed))


def answer(seed: int, stations: int = len(STATIONS)) -> dict[str, Any]:
    """The truth as JSON values."""
    effects = {"station": station_effects(seed, stations), **EFFECTS}
    model = f"P({TARGET} = yes) = sigmoid(intercept + effects)"
    return {"model": model, "intercept": intercept(seed), "effects": effects}


def station_effects(seed: int, stations: int) -> dict[str, float]:
    """The effect of each station by its code: those of `STATIONS`, then drawn ones."""
    more = np.random.default_rng((seed, 0)).normal(0, 0.5, max(0, stations - len(STATIONS))).round(2).tolist()
    width = max(3, len(str(stations)))
    effects = [*STATIONS.values(), *more][:stations]
    return {f"{number:0{width}d}": effect for number, effect in enumerate(effects, start=1)}


def intercept(seed: int) -> float:
    """The intercept that makes the share of rainy days `SHARE`, whatever the number of rows is."""
    days = FIRST_MONTH.astype("datetime64[D]") + np.arange(SAMPLE_DAYS).astype("timedelta64[D]")
    sample = _Weather(days, np.array(list(STATIONS.values())), 0.0, np.random.default_rng((seed, 1)))
    return intercept_for(sample.effects_without_rain, SHARE - 0.02)


def weather_by_month(seed: int, stations: int = len(STATIONS)) -> Iterator[Month]:
    """Draw one month after the other, without end; the same numbers give the same months."""
    effects = station_effects(seed, stations)
    codes, values, base = np.array(list(effects)), np.array(list(effects.values())), intercept(seed)
    front, is_rainy = 0.0, np.zeros(stations, dtype=bool)
    for index in count():
        random = np.random.default_rng((seed, 2 + index))
        month = FIRST_MONTH + np.timedelta64(index, "M")
        weather = _Weather(_days(month), values, front, random)
        rain, probabilities = weather.rain(base, is_rainy, random)
        frame = _with_blanks(weather.observed(codes, rain, random), random)
        front, is_rainy = weather.front_of_all, rain[-1]
        yield Month(str(month), frame, rain[1:].ravel(), probabilities.ravel())


def _days(month: np.datetime64) -> NDArray[np.datetime64]:
    ends = np.array([month, month + np.timedelta64(1, "M")]).astype("datetime64[D]")
    return np.arange(*ends, dtype="datetime64[D]")


class _Weather:
    """What stations would measure without rain, [days, stations]."""

    def __init__(
        self,
        dates: NDArray[np.datetime64],
        stations: NDArray[np.float64],
        front_before: float,
        random: np.random.Generator,
    ) -> None:
        days, shape = len(dates), (len(dates), len(stations))
        self.dates, self.stations, self.shape = dates, stations, shape
        self.winter = np.cos(2 * np.pi * (pd.DatetimeIndex(dates).day_of_year.to_numpy() - 200) / 365.25)[:, None]
        front = np.zeros(days)
        for day in range(days):
            before = front[day - 1] if day else front_before
            front[day] = 0.6 * before + 0.8 * random.standard_normal()
        self.front_of_all = float(front[-1])
        self.front = front[:, None] + 0.5 * random.standard_normal(shape)
        normal = random.standard_normal((6, *shape))
        self.pressure_9am = 1015 - 4 * self.front + 4 * normal[0]
        self.pressure_fall = 1.5 * self.front + 2.5 * normal[1]
        self.humidity = np.clip(55 + 8 * self.front + 5 * self.winter + 12 * normal[2], 5, 100).round()
        self.cloud = np.clip(np.round(4 + 1.5 * self.front + 2 * normal[3]), 0, 8)
        self.max_temp = 22 - 7 * self.winter - 1.5 * self.front + 3 * normal[4]
        self.gust = np.exp(3.5 + 0.15 * self.front + 0.3 * normal[5])
        west = sigmoid(0.8 * self.front) * 0.6
        is_west = random.random(shape) < west
        wet = random.integers(0, len(WET_WINDS), shape) + DIRECTIONS.index(WET_WINDS[0])
        self.wind = np.where(is_west, wet, random.integers(0, len(DIRECTIONS), shape))

    @property
    def effects_without_rain(self) -> NDArray[np.float64]:
        """The sum of all effects but that of rain today."""
        is_wet_wind = np.isin(self.wind, [DIRECTIONS.index(name) for name in WET_WINDS])
        fall = self.pressure_fall / 3
        pressure_3pm = self.pressure_9am - self.pressure_fall
        parts = (
            (self.humidity - 55) / 15,
            (pressure_3pm - 1015) / 7,
            fall,
            is_wet_wind,
            is_wet_wind * fall,
            self.winter,
            self.cloud > 6,
        )
        effects = list(EFFECTS.values())[: len(parts)]
        total = self.stations + sum(e * part for e, part in zip(effects, parts, strict=True))
        return np.asarray(total, dtype=np.float64)

    def rain(
        self, intercept: float, is_rainy_first: NDArray[np.bool_], random: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether it rains, [days + 1, stations], and with which probability on the next day, [days, stations]."""
        effects = self.effects_without_rain + intercept
        days, stations = self.shape
        is_rainy = np.zeros((days + 1, stations), dtype=bool)
        is_rainy[0] = is_rainy_first
        probabilities = np.zeros(self.shape)
        for day in range(days):
            probabilities[day] = sigmoid(effects[day] + EFFECTS["rain_today"] * is_rainy[day])
            is_rainy[day + 1] = random.random(stations) < probabilities[day]
        return is_rainy, probabilities

    def observed(
        self, codes: NDArray[np.str_], is_rainy: NDArray[np.bool_], random: np.random.Generator
    ) -> pd.DataFrame:
        """One row for each day and station."""
        rain_today = is_rainy[:-1]
        days, stations = self.shape
        day = np.repeat(self.dates.astype("datetime64[s]"), stations)
        second = 15 * 3600 + random.integers(-1800, 1800, len(day))
        compass = np.array(DIRECTIONS)
        columns = {
            "date": day,
            "station": np.tile(codes, days),
            "observed_at": day + second.astype("timedelta64[s]"),
            "min_temp": (self.max_temp - 9 + 2 * random.standard_normal(self.shape)).round(1),
            "max_temp": self.max_temp.round(1),
            "rainfall": np.where(rain_today, random.gamma(0.8, 9.0, self.shape) + LEAST_RAIN, 0.0).round(1),
            "evaporation": np.clip(0.25 * self.max_temp + random.standard_normal(self.shape), 0, None).round(1),
            "sunshine": np.clip(10 - 0.9 * self.cloud + random.standard_normal(self.shape), 0, 14).round(1),
            "wind_gust_direction": compass[self.wind],
            "wind_gust_speed": self.gust.round(),
            "wind_direction_9am": compass[(self.wind + random.integers(-2, 3, self.shape)) % len(DIRECTIONS)],
            "humidity_9am": np.clip(self.humidity + 12 + 8 * random.standard_normal(self.shape), 5, 100).round(),
            "humidity_3pm": self.humidity,
            "pressure_9am": self.pressure_9am.round(1),
            "pressure_3pm": (self.pressure_9am - self.pressure_fall).round(1),
            "cloud_3pm": self.cloud,
            "visibility_m": np.clip(40_000 * sigmoid(1 - self.front + random.standard_normal(self.shape)), 50, None),
            "rain_today": np.where(rain_today, "yes", "no"),
        }
        frame = pd.DataFrame({name: np.ravel(values) for name, values in columns.items()})
        frame["visibility_m"] = frame["visibility_m"].round(-1)
        whole = ["wind_gust_speed", "humidity_9am", "humidity_3pm", "cloud_3pm", "visibility_m"]
        return frame.astype(dict.fromkeys(whole, "Int64"))


def _with_blanks(frame: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Blank values at random; some stations have no clouds at all, since they lack the observer."""
    for name, share in BLANKS.items():
        frame[name] = frame[name].mask(random.random(len(frame)) < share)
    frame["cloud_3pm"] = frame["cloud_3pm"].mask(frame["station"].astype(int) % 6 == 2)
    return frame
