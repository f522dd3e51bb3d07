"""A standalone Spark beside the stack: a master and a worker, for `winnow prepare`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SparkRequest:
    """What is to run.

    Attributes:
        pyspark: its version, which is that of the process that starts a job.
        python: major and minor version of Python, likewise.
        port, page_port: of this machine, for sessions and for the master's page.
        cores, memory: what the worker offers to executors; memory as Spark writes it.
    """

    pyspark: str
    python: str
    port: int = 7077
    page_port: int = 8081
    cores: int = 2
    memory: str = "2g"
