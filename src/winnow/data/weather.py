"""Synthetic weather of eight stations, day by day, with a known answer.

    P(rain tomorrow = yes) = sigmoid(intercept + the sum of `EFFECTS`)

Fronts pass over all stations and die away in days; they move pressure, humidity, clouds and wind. Every measurement
is blank now and then, and some stations lack an instrument. The answer knows the values that are left out, so its
best score is an upper bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from winnow.data.generated import GeneratedTable, check_numbers, intercept_for, sigmoid, yes_no_table

TARGET = "rain_tomorrow"
SHARE = 0.25
FIRST_DAY = np.datetime64("2021-01-01")
SPIN_UP_DAYS = 30
STATIONS = {"Albany": 0.5, "Bree": -0.2, "Cobar": -1.0, "Darwin": 0.3, "Hobart": 0.2, "Nuriootpa": -0.4, "Perth": 0.0,
            "Sale": 0.6}  # fmt: skip
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


def generate_weather(rows: int, seed: int) -> GeneratedTable:
    """Draw days, all stations of a day one after the other; the same numbers give the same rows."""
    check_numbers(rows, seed)
    random = np.random.default_rng(seed)
    days = -(-rows // len(STATIONS)) + SPIN_UP_DAYS
    weather = _Weather(days, random)
    intercept = intercept_for(weather.effects_without_rain, SHARE - 0.02)
    is_rainy, probabilities = weather.rain(intercept, random)
    frame = weather.observed(is_rainy, random)
    frame[TARGET] = np.where(is_rainy[1:].ravel(), "yes", "no")
    start = SPIN_UP_DAYS * len(STATIONS)
    kept = frame.iloc[start : start + rows].reset_index(drop=True)
    answer: dict[str, Any] = {"model": f"P({TARGET} = yes) = sigmoid(intercept + effects)", "intercept": intercept}
    answer |= {"effects": {"station": STATIONS, **EFFECTS}}
    return yes_no_table(_with_blanks(kept, random), TARGET, probabilities.ravel()[start : start + rows], answer)


class _Weather:
    """What stations would measure without rain, [days, stations]."""

    def __init__(self, days: int, random: np.random.Generator) -> None:
        shape = (days, len(STATIONS))
        self.days, self.shape = days, shape
        self.dates = FIRST_DAY + (np.arange(days) - SPIN_UP_DAYS).astype("timedelta64[D]")
        self.winter = np.cos(2 * np.pi * (pd.DatetimeIndex(self.dates).day_of_year.to_numpy() - 200) / 365.25)[:, None]
        front = np.zeros(days)
        for day in range(1, days):
            front[day] = 0.6 * front[day - 1] + 0.8 * random.standard_normal()
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
        total = np.array(list(STATIONS.values())) + sum(e * part for e, part in zip(effects, parts, strict=True))
        return np.asarray(total, dtype=np.float64)

    def rain(self, intercept: float, random: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether it rains, [days + 1, stations], and with which probability on the next day, [days, stations]."""
        effects = self.effects_without_rain + intercept
        is_rainy = np.zeros((self.days + 1, len(STATIONS)), dtype=bool)
        probabilities = np.zeros(self.shape)
        for day in range(self.days):
            probabilities[day] = sigmoid(effects[day] + EFFECTS["rain_today"] * is_rainy[day])
            is_rainy[day + 1] = random.random(len(STATIONS)) < probabilities[day]
        return is_rainy, probabilities

    def observed(self, is_rainy: NDArray[np.bool_], random: np.random.Generator) -> pd.DataFrame:
        """One row for each day and station."""
        rain_today = is_rainy[:-1]
        day = np.repeat(self.dates.astype("datetime64[s]"), len(STATIONS))
        second = 15 * 3600 + random.integers(-1800, 1800, len(day))
        compass = np.array(DIRECTIONS)
        columns = {
            "date": day,
            "station": np.tile(np.array(list(STATIONS)), self.days),
            "observed_at": day + second.astype("timedelta64[s]"),
            "min_temp": (self.max_temp - 9 + 2 * random.standard_normal(self.shape)).round(1),
            "max_temp": self.max_temp.round(1),
            "rainfall": np.where(rain_today, random.gamma(0.8, 9.0, self.shape) + 0.2, 0.0).round(1),
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
    """Blank values at random; two stations have no clouds at all, since they lack the observer."""
    for name, share in BLANKS.items():
        frame[name] = frame[name].mask(random.random(len(frame)) < share)
    frame["cloud_3pm"] = frame["cloud_3pm"].mask(frame["station"].isin(["Bree", "Sale"]))
    return frame
