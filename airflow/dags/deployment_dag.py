"""Serve the champion by the experiment's strategy, wait for the verdict, and go back where it answers badly afterwards.

A rollout that is aborted has gone back by itself: the verdict then fails.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param
from winnow_airflow import VerdictSensor, WinnowOperator

CONFIG = "experiments/weather/weather.yaml"

with DAG(
    "weather_deployment",
    schedule=None,  # by hand, or by another DAG
    catchup=False,
    max_active_runs=1,  # a stage is changed by one run at a time
    default_args={"retries": 2, "retry_delay": timedelta(seconds=60)},
    params={
        "stage": Param("", type="string", description="Stage, from `serving.stages`; empty for none."),
        "again": Param(False, type="boolean", description="Serve a version that was rolled back before."),
    },
    render_template_as_native_obj=True,
    tags=["winnow", "weather"],
    doc_md=__doc__,
):
    where = {"config": CONFIG, "platform": "local", "stage": "{{ params.stage }}"}
    roll_out = WinnowOperator(
        task_id="roll_out", verb="prod", flags={**where, "detach": True, "again": "{{ params.again }}"}
    )
    verdict = VerdictSensor(task_id="verdict", flags=where, poke_interval=30, timeout=timedelta(days=7))
    # Exit status 3 says that an alarm holds. Without one, nothing follows.
    alarms = WinnowOperator(
        task_id="alarms",
        verb="monitor",
        flags={**where, "json": True},
        not_passed="pass",
        skips_where={"alarms": []},
    )
    roll_back = WinnowOperator(
        task_id="roll_back",
        verb="rollback",
        flags={**where, "reason": "an alarm after {{ run_id }}"},
        retries=0,  # a second try would go back one version more
        deferrable=False,
    )
    roll_out >> verdict >> alarms >> roll_back
