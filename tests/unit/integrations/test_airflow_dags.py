"""DAGs of Airflow, rendered from an experiment. `tests/e2e/test_airflow_dags.py` has Airflow read and run them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from winnow import integrations
from winnow.config.errors import InputError

EXPERIMENT = """
name: wine-2
data: {source: "sklearn:wine"}
model: {factory: "winnow.models:mlp"}
search: {space: {lr: {float: [0.001, 0.1]}}, trials: 2, metric: f1}
"""
GATES = """
gates: {staging: [{type: metric, metric: f1, min: 0.5}], production: [{type: metric, metric: f1, min: 0.6}]}
"""


def written(tmp_path: Path, more: str = "", rules: Path | None = None) -> dict[str, str]:
    file = tmp_path / "wine.yaml"
    file.write_text(EXPERIMENT + more)
    made = integrations.airflow_dags(file, rules=rules, output=tmp_path / "dags", force=True)
    return {path.name: path.read_text() for path in made}


def schedule_of(text: str) -> str:
    """The schedule of the DAG in a file, with the times that it names."""
    nodes = list(ast.walk(ast.parse(text)))
    named = {ast.unparse(each.targets[0]): ast.unparse(each.value) for each in nodes if isinstance(each, ast.Assign)}
    schedule = next(
        ast.unparse(word.value)
        for call in nodes
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "DAG"
        for word in call.keywords
        if word.arg == "schedule"
    )
    return schedule.replace("TIMES", named.get("TIMES", ""))


def times(cron: str) -> str:
    return f"CronTriggerTimetable('{cron}', timezone='UTC', run_immediately=timedelta(0))"


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", "None"),
        ("retrain: weekly", times("0 0 * * 1")),
        ("retrain: {schedule: '30 2 * * *'}", times("30 2 * * *")),
    ],
)
def test_training_has_the_schedule_of_retraining(tmp_path: Path, more: str, expected: str) -> None:
    assert schedule_of(written(tmp_path, more)["continuous_training_dag.py"]) == expected


def test_training_of_prepared_rows_also_waits_for_the_asset() -> None:
    shipped = Path(__file__).parents[3] / "airflow" / "dags" / "continuous_training_dag.py"
    assert schedule_of(shipped.read_text()) == (
        f"AssetOrTimeSchedule(timetable={times('0 0 * * *')}, assets=[PREPARED])"
    )


def test_each_stage_with_gates_is_a_task(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(GATES)

    training = written(tmp_path, rules=rules)["continuous_training_dag.py"]

    assert 'for stage in ["staging", "production"]' in training
    assert f'RULES = "{rules}"' in training


def test_the_task_that_makes_a_champion_says_so_by_an_asset(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(GATES)

    assert "outlets=[CHAMPION],\n" in written(tmp_path)["continuous_training_dag.py"]
    assert "outlets=[],\n" in written(tmp_path, rules=rules)["continuous_training_dag.py"]


def test_two_more_dags_serve_on_azure(tmp_path: Path) -> None:
    file = tmp_path / "wine.yaml"
    file.write_text(EXPERIMENT)
    made = {path.name: path.read_text() for path in integrations.airflow_dags(file, output=tmp_path / "d", azure=True)}

    assert sorted(made.keys() - written(tmp_path).keys()) == [
        "azure_automated_rollout_dag.py",
        "azure_manual_deploy_dag.py",
    ]
    assert schedule_of(made["azure_automated_rollout_dag.py"]) == "[Asset('winnow://wine-2/champion')]"
    assert schedule_of(made["azure_manual_deploy_dag.py"]) == "None"


def test_without_raw_data_no_dag_prepares_rows_and_no_name_is_undefined(tmp_path: Path) -> None:
    dags = written(tmp_path)

    assert sorted(dags) == ["continuous_training_dag.py", "deployment_dag.py", "rollback_dag.py"]
    for text in dags.values():
        tree = ast.parse(text)
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        imported = {each.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for each in node.names}
        known = imported | {node.id for node in names if isinstance(node.ctx, ast.Store)} | {"__doc__"}
        assert {node.id for node in names if isinstance(node.ctx, ast.Load)} <= known


def test_a_file_that_was_changed_is_not_overwritten(tmp_path: Path) -> None:
    written(tmp_path)
    changed = tmp_path / "dags" / "rollback_dag.py"
    changed.write_text("mine")
    (tmp_path / "dags" / "deployment_dag.py").unlink()

    with pytest.raises(InputError, match=r"rollback_dag.py: expected a file that does not exist yet, or the same"):
        integrations.airflow_dags(tmp_path / "wine.yaml", output=tmp_path / "dags")

    assert changed.read_text() == "mine"
    assert not (tmp_path / "dags" / "deployment_dag.py").exists()


def test_a_name_leaves_room_for_the_time_of_the_run(tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    file.write_text(EXPERIMENT.replace("wine-2", "w" * 42))
    with pytest.raises(InputError, match="name: expected at most 41 characters, because each run of the training"):
        integrations.airflow_dags(file, output=tmp_path / "dags")
    assert not (tmp_path / "dags").exists()
    file.write_text(EXPERIMENT.replace("wine-2", "w" * 41))
    assert integrations.airflow_dags(file, output=tmp_path / "dags")
