from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.config.errors import InputError
from winnow.model_query.candidates import candidates
from winnow.model_query.ranking import (
    NEAREST_MISSES,
    RUNNERS_UP,
    check,
    failures,
    is_eligible,
    rank,
    reason,
    resolve_objective,
    unknown_names,
)
from winnow.model_query.rules import Criterion, Filter, Objective, Rules
from winnow.testing.run_search import MemoryRunSearch
from winnow.tracking.run_search import Condition, Order, TrackedRun

F1 = Order("f1", "maximize")
STUDY = "made-up"


def run(
    number: int, f1: float | None = 0.9, state: str = "complete", params: dict[str, Any] | None = None, **metrics: float
) -> TrackedRun:
    values = dict(metrics) | ({} if f1 is None else {"f1": f1})
    params = params or {}
    values |= {f"param.{name}": value for name, value in params.items() if isinstance(value, float)}
    return TrackedRun(
        run_id=f"{number:032x}",
        name=f"trial {number:03d}",
        params={name: str(value) for name, value in params.items()},
        metrics=values,
        tags={"winnow.trial": str(number), "winnow.state": state, "winnow.kind": "trial", "winnow.study": STUDY},
        started_at_ms=1000 + number,
    )


def rules(*filters: dict[str, Any], **others: Any) -> Rules:
    return Rules.model_validate({"filters": filters, **others})


def test_the_best_complete_run_wins() -> None:
    runs = [run(0, 0.9), run(1, 0.95), run(2, 0.99, "pruned"), run(3, 0.98, "running"), run(4, None)]
    selection = rank(runs, rules(), F1)
    assert (selection.winner, selection.runners_up) == (runs[1], (runs[0],))


def test_the_direction_decides() -> None:
    assert rank([run(0, 0.9), run(1, 0.95)], rules(), Order("f1", "minimize")).winner == run(0, 0.9)


def test_a_score_that_is_not_finite_never_wins() -> None:
    selection = rank([run(0, math.nan), run(1, math.inf), run(2, 0.1)], rules(), F1)
    assert (selection.winner, selection.runners_up) == (run(2, 0.1), ())


def test_ties_go_to_the_tie_breaks_and_then_to_the_earlier_trial() -> None:
    runs = [run(0, 0.9, train_s=3.0), run(2, 0.9, train_s=1.0), run(1, 0.9, train_s=1.0), run(3, 0.9)]
    faster = rules(tie_breaks=[{"metric": "train_s", "goal": "minimize"}])
    selection = rank(runs, faster, F1)
    assert [one.trial for one in (selection.winner, *selection.runners_up) if one] == [1, 2, 0, 3]


def test_a_run_must_pass_every_filter() -> None:
    one = run(0, 0.9, params={"lr": 0.01, "act": "relu"}, **{"f1.std": 0.02})
    fits = rules({"metric": "f1.std", "max": 0.05}, {"param": "lr", "min": 0.01}, {"param": "act", "in": ["relu"]})
    assert failures(one, fits) == []
    tight = rules({"metric": "f1.std", "max": 0.01}, {"param": "lr", "min": 0.1}, {"param": "act", "equals": "tanh"})
    assert [miss.reason for miss in failures(one, tight)] == ["f1.std is 0.02", "lr is 0.01", "act is relu"]
    assert rank([one], tight, F1).winner is None


@pytest.mark.parametrize(
    ("demand", "passes"),
    [
        ({"param": "hidden", "equals": [64, 32]}, True),
        ({"param": "hidden", "equals": "[64, 32]"}, True),
        ({"param": "hidden", "in": [[64], [64, 32]]}, True),
        ({"param": "hidden", "in": [[64]]}, False),
        ({"param": "bias", "equals": True}, True),
        ({"param": "bias", "equals": 1}, False),
        ({"param": "lr", "equals": 0.010}, True),
        ({"param": "lr", "in": [0.1, 1e-2]}, True),
        ({"param": "lr", "min": 0.01, "max": 0.01}, True),
        ({"param": "act", "matches": "re.u"}, True),
        ({"param": "act", "matches": "re"}, False),
        ({"param": "act", "min": 0}, False),
        ({"tag": "winnow.state", "matches": "comp.*"}, True),
        ({"metric": "f1", "equals": 0.9}, True),
        ({"metric": "absent", "max": 1}, False),
        ({"param": "absent", "in": ["x"]}, False),
    ],
)
def test_demands(demand: dict[str, Any], passes: bool) -> None:
    one = run(0, 0.9, params={"lr": 0.01, "act": "relu"})
    one = TrackedRun(
        one.run_id, one.name, {**one.params, "hidden": "[64, 32]", "bias": "true"}, one.metrics, one.tags, 0
    )
    assert (check(one, Filter.model_validate(demand)) is None) is passes


def test_the_simplest_within_one_standard_error_wins() -> None:
    spread = {"f1.std": 0.05, "folds.done": 25.0}
    runs = [
        run(0, 0.90, width=512.0, **spread),
        run(1, 0.893, width=64.0, **spread),
        run(2, 0.891, width=32.0, **spread),
        run(3, 0.889, width=8.0, **spread),
    ]
    simple = rules(one_standard_error={"metric": "width", "goal": "minimize"})
    selection = rank(runs, simple, F1)
    assert selection.tolerance == pytest.approx(0.01)
    assert selection.winner == runs[2]
    assert [one.trial for one in selection.runners_up] == [0, 1, 3]
    assert "minimizes width within one standard error (0.01) of the best" in reason(selection, simple)


def test_one_standard_error_needs_two_folds() -> None:
    runs = [run(0, 0.90, width=512.0), run(1, 0.90, width=1.0)]
    selection = rank(runs, rules(one_standard_error={"metric": "width", "goal": "minimize"}), F1)
    assert (selection.winner, selection.tolerance) == (runs[0], None)


def test_the_nearest_misses_come_first_and_runs_without_the_metric_are_none() -> None:
    runs = [run(0, 0.80), run(1, 0.89), run(2, 0.95), *(run(10 + n, 0.5) for n in range(20)), run(50, 0.7, "failed")]
    (misses,) = rank(runs, rules({"metric": "f1", "min": 0.9}), F1).misses.values()
    assert [(miss.run.trial, miss.reason) for miss in misses[:2]] == [(1, "f1 is 0.89"), (0, "f1 is 0.8")]
    assert len(misses) == NEAREST_MISSES
    assert rank(runs, rules({"metric": "absent", "min": 0.9}), F1).misses == {"metric absent at least 0.9": ()}


def test_a_name_that_no_run_has_is_told_with_the_nearest_ones() -> None:
    runs = [run(0, params={"width": 8.0}, model_bytes=10.0), run(1, state="pruned", recall=0.9)]
    wanted = rules({"metric": "f2", "min": 0.5}, {"param": "widht", "max": 9}, {"metric": "recall", "min": 0.1})
    assert unknown_names(runs, wanted, F1) == [
        "No run has the metric f2; nearest: f1.",
        "No run has the param widht; nearest: width.",
        "No run has the metric recall.",
    ]
    assert unknown_names(runs, rules({"metric": "f1", "min": 0.99}), F1) == []
    assert unknown_names([], wanted, F1) == []


def test_the_objective_is_the_sweeps_unless_the_rules_name_another() -> None:
    sweep = TrackedRun("s", "sweep", {}, {}, {"winnow.metric": "rmse", "winnow.goal": "minimize"}, 0)
    assert resolve_objective(Rules(), sweep) == Order("rmse", "minimize")
    own = Rules(objective=Objective(metric="r2", goal="maximize"))
    assert resolve_objective(own, sweep) == Order("r2", "maximize")
    assert resolve_objective(own, TrackedRun("s", "sweep", {}, {}, {}, 0)) == Order("r2", "maximize")
    with pytest.raises(InputError, match="the tags"):
        resolve_objective(Rules(), TrackedRun("s", "sweep", {}, {}, {}, 0))


class CountingSearch(MemoryRunSearch):
    """Counts the runs that are taken from it."""

    taken = 0

    def trials(self, study: str, conditions: Sequence[Condition], order: Sequence[Order]) -> Iterator[TrackedRun]:
        for one in super().trials(study, conditions, order):
            self.taken += 1
            yield one


def test_ten_thousand_runs_are_decided_by_a_few() -> None:
    search = CountingSearch(run(number, number / 10_000, params={"lr": 0.01}) for number in range(10_000))
    two = rules({"metric": "f1", "min": 0.5, "max": 0.8}, {"param": "lr", "max": 0.1})
    selection = rank(candidates(search, STUDY, two, F1), two, F1)
    assert selection.winner == run(8000, 0.8, params={"lr": 0.01})
    assert search.taken <= 1 + RUNNERS_UP + 2 * NEAREST_MISSES


# Few values, so that ties, equal distances and whole-value filters happen.
scores = st.one_of(st.none(), st.sampled_from([0.25, 0.5, 0.5, 0.75, 1.0, math.nan]))
some_runs = st.lists(
    st.builds(
        lambda f1, state, lr, act, width, std: (f1, state, {"lr": lr, "act": act}, {"width": width, "f1.std": std}),
        scores,
        st.sampled_from(["complete", "complete", "complete", "pruned", "failed", "running"]),
        st.sampled_from([0.125, 0.25, 0.5, "auto"]),
        st.sampled_from(["relu", "tanh", "it's"]),
        st.sampled_from([1.0, 2.0, 4.0]),
        st.sampled_from([0.0, 0.5, 1.0]),
    ),
    max_size=60,
).map(
    lambda rows: [
        run(number, f1, state, params, **metrics, **{"folds.done": 4.0, "train_s": metrics["width"]})
        for number, (f1, state, params, metrics) in enumerate(rows)
    ]
)
some_filters = st.lists(
    st.sampled_from(
        [
            {"metric": "f1", "min": 0.5},
            {"metric": "f1", "min": 0.5, "max": 0.75},
            {"metric": "f1", "equals": 0.5},
            {"metric": "width", "in": [1, 4]},
            {"metric": "absent", "min": 0},
            {"param": "lr", "max": 0.25},
            {"param": "lr", "min": 0.25, "in": [0.25, 0.5]},
            {"param": "lr", "equals": "auto"},
            {"param": "act", "equals": "it's"},
            {"param": "act", "in": ["tanh", "it's"]},
            {"param": "act", "matches": "r.*|t.*"},
            {"tag": "winnow.trial", "matches": "[0-4].*", "in": ["1", "2", "30"]},
        ]
    ),
    max_size=3,
)
some_rules = st.builds(
    lambda filters, breaks, simplest: rules(*filters, tie_breaks=breaks, one_standard_error=simplest),
    some_filters,
    st.sampled_from([[], [Criterion(metric="train_s", goal="minimize")]]),
    st.sampled_from([None, Criterion(metric="width", goal="minimize")]),
)
objectives = st.sampled_from([F1, Order("f1", "minimize")])
few = settings(deadline=None, max_examples=200)


@few
@given(some_runs, some_rules, objectives)
def test_the_winner_passes_every_rule(runs: list[TrackedRun], given_rules: Rules, objective: Order) -> None:
    selection = rank(runs, given_rules, objective)
    chosen = [one for one in (selection.winner, *selection.runners_up) if one is not None]
    assert all(is_eligible(one, objective) and not failures(one, given_rules) for one in chosen)
    passing = [one for one in runs if is_eligible(one, objective) and not failures(one, given_rules)]
    assert len(chosen) == min(len(passing), 1 + RUNNERS_UP)


@few
@given(some_runs, some_rules, objectives, st.randoms(use_true_random=False))
def test_the_order_of_the_runs_does_not_matter(
    runs: list[TrackedRun], given_rules: Rules, objective: Order, shuffler: random.Random
) -> None:
    shuffled = list(runs)
    shuffler.shuffle(shuffled)
    assert rank(shuffled, given_rules, objective) == rank(runs, given_rules, objective)


@few
@given(some_runs, some_rules, some_filters, objectives)
def test_more_rules_never_turn_a_failing_run_into_a_winner(
    runs: list[TrackedRun], given_rules: Rules, more: list[dict[str, Any]], objective: Order
) -> None:
    tighter = given_rules.model_copy(update={"filters": (*given_rules.filters, *rules(*more).filters)})
    winner = rank(runs, tighter, objective).winner
    assert winner is None or not failures(winner, given_rules)
    if rank(runs, given_rules, objective).winner is None:
        assert winner is None


@few
@given(some_runs, some_rules, objectives, st.floats(0, 1))
def test_the_holdout_never_ranks(runs: list[TrackedRun], given_rules: Rules, objective: Order, holdout: float) -> None:
    with_holdout = [
        TrackedRun(
            one.run_id,
            one.name,
            one.params,
            {**one.metrics, "holdout.f1": holdout * index},
            one.tags,
            one.started_at_ms,
        )
        for index, one in enumerate(runs)
    ]
    before, after = (rank(some, given_rules, objective).winner for some in (runs, with_holdout))
    assert (before and before.run_id) == (after and after.run_id)


@few
@given(some_runs, some_rules, objectives)
def test_the_few_runs_that_are_fetched_give_the_selection_of_all(
    runs: list[TrackedRun], given_rules: Rules, objective: Order
) -> None:
    fetched = candidates(MemoryRunSearch(runs), STUDY, given_rules, objective)
    assert rank(fetched, given_rules, objective) == rank(runs, given_rules, objective)
