"""Waits for a job without a worker's slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from winnow_airflow.job import Job

HANDOVER_S = 15.0
"""No trigger fires earlier. A worker sees the end of its task's process up to `workers.min_heartbeat_interval` late,
which is 5 s by default. Where the trigger has had the task queued again by then, Airflow's scheduler takes that end for
a failure, and calls the try failed (`process_executor_events`, Airflow 3.3)."""


class JobTrigger(BaseTrigger):
    """Fires when a job has ended, or its process is gone. The triggerer has to share the project's folder.

    Args:
        folder: the job's.
        poll_s: how often to look, in seconds.
        shown: the byte of the verb's log from which on the task's log lacks it.
    """

    def __init__(self, folder: str, poll_s: float = 5.0, shown: int = 0) -> None:
        super().__init__()
        self.folder, self.poll_s, self.shown = folder, poll_s, shown

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments, for Airflow's database."""
        arguments = {"folder": self.folder, "poll_s": self.poll_s, "shown": self.shown}
        return ("winnow_airflow.trigger.JobTrigger", arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the job is over, and show what it says."""
        job, shown, since = Job(Path(self.folder)), self.shown, time.monotonic()
        while await asyncio.to_thread(job.is_running) or time.monotonic() - since < HANDOVER_S:
            text, shown = await asyncio.to_thread(job.log, shown)
            for line in text.splitlines():
                self.log.info("%s", line)
            await asyncio.sleep(self.poll_s)
        yield TriggerEvent({"status": job.status(), "shown": shown})

    async def on_kill(self) -> None:
        """A user has ended the task: Ctrl-C for the verb."""
        await asyncio.to_thread(Job(Path(self.folder)).interrupt)
