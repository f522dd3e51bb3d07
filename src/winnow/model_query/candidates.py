"""Fetch only the runs of a study that can appear in a `Selection`.

`rank` gives the same selection for these as for all runs: the best that pass, the simplest within one standard error,
and the nearest that each filter rejects. Each is one ordered search in the store. Conditions that the store's search
cannot express (regular expressions, one of several values) are checked on the runs that it returns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from winnow.model_query.ranking import (
    NEAREST_MISSES,
    RUNNERS_UP,
    as_text,
    check,
    failures,
    is_comparable,
    is_eligible,
    metric_behind,
    ordering,
    standard_error,
    threshold,
)
from winnow.model_query.rules import Filter, Rules
from winnow.tracking.projection import STATE
from winnow.tracking.run_search import Comparison, Condition, Order, RunSearch, TrackedRun

_COMPLETE = Condition("tag", STATE, "=", "complete")


def candidates(search: RunSearch, study: str, rules: Rules, objective: Order) -> list[TrackedRun]:
    """The runs of a study that can appear in its selection, each once."""
    order = ordering(rules, objective)
    demanded = [one for rule in rules.filters for one in _demanded(rule)]

    def passing(order: Sequence[Order], *more: Condition) -> Iterator[TrackedRun]:
        for run in search.trials(study, [_COMPLETE, *more, *demanded], order):
            if is_eligible(run, objective) and not failures(run, rules):
                yield run

    found = _first(passing(order), RUNNERS_UP + 1)
    simple = rules.one_standard_error
    if found and simple is not None and (tolerance := standard_error(found[0], objective)) is not None:
        comparison: Comparison = ">=" if objective.goal == "maximize" else "<="
        near = Condition("metric", objective.metric, comparison, threshold(found[0], tolerance, objective))
        found += _first(passing([Order(simple.metric, simple.goal), *order], near), 1)
    for rule in rules.filters:
        for conditions, nearest in _rejected(rule, order):
            runs = search.trials(study, [_COMPLETE, *conditions], nearest)
            comparable = (run for run in runs if is_eligible(run, objective) and is_comparable(run, rule))
            found += _first((run for run in comparable if check(run, rule) is not None), NEAREST_MISSES)
    return list({run.run_id: run for run in found}.values())


def _demanded(rule: Filter) -> list[Condition]:
    """The conditions of a filter that the store can check."""
    return [*_within_bounds(rule), *([] if rule.equals is None else _equality(rule, "=", rule.equals))]


def _rejected(rule: Filter, order: Sequence[Order]) -> list[tuple[list[Condition], list[Order]]]:
    """Searches that together find the rejected runs nearest to passing a filter, nearest first."""
    metric = metric_behind(rule)
    searches: list[tuple[list[Condition], list[Order]]] = []
    if rule.min is not None:
        searches.append(([Condition("metric", metric, "<", rule.min)], [Order(metric, "maximize"), *order]))
    if rule.max is not None:
        searches.append(([Condition("metric", metric, ">", rule.max)], [Order(metric, "minimize"), *order]))
    unequal: list[list[Condition]] = []
    if rule.equals is not None:
        unequal.append(_equality(rule, "!=", rule.equals))
    if rule.in_ is not None:
        unequal.append([one for value in rule.in_ for one in _equality(rule, "!=", value)])
    if rule.matches is not None:
        unequal.append([])
    # The searches above find those outside the bounds, by distance.
    return searches + [([*_within_bounds(rule), *conditions], list(order)) for conditions in unequal]


def _within_bounds(rule: Filter) -> list[Condition]:
    metric = metric_behind(rule)
    bounds: tuple[tuple[Comparison, float | None], ...] = ((">=", rule.min), ("<=", rule.max))
    return [Condition("metric", metric, comparison, bound) for comparison, bound in bounds if bound is not None]


def _equality(rule: Filter, comparison: Comparison, value: Any) -> list[Condition]:
    """`=` or `!=` if the store can express it: numbers for metrics, text for parameters and tags."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if rule.kind == "metric":
        return [Condition("metric", rule.name, comparison, float(value))] if is_number else []
    # A number may be spelled in several ways, so only the check on the run itself is right.
    return [] if is_number else [Condition(rule.kind, rule.name, comparison, as_text(value))]


def _first(runs: Iterable[TrackedRun], count: int) -> list[TrackedRun]:
    return list(itertools.islice(runs, count))
