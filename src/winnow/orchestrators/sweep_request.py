"""What a caller asks of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from winnow.config.experiment import Experiment


@dataclass(frozen=True)
class SweepRequest:
    """A sweep that is to run until its study is done.

    Attributes:
        experiment: with the caller's overrides; its name is the study's.
        folder: of the experiment file; its commit is recorded where the experiment names no code of a person's own.
        platform: the name of the platform that its worker groups run on.
        image: the image that they run, instead of the one of this project.
        registry, image_load: the route by which the image reaches a cluster's nodes; empty: the environment's.
        allow_changed_code: continue with other code than the study's trials were trained with.
        is_retry: train failed trials again.
    """

    experiment: Experiment
    folder: Path | None = None
    platform: str = "local"
    image: str | None = None
    registry: str = ""
    image_load: str = ""
    allow_changed_code: bool = False
    is_retry: bool = False

    @property
    def study(self) -> str:
        """The study's name."""
        return self.experiment.name
