"""DAGs of Airflow that call winnow's verbs for one experiment: readable files, to be kept and changed.

They are rendered from the templates in `airflow_templates/`. Their operators are in `airflow/plugins/winnow_airflow`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

from winnow.config.atomic_write import replace_text
from winnow.config.cron import NAMED
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.next_command import next_flag
from winnow.model_query.gates import Stage
from winnow.model_query.rules import Rules

TEMPLATES = Path(__file__).parent / "airflow_templates"
RETRY_S, POLL_S = 60, 30
STAGES: tuple[Stage, ...] = ("staging", "production")


def render_dags(experiment: Experiment, config: Path, rules: Rules) -> Mapping[str, str]:
    """The texts of the DAGs' files, by name. Equal input gives equal text.

    Args:
        config: the experiment file, as verbs get it in the project's folder.
        rules: of the selection; its gates are tasks of the training.
    """
    schedule, gates = experiment.retrain.schedule, rules.gates
    cron = None if schedule is None else NAMED.get(schedule, schedule)
    prefix = experiment.name.replace("-", "_")
    asset = "PREPARED" if experiment.data.prepare is not None else None
    triggers = [f'CronTriggerTimetable("{cron}", timezone="UTC")'] if cron is not None else []
    imports = ["Param", *(["Asset"] if asset else []), *(["CronTriggerTimetable"] if cron else [])]
    if asset and cron:
        imports.append("AssetOrTimeSchedule")
        training = f"AssetOrTimeSchedule(timetable={triggers[0]}, assets=[{asset}])"
    else:
        training = triggers[0] if cron else f"[{asset}]" if asset else "None"
    values = {
        "name": experiment.name,
        "prefix": prefix,
        "config": config.as_posix(),
        "schedule": "None" if cron is None else f'"{cron}"',
        "training_schedule": training,
        "imports": ", ".join(sorted(imports)),
        "platform": experiment.retrain.platform,
        "stages": json.dumps([] if gates is None else [stage for stage in STAGES if gates.of(stage)]),
        "retry_s": RETRY_S,
        "poll_s": POLL_S,
    }
    return {
        file.name.removesuffix(".template"): Template(file.read_text(encoding="utf-8")).substitute(values)
        for file in sorted(TEMPLATES.glob("*.template"))
    }


def write_dags(dags: Mapping[str, str], folder: Path, *, is_forced: bool) -> list[Path]:
    """Write the files; those that are there and equal stay.

    Raises:
        InputError: one is there and differs, or the folder cannot be written.
    """
    for name, text in dags.items():
        path = folder / name
        if path.exists() and not is_forced and path.read_text(encoding="utf-8") != text:
            raise InputError(
                str(path),
                expected="a file that does not exist yet, or the same",
                found="another one",
                remedy=f"Name another folder ({next_flag('output')}), or overwrite it ({next_flag('force', True)}).",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in dags.items():
            replace_text(folder / name, text)
    except OSError as error:
        remedy = f"Name another folder ({next_flag('output')})."
        raise InputError(
            str(folder), expected="a folder to write", found=f"'{error.strerror}'", remedy=remedy
        ) from error
    return [folder / name for name in dags]
