"""The JSON schema of experiment files, with which editors complete and check them.

It is derived from the types in `experiment`. What depends on the data, the factory or the metric is left to the loader.
"""

from __future__ import annotations

import json

from winnow.config.experiment import Experiment

SCHEMA_FILE = "experiment.schema.json"


def experiment_schema() -> str:
    """The schema as JSON text, in draft 2020-12."""
    schema = Experiment.model_json_schema(by_alias=True, mode="validation")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "winnow experiment"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
