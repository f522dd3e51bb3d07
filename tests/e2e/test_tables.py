"""The experiments on generated tables run as shipped, from `generate-data` to a prediction for a raw row."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.models import address
from tests.winnow_command import winnow

ROOT = Path(__file__).parents[2]
CUSTOMER = {
    "signup_date": "2025-11-20", "country": "XX", "plan": "basic", "contract_months": 1, "payment_method": "invoice",
    "sales_channel": 6, "is_business": False, "paperless_billing": None, "monthly_fee": 15.5, "monthly_minutes": None,
    "support_tickets": 4, "satisfaction": 1, "last_call": None,
}  # fmt: skip


def run(folder: Path, *arguments: str) -> str:
    env = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    env["WINNOW_HOME"] = str(folder / "home")
    done = winnow(*arguments, env=env, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def swept(kind: str, folder: Path, rows: int, trials: int) -> list[str]:
    """The flags that name the experiment, after its sweep."""
    run(folder, "generate-data", "--kind", kind, "--rows", str(rows))
    flags = ["--config", str(ROOT / "experiments" / f"{kind}.yaml")]
    told = run(folder, "train", *flags, "--trials", str(trials))
    assert f"{trials} trials done" in told and "model version 1" in told
    return flags


@pytest.mark.slow
def test_a_customer_of_an_unknown_country_with_blanks_is_told_to_leave(tmp_path: Path) -> None:
    flags = swept("churn", tmp_path, rows=1000, trials=2)
    run(tmp_path, "select-model", *flags)
    url = address(run(tmp_path, "prod", *flags))
    try:
        answers: list[dict[str, Any]] = [
            httpx.post(f"{url}/predict", json={"rows": [{**CUSTOMER, **changes}]}).json()
            for changes in ({}, {"plan": "family", "contract_months": 24, "satisfaction": 5, "support_tickets": 0})
        ]
    finally:
        run(tmp_path, "prod-remove")
    likely, unlikely = (answer["probabilities"][0]["yes"] for answer in answers)
    assert likely > 0.5 > unlikely
    assert answers[0]["predictions"] == ["yes"]
