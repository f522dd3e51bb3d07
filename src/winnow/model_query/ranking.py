"""Rank runs by rules. Pure functions only; `candidates` fetches the runs.

The order is total: objective, tie-breaks, earlier start, run id.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.config.errors import InputError
from winnow.model_query.rules import Filter, Rules
from winnow.tracking.projection import CODE_SHA256, GOAL, METRIC
from winnow.tracking.run_search import Order, TrackedRun

RUNNERS_UP, NEAREST_MISSES = 20, 10
NUMERIC_PARAMETER = "param."
"""Prefix under which a run repeats its numeric parameters as metrics."""


@dataclass(frozen=True)
class Miss:
    """A run that a filter rejects.

    Attributes:
        reason: what it has instead.
        distance: distance of its value from the filter's bound; None if the filter has no bound.
    """

    run: TrackedRun
    reason: str
    distance: float | None


@dataclass(frozen=True)
class Selection:
    """The winner, the runners-up, and the runs that each filter rejected.

    Attributes:
        objective: the metric that was ranked by, and its better direction.
        winner: the best run that passes; None if none passes.
        runners_up: the next 20, best first.
        misses: for each filter, by its text, the 10 rejected runs that were nearest to passing.
        tolerance: width of the one-standard-error rule's tie; None if the rule is off.
        code: digest of the study's current code; empty if the study uses no code of your own.
    """

    objective: Order
    winner: TrackedRun | None
    runners_up: tuple[TrackedRun, ...]
    misses: Mapping[str, tuple[Miss, ...]]
    tolerance: float | None = None
    code: str = ""

    def has_other_code(self, run: TrackedRun) -> bool:
        """Whether a run was trained with code that is known to differ from the study's current code."""
        own = run.tags.get(CODE_SHA256, "")
        return bool(own) and own != self.code


def resolve_objective(rules: Rules, sweep: TrackedRun) -> Order:
    """The rules' objective, with `auto` replaced by what the sweep's parent run says that it optimized.

    Raises InputError where the run does not say it.
    """
    metric: str | None = rules.objective.metric
    goal: str | None = rules.objective.goal
    if metric == "auto":
        metric = sweep.tags.get(METRIC)
    if goal == "auto":
        goal = sweep.tags.get(GOAL)
    if metric is None or goal not in ("maximize", "minimize"):
        raise InputError(
            f"run {sweep.name}",
            expected=f"the tags {METRIC} and {GOAL}",
            found=f"{metric!r} and {goal!r}",
            remedy="Name metric and goal in the rules' objective.",
        )
    return Order(metric, "maximize" if goal == "maximize" else "minimize")


def ordering(rules: Rules, objective: Order) -> tuple[Order, ...]:
    """The objective and the tie-breaks."""
    return (objective, *(Order(tie.metric, tie.goal) for tie in rules.tie_breaks))


def rank(runs: Iterable[TrackedRun], rules: Rules, objective: Order) -> Selection:
    """Choose among `runs` (trials of any state, in any order)."""
    order = ordering(rules, objective)

    def position(run: TrackedRun) -> tuple[Any, ...]:
        return (*(one.key(run) for one in order), run.started_at_ms, run.run_id)

    eligible = sorted((run for run in runs if is_eligible(run, objective)), key=position)
    passing = [run for run in eligible if not failures(run, rules)]
    tolerance = standard_error(passing[0], objective) if passing and rules.one_standard_error else None
    winner = passing[0] if passing else None
    if winner is not None and rules.one_standard_error is not None and tolerance is not None:
        simplest = Order(rules.one_standard_error.metric, rules.one_standard_error.goal)
        tied = [run for run in passing if is_within(run, winner, tolerance, objective)]
        winner = min(tied, key=simplest.key)
    others = [run for run in passing if run is not winner]
    return Selection(
        objective=objective,
        winner=winner,
        runners_up=tuple(others[:RUNNERS_UP]),
        misses={str(one): _nearest_misses(eligible, one) for one in rules.filters},
        tolerance=tolerance,
    )


def unknown_names(runs: Iterable[TrackedRun], rules: Rules, objective: Order) -> list[str]:
    """A sentence for each name in the rules that no complete run has, with similar names."""
    complete = [run for run in runs if run.state == "complete"]
    if not complete:
        return []
    known: dict[str, set[str]] = {
        "metric": {name for run in complete for name in run.metrics if not name.endswith(".fold")},
        "param": {name for run in complete for name in run.params},
        "tag": {name for run in complete for name in run.tags},
    }
    simple = [rules.one_standard_error.metric] if rules.one_standard_error is not None else []
    metrics = [objective.metric, *simple, *(tie.metric for tie in rules.tie_breaks)]
    asked = [*(("metric", name) for name in metrics), *((str(one.kind), one.name) for one in rules.filters)]
    told = []
    for kind, name in dict.fromkeys(asked):
        if name not in known[kind]:
            nearest = difflib.get_close_matches(name, sorted(known[kind]), n=3, cutoff=0.5)
            hint = f"; nearest: {', '.join(nearest)}" if nearest else ""
            told.append(f"No run has the {kind} {name}{hint}.")
    return told


def is_eligible(run: TrackedRun, objective: Order) -> bool:
    """Complete, with a finite objective."""
    return run.state == "complete" and math.isfinite(run.metrics.get(objective.metric, math.nan))


def failures(run: TrackedRun, rules: Rules) -> list[Miss]:
    """A miss for each filter that rejects a run."""
    return [miss for one in rules.filters if (miss := check(run, one)) is not None]


def check(run: TrackedRun, rule: Filter) -> Miss | None:
    """Why a filter rejects a run; None if the run passes."""
    value = look_up(run, rule)
    if value is None:
        return Miss(run, f"has no {rule.kind} {rule.name}", None)
    if rule.min is not None or rule.max is not None:
        number = number_of(run, rule)
        if number is None:
            return Miss(run, f"{rule.name} is {value}, which is not a number", None)
        if rule.min is not None and number < rule.min:
            return Miss(run, f"{rule.name} is {number:.6g}", rule.min - number)
        if rule.max is not None and number > rule.max:
            return Miss(run, f"{rule.name} is {number:.6g}", number - rule.max)
    if rule.equals is not None and not is_same(value, rule.equals):
        return Miss(run, f"{rule.name} is {_shown(value)}", None)
    if rule.in_ is not None and not any(is_same(value, one) for one in rule.in_):
        return Miss(run, f"{rule.name} is {_shown(value)}", None)
    if rule.matches is not None and re.fullmatch(rule.matches, str(value)) is None:
        return Miss(run, f"{rule.name} is {_shown(value)}", None)
    return None


def look_up(run: TrackedRun, rule: Filter) -> float | str | None:
    """The value that a filter is about. Metrics that are not finite count as missing."""
    if rule.kind == "tag":
        return run.tags.get(rule.name)
    if rule.kind == "param":
        return run.params.get(rule.name)
    value = run.metrics.get(rule.name)
    return value if value is not None and math.isfinite(value) else None


def number_of(run: TrackedRun, rule: Filter) -> float | None:
    """The number that `min` and `max` are compared with: a metric, or the metric that repeats a parameter."""
    value = run.metrics.get(metric_behind(rule))
    return value if value is not None and math.isfinite(value) else None


def metric_behind(rule: Filter) -> str:
    """The name of the metric with a filter's number. Filters on tags have none."""
    return f"{NUMERIC_PARAMETER}{rule.name}" if rule.kind == "param" else rule.name


def is_same(found: float | str, wanted: Any) -> bool:
    """Whether a stored value equals one of the rules: numbers as numbers, everything else as stored text."""
    if not isinstance(wanted, int | float) or isinstance(wanted, bool):
        return str(found) == as_text(wanted)
    try:
        return float(found) == float(wanted)
    except ValueError:
        return False


def as_text(wanted: Any) -> str:
    """A value of the rules as it is stored in a run: text unchanged, everything else as JSON."""
    return wanted if isinstance(wanted, str) else json.dumps(wanted)


def standard_error(run: TrackedRun, objective: Order) -> float | None:
    """Standard error of a run's mean over its folds; None if fewer than two were scored.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2nd edition, section 7.10.
    """
    spread, folds = run.metrics.get(f"{objective.metric}.std"), run.metrics.get("folds.done", 0.0)
    return None if spread is None or folds < 2 else spread / math.sqrt(folds)


def threshold(best: TrackedRun, tolerance: float, objective: Order) -> float:
    """The worst objective that still counts as equal to the best."""
    value = best.metrics[objective.metric]
    return value - tolerance if objective.goal == "maximize" else value + tolerance


def is_within(run: TrackedRun, best: TrackedRun, tolerance: float, objective: Order) -> bool:
    """Whether a run's objective counts as equal to the best."""
    bound, value = threshold(best, tolerance, objective), run.metrics[objective.metric]
    return value >= bound if objective.goal == "maximize" else value <= bound


def reason(selection: Selection, rules: Rules) -> str:
    """One sentence on why the winner won, for the history of champions."""
    if selection.winner is None:
        return "no run passes"
    run, metric = selection.winner, selection.objective.metric
    spread = f" ± {run.metrics[f'{metric}.std']:.3g}" if f"{metric}.std" in run.metrics else ""
    score = f"{metric} {run.metrics[metric]:.5g}{spread}"
    passed = f" of the runs that pass {len(rules.filters)} filter(s)" if rules.filters else ""
    if rules.one_standard_error is not None and selection.tolerance is not None:
        simple = rules.one_standard_error
        how = f"{simple.goal}s {simple.metric} within one standard error ({selection.tolerance:.3g}) of the best"
        return f"{run.name}: {score}; {how}{passed}"
    best = "highest" if selection.objective.goal == "maximize" else "lowest"
    return f"{run.name}: {score}, the {best}{passed}"


@dataclass(frozen=True)
class Demand:
    """A requirement for a run to be selected.

    Attributes:
        text: the requirement, in words.
        is_met: whether the run meets it.
        found: what the run has, in words.
    """

    text: str
    is_met: bool
    found: str


def explain(run: TrackedRun, rules: Rules, selection: Selection) -> tuple[Demand, ...]:
    """Check a run against every requirement."""
    metric = selection.objective.metric
    value = run.metrics.get(metric)
    is_finite = value is not None and math.isfinite(value)
    demands = [
        Demand("trial is complete", run.state == "complete", f"it is {run.state}"),
        Demand(f"{metric} is a finite number", is_finite, "it has none" if value is None else f"{value:.6g}"),
    ]
    for rule in rules.filters:
        miss = check(run, rule)
        found = miss.reason if miss else f"{rule.name} is {_shown(look_up(run, rule) or '')}"
        demands.append(Demand(str(rule), miss is None, found))
    return tuple(demands)


def is_comparable(run: TrackedRun, rule: Filter) -> bool:
    """Whether a run has the value that a filter is about, so that it can be near to passing."""
    asks_for_number = rule.min is not None or rule.max is not None
    return number_of(run, rule) is not None if asks_for_number else look_up(run, rule) is not None


def _nearest_misses(eligible: Sequence[TrackedRun], rule: Filter) -> tuple[Miss, ...]:
    """The rejected runs nearest to the bound, or the best ones if there is no bound. `eligible` is best first."""
    found = [miss for run in eligible if (miss := check(run, rule)) is not None and is_comparable(run, rule)]
    found.sort(key=lambda miss: math.inf if miss.distance is None else miss.distance)
    return tuple(found[:NEAREST_MISSES])


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
