"""Synthetic customers of a telephone company, of whom a fifth leave, with a known answer.

    P(churned = yes) = sigmoid(intercept + the sum of `EFFECTS`)

The columns are such as companies have: text, a date, booleans, whole numbers that are codes, blanks, an identifier and
free text. Two of the effects are interactions, and a blank satisfaction says something. Some countries and a plan are
so rare that a fold may lack them.

Drifted rows are of the months after a price rise: fees are half as high again, and those who used to stay leave,
business customers and those with long contracts (`DRIFT`).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from winnow.data.generated import GeneratedTable, check_numbers, intercept_for, sigmoid, yes_no_table

TARGET = "churned"
SHARE = 0.2
FIRST_DAY, LAST_DAY = np.datetime64("2021-01-01"), np.datetime64("2025-12-31")
PLANS = {"basic": 0.44, "standard": 0.33, "premium": 0.15, "family": 0.075, "legacy": 0.005}
PAYMENTS = {"card": 0.45, "bank transfer": 0.25, "invoice": 0.2, "paypal": 0.1}
COUNTRIES = {
    "DE": 0.3, "FR": 0.18, "IT": 0.13, "ES": 0.11, "NL": 0.08, "PL": 0.07, "AT": 0.05, "BE": 0.035, "CH": 0.025,
    "SE": 0.013, "LU": 0.004, "MT": 0.003,
}  # fmt: skip
CHANNELS = {1: 0.3, 2: 0.25, 3: 0.2, 4: 0.12, 5: 0.08, 6: 0.05}
CONTRACTS = {1: 0.45, 12: 0.35, 24: 0.2}
EFFECTS: dict[str, dict[str, float]] = {
    "plan": {"basic": 0.3, "standard": 0.0, "premium": -0.5, "family": -0.9, "legacy": 1.0},
    "payment_method": {"card": 0.0, "bank transfer": -0.2, "invoice": 0.4, "paypal": 0.2},
    "country": {"DE": 0.0, "FR": 0.2, "IT": 0.3, "ES": 0.5, "NL": -0.4, "PL": 0.6, "CH": -0.8},
    "sales_channel": {"1": 0.0, "2": 0.7, "3": -0.4, "4": 0.5, "5": -0.7, "6": 0.9},
    "contract_months": {"1": 0.8, "12": 0.0, "24": -0.8},
    "satisfaction": {"1": 1.6, "2": 0.9, "3": 0.0, "4": -0.5, "5": -0.9, "blank": 0.7},
    "interactions": {"basic plan by invoice": 1.6, "paperless business": -1.2},
    "numbers": {"support_tickets": 0.35, "first year": 0.8, "signed up in November": 0.9, "minutes per fee": -0.6},
}
PRICE_RISE = 1.5
DRIFT = {"business": 4.0, "contract of 24 months": 3.0}
COMMENTS = (
    "Asked about the bill of {month}.", "Moved house in {month}, router sent to the new address.",
    "Wants a call back after {month}.", "Very friendly.", "Complained about the coverage since {month}.",
    "Compared our prices with another company's in {month}.",
)  # fmt: skip
MONTHS = ("January", "March", "May", "July", "September", "November")


def generate_churn(rows: int, seed: int, *, is_drifted: bool = False) -> GeneratedTable:
    """Draw customers; the same numbers give the same rows."""
    check_numbers(rows, seed)
    random = np.random.default_rng(seed)
    frame = _draw_customers(rows, random)
    effects = _sum_of_effects(frame)
    intercept = intercept_for(effects, SHARE)
    answer = {"model": "P(churned = yes) = sigmoid(intercept + effects)", "intercept": intercept, "effects": EFFECTS}
    if is_drifted:
        frame["monthly_fee"] = (frame["monthly_fee"] * PRICE_RISE).round(2)
        effects += DRIFT["business"] * frame["is_business"].to_numpy()
        effects += DRIFT["contract of 24 months"] * (frame["contract_months"] == 24).to_numpy()
        answer["drift"] = {"monthly_fee": f"times {PRICE_RISE:g}", "effects": DRIFT}
    probabilities = sigmoid(effects + intercept)
    frame[TARGET] = np.where(random.random(rows) < probabilities, "yes", "no")
    return yes_no_table(frame, TARGET, probabilities, answer)


def _draw_customers(rows: int, random: np.random.Generator) -> pd.DataFrame:
    def drawn(shares: dict[str, float] | dict[int, float]) -> NDArray[np.generic]:
        weights = np.array(list(shares.values()))
        return random.choice(np.array(list(shares)), size=rows, p=weights / weights.sum())

    plan = drawn(PLANS)
    fee = pd.Series(plan).map({"basic": 15, "standard": 25, "premium": 45, "family": 60, "legacy": 12}).to_numpy()
    satisfaction = pd.Series(random.choice(5, size=rows, p=[0.08, 0.14, 0.28, 0.32, 0.18]) + 1, dtype="Int64")
    minutes = pd.Series(random.gamma(2.0, 140.0, rows).round(1))
    last_call = pd.Series((LAST_DAY - random.integers(0, 400, rows).astype("timedelta64[D]")).astype("datetime64[s]"))
    days = random.integers(0, (LAST_DAY - FIRST_DAY).astype(int) + 1, rows)
    comments = [text.format(month=month) for text in COMMENTS for month in MONTHS]
    frame = pd.DataFrame(
        {
            "customer_id": random.permutation(np.arange(rows) * 7 + 1_000_003),
            "signup_date": (FIRST_DAY + days.astype("timedelta64[D]")).astype("datetime64[s]"),
            "country": drawn(COUNTRIES),
            "plan": plan,
            "contract_months": drawn(CONTRACTS),
            "payment_method": drawn(PAYMENTS),
            "sales_channel": drawn(CHANNELS),
            "is_business": random.random(rows) < 0.25,
            "paperless_billing": random.random(rows) < 0.6,
            "monthly_fee": (fee * random.uniform(0.8, 1.25, rows)).round(2),
            "monthly_minutes": minutes.mask(random.random(rows) < 0.08),
            "support_tickets": random.poisson(0.9, rows),
            "satisfaction": satisfaction.mask(random.random(rows) < 0.25),
            "last_call": last_call.mask(random.random(rows) < 0.3),
            "comment": _comments(comments, random, rows),
        }
    )
    for name in ("country", "payment_method", "paperless_billing"):
        frame[name] = frame[name].astype("boolean" if name == "paperless_billing" else "str")
        frame[name] = frame[name].mask(random.random(rows) < 0.02)
    return frame


def _comments(texts: list[str], random: np.random.Generator, rows: int) -> pd.Series:
    """Two sentences and a number, so that hardly any two comments are equal; half of the customers have none."""
    first, second = random.integers(0, len(texts), (2, rows))
    tickets = random.integers(10_000, 99_999, rows)
    comments = [f"{texts[a]} {texts[b]} Ticket {n}." for a, b, n in zip(first, second, tickets, strict=True)]
    return pd.Series(comments, dtype="str").mask(random.random(rows) < 0.5)


def _sum_of_effects(frame: pd.DataFrame) -> NDArray[np.float64]:
    total = np.zeros(len(frame))
    for name in ("plan", "payment_method", "country", "sales_channel", "contract_months", "satisfaction"):
        texts = frame[name].astype("str").fillna("blank")
        total += texts.map(EFFECTS[name]).fillna(0.0).to_numpy(dtype=np.float64)
    interactions, numbers = EFFECTS["interactions"], EFFECTS["numbers"]
    is_paperless = frame["paperless_billing"].fillna(False).to_numpy(dtype=bool)
    is_invoiced = frame["payment_method"].eq("invoice").fillna(False).to_numpy(dtype=bool)
    signup = frame["signup_date"]
    ratio = np.log1p(frame["monthly_minutes"].fillna(200.0)) - np.log(frame["monthly_fee"]) - 2.3
    total += interactions["basic plan by invoice"] * (frame["plan"].eq("basic").to_numpy() & is_invoiced)
    total += interactions["paperless business"] * (frame["is_business"].to_numpy() & is_paperless)
    total += numbers["support_tickets"] * frame["support_tickets"].to_numpy()
    total += numbers["first year"] * (signup > pd.Timestamp(LAST_DAY) - pd.Timedelta(days=365)).to_numpy()
    total += numbers["signed up in November"] * signup.dt.month.eq(11).to_numpy()
    total += numbers["minutes per fee"] * ratio.to_numpy()
    return total
