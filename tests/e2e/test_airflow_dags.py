"""The DAGs of an experiment, run by Airflow itself on SQLite: `dag.test()` runs tasks, triggers and sensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.airflow_project import REPOSITORY, WINE, Project, project_of, weather
from winnow import integrations
from winnow.platforms.local.deployer import LocalDeployer

pytestmark = pytest.mark.tools("airflow")

GATES = """
gates: {staging: [{type: metric, metric: f1, min: 0.001}], production: [{type: metric, metric: f1, min: 0.999}]}
"""


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
    story = json.loads(project.winnow("why", "--name", "weather", "--json"))
    lineage, tags = story["origin"]["lineage"], story["origin"]["tags"]
    assert lineage["winnow.data.ingested_by"].startswith("airflow.dag=weather_data_pipeline, airflow.run=manual__")
    assert lineage["winnow.data.prepared_by"] == lineage["winnow.data.ingested_by"]
    assert tags["airflow.dag"] == "weather_continuous_training" and tags["airflow.param.trials"] == "2"
    [rollout] = [each["text"] for each in story["events"] if each["kind"] == "rollout"]
    assert "airflow.dag=weather_deployment, airflow.run=manual__" in rollout


def test_a_dag_run_does_not_touch_a_deployment_that_another_process_changes(project: Project) -> None:
    with LocalDeployer(project.folder / ".winnow").held("weather"):
        [found] = project.run(json.dumps([["weather_deployment", {}]]))

    assert (found["state"], found["tasks"]["roll_out"], found["tasks"]["verdict"]) == (
        "failed",
        "failed",
        "upstream_failed",
    )


def test_a_version_is_promoted_to_the_stages_whose_gates_it_passes(project: Project) -> None:
    (project.folder / "wine.yaml").write_text(WINE)
    (project.folder / "rules.yaml").write_text(GATES)
    project.winnow("airflow-dags", "--config", "wine.yaml", "--rules", "rules.yaml", "--output", "wine-dags")
    wine = project_of(project.folder, project.folder / "wine-dags")

    [found] = wine.run(json.dumps([["wine_continuous_training", {"trials": 1}]]))

    assert (found["state"], found["tasks"]) == (
        "success",
        {"train": "success", "select": "success", "promote_to_staging": "success", "promote_to_production": "skipped"},
    )
    story = json.loads(project.winnow("why", "--name", "wine", "--alias", "staging", "--json"))
    assert story["aliases"] == ["candidate", "staging"]
    assert all("wine_continuous_training" in each["text"] for each in story["events"] if each["kind"] == "gates")


def test_a_missing_connection_fails_the_task_with_the_command_that_makes_it(project: Project) -> None:
    env = {name: value for name, value in project.env.items() if not name.startswith("AIRFLOW_CONN")}

    [found] = Project(project.folder, project.python, env).run(json.dumps([["weather_rollback", {}]]))

    assert (found["state"], found["tasks"]) == ("failed", {"roll_back": "failed"})
