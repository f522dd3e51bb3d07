"""The column codec."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from winnow.bundle.columns import Column, ColumnValueError, decode_row, slices_of, width_of

PLAN = Column("plan", "category", "string", ("basic", "pro"))
SEATS = Column("seats", "category", "long", ("1", "3"))
PAID = Column("paid", "boolean", "boolean")
SIGNUP = Column("signup", "date", "date")
SEEN = Column("seen", "date", "datetime")
SPENT = Column("spent")


def test_each_kind_has_its_numbers() -> None:
    assert PLAN.encode(["pro", "basic", "enterprise"]).tolist() == [[1], [0], [-1]]
    assert SEATS.encode([3, "1", 3.0, np.int64(1), 2]).tolist() == [[1], [0], [1], [0], [-1]]
    assert PAID.encode([True, 0, "false", "True", np.bool_(True)]).tolist() == [[1], [0], [0], [1], [1]]
    assert SPENT.encode([1, 2.5, np.float32(0.5)]).tolist() == [[1], [2.5], [0.5]]


def test_every_form_of_a_date_has_the_same_numbers() -> None:
    forms = [
        "2024-02-29",
        date(2024, 2, 29),
        datetime(2024, 2, 29),
        np.datetime64("2024-02-29"),
        pd.Timestamp("2024-02-29"),
    ]
    assert SIGNUP.encode(forms).tolist() == [[19782, 60, 3, 0]] * 5
    zoned = [
        "2024-02-29T23:30:00Z",
        "2024-03-01T00:30:00+01:00",
        datetime(2024, 2, 29, 23, 30, tzinfo=UTC),
        datetime(2024, 3, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))),
    ]
    assert SEEN.encode(zoned).tolist() == [[19782, 60, 3, 84600]] * 4


def test_a_text_that_stands_for_nothing_is_missing_unless_it_is_a_category() -> None:
    for column in (PLAN, SEATS, PAID, SIGNUP):
        assert np.isnan(column.encode(["", "NA", "null", "None"])).all()
    assert Column("pool", "category", "string", ("None", "big")).encode(["None", "NA"])[0].tolist() == [0]


def test_a_category_is_found_by_what_a_text_says_in_its_type() -> None:
    assert SEATS.encode(["3", "3.0", " 03", "1e0", "many"]).tolist() == [[1], [1], [1], [0], [-1]]
    assert Column("on", "category", "boolean", ("false", "true")).encode(["True", "0"]).tolist() == [[1], [0]]
    assert PLAN.encode(["Pro", " pro"]).tolist() == [[-1], [-1]]


@pytest.mark.parametrize("column", [PLAN, PAID, SIGNUP, SPENT], ids=lambda column: column.kind)
def test_every_form_of_a_missing_value_is_nan(column: Column) -> None:
    numbers = column.encode([None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "D"), np.float32("nan")])
    assert numbers.shape == (6, column.width)
    assert np.isnan(numbers).all()


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        (SPENT, "12", "a number"),
        (SPENT, True, "a number"),
        (PAID, "perhaps", "true or false"),
        (PAID, 2, "true or false"),
        (SIGNUP, "29.02.2024", "a date in ISO 8601, such as 2026-11-21 or 2026-11-21T09:30:00"),
        (SIGNUP, 19782, "a date in ISO 8601, such as 2026-11-21 or 2026-11-21T09:30:00"),
        (PLAN, ["pro"], "a text, a whole number or a boolean"),
    ],
)
def test_a_value_of_another_kind_is_refused_with_its_row(column: Column, value: object, expected: str) -> None:
    with pytest.raises(ColumnValueError) as caught:
        column.encode([None, value])
    assert (caught.value.row, caught.value.expected) == (1, expected)


def test_a_decoded_row_is_the_raw_row() -> None:
    columns = [PLAN, SEATS, PAID, SIGNUP, SEEN, SPENT]
    row = {
        "plan": "pro",
        "seats": 3,
        "paid": False,
        "signup": "2024-02-29",
        "seen": "1969-12-31T23:59:59",
        "spent": 2.5,
    }
    numbers = np.concatenate([column.encode([row[column.name]])[0] for column in columns]).astype(np.float32)
    assert len(numbers) == width_of(columns) == slices_of(columns)[-1].stop
    assert decode_row(columns, numbers) == row
    assert decode_row(columns, np.full(len(numbers), np.nan)) == dict.fromkeys(row)


def test_an_array_of_times_is_encoded_as_its_values_are() -> None:
    seconds = np.random.default_rng(0).integers(-(10**10), 10**10, 500)
    times = np.array([*seconds, 0, -1, 951_782_400], dtype="datetime64[s]")
    moments = np.array([*times, np.datetime64("NaT", "us")], dtype="datetime64[us]") + np.timedelta64(250_000, "us")
    np.testing.assert_array_equal(SEEN.encode(moments), SEEN.encode(list(moments)))
