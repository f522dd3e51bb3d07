"""The JSON schema of experiment files, with which editors complete and check them.

It is derived from the types in `experiment`. What depends on the data, the factory or the metric is left to the loader.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from winnow.config.experiment import Experiment
from winnow.config.search import OWN_PRUNERS, PRUNERS, SAMPLERS

SCHEMA_FILE = "experiment.schema.json"


def experiment_schema() -> str:
    """The schema as JSON text, in draft 2020-12."""
    schema = Experiment.model_json_schema(by_alias=True, mode="validation")
    for kind, names in _named(schema["$defs"]):
        kind["anyOf"] = [{"enum": sorted(names)}, {"pattern": ":"}]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "winnow experiment"}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _named(definitions: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Collection[str]]]:
    """What names a sampler or a pruner in both of its forms, with the names that are known besides classes."""
    for key, definition, names in (
        ("sampler", "SamplerConfig", {*SAMPLERS, "grid"}),
        ("pruner", "PrunerConfig", {*PRUNERS, *OWN_PRUNERS}),
    ):
        yield definitions[definition]["properties"]["type"], names
        yield definitions["SearchConfig"]["properties"][key]["anyOf"][0], names
