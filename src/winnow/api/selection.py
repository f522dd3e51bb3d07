"""Choose a study's best run by the rules, and see why it is that one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import connected, read_rules, silent, study_name

if TYPE_CHECKING:
    from winnow.orchestrators.select_model import CheckedRun, Explanation, Outcome
    from winnow.study.certainty import Certainty
    from winnow.tracking.run_search import RunSearch, TrackedRun
    from winnow.tracking.tracker import ModelVersion


def select_model(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    rules: Path | str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = silent,
) -> Outcome:
    """Choose a study's best run by the rules; its model becomes `@candidate` and gets the rules' alias, `@champion`.

    A winner that has no model yet is refitted. Moving an alias deploys nothing.

    Args:
        dry_run: choose, but do not refit and do not move the aliases.

    Returns:
        The selection and the winner's registered model. If no run passes, `selection.winner` is None.

    Raises:
        InputError: the rules are wrong, there is no such study, or the store does not answer.
        RefitFailedError: the winner has no model and refitting it failed.
    """
    name = study_name(config, study)
    _, loaded = read_rules(rules)
    from winnow.orchestrators import select_model as orchestrator
    from winnow.orchestrators.refit import refit_run
    from winnow.tracking.run_search import MlflowRunSearch

    settings, registry = connected()

    def refit(run: TrackedRun) -> ModelVersion:
        say(f"{run.name} has no model yet: training it again on all rows but the holdout …")
        return refit_run(run, name, settings, say)

    uri = settings.tracking_uri
    with orchestrator.store_is_needed(uri):
        return orchestrator.select_model(name, loaded, MlflowRunSearch(uri), registry, refit, dry_run=dry_run)


def check_runs(
    config: Path | str | None = None, *, study: str | None = None, rules: Path | str | None = None
) -> tuple[CheckedRun, ...]:
    """Check every trial of a study against the rules' filters, best trial first.

    Raises:
        InputError: the rules are wrong, there is no such study, or the store does not answer.
    """
    name = study_name(config, study)
    _, loaded = read_rules(rules)
    from winnow.orchestrators import select_model as orchestrator

    with _run_search() as search:
        return orchestrator.check_runs(name, loaded, search)


def explain_run(
    run: str, config: Path | str | None = None, *, study: str | None = None, rules: Path | str | None = None
) -> Explanation:
    """Check one run against every rule.

    Args:
        run: the run's name, its trial's number, or at least the first 6 characters of its id.

    Raises:
        InputError: the rules are wrong, there is no such study or run, or the store does not answer.
    """
    name = study_name(config, study)
    _, loaded = read_rules(rules)
    from winnow.orchestrators import select_model as orchestrator

    with _run_search() as search:
        rules_file = None if rules is None else Path(rules)
        return orchestrator.explain_run(name, run, loaded, search, rules_file=rules_file)


def parameter_importances(config: Path | str | None = None, *, study: str | None = None) -> dict[str, float]:
    """Compute each parameter's share of the metric's variation, by PED-ANOVA (Watanabe et al., IJCAI 2023).

    Returns:
        Shares by parameter, most important first, adding up to 1. Empty if the study has too few trials or cannot be
        read.
    """
    name = study_name(config, study)
    from winnow.orchestrators.report import shares_of
    from winnow.orchestrators.settings import current

    return shares_of(current(), name)


def winner_certainty(
    config: Path | str | None = None, *, study: str | None = None, trial: int | None = None
) -> Certainty | None:
    """How sure it is that a trial is its study's best, from the scores on the folds.

    Args:
        trial: the selected trial's number; by default the one with the best mean.

    Returns:
        None with fewer than three complete trials or a single fold, or if the study cannot be read.
    """
    name = study_name(config, study)
    from winnow.orchestrators.report import certainty_in
    from winnow.orchestrators.settings import current

    return certainty_in(current(), name, trial)


@contextmanager
def _run_search() -> Iterator[RunSearch]:
    """The tracking store's runs. A store that does not answer is an InputError."""
    from winnow.orchestrators.select_model import store_is_needed
    from winnow.orchestrators.settings import current
    from winnow.tracking.run_search import MlflowRunSearch

    uri = current().tracking_uri
    with store_is_needed(uri):
        yield MlflowRunSearch(uri)
