"""The stages of a model in a repository of manifests, where their files lie, and the files' templates."""

from __future__ import annotations

from pathlib import Path
from string import Template

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.names import LONGEST_STUDY
from winnow.config.serving_faults import deployment_name

TEMPLATES = Path(__file__).parents[1] / "templates"
FOLDER = "deploy"
PRODUCTION = "production"
"""The stage that `serving` itself describes, unless `serving.stages` does."""


def stages_of(experiment: Experiment) -> tuple[str, ...]:
    """The stages, each of which has an overlay: those of `serving.stages`, and those that the gates know."""
    return tuple(dict.fromkeys((*sorted(experiment.serving.known_stages), PRODUCTION)))


def serving_stage(experiment: Experiment, stage: str) -> str | None:
    """A stage as the section `serving` knows it.

    Raises:
        InputError: there is none, or its deployment's name is too long.
    """
    if stage not in stages_of(experiment):
        raise InputError(
            "stage",
            expected=f"one of {', '.join(stages_of(experiment))}",
            found=f"'{stage}'",
            remedy="Add it to `serving.stages` of the experiment file, or name another one.",
        )
    chosen = None if stage == PRODUCTION and stage not in experiment.serving.stages else stage
    name = deployment_name(experiment.name, chosen)
    if len(name) > LONGEST_STUDY:
        raise InputError(
            "name",
            expected=f"at most {LONGEST_STUDY} characters in NAME-STAGE, which names objects of the cluster",
            found=f"{len(name)} in '{name}'",
            remedy="Shorten the experiment's name.",
        )
    return chosen


def base_folder(name: str) -> str:
    """The folder of what is the same in every stage, from the repository's root."""
    return f"{FOLDER}/{name}/base"


def overlay_folder(name: str, stage: str) -> str:
    """The folder of a stage, from the repository's root."""
    return f"{FOLDER}/{name}/overlays/{stage}"


def overlay_path(name: str, stage: str) -> str:
    """A stage's kustomization, which a promotion changes."""
    return f"{overlay_folder(name, stage)}/kustomization.yaml"


def template(file: str, **values: str) -> str:
    """The text of a template with its values, and one newline at its end."""
    text = (TEMPLATES / f"{file}.template").read_text(encoding="utf-8")
    return Template(text).substitute(values).rstrip() + "\n"
