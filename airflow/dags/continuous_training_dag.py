"""A new study, the selection of its best run, the gates, and the promotion of what passes them.

It starts at its times, and where the prepared rows have changed. An alarm starts it through Airflow's REST API, as the
command of `monitoring.alert`:

    python airflow/plugins/winnow_airflow/start_run.py weather_continuous_training --conf '{"trials": 20}'

Each run of the DAG trains a study of its own, so that no two runs train the same. A task that is tried again goes on
with its study at the fold; a backfill of a day that has a run finds its study finished.
"""

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, chain
from winnow_airflow import WinnowOperator

CONFIG = "experiments/weather/weather.yaml"
RULES = None
STUDY = "weather-{{ dag_run.run_after.strftime('%Y%m%dt%H%M%S%f') }}"
CHAMPION = Asset("winnow://weather/champion")
PREPARED = Asset("winnow://weather/prepared")
# Without `run_immediately`, Airflow starts a run that was missed within a tenth of the time between two.
TIMES = CronTriggerTimetable("0 0 * * *", timezone="UTC", run_immediately=timedelta(0))

with DAG(
    "weather_continuous_training",
    schedule=AssetOrTimeSchedule(timetable=TIMES, assets=[PREPARED]),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=60)},
    params={
        "trials": Param(None, type=["null", "integer"], minimum=1, description="Trials; by default the file's."),
        "workers": Param(None, type=["null", "integer"], minimum=1, description="Workers; by default the file's."),
    },
    render_template_as_native_obj=True,
    tags=["winnow", "weather"],
    doc_md=__doc__,
):
    train = WinnowOperator(
        task_id="train",
        verb="train",
        flags={
            "config": CONFIG,
            "study": STUDY,
            "platform": "local",
            "trials": "{{ params.trials }}",
            "workers": "{{ params.workers }}",
        },
    )
    select = WinnowOperator(
        task_id="select",
        verb="select-model",
        flags={"config": CONFIG, "rules": RULES, "study": STUDY, "json": True},
        not_passed="skip",
        outlets=[CHAMPION],
    )
    gates = [
        WinnowOperator(
            task_id=f"promote_to_{stage}",
            verb="promote-model",
            flags={"config": CONFIG, "rules": RULES, "stage": stage, "json": True},
            not_passed="skip",
            outlets=[CHAMPION] if stage == "production" else [],
        )
        for stage in []
    ]
    chain(train, select, *gates)
