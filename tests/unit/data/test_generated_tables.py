"""Churn and weather: what the generated tables hold, and that their answers are right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics import roc_auc_score

from winnow.api.generation import generate_data
from winnow.cli.data import generate_data as command
from winnow.config.errors import InputError
from winnow.data.churn import generate_churn
from winnow.data.generated import best_auroc, intercept_for, sigmoid
from winnow.data.weather import DIRECTIONS, STATIONS, generate_weather


def test_churn_has_text_dates_booleans_codes_blanks_an_identifier_and_a_fifth_of_positives() -> None:
    frame = generate_churn(4000, seed=0).frame
    assert list(frame.columns[:4]) == ["customer_id", "signup_date", "country", "plan"]
    assert 0.18 < (frame["churned"] == "yes").mean() < 0.22
    assert frame["customer_id"].is_unique and not frame["customer_id"].is_monotonic_increasing
    assert frame["comment"].dropna().nunique() > 0.95 * frame["comment"].count()
    assert set(frame["sales_channel"]) == {1, 2, 3, 4, 5, 6}
    assert (frame["country"].value_counts() < 25).sum() == 2
    blank = {name for name in frame if frame[name].isna().any()}
    assert blank == {
        "country", "payment_method", "paperless_billing", "monthly_minutes", "satisfaction", "last_call", "comment",
    }  # fmt: skip


def test_drifted_customers_have_other_fees_and_other_reasons_to_leave() -> None:
    before, after = (generate_churn(4000, seed=0, is_drifted=drifted) for drifted in (False, True))
    assert np.allclose(after.frame["monthly_fee"] / before.frame["monthly_fee"], 1.5, atol=0.01)
    unchanged = [name for name in before.frame if name not in ("monthly_fee", "churned")]
    pd.testing.assert_frame_equal(before.frame[unchanged], after.frame[unchanged])
    leaving = [(table.frame["churned"] == "yes")[table.frame["is_business"]].mean() for table in (before, after)]
    assert (leaving[0] < 0.25, leaving[1] > 0.6) == (True, True)
    with pytest.raises(InputError, match="--drifted"):
        generate_data("x.csv", kind="weather", drifted=True)


def test_weather_has_days_in_order_places_directions_and_blanks_in_nearly_every_column() -> None:
    frame = generate_weather(2000, seed=0).frame
    assert frame["date"].is_monotonic_increasing and len(frame) == 2000
    assert set(frame["station"]) == set(STATIONS)
    assert set(frame["wind_gust_direction"].dropna()) == set(DIRECTIONS)
    assert {name for name in frame if not frame[name].isna().any()} == {"date", "station", "rain_tomorrow"}
    assert 0.2 < (frame["rain_tomorrow"] == "yes").mean() < 0.3


def test_the_rain_of_tomorrow_is_the_next_days_rain_today() -> None:
    frame = generate_weather(2000, seed=3).frame
    at_one = frame[frame["station"] == "007"]
    today = at_one["rain_today"].iloc[1:].reset_index(drop=True)
    tomorrow = at_one["rain_tomorrow"].iloc[:-1].reset_index(drop=True)
    assert (today == tomorrow)[today.notna()].all()


@pytest.mark.parametrize("generate", [generate_churn, generate_weather])
def test_the_same_seed_gives_the_same_table(generate: object) -> None:
    assert callable(generate)
    first, again, other = (generate(200, seed=seed).frame for seed in (5, 5, 6))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)


def test_the_best_auroc_is_that_of_the_true_probabilities() -> None:
    random = np.random.default_rng(0)
    probabilities = random.choice([0.1, 0.3, 0.35, 0.9], 200_000)
    labels = random.random(len(probabilities)) < probabilities
    assert best_auroc(probabilities) == pytest.approx(roc_auc_score(labels, probabilities), abs=0.004)
    assert best_auroc(np.array([0.5, 0.5])) == 0.5


def test_the_intercept_gives_the_share() -> None:
    effects = np.random.default_rng(0).normal(size=5000)
    assert sigmoid(effects + intercept_for(effects, 0.2)).mean() == pytest.approx(0.2, abs=1e-5)


def test_the_command_writes_a_kind_with_its_answer(tmp_path: Path) -> None:
    output = tmp_path / "churn.csv"
    result = CliRunner().invoke(command, ["--kind", "churn", "--rows", "80", "--output", str(output)])
    assert (result.exit_code, len(pd.read_csv(output))) == (0, 80)
    assert "the best possible auroc is 0." in result.output
    answer = json.loads(output.with_name("churn.csv.answer.json").read_text())
    assert sorted(answer) == ["best", "effects", "intercept", "model", "share of yes"]


def test_an_option_of_linear_data_is_refused_for_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an option that this kind of data has") as caught:
        generate_data(tmp_path / "rows.csv", kind="churn", classes=3)
    assert (caught.value.place, list(tmp_path.iterdir())) == ("--classes", [])


@pytest.mark.parametrize(("option", "value"), [("rows", 3), ("seed", -1)])
def test_numbers_out_of_range_are_refused(option: str, value: int, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        generate_data(tmp_path / "rows.csv", kind="weather", **{option: value})
    assert caught.value.place == f"--{option}"
