"""Choose a study's best run by the rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from winnow.api.arguments import study_name

if TYPE_CHECKING:
    from winnow.orchestrators.select_model import Outcome


def select_model(
    config: Path | str | None = None,
    *,
    study: str | None = None,
    rules: Path | str | None = None,
    dry_run: bool = False,
) -> Outcome:
    """Choose a study's run by the rules and make its model the champion. A winner without a model is refitted first.

    Args:
        config: the experiment file; not needed with `study`.
        study: name of the study; by default the experiment's.
        rules: the rules file; by default the one that winnow ships.
        dry_run: choose, but neither refit nor move the alias.

    Returns:
        The selection and the winner's registered model. Where no run passes, `selection.winner` is None.

    Raises:
        InputError: the rules are wrong, there is no such study, or the store does not answer.
        RefitFailedError: the winner has no model and could not be given one.
    """
    name = study_name(config, study)
    from winnow.model_query.rules import DEFAULT_RULES, load_rules
    from winnow.orchestrators.refit import refit_run
    from winnow.orchestrators.select_model import select_model as choose
    from winnow.orchestrators.select_model import store_is_needed
    from winnow.orchestrators.settings import current
    from winnow.tracking.registry import Registry
    from winnow.tracking.run_search import MlflowRunSearch

    settings = current()
    uri = settings.tracking_uri
    loaded = load_rules(Path(rules) if rules is not None else DEFAULT_RULES)
    with store_is_needed(uri):
        return choose(
            name,
            loaded,
            MlflowRunSearch(uri),
            Registry(uri),
            lambda run: refit_run(run, name, settings),
            dry_run=dry_run,
        )
