"""A study's definition and data, which do not change while a process works on it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.functions import names_data_function
from winnow.config.next_command import next_flag
from winnow.config.user_code import changed_files
from winnow.tracking.records import SweepRecord

_CONTENT = "data (its content)"


@dataclass(frozen=True)
class StudyHeader:
    """A study without its trials.

    Attributes:
        study_id: Optuna's id of the study.
        experiment: the latest experiment.
        sweep: metric, direction, folds and digests.
        code: digest of the user's code; empty if there is none.
    """

    study_id: int
    name: str
    experiment: Experiment
    sweep: SweepRecord
    code: str

    def check_definition(self, experiment: Experiment) -> None:
        """Raise InputError if this study does not continue the experiment."""
        self._refuse(_differences(self.experiment.definition(), experiment.definition()))

    def check_data(self, sweep: SweepRecord) -> None:
        """Raise InputError if the data differ from the study's."""
        kept, found = self.sweep.data_sha256, sweep.data_sha256
        is_perhaps_unseeded = names_data_function(sweep.data_source)
        self._refuse(
            [(_CONTENT, kept[:12], found[:12])] if kept != found else [],
            "If the data function gives other rows each time, seed it. " if is_perhaps_unseeded else "",
        )

    def _refuse(self, differences: Sequence[tuple[str, str, str]], remedy: str = "") -> None:
        if not differences:
            return
        place, was, now = differences[0]
        others = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise InputError(
            f"study {self.name!r}: {place}{others}",
            expected=f"what the study was made with: {was}",
            found=now,
            remedy=f"{remedy}Trials of different definitions cannot be compared: give the new one another name "
            f"(`name:` in the file, or {next_flag('study', ...)}), or change it back.",
        )

    def check_code(self, code: Mapping[str, str], allowing: str) -> None:
        """Raise InputError if a file of the user's code was changed, added or removed since the trials were trained.

        A study of an older version, without digests, accepts any code.

        Args:
            code: sha256 of each file by name, from `code_of`.
            allowing: how the user can continue with changed code.
        """
        kept = self.sweep.code
        changed = changed_files(kept, code) if kept is not None else []
        if kept is None or not changed:
            return
        name, others = changed[0], f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        is_new, is_gone = name not in kept, name not in code
        raise InputError(
            f"study {self.name!r}: {name}{others}",
            expected="the code that the study was made with"
            + (", which did not use this file" if is_new else f": sha256 {kept[name][:12]}"),
            found="that it is used" if is_new else "that it is not used" if is_gone else f"{code[name][:12]}",
            remedy=f"Trials of different code cannot be compared: give the new one another name (`name:` in the file, "
            f"or {next_flag('study', ...)}), or change it back. {allowing}",
        )


def _differences(kept: Mapping[str, Any], asked: Mapping[str, Any], path: str = "") -> list[tuple[str, str, str]]:
    """(place, kept, asked) of every differing value, in nested mappings too."""
    found: list[tuple[str, str, str]] = []
    for key in [*kept, *(key for key in asked if key not in kept)]:
        was, now, place = kept.get(key), asked.get(key), f"{path}.{key}".lstrip(".")
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += _differences(was, now, place)
        elif was != now:
            found.append((place, json.dumps(was), json.dumps(now)))
    return found
