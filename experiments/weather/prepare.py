"""What prepare.sql says, for Polars."""

from __future__ import annotations

from decimal import Decimal

import polars as pl

RAINY = Decimal("0.2")
DAY = pl.duration(days=1)
KEPT = ("observed_at", "min_temp", "max_temp", "evaporation", "sunshine", "wind_gust_direction", "wind_gust_speed",
        "humidity_9am", "humidity_3pm", "pressure_3pm", "cloud_3pm", "visibility_m")  # fmt: skip


def prepare(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row for each station and day: what was known in the evening, and whether the next day was rainy."""
    key = ("station", "date")
    rainfall, humidity = pl.col("rainfall").cast(pl.Float64), pl.col("humidity_3pm")
    days = raw.select(
        *key,
        *KEPT,
        rainfall=rainfall,
        pressure_fall=pl.col("pressure_9am") - pl.col("pressure_3pm"),
        rain_today=_is_rainy(),
    )
    yesterday = raw.select(
        "station", pl.col("date") + DAY, pressure_yesterday="pressure_3pm", rainfall_yesterday=rainfall
    )
    windows = raw.sort("date").select(
        *key,
        humidity_3_days=humidity.rolling_mean_by("date", "3d").over("station"),
        # Tenths of a millimetre are whole numbers, whose sum is exact.
        rainfall_7_days=(rainfall * 10).round().rolling_sum_by("date", "7d").over("station") / 10,
    )
    tomorrow = raw.select("station", pl.col("date") - DAY, rain_tomorrow=_is_rainy())
    for more in (yesterday, windows, tomorrow):
        days = days.join(more, on=key, how="left")
    return days.filter(pl.col("rain_tomorrow").is_not_null())


def _is_rainy() -> pl.Expr:
    rainfall = pl.col("rainfall")
    return pl.when(rainfall >= RAINY).then(pl.lit("yes")).when(rainfall.is_not_null()).then(pl.lit("no"))
