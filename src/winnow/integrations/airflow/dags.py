"""DAGs of Airflow that call winnow's verbs for one experiment: readable files, to be kept and changed.

They are rendered from the files in `templates/`. Their operators are in `airflow/plugins/winnow_airflow`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

from winnow.config.cron import NAMED
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.names import LONGEST_STUDY
from winnow.model_query.gates import Stage
from winnow.model_query.rules import DEFAULT_RULES, load_rules

TEMPLATES = Path(__file__).parent / "templates"
RETRY_S, POLL_S = 60, 30
LONGEST_NAME = LONGEST_STUDY - len("-20261129t170000123456")
"""Each run of the training trains a study with the run's time in its name."""
TIMES = """\
# Without `run_immediately`, Airflow starts a run that was missed within a tenth of the time between two.
TIMES = CronTriggerTimetable("{cron}", timezone="UTC", run_immediately=timedelta(0))
"""
OF_RAW_DATA = ("data_pipeline_dag", "spark_preprocessing_dag")
STAGES: tuple[Stage, ...] = ("staging", "production")


def render_dags(experiment: Experiment, config: Path, rules: Path | None, *, azure: bool = False) -> Mapping[str, str]:
    """The texts of the DAGs' files, by name. Equal input gives equal text.

    Without `data.raw` there is nothing to ingest: the two DAGs that prepare rows are left out.

    Args:
        config: the experiment file, as verbs get it in the project's folder.
        rules: the rules file, in the same way; None: winnow's own. Its gates are tasks of the training.
        azure: also the DAGs that serve on Azure ML.

    Raises:
        InputError: the rules are wrong, or the name leaves no room for a run's time.
    """
    if len(experiment.name) > LONGEST_NAME:
        raise InputError(
            f"{config}: name",
            expected=f"at most {LONGEST_NAME} characters, because each run of the training names a study of its own",
            found=f"{len(experiment.name)}",
            remedy="Shorten the name.",
        )
    schedule, gates = experiment.retrain.schedule, load_rules(rules or DEFAULT_RULES).gates
    cron = None if schedule is None else NAMED.get(schedule, schedule)
    prefix = experiment.name.replace("-", "_")
    asset = "PREPARED" if experiment.data.prepare is not None else None
    timetable = ["CronTriggerTimetable"] if cron else []
    imports = ["Asset", "Param", *timetable]
    stages = [] if gates is None else [stage for stage in STAGES if gates.of(stage)]
    if asset and cron:
        imports.append("AssetOrTimeSchedule")
        training = f"AssetOrTimeSchedule(timetable=TIMES, assets=[{asset}])"
    else:
        training = "TIMES" if cron else f"[{asset}]" if asset else "None"
    values = {
        "name": experiment.name,
        "prefix": prefix,
        "config": config.as_posix(),
        "schedule": "TIMES" if cron else "None",
        "times": TIMES.format(cron=cron) if cron else "",
        "training_schedule": training,
        "imports": ", ".join(sorted(imports)),
        "data_imports": ", ".join(["Asset", *timetable]),
        "asset": f'PREPARED = Asset("winnow://{experiment.name}/prepared")\n' if asset else "",
        "rules": "None" if rules is None else f'"{rules.as_posix()}"',
        "platform": experiment.retrain.platform,
        "stages": json.dumps(stages),
        # Without gates, the selection moves the alias.
        "select_outlets": "[]" if stages else "[CHAMPION]",
        "retry_s": RETRY_S,
        "poll_s": POLL_S,
    }
    files = [*sorted(TEMPLATES.glob("*.template")), *(sorted((TEMPLATES / "azure").glob("*")) if azure else ())]
    return {
        file.name.removesuffix(".template"): Template(file.read_text(encoding="utf-8")).substitute(values)
        for file in files
        if experiment.data.raw is not None or file.name.partition(".")[0] not in OF_RAW_DATA
    }
