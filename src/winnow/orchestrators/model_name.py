"""The registered model of a study: its experiment's name, which is also the deployment's."""

from __future__ import annotations

from winnow.config.settings import Settings
from winnow.orchestrators.opened_study import find_study


def model_of_study(settings: Settings, study: str) -> str:
    """The model whose versions a study registers.

    A study that is not in the database names its own model: models outlive their studies, and an older version of
    winnow called a model like its study.

    Raises:
        InputError: the database of studies cannot be read.
    """
    store = find_study(settings, study)
    return study if store is None else store.header.sweep.model
