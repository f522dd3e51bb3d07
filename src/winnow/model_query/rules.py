"""The rules file as frozen, typed values: which runs pass, and which run is best.

`metrics_config.yaml` in this folder is the default and the manual. Loading refuses everything that is wrong whatever
the runs are; `ranking` decides whether a run passes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from winnow.config.errors import InputError
from winnow.config.experiment import MetricConfig
from winnow.config.nearest import did_you_mean
from winnow.config.next_command import next_flag
from winnow.config.yaml_text import Document, KeyPath, not_yaml, read_yaml
from winnow.model_query.gates import GATES, Gates

DEFAULT_RULES = Path(__file__).with_name("metrics_config.yaml")
HOLDOUT = "holdout."
Goal = Literal["maximize", "minimize"]
Scalar = bool | int | float | str


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)


class Filter(_Frozen):
    """A condition that a run must meet: exactly one of `metric`, `param` and `tag`, and at least one demand on it."""

    metric: str | None = Field(default=None, description="A metric: `f1`, `f1.std`, `train_s`, `holdout.f1`, …")
    param: str | None = Field(default=None, description="A parameter of the space: `lr`, `hidden`, …")
    tag: str | None = Field(default=None, description="A tag of the run.")
    min: float | None = Field(default=None, description="Smallest number that passes.")
    max: float | None = Field(default=None, description="Largest number that passes.")
    equals: Scalar | list[Any] | None = Field(default=None, description="The one value that passes.")
    in_: tuple[Scalar | list[Any], ...] | None = Field(
        default=None, alias="in", min_length=1, description="The values that pass."
    )
    matches: str | None = Field(default=None, description="A regular expression that matches the whole text.")

    @model_validator(mode="after")
    def _makes_one_demand(self) -> Self:
        named = [kind for kind in ("metric", "param", "tag") if getattr(self, kind) is not None]
        if len(named) != 1:
            raise ValueError("exactly one of `metric`, `param` and `tag`")
        demands = [name for name in ("min", "max", "equals", "in_", "matches") if getattr(self, name) is not None]
        if not demands:
            raise ValueError("at least one of `min`, `max`, `equals`, `in` and `matches`")
        if self.metric is not None and self.matches is not None:
            raise ValueError("`min`, `max`, `equals` or `in` for a metric, which is a number")
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
        """What the filter is about."""
        return "metric" if self.metric is not None else "param" if self.param is not None else "tag"

    @property
    def name(self) -> str:
        """The name of the metric, parameter or tag."""
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
        raise ValueError("a metric of the cross-validation: the holdout may be used in `filters`, but never to rank")


class Criterion(_Frozen):
    """A metric and the direction in which it is better."""

    metric: str = Field(min_length=1, description="Any metric except those of the holdout.")
    goal: Goal = Field(description="The better direction.")

    @model_validator(mode="after")
    def _is_not_the_holdout(self) -> Self:
        _refuse_holdout(self.metric)
        return self


class Objective(_Frozen):
    """What to optimize. `auto`: the metric that the sweep optimized, and its direction."""

    metric: str = Field(default="auto", description="A metric, or `auto`: the one that the sweep optimized.")
    goal: Literal["auto", "maximize", "minimize"] = Field(default="auto", description="`auto`: the sweep's.")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        _refuse_holdout(self.metric)
        if self.metric != "auto" and self.goal == "auto":
            raise ValueError("`goal: maximize` or `goal: minimize` for a named metric")
        return self


class Rules(_Frozen):
    """One rules file."""

    objective: Objective = Field(default=Objective(), description="What to optimize.")
    filters: tuple[Filter, ...] = Field(default=(), description="Conditions that a run must meet, all of them.")
    tie_breaks: tuple[Criterion, ...] = Field(
        default=(), description="What decides between equal runs, first to last; finally the earlier trial wins."
    )
    one_standard_error: Criterion | None = Field(
        default=None,
        description="Choose the simplest, by this metric, of the runs within one standard error of the best.",
    )
    alias: Annotated[str, Field(pattern=r"^[a-z]+(-[a-z]+)*$")] = Field(
        default="champion", description="The registry alias that the winner gets besides `candidate`; without `gates`."
    )
    gates: Gates | None = Field(
        default=None, description="What a version has to show before `promote-model` moves `@staging` or `@champion`."
    )

    @model_validator(mode="after")
    def _leaves_the_aliases_to_the_gates(self) -> Self:
        if self.gates is not None and "alias" in self.model_fields_set:
            raise ValueError(
                "`alias` or `gates`: with gates, the winner becomes `@candidate` alone, and gates move the rest"
            )
        return self


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value) if isinstance(value, str) else str(value)


def load_rules(path: Path = DEFAULT_RULES) -> Rules:
    """Read a rules file.

    Raises:
        InputError: it is missing, unreadable or wrong. Further faults are notes of the first.
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
            expected="a rules file",
            found=found,
            remedy=f"Name one with {next_flag('rules')}, or leave it out for the default, {DEFAULT_RULES}.",
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
    location = tuple(details["loc"])
    if location[0:1] == ("gates",):
        location = (*location[:3], *location[4:])  # without the gate's type, which pydantic puts before its keys
    # The longest part that is in the file: pydantic appends missing keys and the names of union members.
    keys: KeyPath = next(
        (location[:end] for end in range(len(location), 0, -1) if location[:end] in document.lines), ()
    )
    dotted = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")
    place = f"{path}:{document.lines[keys]}: {dotted}" if keys else str(path)
    remedy = f"{DEFAULT_RULES} explains every key."
    if details["type"] == "extra_forbidden":
        model = _model_at(location, document.content)
        names = [field.alias or name for name, field in model.model_fields.items()]
        return InputError(
            place,
            expected=f"one of {', '.join(names)}",
            found=f"the unknown key '{location[-1]}'",
            remedy=did_you_mean(str(location[-1]), names) or f"Remove it; {remedy}",
        )
    if details["type"] == "missing":
        return InputError(place, expected=f"`{location[-1]}`", found="nothing", remedy=remedy)
    value = details["input"]
    if details["type"].startswith("union_tag"):
        kind = value.get("type")
        hint = did_you_mean(str(kind), GATES)
        found = "a gate without `type`" if kind is None else repr(kind)
        return InputError(place, expected=f"`type`: {', '.join(GATES)}", found=found, remedy=hint or remedy)
    if isinstance(value, dict):
        found = "{" + ", ".join(f"{key}: {each}" for key, each in value.items()) + "}"
    else:
        found = repr(value)
    expected = _EXPECTATIONS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    expected = expected.removeprefix("Input should be ")
    return InputError(place, expected=expected, found=found, remedy=remedy)


def _model_at(location: KeyPath, content: Any) -> type[BaseModel]:
    """The section that an unknown key stands in."""
    if len(location) == 1:
        return Rules
    if location[0] != "gates":
        return _SECTIONS[location[0]]
    if len(location) == 2:
        return Gates
    gate = GATES[content["gates"][location[1]][location[2]]["type"]]
    return MetricConfig if len(location) > 4 else gate


_EXPECTATIONS = {"tuple_type": "a list", "model_type": "a mapping", "model_attributes_type": "a mapping"}
_SECTIONS: dict[str | int, type[BaseModel]] = {
    "objective": Objective,
    "filters": Filter,
    "tie_breaks": Criterion,
    "one_standard_error": Criterion,
}
