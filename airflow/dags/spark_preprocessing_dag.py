"""The same rows by Spark, for data that one machine does not hold; then training.

The master is that of the connection's `env`, as SPARK_MASTER, else this machine's cores.
"""

from datetime import timedelta

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG
from winnow_airflow import WinnowOperator

CONFIG = "experiments/weather/weather.yaml"

with DAG(
    "weather_spark_preprocessing",
    schedule=None,  # by hand, or by another DAG
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
        flags={"config": CONFIG, "engine": "spark", "json": True},
        skips_where={"state": "unchanged"},
    )
    training = TriggerDagRunOperator(task_id="train", trigger_dag_id="weather_continuous_training")
    ingest >> validate >> prepare >> training
