"""Run by Airflow's interpreter: `python airflow_runs.py '[["dag_id", {conf}], …]'` runs DAGs one after the other.

Prints a line for each: the DAG run's state, its tasks' states, and what they returned. `structure` instead of the JSON
prints each DAG's schedule, tasks and edges, and the import errors.
"""

from __future__ import annotations

import json
import os
import sys

from airflow.dag_processing.dagbag import DagBag

MARK = "RESULT "


def structure(bag: DagBag) -> dict[str, object]:
    """What the DAG files say."""
    dags = {
        name: {
            "schedule": type(dag.timetable).__name__,
            "catchup": dag.catchup,
            "max_active_runs": dag.max_active_runs,
            "edges": sorted([task.task_id, each] for task in dag.tasks for each in task.downstream_task_ids),
            "tasks": sorted(dag.task_ids),
        }
        for name, dag in bag.dags.items()
    }
    return {"dags": dags, "errors": bag.import_errors}


def main() -> None:
    """Do what the argument says."""
    bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    if sys.argv[1] == "structure":
        print(MARK + json.dumps(structure(bag)))
        return
    for name, conf in json.loads(sys.argv[1]):
        run = bag.dags[name].test(run_conf=conf)
        tasks = run.get_task_instances()
        states = {task.task_id: str(task.state) for task in tasks}
        print(MARK + json.dumps({"dag": name, "state": str(run.state), "tasks": states}), flush=True)


main()
