"""A model trains on what Feast joins: each row gets the features of its own time, and none from after it."""

from __future__ import annotations

import csv
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from tests.e2e.feast_repository import NOW, VIEWS, Repository, make_repository, same
from tests.e2e.models import address
from tests.tools import installed
from winnow.cli import winnow
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.settings import Settings
from winnow.orchestrators.data_source import resolve_source

pytestmark = [pytest.mark.tools("feast"), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def feast() -> Path:
    return installed("feast").with_name("feast")


@pytest.fixture(scope="module")
def repository(feast: Path, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    made = make_repository(tmp_path_factory.mktemp("feast") / "features", feast)
    pq.write_table(pa.Table.from_pylist(made.rows), made.folder / "trips.parquet")
    write_csv(made.folder / "trips.csv", made.rows)
    return made


def write_csv(file: Path, rows: list[dict[str, Any]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "event_timestamp": row["event_timestamp"].isoformat()} for row in rows)


def described(repository: Repository, service: str = "trips", **data: Any) -> dict[str, Any]:
    source = {"source": f"feast:{repository.folder}#{service}", "entities": str(repository.folder / "trips.csv")}
    return {
        "name": "late-trips",
        "data": {**source, "target": "late", **data},
        "model": {"factory": "winnow.models:linear"},
        "search": {"space": {"lr": {"float": [0.01, 0.1]}}, "trials": 1, "metric": {"name": "auroc"}},
        "cross_validation": {"folds": 2},
        "training": {"epochs": 2},
        "execution": {"workers": 1},
    }


def joined(
    repository: Repository, home: Path, service: str = "trips", **data: Any
) -> tuple[Path, list[dict[str, Any]]]:
    experiment = Experiment.model_validate(described(repository, service, **data))
    found, _ = resolve_source(experiment, Settings.from_environment({"WINNOW_HOME": str(home)}))
    file = Path(found.data.shown_source)
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return file, rows


def test_every_row_gets_the_features_of_its_own_time_as_a_search_through_all_values_finds_them(
    repository: Repository, tmp_path: Path
) -> None:
    file, found = joined(repository, tmp_path)
    names = [name for _, _, features in VIEWS.values() for name in features]
    expected = [repository.expected(row) for row in repository.rows]
    assert list(found[0]) == ["distance", "late", *names]
    assert [row["distance"] for row in found] == [row["distance"] for row in repository.rows]
    wrong = [
        index
        for index, (got, right) in enumerate(zip(found, expected, strict=True))
        if not all(same(got[name], right[name]) for name in names)
    ]
    assert wrong == []
    missing = {name: sum(row[name] is None for row in expected) for name in names}
    assert 0 < missing["rating"] < 1_000 and 0 < missing["demand"] < 1_000
    typed, _ = joined(repository, tmp_path, entities=str(repository.folder / "trips.parquet"))
    assert typed == file  # the same rows, from a file that keeps types


def test_a_value_from_after_the_event_is_not_used_where_a_naive_join_would_use_it(
    repository: Repository, tmp_path: Path
) -> None:
    row = next(row for row in reversed(repository.rows) if repository.expected(row)["demand"] is not None)
    leaking = {"region_code": row["region_code"], "at": NOW + timedelta(hours=1), "demand": 1e9, "weather": "leaked"}
    history = [*repository.histories["region_stats"], leaking]
    leaky = replace(
        repository, folder=tmp_path / "features", histories={**repository.histories, "region_stats": history}
    )
    shutil.copytree(repository.folder, leaky.folder)
    pq.write_table(pa.Table.from_pylist(history), leaky.folder / "data" / "region_stats.parquet")
    write_csv(leaky.folder / "trips.csv", [row])
    _, found = joined(leaky, tmp_path)
    assert leaky.expected(row, is_naive=True)["weather"] == "leaked"
    assert found[0]["demand"] == repository.expected(row)["demand"]


def test_a_feature_that_is_made_on_demand_is_made_from_those_of_the_rows_time(
    repository: Repository, tmp_path: Path
) -> None:
    _, found = joined(repository, tmp_path, "rated_trips")
    experiment = Experiment.model_validate(described(repository, "rated_trips"))
    _, lineage = resolve_source(experiment, Settings.from_environment({"WINNOW_HOME": str(tmp_path)}))
    kinds = {"distance": "double", "driver_id": "int64"}
    assert json.loads(lineage["winnow.data.feast_keys"]) == kinds
    rated = [row["rated_distance"] for row in found]
    stored = [(repository.expected(row)["rating"], row["distance"]) for row in repository.rows]
    assert all(
        same(got, None if rating is None else rating * km) for got, (rating, km) in zip(rated, stored, strict=True)
    )


def test_keys_and_times_are_columns_only_where_another_key_names_them(repository: Repository, tmp_path: Path) -> None:
    _, found = joined(repository, tmp_path, time="event_timestamp", group="region_code")
    first = repository.rows[0]
    assert (found[0]["event_timestamp"], found[0]["region_code"]) == (
        first["event_timestamp"].replace(tzinfo=None), first["region_code"],
    )  # fmt: skip
    assert "driver_id" not in found[0]


def refused(repository: Repository, home: Path, service: str = "trips", **data: Any) -> str:
    with pytest.raises(InputError) as error:
        joined(repository, home, service, **data)
    assert not home.exists()
    return str(error.value)


def test_what_cannot_be_joined_is_refused_and_leaves_nothing(repository: Repository, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert refused(repository, home, "trip") == (
        "data.source: expected a feature service of the project trips, found 'trip'. "
        "Its services are rated_trips, trips."
    )
    rows = [{**row, "driver": row["driver_id"]} for row in repository.rows[:3]]
    keyless = [{key: value for key, value in row.items() if key != "driver_id"} for row in rows]
    write_csv(tmp_path / "keyless.csv", keyless)
    assert refused(repository, home, entities=str(tmp_path / "keyless.csv")) == (
        "data.entities: expected a column with the entity key 'driver_id' of the feature view driver_stats, found "
        "columns region_code, event_timestamp, distance, late, driver. Add it, or name another service."
    )
    write_csv(tmp_path / "text.csv", [{**row, "driver_id": "Ada"} for row in rows])
    assert "data.entities: expected values of type int64 in column 'driver_id', found" in refused(
        repository, home, entities=str(tmp_path / "text.csv")
    )
    write_csv(tmp_path / "both.csv", [{**row, "rating": 1} for row in rows])
    assert "found 'rating' in both" in refused(repository, home, entities=str(tmp_path / "both.csv"))
    assert sorted(each.name for each in repository.folder.iterdir() if each.name != "__pycache__") == [
        "data", "definitions.py", "feature_store.yaml", "trips.csv", "trips.parquet",
    ]  # fmt: skip


def test_a_repository_that_is_not_applied_is_refused_and_gets_no_registry(
    repository: Repository, tmp_path: Path
) -> None:
    bare = replace(repository, folder=tmp_path / "bare")
    bare.folder.mkdir()
    for name in ("feature_store.yaml", "definitions.py", "trips.csv"):
        (bare.folder / name).write_bytes((repository.folder / name).read_bytes())
    assert f"Call `feast apply` in {bare.folder}." in refused(bare, tmp_path / "home")
    assert not (bare.folder / "data").exists()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def run(*arguments: str) -> str:
    done = CliRunner().invoke(winnow, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@contextmanager
def feature_server(file: Path, port: int) -> Iterator[None]:
    """`winnow feature-server`, from when it answers."""
    command = [sys.executable, "-m", "winnow", "feature-server", "--config", str(file), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            assert process.poll() is None
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


def test_a_model_trains_on_joined_rows_and_answers_keys_with_the_features_of_now(
    repository: Repository, feast: Path, home: Path, tmp_path: Path
) -> None:
    file = tmp_path / "late.yaml"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    features = {"url": f"http://127.0.0.1:{port}", "service": "trips", "keys": ["driver_id", "region_code"]}
    serving = {"features": {**features, "timeout_s": 10, "fallback": {"rating": 0.5, "trips": None}}}
    given = described(repository, time="event_timestamp", read={"delimiter": ","})
    file.write_text(yaml.safe_dump({**given, "serving": serving}))
    run("train", "--config", str(file))
    tags = mlflow.MlflowClient(f"sqlite:///{home / 'mlflow.db'}").search_runs(["1"])[0].data.tags
    assert tags["winnow.data.feast"] == "features#trips"
    assert len(tags["winnow.data.feast_definition"]) == 64
    assert json.loads(tags["winnow.data.feast_keys"]) == {"driver_id": "int64", "region_code": "string"}
    assert (home / "data" / "late-trips" / "feast" / f"{tags['winnow.data.version']}.parquet").is_file()
    assert tags["winnow.data.source"].endswith(f"entities={repository.folder / 'trips.csv'}")
    run("select-model", "--config", str(file))
    end = (NOW + timedelta(days=1)).isoformat()
    loading = [feast, "materialize", (NOW - timedelta(days=11)).isoformat(), end]
    subprocess.run(loading, cwd=repository.folder, check=True, capture_output=True)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**given, "serving": {"features": {**features, "keys": ["driver_id", "region"]}}}))
    with pytest.raises(InputError, match=r"serving\.features\.keys: expected the keys of the service"):
        run("prod", "--config", str(wrong))
    url = address(run("prod", "--config", str(file)))
    try:
        asked = {"distance": 5.0, "driver_id": 1001, "region_code": "001"}
        row = {"event_timestamp": NOW, **asked}
        stored = {"distance": 5.0, **repository.expected(row, is_naive=True)}
        unknown = {**asked, "driver_id": 9_999}
        with feature_server(file, port):
            body = {"rows": [stored, asked, unknown, {**stored, "rating": 0.5, "trips": None}]}
            answer = httpx.post(f"{url}/predict", json=body, timeout=30).json()
            mistyped = httpx.post(f"{url}/predict", json={"rows": [{**asked, "driver_id": "1001"}]}, timeout=30)
            assert httpx.post(f"{url}/predict", json={"rows": [{**asked, "driver_id": 1001.0}]}, timeout=30).is_success
        detail = 'rows[0]: key "driver_id": expected a whole number of 64 bits, found a string'
        assert (mistyped.status_code, mistyped.json()["detail"]) == (422, detail)
        plain, keyed, filled, expected = answer["probabilities"]
        assert (keyed, filled) == (plain, expected)
        assert answer["fallback"] == [
            {"column": name, "reason": "not_found", "rows": [2]} for name in ("rating", "trips")
        ]
        refused = httpx.post(f"{url}/predict", json={"rows": [asked]}, timeout=30)
        assert (refused.status_code, refused.json()["type"]) == (503, "/docs#features-unavailable")
        assert httpx.post(f"{url}/predict", json={"rows": [stored]}).json()["probabilities"] == [plain]
    finally:
        run("prod-remove", "--config", str(file))
