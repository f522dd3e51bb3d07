"""Waits for a job without a worker's slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from winnow_airflow.job import Job


class JobTrigger(BaseTrigger):
    """Fires when a job has ended, or its process is gone. The triggerer has to share the project's folder.

    Args:
        folder: the job's.
        poll_s: how often to look, in seconds.
    """

    def __init__(self, folder: str, poll_s: float = 5.0) -> None:
        super().__init__()
        self.folder, self.poll_s = folder, poll_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments, for Airflow's database."""
        return ("winnow_airflow.trigger.JobTrigger", {"folder": self.folder, "poll_s": self.poll_s})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the job is over."""
        job = Job(Path(self.folder))
        while await asyncio.to_thread(job.is_running):
            await asyncio.sleep(self.poll_s)
        yield TriggerEvent({"status": job.status()})

    async def on_kill(self) -> None:
        """A user has ended the task: Ctrl-C for the verb."""
        await asyncio.to_thread(Job(Path(self.folder)).interrupt)
