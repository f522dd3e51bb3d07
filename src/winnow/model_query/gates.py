"""The section `gates` of the rules file: what a version has to show before an alias moves to it.

`gate_verdicts` judges. Loading refuses what is wrong whatever the data are; whether a metric or a column exists is
known with the evidence.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import ConfigDict, Field, model_validator

from winnow.config.experiment import Metric
from winnow.config.frozen import Frozen
from winnow.config.functions import FORMS, names_function

Stage = Literal["staging", "production"]
STAGE_ALIASES: dict[Stage, str] = {"staging": "staging", "production": "champion"}
"""The registry alias that each stage moves."""
Scale = Literal["absolute", "relative"]
_METRIC = "A metric as in the experiment file: `f1`, `{name: f1, average: macro}`, `path/file.py:function`."


class _Gate(Frozen):
    model_config = ConfigDict(allow_inf_nan=False)


class _Tested(_Gate):
    confidence: float | None = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="Probability with which the demand has to be shown; a version that does not meet it passes with "
        "probability 1 - confidence at most. `null`: compare the estimate as it is.",
    )


class _Comparing(_Tested):
    """A gate that needs a champion. Without one it does not apply."""

    margin: float = Field(
        default=0.0, description="By how much the candidate has to be better; below 0, by how much it may be worse."
    )
    scale: Scale | None = Field(
        default=None,
        description="`absolute`: the margin is in the metric's own unit. `relative`: a share of the champion's value. "
        "Required with a margin.",
    )

    @model_validator(mode="after")
    def _says_its_scale(self) -> Self:
        if self.margin and self.scale is None:
            raise ValueError("`scale: absolute` or `scale: relative` beside `margin`")
        return self

    def over_champion(self, what: str) -> str:
        """The demand in words: `f1 better than the champion's by 0.01`."""
        size = f"{abs(self.margin):.3g}{' of its value' if self.scale == 'relative' else ''}"
        if self.margin < 0:
            return f"{what} at most {size} worse than the champion's"
        return f"{what} better than the champion's{f' by {size}' if self.margin else ''}"


class MetricGate(_Tested):
    """A metric of the candidate within limits."""

    type: Literal["metric"]
    metric: Metric = Field(description=_METRIC)
    min: float | None = Field(default=None, description="Smallest value that passes.")
    max: float | None = Field(default=None, description="Largest value that passes.")

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        _need_limits(self.min, self.max)
        return self

    def __str__(self) -> str:
        return f"{self.metric.key} {limits(self.min, self.max)}"


class ChampionGate(_Comparing):
    """A metric of the candidate against the champion's, paired on the same rows."""

    type: Literal["champion"]
    metric: Metric = Field(description=_METRIC)

    def __str__(self) -> str:
        return self.over_champion(self.metric.key)


class McNemarGate(_Tested):
    """More rows right than the champion has: the exact McNemar test. For classification."""

    type: Literal["mcnemar"]

    def __str__(self) -> str:
        return "more right predictions than the champion"


class CrossValidationGate(_Comparing):
    """A metric against the champion's over the folds: Nadeau and Bengio's corrected t-test."""

    type: Literal["cross_validation"]
    metric: str = Field(min_length=1, description="A metric of the study, by the name under which it is recorded.")
    goal: Literal["maximize", "minimize"] | None = Field(
        default=None, description="The better direction; by default the one that the metric declares."
    )

    def __str__(self) -> str:
        return self.over_champion(f"{self.metric} over the folds")


class FairnessGate(_Tested):
    """A metric of the groups of a column, which need not be a feature: Fairlearn's difference or ratio."""

    type: Literal["fairness"]
    metric: Metric = Field(
        description="A metric as above, or for two classes `selection_rate`, `true_positive_rate` or "
        "`false_positive_rate`."
    )
    column: str = Field(min_length=1, description="The column whose values are the groups.")
    max_difference: float | None = Field(
        default=None, ge=0, description="Largest difference between two groups that passes."
    )
    min_ratio: float | None = Field(
        default=None, gt=0, le=1, description="Smallest ratio of the lowest to the highest group that passes."
    )

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        if (self.max_difference is None) == (self.min_ratio is None):
            raise ValueError("exactly one of `max_difference` and `min_ratio`")
        return self

    def __str__(self) -> str:
        limit = f"differs by at most {self.max_difference:g}" if self.max_difference is not None else ""
        return f"{self.metric.key} by {self.column} {limit or f'has a ratio of at least {self.min_ratio:g}'}"


class BusinessGate(_Comparing):
    """A number of your own: `function(rows, predictions) -> float`, within limits or against the champion's."""

    type: Literal["business"]
    function: str = Field(
        description="`path/file.py:function` or `package.module:function`. It takes the rows with all columns, and the "
        "predictions: class names, or values."
    )
    min: float | None = Field(default=None, description="Smallest value that passes.")
    max: float | None = Field(default=None, description="Largest value that passes.")
    goal: Literal["maximize", "minimize"] = Field(default="maximize", description="The better direction, for `margin`.")

    @property
    def is_comparing(self) -> bool:
        """Whether it is about the champion: `margin` is given, and no limit."""
        return "margin" in self.model_fields_set

    @model_validator(mode="after")
    def _demands_one_thing(self) -> Self:
        if not names_function(self.function):
            raise ValueError(f"a function as {FORMS}")
        if not self.is_comparing:
            _need_limits(self.min, self.max, "`min`, `max` or `margin`")
        elif self.min is not None or self.max is not None:
            raise ValueError("either `min` and `max`, or `margin` over the champion")
        return self

    def __str__(self) -> str:
        own = self.function.rpartition(":")[2]
        return self.over_champion(own) if self.is_comparing else f"{own} {limits(self.min, self.max)}"


class LatencyGate(_Tested):
    """How long an answer to one row takes on this machine, without the network."""

    type: Literal["latency"]
    max_ms: float = Field(gt=0, description="Largest quantile that passes, in milliseconds.")
    quantile: float = Field(default=0.95, gt=0, lt=1, description="Which share of the answers has to be as fast.")

    def __str__(self) -> str:
        return f"{self.quantile:.3g} of the answers within {self.max_ms:g} ms"


class SizeGate(_Gate):
    """How large the exported model is."""

    type: Literal["size"]
    max_mib: float = Field(gt=0, description="Largest size that passes, in MiB.")

    def __str__(self) -> str:
        return f"model.onnx at most {self.max_mib:g} MiB"


class TestsGate(_Gate):
    """Tests of your own, which pytest runs in a process of its own."""

    __test__ = False
    type: Literal["tests"]
    file: str = Field(
        min_length=1,
        description="A file of tests. Fixtures: `candidate`, `champion`, `rows`, `target`, `predictions`.",
    )
    timeout_s: float = Field(default=600.0, gt=0, description="Seconds after which the tests have failed.")

    def __str__(self) -> str:
        return f"tests of {self.file}"


Gate = (
    MetricGate
    | ChampionGate
    | McNemarGate
    | CrossValidationGate
    | FairnessGate
    | BusinessGate
    | LatencyGate
    | SizeGate
    | TestsGate
)
GATES: dict[str, type[Frozen]] = {get_args(one.model_fields["type"].annotation)[0]: one for one in get_args(Gate)}
"""The gates by their type."""
_Stage = tuple[Annotated[Gate, Field(discriminator="type")], ...]


class Gates(Frozen):
    """The gates of the stages. A version has to pass all gates of a stage."""

    staging: _Stage = Field(default=(), description="What `@staging` needs.")
    production: _Stage = Field(default=(), description="What `@champion` needs.")

    @model_validator(mode="after")
    def _has_a_stage(self) -> Self:
        if not self.staging and not self.production:
            raise ValueError("a list of gates for `staging`, `production` or both")
        return self

    def of(self, stage: Stage) -> tuple[Gate, ...]:
        """The gates of a stage; none where it is not configured."""
        return self.staging if stage == "staging" else self.production


def compares(gate: Gate) -> bool:
    """Whether a gate needs a champion."""
    if isinstance(gate, BusinessGate):
        return gate.is_comparing
    return isinstance(gate, ChampionGate | McNemarGate | CrossValidationGate)


def _need_limits(low: float | None, high: float | None, names: str = "`min`, `max` or both") -> None:
    if low is None and high is None:
        raise ValueError(names)
    if low is not None and high is not None and low > high:
        raise ValueError(f"`min` below `max`, found {low:g} and {high:g}")


def limits(low: float | None, high: float | None, unit: str = "") -> str:
    """The limits in words: `at least 0.5 and at most 1`."""
    given = (("at least", low), ("at most", high))
    return " and ".join(f"{words} {limit:g}{unit}" for words, limit in given if limit is not None)
