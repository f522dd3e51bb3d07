"""Tags from MLFLOW_RUN_CONTEXT, MLflow's own variable, by which a scheduler says which of its runs calls a verb."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from winnow.config.errors import InputError

RUN_CONTEXT = "MLFLOW_RUN_CONTEXT"


def run_context(environment: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """Tags for every run from MLFLOW_RUN_CONTEXT, MLflow's own variable: JSON with texts by name.

    Raises:
        InputError: it holds something else.
    """
    given = environment.get(RUN_CONTEXT, "")
    if not given:
        return {}
    try:
        found = json.loads(given)
    except ValueError:
        found = None
    if isinstance(found, dict) and all(isinstance(value, str) for value in found.values()):
        return found
    remedy = f"""Write {RUN_CONTEXT}='{{"name": "value"}}', or unset it."""
    raise InputError(RUN_CONTEXT, expected="a JSON object with texts", found=repr(given[:60]), remedy=remedy)


def shown_context(tags: Mapping[str, str]) -> str:
    """Tags as a clause for people; empty where there are none."""
    return ", ".join(f"{name}={value}" for name, value in tags.items())
