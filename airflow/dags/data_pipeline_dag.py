"""Raw data to the rows that are trained on: ingest, validate, prepare.

Where the prepared rows have changed, the asset says so, and what waits for it starts. `schedule=None` starts it by hand
alone. Airflow would make up for the runs that were missed before; `catchup=False` does not.
"""

from datetime import timedelta

from airflow.sdk import DAG, Asset, CronTriggerTimetable
from winnow_airflow import WinnowOperator

CONFIG = "experiments/weather/weather.yaml"
PREPARED = Asset("winnow://weather/prepared")
# Without `run_immediately`, Airflow starts a run that was missed within a tenth of the time between two.
TIMES = CronTriggerTimetable("0 0 * * *", timezone="UTC", run_immediately=timedelta(0))

with DAG(
    "weather_data_pipeline",
    schedule=TIMES,
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(seconds=60)},
    tags=["winnow", "weather"],
    doc_md=__doc__,
):
    ingest = WinnowOperator(task_id="ingest", verb="ingest", flags={"config": CONFIG, "json": True})
    validate = WinnowOperator(task_id="validate", verb="validate", flags={"config": CONFIG, "json": True})
    prepare = WinnowOperator(
        task_id="prepare",
        verb="prepare",
        flags={"config": CONFIG, "json": True},
        skips_where={"state": "unchanged"},
        outlets=[PREPARED],
    )
    ingest >> validate >> prepare
