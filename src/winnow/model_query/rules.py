"""The rules file as frozen, typed values: what a run must be to be taken, and what makes one better than another.

`metrics_config.yaml` beside this file is the default and the manual. Loading refuses what can be known to be wrong
without any run; whether a run passes is decided in `ranking`.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from winnow.config.errors import InputError
from winnow.config.yaml_text import Document, KeyPath, not_yaml, read_yaml

DEFAULT_RULES = Path(__file__).with_name("metrics_config.yaml")
HOLDOUT = "holdout."
Goal = Literal["maximize", "minimize"]
Scalar = bool | int | float | str


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Filter(_Frozen):
    """One thing that a run must be. Exactly one of `metric`, `param` and `tag`, and at least one demand on it."""

    metric: str | None = Field(default=None, description="A metric: `f1`, `f1.std`, `train_s`, `holdout.f1`, …")
    param: str | None = Field(default=None, description="A parameter of the space: `lr`, `hidden`, …")
    tag: str | None = Field(default=None, description="A tag of the run.")
    min: float | None = Field(default=None, description="Smallest number that passes.")
    max: float | None = Field(default=None, description="Largest number that passes.")
    equals: Scalar | list[Any] | None = Field(default=None, description="The one value that passes.")
    in_: tuple[Scalar | list[Any], ...] | None = Field(
        default=None, alias="in", min_length=1, description="The values that pass."
    )
    matches: str | None = Field(default=None, description="A regular expression that the whole text has to match.")

    @model_validator(mode="after")
    def _makes_one_demand(self) -> Self:
        named = [kind for kind in ("metric", "param", "tag") if getattr(self, kind) is not None]
        if len(named) != 1:
            raise ValueError("exactly one of `metric`, `param` and `tag`")
        demands = [name for name in ("min", "max", "equals", "in_", "matches") if getattr(self, name) is not None]
        if not demands:
            raise ValueError("at least one of `min`, `max`, `equals`, `in` and `matches`")
        if self.metric is not None and self.matches is not None:
            raise ValueError("`min`, `max`, `equals` or `in` for a metric, which is no text")
        if self.tag is not None and (self.min is not None or self.max is not None):
            raise ValueError("`equals`, `in` or `matches` for a tag, which is text")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"`min` below `max`, found {self.min:g} and {self.max:g}")
        try:
            re.compile(self.matches or "")
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        return self

    @property
    def kind(self) -> Literal["metric", "param", "tag"]:
        """What the rule looks at."""
        return "metric" if self.metric is not None else "param" if self.param is not None else "tag"

    @property
    def name(self) -> str:
        """The name it looks up."""
        return self.metric or self.param or self.tag or ""

    def __str__(self) -> str:
        demands = {
            "at least": self.min,
            "at most": self.max,
            "equal to": self.equals,
            "one of": None if self.in_ is None else list(self.in_),
            "matching": self.matches,
        }
        said = [f"{words} {_shown(value)}" for words, value in demands.items() if value is not None]
        return f"{self.kind} {self.name} {' and '.join(said)}"


def _refuse_holdout(metric: str) -> None:
    if metric.startswith(HOLDOUT):
        raise ValueError("a metric of the cross-validation: the holdout may gate (`filters`), but never rank")


class Criterion(_Frozen):
    """A metric and the direction in which it is better."""

    metric: str = Field(min_length=1, description="Any metric but those of the holdout.")
    goal: Goal = Field(description="Direction that is better.")

    @model_validator(mode="after")
    def _is_not_the_holdout(self) -> Self:
        _refuse_holdout(self.metric)
        return self


class Objective(_Frozen):
    """What is best. `auto`: the metric that the sweep optimized, and its direction."""

    metric: str = Field(default="auto", description="A metric, or `auto`: the one that the sweep optimized.")
    goal: Literal["auto", "maximize", "minimize"] = Field(default="auto", description="`auto`: the sweep's.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        _refuse_holdout(self.metric)
        if self.metric != "auto" and self.goal == "auto":
            raise ValueError("`goal: maximize` or `goal: minimize` beside a metric of its own")
        return self


class Rules(_Frozen):
    """One rules file."""

    objective: Objective = Field(default=Objective(), description="What is best.")
    filters: tuple[Filter, ...] = Field(default=(), description="What a run must be; all of them.")
    tie_breaks: tuple[Criterion, ...] = Field(
        default=(), description="What decides between equals, first to last; in the end the earlier trial."
    )
    one_standard_error: Criterion | None = Field(
        default=None,
        description="Take the simplest, by this metric, of the runs within one standard error of the best.",
    )
    alias: Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)*$")] = Field(
        default="champion", description="The registry alias that the winner gets."
    )


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)


def load_rules(path: Path = DEFAULT_RULES) -> Rules:
    """Read a rules file.

    Raises:
        InputError: it is missing, unreadable or wrong; further faults are notes of the first.
    """
    document = _read(path)
    try:
        return Rules.model_validate(document.content or {})
    except pydantic.ValidationError as error:
        first, *others = [_fault(path, document, details) for details in error.errors(include_url=False)]
    for other in others:
        first.add_note(str(other))
    raise first


def _read(path: Path) -> Document:
    try:
        document = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        found = "no such file" if not path.exists() else f"'{getattr(error, 'strerror', None) or 'no UTF-8 text'}'"
        raise InputError(
            str(path),
            expected="a rules file that can be read",
            found=found,
            remedy=f"Name one with --rules (make: RULES=…), or leave it out for the default, {DEFAULT_RULES}.",
        ) from error
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from error
    if document.content is not None and not isinstance(document.content, dict):
        raise InputError(
            str(path),
            expected=f"a mapping of {', '.join(Rules.model_fields)}",
            found=type(document.content).__name__,
            remedy=f"Start from a copy of {DEFAULT_RULES}, which explains every key.",
        )
    return document


def _fault(path: Path, document: Document, details: Any) -> InputError:
    keys = tuple(key for key in details["loc"] if not str(key).startswith(("list[", "function")))
    keys = _known(document, keys)
    place = _place(path, document, keys)
    if details["type"] == "extra_forbidden":
        names = _names_at(tuple(details["loc"][:-1]))
        nearest = difflib.get_close_matches(str(details["loc"][-1]), names, n=1)
        remedy = f"Did you mean '{nearest[0]}'?" if nearest else f"Remove it; {DEFAULT_RULES} explains every key."
        return InputError(
            place, expected=f"one of {', '.join(names)}", found=f"the unknown key '{details['loc'][-1]}'", remedy=remedy
        )
    if details["type"] == "missing":
        return InputError(
            place, expected=f"`{details['loc'][-1]}`", found="nothing", remedy=f"{DEFAULT_RULES} explains every key."
        )
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return InputError(
        place,
        expected=message,
        found=repr(details["input"]) if not isinstance(details["input"], dict) else _keys(details["input"]),
        remedy=f"{DEFAULT_RULES} explains every key.",
    )


def _keys(mapping: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{key}: {value}" for key, value in mapping.items()) + "}"


def _known(document: Document, keys: KeyPath) -> KeyPath:
    """The longest part of a place that the file has; pydantic adds the names of union members."""
    return next((keys[:end] for end in range(len(keys), 0, -1) if keys[:end] in document.lines), keys)


def _place(path: Path, document: Document, keys: KeyPath) -> str:
    file = f"{path}:{document.lines[keys]}" if keys in document.lines else str(path)
    dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    return f"{file}: {dotted}" if dotted else file


def _names_at(location: tuple[str | int, ...]) -> list[str]:
    """Keys that may stand at a place of the file."""
    models: dict[str, type[BaseModel]] = {
        "objective": Objective,
        "filters": Filter,
        "tie_breaks": Criterion,
        "one_standard_error": Criterion,
    }
    model = models[str(location[0])] if location else Rules
    return [field.alias or name for name, field in model.model_fields.items()]
