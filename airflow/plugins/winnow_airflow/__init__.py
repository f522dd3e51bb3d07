"""Winnow's verbs as tasks of Airflow.

    from winnow_airflow import WinnowOperator

    WinnowOperator(task_id="train", verb="train", flags={"config": "experiments/churn.yaml"})

`winnow_airflow.containers` has the variants for Docker and Kubernetes, which need their providers.
"""

from winnow_airflow.sensors import NewDataSensor, VerdictSensor
from winnow_airflow.verb_operator import WinnowOperator

__all__ = ["NewDataSensor", "VerdictSensor", "WinnowOperator"]
