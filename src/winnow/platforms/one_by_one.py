"""All groups of a study at the same time, on back-ends that end each by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from winnow.platforms.executor import Executor


def cancel_each(executor: Executor, study: str, grace_s: float) -> None:
    """Implements `Executor.cancel_all` with `Executor.cancel`."""
    names = [group.name for group in executor.groups(study) if not group.state.is_over]
    # Each mostly waits, and the last is to be asked as early as the first.
    with ThreadPoolExecutor(max(1, len(names)), thread_name_prefix="winnow-cancel") as pool:
        list(pool.map(lambda name: executor.cancel(study, name, grace_s), names))
