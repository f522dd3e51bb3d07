"""`AzureOnline` by azure-ai-ml, which conflicts with winnow's own dependencies: a process of the tool's environment."""

from __future__ import annotations

import atexit
import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

from winnow.config.errors import InputError, UnavailableError, UnreachableError
from winnow.config.tools import tool_python
from winnow.platforms.azure import sdk_process
from winnow.platforms.azure.online import OnlineDeployment, OnlineEndpoint, RequestCounts
from winnow.platforms.azure.revision_plan import PORT, ROUTES
from winnow.platforms.azure.workspace import Workspace

COUNTED_EVERY_S = 20.0
"""How often Azure Monitor is asked, which counts by the minute."""
CONCURRENCY = 32
"""Requests that Azure sends to an instance at one time; by default it sends one."""


class SdkOnline:
    """Implements `AzureOnline`. `home`: winnow's folder, below which tools are installed."""

    def __init__(self, workspace: Workspace, home: Path, environment: Mapping[str, str]) -> None:
        self._workspace, self._home, self._environment = workspace, home, environment
        self._counted: tuple[tuple[str, float], float, Mapping[str, RequestCounts]] | None = None

    @cached_property
    def _process(self) -> subprocess.Popen[str]:
        try:
            python = tool_python("azureml", self._home, "Azure ML", self._environment)
        except InputError as error:
            raise UnavailableError(
                error.place, expected=error.expected, found=error.found, remedy=error.remedy
            ) from error
        process = subprocess.Popen(
            [str(python), "-I", str(Path(sdk_process.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # The SDK warns of its own experimental classes.
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(self._environment),
            # Ctrl-C is the driver's, which still has to pause a rollout.
            start_new_session=True,
        )
        atexit.register(_end, process)
        where = self._workspace
        names = {"subscription": where.subscription, "group": where.group, "name": where.name}
        _ask(process, "connect", **names, has_principal=where.has_principal)
        return process

    def endpoints(self) -> tuple[OnlineEndpoint, ...]:
        return tuple(OnlineEndpoint(**each) for each in self._ask("endpoints"))

    def deployments(self, endpoint: str) -> tuple[OnlineDeployment, ...]:
        return tuple(OnlineDeployment(**each) for each in self._ask("deployments", endpoint=endpoint))

    def put_endpoint(self, endpoint: OnlineEndpoint) -> None:
        self._ask("put_endpoint", endpoint=asdict(endpoint))

    def delete_endpoint(self, name: str) -> None:
        self._ask("delete_endpoint", name=name)

    def put_deployment(self, deployment: OnlineDeployment) -> None:
        routes = {name: {"port": PORT, "path": path} for name, path in ROUTES.items()}
        self._ask(
            "put_deployment",
            deployment={**asdict(deployment), "inference_config": routes, "concurrency": CONCURRENCY},
        )

    def delete_deployment(self, endpoint: str, name: str) -> None:
        self._ask("delete_deployment", endpoint=endpoint, name=name)

    def logs(self, endpoint: str, deployment: str, lines: int) -> list[str]:
        return list(self._ask("logs", endpoint=endpoint, deployment=deployment, lines=lines))

    def key(self, endpoint: str) -> str:
        return str(self._ask("key", endpoint=endpoint))

    def counts(self, endpoint: str, since: float) -> Mapping[str, RequestCounts]:
        of, now = (endpoint, since), time.monotonic()
        if self._counted is None or self._counted[0] != of or now - self._counted[1] > COUNTED_EVERY_S:
            found = self._ask("counts", endpoint=endpoint, since=since)
            self._counted = of, now, {name: RequestCounts(*each) for name, each in found.items()}
        return self._counted[2]

    def _ask(self, call: str, **arguments: Any) -> Any:
        return _ask(self._process, call, **arguments)


def _ask(process: subprocess.Popen[str], call: str, **arguments: Any) -> Any:
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(json.dumps({"call": call, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        line = ""
    if not line:
        raise UnreachableError("Azure ML: the process with azure-ai-ml has ended")
    answer = json.loads(line)
    if "error" not in answer:
        return answer["ok"]
    if answer["kind"] == "away":
        raise UnreachableError(f"Azure ML, {call}: {answer['error']}")
    raise InputError(
        f"Azure ML, {call}",
        expected="what Azure takes",
        found=f"'{answer['error']}'",
        remedy="Correct it; for credentials, quotas and roles see docs/azure.md.",
    )


def _end(process: subprocess.Popen[str]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    process.wait(timeout=10)
