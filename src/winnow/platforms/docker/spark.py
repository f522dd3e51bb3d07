"""A standalone Spark on a Docker engine: one Compose project (compose.spark.yaml) of a master and a worker.

HOME/spark/conf/spark-defaults.conf has the secret that opens it, which sessions of this home read, too.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.config.atomic_write import replace_text
from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.data.stage.engines.spark_master import stack_conf
from winnow.platforms.docker.build import BuildPlan, build, source_folder
from winnow.platforms.docker.client import asking, connect
from winnow.platforms.docker.stack import check_compose
from winnow.platforms.docker.stack_plan import subprocess_environment
from winnow.platforms.images import BuildOptions, Show, silent
from winnow.platforms.ports import is_free
from winnow.platforms.spark import SparkRequest
from winnow.platforms.stack import LOG_LINES, StackEnd, StackError

COMPOSE_FILE, DOCKERFILE = "compose.spark.yaml", "Dockerfile.spark"
ADDRESS = "127.0.0.1"
LABEL = "winnow.spark"
BASE = "WINNOW_SPARK_BASE_IMAGE"
_WHAT = "Spark"
_PROJECT = "com.docker.compose.project"
_ANSWER_S = 2.0


@dataclass(frozen=True)
class DockerSparkPlan:
    """Implements `winnow.platforms.spark.SparkPlan`."""

    request: SparkRequest
    image: BuildPlan
    command: Sequence[str]
    environment: Mapping[str, str]
    conf: Path

    @property
    def endpoints(self) -> Mapping[str, str]:
        page = f"http://{ADDRESS}:{self.request.page_port}"
        return {"Master": f"spark://{ADDRESS}:{self.request.port}", "Page": page}

    def render(self) -> str:
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        steps = [self.image.render(), f"write {self.conf} unless it exists"]
        return "\n".join([*steps, f"run {' '.join(variables)} {shlex.join(self.command)}", ""])


class DockerSpark:
    """Implements `winnow.platforms.spark.SparkCluster`.

    Args:
        project: name of the tracking stack's Compose project, from which this one's is made.
        folder: the project's.

    Raises:
        InputError: a file of winnow's is missing.
    """

    def __init__(
        self,
        home: Path,
        *,
        project: str,
        folder: Path,
        environment: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
    ) -> None:
        self._data, self._conf = home.absolute() / "data", stack_conf(home.absolute()) / "spark-defaults.conf"
        self._project, self._environment = f"{project}-spark", environment
        self._source = source_folder(folder, DOCKERFILE)
        self._clock = clock if clock is not None else Clock()

    def plan(self, request: SparkRequest, *, is_dry_run: bool = False) -> DockerSparkPlan:
        options = BuildOptions.from_environment(self._environment, base=BASE)
        base = options.base_image or f"python:{request.python}-slim-bookworm"
        image = BuildPlan(
            dockerfile=self._source / DOCKERFILE,
            context=self._source,
            tags=(f"winnow-spark:{request.pyspark}-python{request.python}-user{os.getuid()}",),
            arguments={"BASE_IMAGE": base, "PYSPARK": request.pyspark, "SPARK_UID": str(os.getuid())},
            network=options.network,
            pip_config=options.pip_config,
        )
        command = [*self._compose(), "up", "--detach", "--remove-orphans"]
        plan = DockerSparkPlan(request, image, command, self._variables(request, image.tags[0]), self._conf)
        if not is_dry_run:
            self._check(request)
        return plan

    @asking(_WHAT)
    def start(self, plan: DockerSparkPlan, timeout_s: float, show: Show = silent) -> None:
        build(plan.image, show, environment=self._environment)
        self._data.mkdir(parents=True, exist_ok=True)  # Docker would create it as root
        if not self._conf.is_file():
            text = f"spark.authenticate true\nspark.authenticate.secret {secrets.token_hex(32)}\n"
            replace_text(self._conf, text + "spark.ui.killEnabled false\n", mode=0o600)
        self._run(plan.command, plan.environment)
        deadline = self._clock.now() + timeout_s
        while not _has_worker(f"{plan.endpoints['Page']}/json/"):
            if self._clock.now() > deadline:
                raise StackError(f"Spark: no worker has registered within {timeout_s:g} s. {self._logs()}")
            self._clock.sleep(0.2)

    @asking(_WHAT)
    def plan_end(self) -> StackEnd:
        other = self._other_home()
        return StackEnd(
            stack=f"the Spark {self._project}",
            steps=(
                f"remove the containers and the volume of the project {self._project}",
                f"delete {self._conf.parent}",
            ),
            outcome=f"The Spark {self._project} is removed. Prepared rows stay.",
            owner=other,
            refusal=self._taken(other) if other else None,
        )

    @asking(_WHAT)
    def end(self) -> None:
        check_compose(self._environment)
        command = [*self._compose(), "down", "--remove-orphans", "--volumes"]
        self._run(command, self._variables(SparkRequest("", ""), "none"))
        shutil.rmtree(self._conf.parent, ignore_errors=True)

    @asking(_WHAT)
    def _check(self, request: SparkRequest) -> None:
        check_compose(self._environment)
        if other := self._other_home():
            raise self._taken(other)
        if any(each.status == "running" for each in self._containers()):
            return
        for flag, port in (("spark-port", request.port), ("page-port", request.page_port)):
            if not is_free(ADDRESS, port):
                raise InputError(
                    f"Spark's port {port}",
                    expected="a free port of this machine",
                    found="one that is taken",
                    remedy=f"Choose another: {next_flag(flag, port + 1)}.",
                )

    def _compose(self) -> list[str]:
        file = ("--file", str(self._source / COMPOSE_FILE), "--env-file", os.devnull)
        return ["docker", "compose", "--project-name", self._project, *file]

    def _variables(self, request: SparkRequest, image: str) -> dict[str, str]:
        return {
            "SPARK_IMAGE": image,
            "SPARK_DATA": str(self._data),
            "SPARK_CONF": str(self._conf.parent),
            "SPARK_USER": f"{os.getuid()}:{os.getgid()}",
            "SPARK_PORT": str(request.port),
            "SPARK_PAGE_PORT": str(request.page_port),
            "SPARK_CORES": str(request.cores),
            "SPARK_MEMORY": request.memory,
        }

    def _run(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        environment = {**subprocess_environment(self._environment), **variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise StackError("Spark: `docker compose` failed:\n" + "\n".join(lines[-LOG_LINES:]))

    def _containers(self) -> list[Any]:
        found = connect(self._environment).containers
        return list(found.list(all=True, filters={"label": f"{_PROJECT}={self._project}"}))

    def _other_home(self) -> str:
        """The data that a running one of this name sees, where they are not this home's."""
        seen = {str(each.labels.get(LABEL, "another project")) for each in self._containers()}
        return next(iter(seen - {str(self._data)}), "")

    def _taken(self, other: str) -> InputError:
        return InputError(
            f"the Spark '{self._project}'",
            expected="none of that name, or one of this home's data",
            found=f"one that sees {other}",
            remedy=f"Remove that one (`{next_command('spark-remove')}` with its home), or set WINNOW_PROJECT to "
            "another name for one beside it.",
        )

    def _logs(self) -> str:
        logs = [f"{each.name}:\n{each.logs(tail=LOG_LINES).decode(errors='replace')}" for each in self._containers()]
        return "The ends of the logs:\n" + "\n".join(logs)


def _has_worker(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:  # nosec B310 (a container of winnow)
            return bool(json.loads(answer.read())["aliveworkers"])
    except (OSError, ValueError, KeyError):
        return False
