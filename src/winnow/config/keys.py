"""The keys of an experiment file, read from the types that it is loaded into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from winnow.config.experiment import ChoiceParameter, Experiment, FloatParameter, IntParameter

SPACE = ("search", "space")
"""The section whose keys are the user's own names, each with one of `PARAMETERS`."""

PARAMETERS: dict[str, type[BaseModel]] = {"float": FloatParameter, "int": IntParameter, "choice": ChoiceParameter}


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by their keys in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The one model in an annotation such as `EarlyStoppingConfig | None`, or None; also None for a list of models."""
    if get_origin(annotation) in (dict, tuple):
        return None
    candidates = (annotation, *get_args(annotation))
    models = [one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)]
    return models[0] if len(models) == 1 else None


def item_model_in(annotation: Any) -> type[BaseModel] | None:
    """The model of each item of `tuple[AugmentConfig, ...]`, or of each value of `dict[str, StageConfig]`, or None."""
    origin = get_origin(annotation)
    if origin not in (dict, tuple):
        return None
    item = get_args(annotation)[0 if origin is tuple else 1]
    return model_in(get_args(item)[0] if get_origin(item) is Annotated else item)


def sections(
    path: tuple[str, ...] = (), model: type[BaseModel] = Experiment
) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Every section of the file with its model, outermost first; without items of lists and mappings."""
    yield path, model
    for key, field in fields_of(model).items():
        inner = model_in(field.annotation)
        if inner is not None:
            yield from sections((*path, key), inner)
