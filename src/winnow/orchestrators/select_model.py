"""Select a study's best run: find the runs, rank them by the rules, refit the winner if needed, move the aliases.

`model_query` decides who wins; `tracking` reads the store and writes to the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from winnow.config.errors import InputError
from winnow.config.html_table import html_table
from winnow.config.next_command import next_command, next_flag
from winnow.model_query.candidates import candidates
from winnow.model_query.gates import STAGE_ALIASES, Stage
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
from winnow.tracking.projection import CODE_SHA256, MODEL
from winnow.tracking.registry import Registry
from winnow.tracking.run_search import Order, RunSearch, TrackedRun
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError

Refit = Callable[[TrackedRun], ModelVersion]
"""Trains a run's trial on all but the holdout and registers the model."""


CANDIDATE = "candidate"
"""The alias of the version that was selected last."""


@dataclass(frozen=True, repr=False)
class Outcome:
    """What `select_model` did.

    Attributes:
        selection: the winner, the runners-up, and the nearest misses of each filter.
        version: the winner's registered model; None if no run passes, or in a dry run before its refit.
        is_new: whether an alias moves to this version.
        reason: why it won, as written to the history of champions.
        unknown: a sentence for each name in the rules that no run has; only filled if no run passes.
        alias: the alias of the rules, which the winner gets besides `candidate`; None with gates.
        stages: those whose gates are configured.
        compared: the metrics of the one-standard-error rule and of the tie-breaks.
    """

    study: str
    selection: Selection
    version: ModelVersion | None
    is_new: bool
    reason: str
    unknown: tuple[str, ...] = ()
    alias: str | None = "champion"
    compared: tuple[str, ...] = ()
    stages: tuple[Stage, ...] = ()

    @property
    def aliases(self) -> tuple[str, ...]:
        """The aliases that the winner gets."""
        return tuple(dict.fromkeys(each for each in (CANDIDATE, self.alias) if each is not None))

    def __repr__(self) -> str:
        version = "" if self.version is None else f", version {self.version.label} @{self.aliases[-1]}"
        return f"<Outcome of {self.study}: {self.reason or 'no run passes the rules'}{version}>"

    def _repr_html_(self) -> str:
        """The winner and nine runners-up as a table, for notebooks."""
        metric = self.selection.objective.metric
        runs = [run for run in (self.selection.winner, *self.selection.runners_up[:9]) if run is not None]
        names = sorted({name for run in runs for name in run.params})
        varied = [name for name in names if len({run.params.get(name) for run in runs}) > 1]
        rows = [(run.name, run.metrics.get(metric), *map(run.params.get, varied)) for run in runs]
        return html_table(repr(self)[1:-1], ("run", metric, *varied), rows)


@dataclass(frozen=True)
class CheckedRun:
    """A trial's run, and the filters that reject it.

    Attributes:
        misses: one for each filter that rejects the run; empty if it passes all.
    """

    run: TrackedRun
    misses: tuple[Miss, ...]


@dataclass(frozen=True)
class Explanation:
    """One run checked against the rules.

    Attributes:
        demands: the requirements of the rules.
        selection: the selection among all trials, which shows the run's rank.
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
    """Choose a study's best run by the rules and give its model the aliases. See `winnow.api.select_model`.

    `refit`: trains the winner's model if it has none. Without it, such a winner raises InputError. Raises
    TrackingUnavailableError if the store does not answer.
    """
    sweep, objective = _sweep_and_objective(study, rules, search)
    selection = _ranked(candidates(search, study, rules, objective), rules, objective, sweep)
    why = reason(selection, rules)
    first = [rules.one_standard_error.metric] if rules.one_standard_error is not None else []
    compared = tuple(dict.fromkeys([*first, *(tie.metric for tie in rules.tie_breaks)]))
    gates = rules.gates
    stages = () if gates is None else tuple(each for each in STAGE_ALIASES if gates.of(each))
    alias = rules.alias if gates is None else None
    chosen = Outcome(study, selection, None, False, why, alias=alias, compared=compared, stages=stages)
    if selection.winner is None:
        runs = search.trials(study, [], [selection.objective])
        return replace(chosen, unknown=tuple(unknown_names(runs, rules, selection.objective)))
    model = sweep.tags.get(MODEL, study)  # sweeps of older versions have models of their own names
    version = registry.version_of(model, selection.winner.run_id)
    if dry_run:
        is_new = version is None or any(registry.champion(model, alias) != version for alias in chosen.aliases)
        return replace(chosen, version=version, is_new=is_new)
    if version is None:
        if refit is None:
            raise InputError(
                f"run {selection.winner.name}",
                expected="a registered model",
                found="none, because it was never refitted",
                remedy=f"Raise `refit.top` and run `{next_command('train', config=...)}` again.",
            )
        version = refit(selection.winner)
        version = registry.version_of(model, version.run_id) or version
    is_moved = [registry.crown(version, why, alias) for alias in chosen.aliases]
    return replace(chosen, version=version, is_new=any(is_moved))


def check_runs(study: str, rules: Rules, search: RunSearch) -> tuple[CheckedRun, ...]:
    """Check all trials of a study against the filters, best first. Raises InputError if there is no such study."""
    _, objective = _sweep_and_objective(study, rules, search)
    return tuple(CheckedRun(run, tuple(failures(run, rules))) for run in search.trials(study, [], [objective]))


def explain_run(
    study: str, wanted: str, rules: Rules, search: RunSearch, *, rules_file: Path | None = None
) -> Explanation:
    """Check one run against the rules.

    Args:
        wanted: the run's name, its trial's number, or at least the first 6 characters of its id.
        rules_file: the file of the rules, for the command in an error.

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
            f"run '{wanted}'",
            expected=f"the id, name or trial number of a run of study '{study}'",
            found=f"{len(found) or 'none'} among {len(runs)} trials",
            remedy=f"`{next_command('select-model', study=study, rules=rules_file, all=True)}` lists them.",
        )
    return Explanation(found[0], explain(found[0], rules, selection), selection)


def choose_among_all(study: str, rules: Rules, search: RunSearch) -> tuple[Selection, list[TrackedRun]]:
    """The selection from all trials of the study, and these trials. `select_model` fetches only the relevant ones."""
    sweep, objective = _sweep_and_objective(study, rules, search)
    runs = list(search.trials(study, [], [objective]))
    return _ranked(runs, rules, objective, sweep), runs


def _ranked(runs: Sequence[TrackedRun], rules: Rules, objective: Order, sweep: TrackedRun) -> Selection:
    return replace(rank(runs, rules, objective), code=sweep.tags.get(CODE_SHA256, ""))


def _sweep_and_objective(study: str, rules: Rules, search: RunSearch) -> tuple[TrackedRun, Order]:
    """The study's parent run, and what the rules optimize. Raises InputError if the store has no such run."""
    sweep = search.sweep(study)
    if sweep is None:
        raise InputError(
            f"study '{study}'",
            expected="a study with runs in the tracking store",
            found="none with that name",
            remedy=f"Run `{next_command('train', config=...)}` first, or name another with {next_flag('study')}.",
        )
    return sweep, resolve_objective(rules, sweep)


@contextmanager
def store_is_needed(uri: str) -> Iterator[None]:
    """Turn the error of a store that does not answer into an InputError."""
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
