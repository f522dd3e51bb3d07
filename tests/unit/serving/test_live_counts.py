"""What a replica counts of its requests."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.serving import bundles
from tests.unit.serving.asgi import JSON, call
from winnow.bundle.manifest import read_manifest, sha256_of, write_manifest
from winnow.bundle.profile import PROFILE, ColumnCounts, ColumnProfile, Profile, write_profile
from winnow.monitoring.exposition import replica_counts
from winnow.serving.app import App
from winnow.serving.live_counts import LiveCounts
from winnow.serving.predictor import Predictor
from winnow.serving.server import load_app
from winnow.serving.settings import ServingSettings
from winnow.serving.signature import signature_of

INPUTS = (
    ColumnProfile("mean radius", "number", ColumnCounts((3, 2, 1), total=1.5), edges=(1.0, 2.0), centre=1.5),
    ColumnProfile("mean texture", "number", ColumnCounts((6,), missing=1)),
)
OUTPUTS = (
    ColumnProfile("prediction", "category", ColumnCounts((2, 4)), labels=bundles.CLASSES),
    ColumnProfile("confidence", "number", ColumnCounts((3, 3)), edges=(0.75,), centre=0.75),
)


def with_profile(folder: Path, inputs: Sequence[ColumnProfile] = INPUTS) -> Path:
    bundles.classification(folder)
    return profiled(folder, Profile(6, tuple(inputs), OUTPUTS, 6, "holdout"))


def profiled(folder: Path, profile: Profile) -> Path:
    write_profile(folder, profile)
    manifest = read_manifest(folder)
    files = {**manifest.files, PROFILE: sha256_of(folder / PROFILE)}
    write_manifest(folder, msgspec.structs.replace(manifest, files=files))
    return folder


@contextmanager
def counting_app(folder: Path) -> Iterator[App]:
    app = load_app(folder, "3", ServingSettings())
    try:
        yield app
    finally:
        app.close()


def exposed(app: App, rows: int) -> str:
    """The metrics, which count so many rows."""
    text = call(app, "GET", "/metrics").body.decode()
    assert f"winnow_counted_rows_total {rows}\n" in text
    return text


def test_requests_are_counted_in_the_bins_of_the_profile(tmp_path: Path) -> None:
    with counting_app(with_profile(tmp_path)) as app:
        call(app, "POST", "/predict", {"rows": [[1, 2, 3], [2.5, None, 3]]}, JSON)
        answer = call(app, "POST", "/predict", {"rows": [[1.5, 2, 3]]}, JSON).json
        wrong = call(app, "POST", "/predict", {"rows": [["x", 2, 3]]}, JSON)
        text = exposed(app, 3)
    counts = replica_counts(text, time.time()).counts
    assert wrong.status == 422
    assert counts.columns == {
        "mean radius": ColumnCounts((1, 1, 1), total=0.5, square_total=1.25),
        "mean texture": ColumnCounts((2,), missing=1),
    }
    predicted = counts.outputs["prediction"]
    assert (predicted.rows, predicted.bins[bundles.CLASSES.index(answer["predictions"][0])] > 0) == (3, True)
    assert f'winnow_predictions_total{{prediction="benign"}} {predicted.bins[1]}\n' in text
    assert counts.outputs["confidence"].rows == counts.rows == 3


def test_every_series_exists_before_the_first_request_with_what_it_is_compared_with(tmp_path: Path) -> None:
    with counting_app(with_profile(tmp_path)) as app:
        lines = exposed(app, 0).splitlines()
    expected = {
        'winnow_feature_values_total{bin="02",column="mean radius"} 0',
        'winnow_feature_values_total{bin="unknown",column="mean texture"} 0',
        'winnow_feature_reference{bin="02",column="mean radius"} 1',
        'winnow_feature_reference{bin="missing",column="mean texture"} 1',
        'winnow_feature_reference_mean{column="mean radius"} 1.75',
        'winnow_output_values_total{bin="01",output="prediction"} 0',
        'winnow_predictions_total{prediction="benign"} 0',
        "winnow_uncounted_rows_total 0",
    }
    assert expected - set(lines) == set()


def test_rows_beyond_the_time_for_counting_are_left_out_and_counted_as_such(tmp_path: Path) -> None:
    predictor = Predictor(with_profile(tmp_path))
    assert predictor.profile is not None
    time, used = [0.0], itertools.count()  # each count takes a second of the processor
    counts = LiveCounts(predictor.signature, predictor.profile, share=0.01, now=lambda: time[0], used=used.__next__)
    seen = []
    for time[0], rows in ((0, 4), (70, 50), (80, 2), (81, 3)):
        counts.add(np.zeros((rows, 3), np.float32), np.zeros((rows, 2), np.float32))
        text = counts.exposition().decode()
        seen.append([text.split(f"\nwinnow_{name}_rows_total ")[1].split()[0] for name in ("counted", "uncounted")])
    assert seen == [["4", "0"], ["4", "50"], ["6", "50"], ["6", "53"]]


def test_rows_of_a_table_are_counted_whose_dates_are_several_numbers(tmp_path: Path) -> None:
    inputs = (
        ColumnProfile("signup", "date", ColumnCounts((6,))),
        ColumnProfile("calls", "number", ColumnCounts((3, 3)), edges=(3.0,), centre=3.0),
    )
    outputs = (ColumnProfile("prediction", "category", ColumnCounts((2, 4)), labels=("yes", "no")),)
    folder = profiled(bundles.mixed(tmp_path), Profile(6, inputs, outputs, 6, "holdout"))
    with counting_app(folder) as app:
        answer = call(app, "POST", "/predict", {"rows": [bundles.TABLE_ROW]}, JSON)
        found = replica_counts(exposed(app, 1), 0).counts
    assert (answer.status, found.columns["calls"].bins) == (200, (0, 1))


def test_a_request_that_cannot_be_counted_is_left_out_and_raises_nothing(tmp_path: Path) -> None:
    predictor = Predictor(with_profile(tmp_path))
    assert predictor.profile is not None
    counts = LiveCounts(predictor.signature, predictor.profile)
    counts.add(np.zeros((2, 4), np.float32), np.zeros((2, 2), np.float32))
    assert "\nwinnow_uncounted_rows_total 2\n" in counts.exposition().decode()


@pytest.mark.parametrize("rows", [1, 7, 600, 5000])
def test_a_request_of_any_size_is_counted_once(tmp_path: Path, rows: int) -> None:
    predictor = Predictor(with_profile(tmp_path))
    assert predictor.profile is not None
    counts = LiveCounts(predictor.signature, predictor.profile)
    matrix = np.random.default_rng(0).normal(1.5, size=(rows, 3)).astype(np.float32)
    for _ in range(3):
        counts.add(matrix, predictor.outputs(matrix))
    found = replica_counts(f'winnow_model_info{{name="m"}} 1\n{counts.exposition().decode()}', 0).counts
    bins = 3 * np.histogram(matrix[:, 0], [-np.inf, 1, 2, np.inf])[0]
    assert (found.rows, found.columns["mean radius"].bins) == (3 * rows, tuple(bins))


def test_every_client_of_prometheus_reads_the_series_whatever_the_columns_names(tmp_path: Path) -> None:
    name = 'a "name" of 100 %s\\ and\nmore'
    profile = Profile(6, (ColumnProfile(name, "number", ColumnCounts((4, 2)), edges=(1.0,)),), OUTPUTS, 6, "holdout")
    manifest = msgspec.structs.replace(read_manifest(bundles.classification(tmp_path)), feature_names=(name, "b", "c"))
    counts = LiveCounts(signature_of(manifest, "1"), profile)
    text = counts.exposition().decode()
    families = {each.name: each for each in text_string_to_metric_families(text)}
    assert {each.labels["column"] for each in families["winnow_feature_values"].samples} == {name}
    assert [each.value for each in families["winnow_feature_reference"].samples] == [4, 2, 0, 0]
    assert {each.type for each in families.values()} == {"counter", "gauge"}
    assert set(replica_counts(f'winnow_model_info{{name="m"}} 1\n{text}', 0).counts.columns) == {name}


def test_a_bundle_without_a_profile_is_served_and_counts_nothing(bundle_folder: Path) -> None:
    with counting_app(bundle_folder / "classification") as app:
        assert call(app, "POST", "/predict", {"rows": [[1, 2, 3]]}, JSON).status == 200
        assert b"winnow_feature" not in call(app, "GET", "/metrics").body


def test_the_number_of_series_depends_on_the_profile_alone(tmp_path: Path) -> None:
    with counting_app(with_profile(tmp_path)) as app:
        before = exposed(app, 0)
        rows = np.geomspace(1e-9, 1e30, 50).tolist()
        call(app, "POST", "/predict", {"rows": [[value, None, -value] for value in rows]}, JSON)
        after = exposed(app, 50)
    assert after.count("winnow_feature") == before.count("winnow_feature")
