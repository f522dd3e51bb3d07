"""Which worker groups a sweep needs: a plan, from the experiment, the machine and what is left to do."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from winnow.config.errors import InputError
from winnow.config.experiment import ExecutionConfig
from winnow.config.settings import Settings
from winnow.executors.executor import GroupSpec
from winnow.search.group import CPUS, GPUS
from winnow.training.launch import plan_gpus


def plan_groups(
    study: str,
    execution: ExecutionConfig,
    settings: Settings,
    *,
    gpus: Sequence[str],
    cpus: int,
    environment: Mapping[str, str],
) -> tuple[GroupSpec, ...]:
    """The groups of a sweep on this machine.

    Args:
        gpus: those that are visible, as CUDA_VISIBLE_DEVICES names them.
        cpus: of the machine.
        environment: the caller's, which has to hold the secrets that the experiment names.

    Raises:
        InputError: the machine cannot give what the experiment asks for.
    """
    _check(execution, gpus, environment)
    used = () if execution.device == "cpu" else gpus
    assigned = plan_gpus(used, execution.workers, execution.processes, execution.share_gpus)
    share = execution.resources.cpu or max(1, cpus // execution.workers)
    return tuple(
        GroupSpec(
            study=study,
            name=f"w{index}",
            argv=(sys.executable, "-m", "winnow.search.group", "--study", study, "--group", f"w{index}"),
            env={
                **execution.env,
                "WINNOW_HOME": str(settings.home),
                "WINNOW_STORAGE": settings.storage_url,
                "MLFLOW_TRACKING_URI": settings.tracking_uri,
                CPUS: str(max(1, int(share))),
                GPUS: ",".join(of_group),
            },
        )
        for index, of_group in enumerate(assigned)
    )


def _check(execution: ExecutionConfig, gpus: Sequence[str], environment: Mapping[str, str]) -> None:
    if execution.nodes > 1:
        raise InputError(
            "execution.nodes",
            expected="1 for a sweep on this machine",
            found=str(execution.nodes),
            remedy="Set execution.processes for several ranks on one machine.",
        )
    if execution.device == "cuda" and not gpus:
        raise InputError(
            "execution.device",
            expected="a visible GPU",
            found="none",
            remedy="Set execution.device: auto, or look at what `nvidia-smi -L` and CUDA_VISIBLE_DEVICES say.",
        )
    missing = [name for name in execution.secrets if name not in environment]
    if missing:
        raise InputError(
            "execution.secrets",
            expected="names of variables that are set",
            found=f"{missing[0]!r}, which is not set",
            remedy=f"Export {missing[0]}, or take it off the list.",
        )
