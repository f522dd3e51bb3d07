"""Which folder a stack on Docker belongs to: the one whose environment file opens it.

Other folders are kept from changing or removing it by accident. This module decides; `stack` reads the labels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.config.stack_record import AnyStack, StackRecord
from winnow.platforms.docker.env_file import EnvFile
from winnow.platforms.docker.stack_plan import Project
from winnow.platforms.labels import AIRFLOW, DEPLOYMENT, MONITORING, STUDY
from winnow.platforms.stack_variables import missing_secrets


def other_folder(project: Project, opened_by: Path | None, volumes: Sequence[str], file: EnvFile | None) -> str:
    """The other folder that a stack of this name belongs to, in words; empty where it is this one's or does not exist.

    Args:
        opened_by: the environment file that its containers were started with; None without containers.
        file: this project's environment file.
    """
    has_secrets = file is not None and not missing_secrets(file.variables())
    if opened_by is not None:
        # A folder that was moved together with its environment file keeps its stack.
        is_ours = opened_by.resolve() == project.env_file.resolve() or (has_secrets and not opened_by.exists())
        return "" if is_ours else f"{opened_by.parent}, which opens it with its {opened_by.name}"
    if volumes and not has_secrets:
        return f"another folder, or a lost environment file: {project.env_file} does not open {', '.join(volumes)}"
    return ""


def is_of(record: AnyStack, project: Project) -> bool:
    """Whether the stack in use is this project's."""
    return isinstance(record, StackRecord) and record.project == project.name


def check_start(project: Project, opened_by: Path | None, volumes: Sequence[str], file: EnvFile | None) -> None:
    """Raises InputError where starting the project would take over the stack of another folder."""
    other = other_folder(project, opened_by, volumes, file)
    if not other:
        return
    folder = re.sub(r"[^a-z0-9_-]+", "-", project.compose_file.parent.name.lower()).strip("-_") or "other"
    name = f"winnow-{folder}" if f"winnow-{folder}" != project.name else f"{project.name}-2"
    own_file = f".env.{name}" if file is not None and not missing_secrets(file.variables()) else ""
    lost = " Where the environment file is lost, bring it back from a copy, or delete the data: "
    lost = "" if opened_by is not None else f"{lost}`{next_command('mlflow-remove', volumes=True, force=True)}`."
    own: dict[str, str | int] = {"winnow-project": name, "winnow-env-file": own_file}
    own |= {"mlflow-port": 5501, "postgres-port": 5533}
    raise InputError(
        f"the stack '{project.name}'",
        expected=f"none of that name, or one that {project.env_file} opens",
        found=f"one of {other}",
        remedy="Choose another name and free ports for a stack of this folder: "
        f"`{next_command('mlflow-init', **own)}`.{lost}",
    )


def ways_to_stop(users: Sequence[Mapping[str, str]]) -> list[str]:
    """The commands that stop the containers with these labels, which use a stack; each once."""
    found = []
    for labels in users:
        if AIRFLOW in labels:
            found.append(f"`{next_command('airflow-remove')}`")
        elif MONITORING in labels:
            found.append(f"`{next_command('monitoring-remove')}`")
        elif STUDY in labels:
            found.append(f"`{next_command('cancel', study=labels[STUDY])}`")
        elif DEPLOYMENT in labels:
            found.append(f"`{next_command('prod-remove', name=labels[DEPLOYMENT])}`")
        else:
            found.append("`docker stop` for those that winnow has not started")
    return list(dict.fromkeys(found))


def refusal_to_end(project: Project, other: str) -> InputError | None:
    """The error where the stack to remove is another folder's (`other_folder`)."""
    if not other:
        return None
    return InputError(
        f"the stack '{project.name}'",
        expected=f"one that {project.env_file} opens",
        found=f"one of {other}",
        remedy=f"Remove it from that folder, name another with {next_flag('winnow-project')}, or add "
        f"{next_flag('force', True)} to remove this one all the same.",
    )
