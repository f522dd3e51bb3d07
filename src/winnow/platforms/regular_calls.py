"""What calls `winnow monitor` and `winnow retrain --if-due` again and again: winnow runs no scheduler of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RegularCalls:
    """Calls to be made for one experiment.

    Attributes:
        name: the experiment's.
        config: the experiment file, as the calls name it.
        folder: the working directory of the calls, on this machine.
        every_s: how often a look is taken; a retraining is asked for as often.
        stop_after: the last step of a retraining.
        image: the workers' image, for platforms that run images.
    """

    name: str
    config: Path
    folder: Path
    every_s: float
    stop_after: str
    image: str = ""
