"""The CPUs and GPUs of this machine that winnow may use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping


def usable_cpus() -> int:
    """CPUs that this process may use: a container's or `taskset`'s share, not the whole machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """This machine's GPUs, as CUDA_VISIBLE_DEVICES names them, without loading CUDA into this process."""
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return tuple(gpu for gpu in chosen.split(",") if gpu and gpu != "-1")
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ()
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
    return tuple(str(index) for index in range(count))
