"""Which keys an experiment file may hold, read off the types that it is loaded into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from winnow.config.experiment import ChoiceParameter, Experiment, FloatParameter, IntParameter

SPACE = ("search", "space")
"""Below it stand names of the person's own, each with one of `PARAMETERS`."""

PARAMETERS: dict[str, type[BaseModel]] = {"float": FloatParameter, "int": IntParameter, "choice": ChoiceParameter}


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the key that stands for them in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def model_in(annotation: Any) -> type[BaseModel] | None:
    """The one model that an annotation such as `EarlyStoppingConfig | None` holds, or None."""
    candidates = (annotation, *get_args(annotation))
    models = [one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)]
    return models[0] if len(models) == 1 else None


def sections() -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    """Every section of the file with the model that describes it, outermost first; without those of the space."""
    yield from _sections_in((), Experiment)


def _sections_in(path: tuple[str, ...], model: type[BaseModel]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    yield path, model
    for key, field in fields_of(model).items():
        inner = model_in(field.annotation)
        if inner is not None:
            yield from _sections_in((*path, key), inner)
