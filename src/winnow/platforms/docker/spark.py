"""A standalone Spark on a Docker engine: one Compose project (compose.spark.yaml) of a master and a worker.

HOME/spark/conf/spark-defaults.conf has the secret that opens it, which sessions of this home read, too.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from winnow.config.atomic_write import replace_text
from winnow.config.clock import Clock
from winnow.data.stage.engines.spark_engine import stack_conf
from winnow.platforms.docker.build import BuildPlan, build, source_folder
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.compose_project import ADDRESS, ComposeProject
from winnow.platforms.images import BuildOptions, Show, silent
from winnow.platforms.readiness import own_answer
from winnow.platforms.spark import SparkRequest
from winnow.platforms.stack import LOG_LINES, Plan, StackEnd, StackError

COMPOSE_FILE, DOCKERFILE = "compose.spark.yaml", "Dockerfile.spark"
LABEL = "winnow.spark"
BASE = "WINNOW_SPARK_BASE_IMAGE"
_WHAT = "Spark"
_ANSWER_S = 2.0


@dataclass(frozen=True)
class DockerSparkPlan(Plan):
    """The image, and the command that starts the containers."""

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
    """The standalone Spark of a home, started or not. Making one contacts nothing.

    Every method raises InputError where no engine answers, and UnreachableError where it stops answering.
    `project`: name of the tracking stack's Compose project, from which this one's is made.
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
        self._source, self._environment = source_folder(folder, DOCKERFILE), environment
        self._clock = clock if clock is not None else Clock()
        self._project = ComposeProject(
            name=f"{project}-spark",
            file=self._source / COMPOSE_FILE,
            what=_WHAT,
            verb="spark",
            label=LABEL,
            owner=str(self._data),
            environment=environment,
        )

    def plan(self, request: SparkRequest, *, is_dry_run: bool = False) -> DockerSparkPlan:
        """Plan a start; nothing is changed, and for a dry run nothing is asked.

        Raises:
            InputError: a port is taken, or it runs for another home.
        """
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
        if not is_dry_run:
            containers = self._project.containers()
            # A running one listens on the host's network, so that its own ports look taken.
            is_running = any(each.status == "running" for each in containers)
            ports = [(_WHAT, request.port, "spark-port"), (_WHAT, request.page_port, "page-port")]
            self._project.check(containers, [] if is_running else ports)
        command = self._project.command("up", "--detach", "--remove-orphans")
        return DockerSparkPlan(request, image, command, self._variables(request, image.tags[0]), self._conf)

    @asking(_WHAT)
    def start(self, plan: DockerSparkPlan, timeout_s: float, show: Show = silent) -> None:
        """Build its image, start it, and wait until the worker has registered; harmless where it runs already.

        Raises:
            BuildFailedError: the image was not built.
            StackError: it does not become ready.
        """
        build(plan.image, show, environment=self._environment)
        self._data.mkdir(parents=True, exist_ok=True)  # Docker would create it as root
        if not self._conf.is_file():
            text = f"spark.authenticate true\nspark.authenticate.secret {secrets.token_hex(32)}\n"
            replace_text(self._conf, text + "spark.ui.killEnabled false\n", mode=0o600)
        self._project.run(plan.command, plan.environment)
        deadline = self._clock.now() + timeout_s
        while not _has_worker(f"{plan.endpoints['Page']}/json/"):
            if self._clock.now() > deadline:
                containers = self._project.containers()
                logs = (f"{each.name}:\n{each.logs(tail=LOG_LINES).decode(errors='replace')}" for each in containers)
                ends = "The ends of the logs:\n" + "\n".join(logs)
                raise StackError(f"Spark: no worker has registered within {timeout_s:g} s. {ends}")
            self._clock.sleep(0.2)

    def plan_end(self) -> StackEnd:
        """Plan a removal; nothing is changed."""
        name = self._project.name
        steps = (f"remove the containers and the volume of the project {name}", f"delete {self._conf.parent}")
        return self._project.plan_end(steps, "Prepared rows stay.")

    @asking(_WHAT)
    def end(self) -> None:
        """Remove it, with its secret. Raises StackError where that fails."""
        self._project.down(self._variables(SparkRequest("", ""), "none"), volumes=True)
        shutil.rmtree(self._conf.parent, ignore_errors=True)

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


def _has_worker(url: str) -> bool:
    try:
        return bool(json.loads(own_answer(url, timeout_s=_ANSWER_S) or "{}")["aliveworkers"])
    except (ValueError, KeyError):
        return False
