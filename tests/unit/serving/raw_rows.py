"""Random raw rows of the table `bundles.TABLE`, and every request that holds them."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
from hypothesis import strategies as st

from tests.unit.serving.bundles import TABLE
from winnow.serving import codec
from winnow.serving.inference_codec import DATATYPE_OF

Row = dict[str, Any]
Request = tuple[str, str, bytes]
"""The protocol, the media type, and the body."""

NAMES = [column.name for column in TABLE]
_numbers = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)
_times = st.datetimes().map(lambda moment: moment.replace(microsecond=0).isoformat())
VALUES = {
    "plan": st.sampled_from(["basic", "pro", 'the "big" one, €', "unknown", "Pro", " pro", "3", "true", "x,y\nz"]),
    "seats": st.sampled_from([1, 3, 10, 4, -1, 2**40]),
    "trial": st.booleans(),
    "paid": st.booleans(),
    "signup": st.dates().map(lambda day: day.isoformat()),
    "last seen": _times | _times.map(lambda text: text.replace("T", " ")) | st.just("2026-11-21T09:30:00Z"),
    "spent": _numbers | st.integers(-1000, 1000),
    "calls": st.integers(-(2**31), 2**31),
}
_row = st.tuples(*(st.none() | VALUES[name] for name in NAMES)).map(lambda cells: dict(zip(NAMES, cells, strict=True)))
rows = st.lists(_row, min_size=1, max_size=4)


def csv_body(records: list[Row], *, booleans: tuple[str, str] = ("False", "True")) -> bytes:
    """As pandas writes it; blanks are empty."""

    def field(value: Any) -> Any:
        return booleans[value] if isinstance(value, bool) else "" if value is None else value

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", *NAMES])
    writer.writerows([[index, *(field(value) for value in row.values())] for index, row in enumerate(records)])
    return text.getvalue().encode()


def inference(records: list[Row]) -> dict[str, Any]:
    """A request of the Open Inference Protocol with a tensor per column."""
    tensors = [
        {
            "name": column.name,
            "shape": [len(records), 1],
            "datatype": "FP64" if column.dtype == "double" else DATATYPE_OF[column.dtype],
            "data": [[row[column.name]] for row in records],
        }
        for column in TABLE
    ]
    return {"inputs": tensors}


def requests(records: list[Row]) -> list[Request]:
    """Every protocol and form with these rows."""
    cells = [list(row.values()) for row in records]
    by_column = {name: [row[name] for row in records] for name in NAMES}
    turned = [{"id": "x", **dict(reversed(row.items()))} for row in records]
    other_order = {"columns": ["id", *reversed(NAMES)], "data": [["x", *reversed(row)] for row in cells]}
    flat = inference(records)
    for tensor in flat["inputs"]:
        tensor |= {"shape": [len(records)], "data": [value for (value,) in tensor["data"]]}
    encode = msgspec.json.encode
    return [
        ("predict", codec.JSON, encode({"rows": records})),
        ("predict", codec.JSON, encode({"rows": cells})),
        ("predict", codec.JSON, encode({"rows": [records[0], *cells[1:]]})),
        ("invocations", codec.JSON, encode({"dataframe_split": {"columns": NAMES, "data": cells}})),
        ("invocations", codec.JSON, encode({"dataframe_split": {"data": cells}})),
        ("invocations", codec.JSON, encode({"dataframe_split": other_order})),
        ("invocations", codec.JSON, encode({"dataframe_records": records})),
        ("invocations", codec.JSON, encode({"dataframe_records": turned})),
        ("invocations", codec.JSON, encode({"instances": cells})),
        ("invocations", codec.JSON, encode({"instances": records})),
        ("invocations", codec.JSON, encode({"inputs": cells})),
        ("invocations", codec.JSON, encode({"inputs": by_column})),
        ("invocations", codec.CSV, csv_body(records)),
        ("invocations", codec.CSV, csv_body(records, booleans=("false", "true"))),
        ("inference", codec.JSON, encode(inference(records))),
        ("inference", codec.JSON, encode(flat)),
    ]
