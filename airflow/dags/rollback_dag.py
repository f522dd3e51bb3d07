"""Serve the version before the current one again. By hand, with the reason that the model's history keeps."""

from airflow.sdk import DAG, Param
from winnow_airflow import WinnowOperator

CONFIG = "experiments/weather/weather.yaml"

with DAG(
    "weather_rollback",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    params={
        "reason": Param("by hand", type="string", minLength=1, description="For the model's history."),
        "stage": Param("", type="string", description="Stage, from `serving.stages`; empty for none."),
    },
    tags=["winnow", "weather"],
    doc_md=__doc__,
):
    WinnowOperator(
        task_id="roll_back",
        verb="rollback",
        flags={
            "config": CONFIG,
            "platform": "local",
            "stage": "{{ params.stage }}",
            "reason": "{{ params.reason }}",
        },
        retries=0,  # a second try would go back one version more
        deferrable=False,
    )
