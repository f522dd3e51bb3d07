"""Which `serving` section a model is served by: the experiment file's, else the one that its study stores."""

from __future__ import annotations

from pathlib import Path

from winnow.config.loader import load_experiment
from winnow.config.serving import ServingConfig
from winnow.config.settings import Settings
from winnow.orchestrators.opened_study import find_study


def serving_config(settings: Settings, model: str, *, config: Path | None, study: str | None) -> ServingConfig:
    """The section `serving` for a model; the defaults where neither its file nor its study is here.

    Args:
        config: the experiment file of the command, which need not be the model's and need not exist; it counts if it
            has the model's name.
        study: the study that the command names; by default the one that is called like the model.

    Raises:
        InputError: the file is wrong, or the database of studies cannot be read.
    """
    if config is not None and config.is_file():
        experiment = load_experiment(config)
        if experiment.name == model:
            return experiment.serving
    store = find_study(settings, model if study is None else study)
    return ServingConfig() if store is None else store.header.experiment.serving
