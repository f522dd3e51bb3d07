"""The verb `select-model`: find the runs, rank them by the rules, see that the winner has a model, crown it.

Who wins is decided in `model_query`; the store is read and the registry written by `tracking`. How a trial is refitted
is passed in, for it starts workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.model_query.candidates import candidates
from winnow.model_query.ranking import (
    Demand,
    Miss,
    Selection,
    explain,
    failures,
    rank,
    reason,
    resolve_objective,
    unknown_names,
)
from winnow.model_query.rules import Rules
from winnow.tracking.projection import CODE_SHA256
from winnow.tracking.registry import Registry
from winnow.tracking.run_search import RunSearch, TrackedRun
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError

Refit = Callable[[TrackedRun], ModelVersion]
"""Trains a run's trial on all but the holdout and registers the model."""


@dataclass(frozen=True)
class Outcome:
    """What `select_model` did.

    Attributes:
        study: the study's name.
        selection: the winner, the runners-up, and the nearest misses of each filter.
        version: the winner's registered model; None where no run passes, or in a dry run before its refit.
        is_new: whether the alias was another version's before, or no version's.
        reason: why it won, as the history of champions has it.
        unknown: names in the rules that no run has, a sentence each; looked for where no run passes.
        alias: the alias that the winner gets.
        compared: metrics beside the objective by which runs were compared: of the one-standard-error rule and of ties.
    """

    study: str
    selection: Selection
    version: ModelVersion | None
    is_new: bool
    reason: str
    unknown: tuple[str, ...] = ()
    alias: str = "champion"
    compared: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedRun:
    """A trial's run, and the filters that turn it away.

    Attributes:
        run: the run as the tracking store has it.
        misses: one for each filter that the run does not pass; empty where it passes all.
    """

    run: TrackedRun
    misses: tuple[Miss, ...]


@dataclass(frozen=True)
class Explanation:
    """One run held against the rules.

    Attributes:
        run: the run as the tracking store has it.
        demands: what is demanded of it.
        selection: the selection among all trials, in which the run has its place.
    """

    run: TrackedRun
    demands: tuple[Demand, ...]
    selection: Selection


def select_model(
    study: str,
    rules: Rules,
    search: RunSearch,
    registry: Registry,
    refit: Refit | None = None,
    *,
    dry_run: bool = False,
) -> Outcome:
    """Choose a study's best run by the rules and make its model the champion.

    Args:
        refit: makes the winner's model where it has none.
        dry_run: choose, but neither refit nor crown.

    Raises:
        InputError: there is no such study, or the winner has no model and there is no `refit`.
        TrackingUnavailableError: the store does not answer.
    """
    selection = choose(study, rules, search)
    why = reason(selection, rules)
    chosen = Outcome(study, selection, None, False, why, alias=rules.alias, compared=_compared(rules))
    if selection.winner is None:
        runs = search.trials(study, [], [selection.objective])
        return replace(chosen, unknown=tuple(unknown_names(runs, rules, selection.objective)))
    version = registry.version_of(study, selection.winner.run_id)
    if dry_run:
        is_new = version is None or registry.champion(study, rules.alias) != version
        return replace(chosen, version=version, is_new=is_new)
    if version is None:
        version = _refitted(selection.winner, refit)
    return replace(chosen, version=version, is_new=registry.crown(version, why, rules.alias))


def _compared(rules: Rules) -> tuple[str, ...]:
    first = [rules.one_standard_error.metric] if rules.one_standard_error is not None else []
    return tuple(dict.fromkeys([*first, *(tie.metric for tie in rules.tie_breaks)]))


def choose(study: str, rules: Rules, search: RunSearch) -> Selection:
    """Rank the runs that can matter; InputError where there is no such study."""
    sweep = sweep_of(study, search)
    objective = resolve_objective(rules, sweep)
    return _with_code(rank(candidates(search, study, rules, objective), rules, objective), sweep)


def check_runs(study: str, rules: Rules, search: RunSearch) -> tuple[CheckedRun, ...]:
    """Hold every trial of a study against the filters, the best first; InputError where there is no such study."""
    objective = resolve_objective(rules, sweep_of(study, search))
    return tuple(CheckedRun(run, tuple(failures(run, rules))) for run in search.trials(study, [], [objective]))


def explain_run(
    study: str, wanted: str, rules: Rules, search: RunSearch, *, rules_file: Path | None = None
) -> Explanation:
    """Hold one run against the rules.

    Args:
        wanted: the run's name, its trial's number, or at least the first 6 characters of its id.
        rules_file: where the rules are from, for the command in an error.

    Raises:
        InputError: there is no such study, or not exactly one such run.
    """
    selection, runs = choose_among_all(study, rules, search)
    found = [
        run
        for run in runs
        if wanted in (run.name, str(run.trial)) or (len(wanted) >= 6 and run.run_id.startswith(wanted))
    ]
    if len(found) != 1:
        raise InputError(
            "--explain",
            expected="a run's id, its name or a trial's number",
            found=f"'{wanted}', which is {'none' if not found else 'several'} of the study's {len(runs)} trials",
            remedy=f"`{next_command('select-model', study=study, rules=rules_file, all=True)}` lists them.",
        )
    return Explanation(found[0], explain(found[0], rules, selection), selection)


def choose_among_all(study: str, rules: Rules, search: RunSearch) -> tuple[Selection, list[TrackedRun]]:
    """The same selection from every trial of the study, and the trials."""
    sweep = sweep_of(study, search)
    objective = resolve_objective(rules, sweep)
    runs = list(search.trials(study, [], [objective]))
    return _with_code(rank(runs, rules, objective), sweep), runs


def _with_code(selection: Selection, sweep: TrackedRun) -> Selection:
    return replace(selection, code=sweep.tags.get(CODE_SHA256, ""))


def sweep_of(study: str, search: RunSearch) -> TrackedRun:
    """The study's parent run.

    Raises:
        InputError: the tracking store has none.
    """
    sweep = search.sweep(study)
    if sweep is None:
        raise InputError(
            f"study '{study}'",
            expected="a study with runs in the tracking store",
            found="none of that name",
            remedy=f"Run `{next_command('train', config=...)}` first, or name another with {next_flag('study')}.",
        )
    return sweep


@contextmanager
def store_is_needed(uri: str) -> Iterator[None]:
    """Turn a store that does not answer into an error for a person, who has to be told rather than waited for."""
    try:
        yield
    except TrackingUnavailableError as error:
        raise InputError(
            f"tracking store {uri.rpartition('@')[2]}",
            expected="an answer",
            found=str(error),
            remedy=f"Run `{next_command('train', config=...)}` first, start the server, or correct "
            "MLFLOW_TRACKING_URI.",
        ) from error


def _refitted(winner: TrackedRun, refit: Refit | None) -> ModelVersion:
    if refit is None:
        raise InputError(
            f"run {winner.name}",
            expected="a registered model",
            found="a run that was never refitted",
            remedy=f"Raise `refit.top` and run `{next_command('train', config=...)}` again.",
        )
    return refit(winner)
