-- One row for each station and day: what was known in the evening, and whether the next day was rainy. It is the same in
-- DuckDB's SQL and in Spark's. The windows go by the date and not by the row, so that a missing day is no other day.
SELECT *
FROM (
  SELECT
    station,
    date,
    observed_at,
    min_temp,
    max_temp,
    evaporation,
    sunshine,
    wind_gust_direction,
    wind_gust_speed,
    humidity_9am,
    humidity_3pm,
    pressure_3pm,
    cloud_3pm,
    visibility_m,
    CAST(rainfall AS DOUBLE) AS rainfall,
    pressure_9am - pressure_3pm AS pressure_fall,
    CASE WHEN rainfall >= 0.2 THEN 'yes' WHEN rainfall IS NOT NULL THEN 'no' END AS rain_today,
    max(pressure_3pm) OVER yesterday AS pressure_yesterday,
    CAST(max(rainfall) OVER yesterday AS DOUBLE) AS rainfall_yesterday,
    avg(humidity_3pm) OVER three_days AS humidity_3_days,
    CAST(sum(rainfall) OVER week AS DOUBLE) AS rainfall_7_days,
    CASE WHEN max(rainfall) OVER tomorrow >= 0.2 THEN 'yes' WHEN max(rainfall) OVER tomorrow IS NOT NULL THEN 'no' END
      AS rain_tomorrow
  FROM raw
  WINDOW
    yesterday AS (PARTITION BY station ORDER BY date
                  RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND INTERVAL 1 DAY PRECEDING),
    three_days AS (PARTITION BY station ORDER BY date RANGE BETWEEN INTERVAL 2 DAYS PRECEDING AND CURRENT ROW),
    week AS (PARTITION BY station ORDER BY date RANGE BETWEEN INTERVAL 6 DAYS PRECEDING AND CURRENT ROW),
    tomorrow AS (PARTITION BY station ORDER BY date
                 RANGE BETWEEN INTERVAL 1 DAY FOLLOWING AND INTERVAL 1 DAY FOLLOWING)
) AS days
WHERE rain_tomorrow IS NOT NULL  -- the last day of each station, and days before one without a measurement
