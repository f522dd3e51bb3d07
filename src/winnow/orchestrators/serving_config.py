"""Which experiment a model is served and watched by (the file's, else the one that its study stores), and its name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from winnow.config.experiment import Experiment
from winnow.config.loader import load_experiment
from winnow.config.serving import ServingConfig
from winnow.config.settings import Settings
from winnow.orchestrators.opened_study import find_study


class FoundExperiment(NamedTuple):
    """The experiment of a model. `place`: where it is, for errors: the file, or the study."""

    experiment: Experiment
    place: str


def experiment_of_model(
    settings: Settings, model: str, *, config: Path | None, study: str | None = None
) -> FoundExperiment | None:
    """The experiment of a model; None where neither its file nor its study is here.

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
            return FoundExperiment(experiment, str(config))
    name = model if study is None else study
    store = find_study(settings, name)
    return None if store is None else FoundExperiment(store.header.experiment, f"study '{name}'")


def serving_config(settings: Settings, model: str, *, config: Path | None, study: str | None) -> ServingConfig:
    """The section `serving` of `experiment_of_model`; the defaults where there is none.

    Raises InputError if the file is wrong, or the database of studies cannot be read.
    """
    found = experiment_of_model(settings, model, config=config, study=study)
    return ServingConfig() if found is None else found.experiment.serving


def model_of_study(settings: Settings, study: str) -> str:
    """The model whose versions a study registers.

    A study that is not in the database names its own model: models outlive their studies, and an older version of
    winnow called a model like its study. Raises InputError if the database of studies cannot be read.
    """
    store = find_study(settings, study)
    return study if store is None else store.header.sweep.model
