"""What a caller asks of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from winnow.config.experiment import Experiment
from winnow.config.grid import trials_wanted
from winnow.config.settings import Settings
from winnow.orchestrators.data_source import resolve_source
from winnow.study.store import StudyStore


@dataclass(frozen=True)
class SweepRequest:
    """A sweep to run until its study is done.

    Attributes:
        experiment: includes the caller's overrides; its name is the registered model's.
        study_name: the study's, if it differs from the experiment's.
        folder: folder of the experiment file. Its commit is recorded if the experiment uses no code of your own.
        platform: where the worker groups run.
        image: the image that they run, instead of this project's.
        registry, image_load: how the image reaches a cluster's nodes; by default as the environment says.
        allow_changed_code: continue although the code differs from that of earlier trials.
        is_retry: train failed trials again.
        lineage: where rows that were prepared, versioned or joined come from.
    """

    experiment: Experiment
    study_name: str | None = None
    folder: Path | None = None
    platform: str = "local"
    image: str | None = None
    registry: str = ""
    image_load: str = ""
    allow_changed_code: bool = False
    is_retry: bool = False
    lineage: Mapping[str, str] = field(default_factory=dict)

    @property
    def study(self) -> str:
        """The study's name."""
        return self.study_name or self.experiment.name

    @property
    def trials(self) -> int:
        """How many trials the sweep is to have, if no budget ends it."""
        return trials_wanted(self.experiment.search)

    def resolved(self, settings: Settings) -> SweepRequest:
        """The same with the files of a source that is to be resolved. Raises InputError where there are none."""
        experiment, lineage = resolve_source(self.experiment, settings, self.study)
        return replace(self, experiment=experiment, lineage=lineage)

    def wants_more_than(self, store: StudyStore) -> bool:
        """Whether the sweep has more trials than the study, and no budget has ended it."""
        return store.wants_more(self.experiment)
