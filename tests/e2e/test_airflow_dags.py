"""The DAGs of an experiment, run by Airflow itself on SQLite: `dag.test()` runs tasks, triggers and sensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.airflow_project import REPOSITORY, Project, weather
from winnow import integrations

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with weather(tmp_path_factory.mktemp("pipelines")) as made:
        yield made


def test_the_shipped_dags_are_those_of_the_weather_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)

    written = integrations.airflow_dags("experiments/weather/weather.yaml", output=tmp_path)

    shipped = {file.name: file.read_text() for file in sorted((REPOSITORY / "airflow" / "dags").glob("*.py"))}
    assert {file.name: file.read_text() for file in written} == shipped


def test_airflow_reads_all_dags_as_they_are_meant(project: Project) -> None:
    project.winnow("airflow-dags", "--config", "experiments/weather/weather.yaml", "--output", "dags", "--azure")
    assert project.run("structure") == [
        {
            "dags": {
                **{
                    f"weather_azure_{name}": {
                        "schedule": schedule,
                        "catchup": False,
                        "max_active_runs": 1,
                        "edges": [["roll_out", "verdict"]],
                        "tasks": ["roll_out", "verdict"],
                    }
                    for name, schedule in (
                        ("automated_rollout", "AssetTriggeredTimetable"),
                        ("manual_deploy", "NullTimetable"),
                    )
                },
                "weather_continuous_training": {
                    "schedule": "AssetOrTimeSchedule",
                    "catchup": False,
                    "max_active_runs": 1,
                    "edges": [["train", "select"]],
                    "tasks": ["select", "train"],
                },
                "weather_data_pipeline": {
                    "schedule": "CronTriggerTimetable",
                    "catchup": False,
                    "max_active_runs": 1,
                    "edges": [["ingest", "validate"], ["validate", "prepare"]],
                    "tasks": ["ingest", "prepare", "validate"],
                },
                "weather_deployment": {
                    "schedule": "NullTimetable",
                    "catchup": False,
                    "max_active_runs": 1,
                    "edges": [["alarms", "roll_back"], ["roll_out", "verdict"], ["verdict", "alarms"]],
                    "tasks": ["alarms", "roll_back", "roll_out", "verdict"],
                },
                "weather_rollback": {
                    "schedule": "NullTimetable",
                    "catchup": False,
                    "max_active_runs": 1,
                    "edges": [],
                    "tasks": ["roll_back"],
                },
                "weather_spark_preprocessing": {
                    "schedule": "NullTimetable",
                    "catchup": False,
                    "max_active_runs": 1,
                    "edges": [["ingest", "validate"], ["prepare", "train"], ["validate", "prepare"]],
                    "tasks": ["ingest", "prepare", "train", "validate"],
                },
            },
            "errors": {},
        }
    ]


def test_data_are_prepared_once_then_trained_on_and_served(project: Project) -> None:
    found = project.run(
        json.dumps(
            [
                ["weather_data_pipeline", {}],
                ["weather_data_pipeline", {}],
                ["weather_continuous_training", {"trials": 2}],
                ["weather_deployment", {}],
                ["weather_rollback", {"reason": "a try"}],
            ]
        )
    )

    success = "success"
    assert [(each["dag"], each["state"], each["tasks"]) for each in found] == [
        ("weather_data_pipeline", success, {"ingest": success, "validate": success, "prepare": success}),
        ("weather_data_pipeline", success, {"ingest": success, "validate": success, "prepare": "skipped"}),
        ("weather_continuous_training", success, {"train": success, "select": success}),
        (
            "weather_deployment",
            success,
            {"roll_out": success, "verdict": success, "alarms": "skipped", "roll_back": "skipped"},
        ),
        ("weather_rollback", "failed", {"roll_back": "failed"}),  # there is nothing to go back to
    ]
    [study] = json.loads(project.winnow("studies", "--json"))
    assert study["trials"]["complete"] == 2
    assert "airflow.dag" in project.winnow("why", "--name", "weather", "--json")


def test_a_missing_connection_fails_the_task_with_the_command_that_makes_it(project: Project) -> None:
    env = {name: value for name, value in project.env.items() if not name.startswith("AIRFLOW_CONN")}

    [found] = Project(project.folder, project.python, env).run(json.dumps([["weather_rollback", {}]]))

    assert (found["state"], found["tasks"]) == ("failed", {"roll_back": "failed"})
