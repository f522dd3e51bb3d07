"""The arguments and attributes that several functions and types of the API share, and which study they refer to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.config.names import check_study_name

if TYPE_CHECKING:
    from winnow.config.settings import Settings
    from winnow.model_query.rules import Rules
    from winnow.tracking.registry import Registry

ARGUMENTS = {
    "config": "the experiment file.",
    "name": "name of the model and its deployment; by default that of the study, else the experiment's.",
    "stage": "stage of the deployment, from `serving.stages`; by default none.",
    "study": "name of the study; by default the experiment's.",
    "trials": "number of trials that the study holds when it is done; by default as many as the file says.",
    "workers": "number of worker groups that run at once; by default as many as the file says.",
    "platform": '"local", "docker" or "kubernetes"; to serve also "kserve" or "azure".',
    "image": "image of the workers' containers; by default the one that `build_train` built.",
    "registry": "HOST/PATH to push the image to, for a cluster; by default WINNOW_REGISTRY.",
    "image_load": "command that loads the image onto the cluster's nodes; by default WINNOW_IMAGE_LOAD.",
    "allow_changed_code": "continue although your own code has changed; later trials are marked.",
    "rules": "the rules file; by default the one that winnow ships.",
    "alias": "registry alias of the model version.",
    "version": "number of the model version, instead of an alias.",
    "replicas": "number of servers; by default as many as run now, or one.",
    "request": "which version of which model to serve, and how.",
    "tag": "the image's name; by default `winnow-prod-NAME:VERSION-INPUTS`, which is unique to model and code.",
    "options": "how to build and deliver the images.",
    "torch_index": "package index for torch, such as the one with CUDA builds.",
    "requirements": "your requirements file, below the working directory; by default requirements.txt.",
    "extras": 'what the tracking server needs besides Postgres and S3: "mysql", "azure", "gcs".',
    "project": "name of the stack's Compose project; by default WINNOW_PROJECT, else that of the stack in use.",
    "env_file": "the environment file with the stack's secrets; by default WINNOW_ENV_FILE, else .env.",
    "dry_run": "plan only, and change nothing.",
    "say": "is called with each message for the user, one line at a time.",
    "show": "is called with each step of an image build.",
}
"""The arguments that several functions take. A docstring describes an argument only where it means something else."""


ATTRIBUTES = {
    "epochs": "number of epochs that were trained.",
    "goal": '"maximize" or "minimize".',
    "identifier": "process id, or name of the container or pod.",
    "line": "the last line that it printed.",
    "metric": "name of the metric.",
    "metrics": "latest value of each metric, by name.",
    "model": "name of the registered model.",
    "name": "its name.",
    "params": "the parameters, by name.",
    "platform": '"local", "docker" or "kubernetes"; to serve also "kserve" or "azure".',
    "previous": "the release that a rollback would serve; None if there is none.",
    "reason": "why it failed; None if it did not.",
    "release": "the model version that it serves.",
    "replicas": "the servers.",
    "run": "the run in the tracking store.",
    "run_id": "id of the run in the tracking store.",
    "started_at_ms": "start in milliseconds since the epoch.",
    "state": "its state.",
    "study": "name of the study.",
    "tags": "tags of the run.",
    "trial": "number of the trial, 0-based.",
    "took_s": "duration in seconds; None while it runs.",
    "train_s": "time spent on training, in seconds.",
    "url": "its address.",
    "version": "number of the model version.",
}
"""The attributes that several types have. A docstring describes an attribute only where it means something else."""


def study_name(config: Path | str | None, study: str | None) -> str:
    """Return `study`, or the name in the experiment file.

    Raises:
        InputError: the file is missing or wrong, or `study` is not a valid name.
        TypeError: neither is given.
    """
    if study is not None:
        return check_study_name(study, "study")
    if config is None:
        raise TypeError("either config or study is needed")
    from winnow.config.loader import load_experiment

    return load_experiment(Path(config)).name


def model_name(config: Path | str | None, study: str | None, name: str | None = None) -> str:
    """Return `name`, else the name of the model whose versions `study` registers, else the name in the file.

    Raises:
        InputError: the file is missing or wrong, a name is not valid, or the database of studies cannot be read.
        TypeError: none is given.
    """
    if name is not None:
        return check_study_name(name, "name")
    checked = study_name(config, study)
    if study is None:
        return checked
    from winnow.orchestrators.serving_config import model_of_study
    from winnow.orchestrators.settings import current

    return model_of_study(current(), checked)


def read_rules(rules: Path | str | None) -> tuple[Path, Rules]:
    """A rules file, by default winnow's own, and what it says.

    Call it before heavy imports, so that a mistake in the file is reported at once.
    """
    from winnow.model_query.rules import DEFAULT_RULES, load_rules

    file = DEFAULT_RULES if rules is None else Path(rules)
    return file, load_rules(file)


def connected() -> tuple[Settings, Registry]:
    """The settings, with the stores made reachable, and the registry. Raises what `current` does."""
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry

    settings = current()
    return settings, Registry(settings.tracking_uri)


def silent(_message: object) -> None:
    """The default of `say` and `show`: ignore the message."""
