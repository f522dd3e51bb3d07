"""What a fork server has ready for its ranks: torch, the loaded data and the folds of the experiment that it knows."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec
import torch

torch.set_num_threads(1)  # before anything computes: see `fork_server`

import numpy as np  # noqa: E402

from winnow.config.errors import InputError  # noqa: E402
from winnow.config.experiment import Experiment  # noqa: E402
from winnow.data.splits import resolve_splitter  # noqa: E402
from winnow.training import rank  # noqa: E402
from winnow.training.fork_messages import Check, Checked, Crashed, Refused  # noqa: E402
from winnow.training.launch import EXPERIMENT  # noqa: E402
from winnow.training.messages import Assignment  # noqa: E402
from winnow.training.notes import notes_of  # noqa: E402
from winnow.training.preflight import check  # noqa: E402
from winnow.training.preparation import Prepared, prepare  # noqa: E402

_FORKS_WELL = "jemalloc_bg_thd"
"""Name of a thread that pyarrow's allocator starts, which jemalloc itself stops and starts again around a fork."""


class SharedPreparation:
    """Prepares one experiment at a time."""

    def __init__(self) -> None:
        self._prepared: Prepared | None = None

    def check(self, asked: Check, show: Callable[[str], None]) -> Checked | Refused | Crashed:
        """Check an experiment, and keep what it needs for the ranks."""
        try:
            experiment = Experiment.model_validate_json(bytes(asked.experiment))
            prepared = check(experiment, has_gpu=asked.has_gpu, show=show)
        except InputError as error:
            missing = str(error.__cause__.args[0]) if isinstance(error.__cause__, KeyError) else None
            return Refused(error.place, error.expected, error.found, error.remedy, missing)
        except Exception:  # noqa: BLE001 - the client raises it
            return Crashed(traceback.format_exc())
        self._prepared = prepared
        data = prepared.data
        return Checked(
            objective=prepared.objective,
            goal=prepared.goal,
            task=data.task,
            folds=len(prepared.folds),
            splitter=resolve_splitter(data, experiment.cross_validation.splitter).value,
            data_name=data.name,
            data_rows=data.rows,
            data_sha256=data.sha256,
            notes=notes_of(prepared),
        )

    def prepare(self, environment: dict[str, str]) -> None:
        """Import what every rank imports, and prepare the experiment that the environment names.

        What fails here fails again in a rank, which records it.
        """
        import winnow.training.jobs  # noqa: F401

        try:
            assignment = msgspec.json.decode(Path(environment[EXPERIMENT]).read_bytes(), type=Assignment)
            experiment = Experiment.model_validate_json(bytes(assignment.experiment))
            if environment.get("WORLD_SIZE", "1") != "1" or experiment.training.precision != "no":
                # Accelerate and DistributedDataParallel import them: 3 CPU seconds in every rank.
                import accelerate  # noqa: F401
                import torch._dynamo
                import torch.distributed.tensor  # noqa: F401
            if self._of(experiment) is None:
                self._prepared = prepare(experiment)
        except Exception:  # noqa: BLE001 - a rank meets it too
            traceback.print_exc()

    def cannot_fork(self) -> str | None:
        """Why a fork of this process would not work."""
        if not sys.platform.startswith("linux"):
            return "the system's libraries do not survive a fork"
        names = [name.read_text().strip() for name in Path("/proc/self/task").glob("*/comm")]
        threads = len([name for name in names if name != _FORKS_WELL])
        if threads > 1:
            return f"{threads} threads run, and a fork would copy one of them"
        # Where NVML counts no GPU, asking for one has initialized CUDA.
        if torch.cuda.is_initialized() or (  # type: ignore[no-untyped-call]
            torch.cuda.is_available() and torch.cuda._device_count_nvml() < 0
        ):
            return "CUDA is initialized"
        return None

    def be_rank(self, environment: dict[str, str]) -> NoReturn:
        """Work as a rank until the supervisor says stop."""
        began = time.monotonic()
        np.random.seed()
        rank.work(began, self._of)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    def _of(self, experiment: Experiment) -> Prepared | None:
        """What is prepared, where it is this experiment's.

        A data function may give other rows each time. A rank calls it itself, which shows that.
        """
        known = self._prepared
        if known is None or experiment.data.function is not None:
            return None
        parts = ("data", "model", "search", "cross_validation", "training")
        if any(getattr(known.experiment, part) != getattr(experiment, part) for part in parts):
            return None
        return dataclasses.replace(known, experiment=experiment)
