"""Evidently's report on drift, as a page, made by another interpreter: Evidently needs an older pandas than winnow.

It sets no alarm and moves nothing: its thresholds are its own, and do not keep to `false_alarms_per_month`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from winnow.bundle.columns import Column, category_text, is_missing
from winnow.config.atomic_write import replacing
from winnow.config.errors import WinnowError

if TYPE_CHECKING:
    import pandas as pd

LONGEST_S = 600
SCRIPT = """
import json, pathlib, sys, warnings
import pandas as pd
warnings.simplefilter("ignore")
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
folder, page = pathlib.Path(sys.argv[1]), sys.argv[2]
kinds = DataDefinition(**json.loads((folder / "kinds.json").read_text()))
live, reference = (
    Dataset.from_pandas(pd.read_parquet(folder / name), data_definition=kinds)
    for name in ("live.parquet", "reference.parquet")
)
Report([DataDriftPreset()]).run(live, reference).save_html(page)
"""


def write_evidently(
    columns: Sequence[Column], reference: pd.DataFrame, live: pd.DataFrame, output: Path, python: Path
) -> None:
    """Write Evidently's page on how live rows differ from reference rows, in the columns that both have.

    Args:
        columns: of the model's signature; dates are left out.
        python: the interpreter of Evidently's environment, as `tool_python` returns it.

    Raises:
        WinnowError: Evidently failed, or took longer than 10 minutes.
    """
    used = [each for each in columns if each.kind != "date" and each.name in reference and each.name in live]
    numbers = [each.name for each in used if each.kind == "number"]
    categories = [each.name for each in used if each.kind != "number"]
    with tempfile.TemporaryDirectory(prefix="winnow-evidently-") as name, replacing(output) as draft:
        folder = Path(name)
        for file, rows in (("reference", reference), ("live", live)):
            taken = rows[numbers].astype("float64")
            for each in categories:  # numbers that stand for categories may be whole in one of the two alone
                taken[each] = [None if is_missing(value) else category_text(value) for value in rows[each]]
            taken.to_parquet(folder / f"{file}.parquet")
        kinds = {"numerical_columns": numbers, "categorical_columns": categories}
        (folder / "kinds.json").write_bytes(msgspec.json.encode(kinds))
        command = [str(python), "-c", SCRIPT, str(folder), str(draft)]
        # Evidently would report its use to its makers.
        environment = {**os.environ, "DO_NOT_TRACK": "1"}
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST_S, env=environment)
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["no message"])[-1]
            raise WinnowError(f"{output}: Evidently failed: {last}") from error
        except subprocess.TimeoutExpired as error:
            raise WinnowError(f"{output}: Evidently took longer than {LONGEST_S} s") from error
