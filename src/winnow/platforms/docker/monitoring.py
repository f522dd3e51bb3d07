"""Monitoring on a Docker engine: one Compose project (compose.monitoring.yaml), and a folder with its configuration.

HOME/monitoring-stack/docker/prometheus/    prometheus.yml, rules/, and targets/, which deployers write (`scraping`)
                             alertmanager/  alertmanager.yml, and the bearer token of `serve-hooks`
                             grafana/       the data source and the dashboard
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import yaml

from winnow.config.atomic_write import replace_text
from winnow.config.clock import Clock
from winnow.config.errors import UnavailableError
from winnow.platforms.deployer import Say
from winnow.platforms.docker import engine_deployment as on_engine
from winnow.platforms.docker import scraping
from winnow.platforms.docker.client import asking
from winnow.platforms.docker.compose_project import ADDRESS, SERVICE, ComposeProject, compose_file
from winnow.platforms.held_file import text_of
from winnow.platforms.labels import MONITORING
from winnow.platforms.monitoring_stack import (
    ALERTMANAGER,
    CONFIGURATION,
    DASHBOARD,
    GRAFANA,
    HOOKS_PORT,
    PORTS,
    PROMETHEUS,
    RULES,
    TOKEN_FILE,
    MonitoringRequest,
)
from winnow.platforms.readiness import own_answer
from winnow.platforms.stack import LOG_LINES, StackEnd, StackError

if TYPE_CHECKING:
    from docker.models.containers import Container

COMPOSE_FILE = "compose.monitoring.yaml"
TOKEN = CONFIGURATION.with_name(PurePosixPath(TOKEN_FILE).name)
_READY = {PROMETHEUS: "/-/ready", ALERTMANAGER: "/-/ready", GRAFANA: "/api/health"}
_RELOADED = (PROMETHEUS, ALERTMANAGER)
_WHAT = "monitoring"
_ANSWER_S = 2.0


@dataclass(frozen=True)
class DockerMonitoringPlan:
    """Implements `winnow.platforms.stack.Plan`.

    Attributes:
        folder: where the configuration is written.
        hooks_host: address of this machine at which Alertmanager reaches `serve-hooks`.
    """

    request: MonitoringRequest
    folder: Path
    files: Mapping[PurePosixPath, str]
    command: Sequence[str]
    environment: Mapping[str, str]
    hooks_host: str
    unknown: tuple[str, ...] = ()

    @property
    def services(self) -> tuple[str, ...]:
        return (PROMETHEUS, ALERTMANAGER, *((GRAFANA,) if self.request.has_grafana else ()))

    @property
    def urls(self) -> Mapping[str, str]:
        return {each: f"http://{ADDRESS}:{_port(self.request, each)}" for each in self.services}

    @property
    def endpoints(self) -> Mapping[str, str]:
        found = {name.capitalize(): url for name, url in self.urls.items()}
        return {**found, "Hooks": f"http://{self.hooks_host}:{HOOKS_PORT}", "Token": str(self.folder / TOKEN)}

    def render(self) -> str:
        variables = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return "\n".join(
            [
                *(f"write {self.folder / path}" for path in self.files),
                f"write {self.folder / TOKEN} unless it exists",
                f"run {' '.join(variables)} {shlex.join(self.command)}",
                *(f"publish {name} at {url}" for name, url in self.urls.items()),
                "join prometheus to the networks of the deployments",
                "",
            ]
        )


class DockerMonitoring:
    """Implements `winnow.platforms.monitoring_stack.MonitoringStack`: one for the deployments of a home.

    `project`: name of the tracking stack's Compose project, from which this one's is made.
    """

    hook = f"http://host.docker.internal:{HOOKS_PORT}"

    def __init__(
        self,
        home: Path,
        *,
        project: str,
        folder: Path,
        say: Say,
        environment: Mapping[str, str] = os.environ,
        clock: Clock | None = None,
    ) -> None:
        self._deployments = home.absolute() / "deployments" / "docker"
        self._folder = scraping.monitoring_folder(self._deployments)
        self._say, self._clock = say, clock if clock is not None else Clock()
        self._project = ComposeProject(
            name=f"{project}-monitoring",
            file=compose_file(folder, COMPOSE_FILE),
            what=_WHAT,
            verb="monitoring",
            label=MONITORING,
            owner=str(self._deployments),
            environment=environment,
        )

    def plan(self, request: MonitoringRequest, *, is_dry_run: bool = False) -> DockerMonitoringPlan:
        try:
            with asking(_WHAT):
                running, hooks_host = self._project.containers(), self._hooks_host()
        except UnavailableError:
            if not is_dry_run:
                raise
            return self._planned(request, "HOST", ("whether ports are free: no Docker engine answers",))
        plan = self._planned(request, hooks_host)
        self._project.check(running, [(each, _port(request, each), f"{each}-port") for each in plan.services])
        return plan

    @asking(_WHAT)
    def start(self, plan: DockerMonitoringPlan, timeout_s: float) -> None:
        before = {path: text_of(self._folder / path) for path in plan.files}
        self._write(plan)
        self._say(f"starting {', '.join(plan.services)}")
        self._project.run(plan.command, plan.environment)
        deadline = self._clock.now() + timeout_s
        try:
            self._await_ready(plan, deadline)
            for service in _RELOADED:
                self._reload(service, plan.urls[service], deadline)
        except StackError:
            # What runs has its former configuration still, and is to find it again when it restarts.
            for path, text in before.items():
                if text:
                    _write(self._folder, path, text)
            raise
        for name in on_engine.names(self._project.engine):
            found = on_engine.find(self._project.engine, name, self._deployments / name)
            if found is not None and found.folder.parent == self._deployments and not found.is_previous:
                scraping.scrape(self._project.engine, found)

    @asking(_WHAT)
    def plan_end(self, *, volumes: bool) -> StackEnd:
        steps = [f"remove the containers and networks of the project {self._project.name}"]
        if volumes:
            steps += ["delete its volumes", f"delete {self._folder}"]
        kept = "Its measurements and rules are gone." if volumes else "Its measurements and rules stay."
        return self._project.plan_end(steps, f"{kept} Deployments go on serving.")

    @asking(_WHAT)
    def end(self, *, volumes: bool) -> None:
        self._project.down(self._variables(MonitoringRequest({})), volumes=volumes, profiles=(GRAFANA,))
        if volumes:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            # Deployers write targets only where this folder exists.
            shutil.rmtree(self._folder / "prometheus" / "targets", ignore_errors=True)

    def _planned(
        self, request: MonitoringRequest, hooks_host: str, unknown: tuple[str, ...] = ()
    ) -> DockerMonitoringPlan:
        files = {
            **request.files,
            PurePosixPath("prometheus/prometheus.yml"): prometheus_config(request.scrape_interval_s),
            **({} if not request.has_grafana else _grafana_files()),
        }
        if not request.has_grafana:
            files.pop(DASHBOARD, None)
        up = ("up", "--detach", "--quiet-pull", "--remove-orphans")
        command = self._project.command(*up, profiles=(GRAFANA,) if request.has_grafana else ())
        return DockerMonitoringPlan(
            request, self._folder, files, command, self._variables(request), hooks_host, unknown
        )

    def _variables(self, request: MonitoringRequest) -> dict[str, str]:
        ports = {f"{each.upper()}_PORT": str(_port(request, each)) for each in PORTS}
        return {"MONITORED": str(self._deployments), "MONITORING_FOLDER": str(self._folder), **ports}

    def _write(self, plan: DockerMonitoringPlan) -> None:
        """Write the configuration, in a folder that other people of this machine cannot enter."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        for path, text in plan.files.items():
            _write(plan.folder, path, text)
        if not (plan.folder / TOKEN).exists():
            _write(plan.folder, TOKEN, secrets.token_hex(32))
        for folder in (RULES, RULES.with_name("targets")):
            _make(plan.folder, folder)

    def _await_ready(self, plan: DockerMonitoringPlan, deadline: float) -> None:
        for service, url in plan.urls.items():
            while own_answer(f"{url}{_READY[service]}", timeout_s=_ANSWER_S) is None:
                if self._clock.now() > deadline or self._is_failing(service):
                    raise StackError(self._said(service, "is not ready"))
                self._clock.sleep(0.1)

    def _reload(self, service: str, url: str, deadline: float) -> None:
        """Have a service read its configuration anew, and wait until it has."""
        succeeded_at = f"{service}_config_last_reload_success_timestamp_seconds"
        before = _value(url, succeeded_at)
        scraping.reload(self._container(service))
        while _value(url, succeeded_at) == before:
            if _value(url, f"{service}_config_last_reload_successful") == "0" or self._clock.now() > deadline:
                raise StackError(self._said(service, "refuses its configuration"))
            self._clock.sleep(0.1)

    def _is_failing(self, service: str) -> bool:
        """Whether the engine starts a service again and again."""
        found = self._container(service)
        return found is not None and found.status == "restarting"

    def _said(self, service: str, what: str) -> str:
        """A sentence about a service, and the end of its log."""
        found = self._container(service)
        return f"monitoring: {service} {what}. {on_engine.end_of_log([found] if found else [], LOG_LINES)}"

    def _container(self, service: str) -> Container | None:
        return next((each for each in self._project.containers() if each.labels[SERVICE] == service), None)

    def _hooks_host(self) -> str:
        """The address that Docker gives `host.docker.internal`: the gateway of its default network."""
        configs = self._project.engine.networks.get("bridge").attrs["IPAM"]["Config"] or [{}]
        return gateway_of(configs[0])


def gateway_of(config: Mapping[str, str]) -> str:
    """The gateway of a network by its entry in `IPAM.Config`; `ADDRESS` for an empty one.

    An engine that was restarted may leave it out. It is the subnet's first address then.
    """
    if gateway := config.get("Gateway"):
        return gateway
    return str(next(ip_network(config["Subnet"]).hosts())) if "Subnet" in config else ADDRESS


def prometheus_config(scrape_interval_s: int) -> str:
    config = {
        "global": {
            "scrape_interval": f"{scrape_interval_s}s",
            "evaluation_interval": f"{scrape_interval_s}s",
            "scrape_timeout": f"{min(scrape_interval_s, 10)}s",
        },
        "rule_files": ["/etc/winnow/rules/*.yaml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"{ALERTMANAGER}:{PORTS[ALERTMANAGER]}"]}]}]},
        "scrape_configs": [
            {
                "job_name": "winnow",
                "file_sd_configs": [{"files": ["/etc/winnow/targets/*.json"], "refresh_interval": "30s"}],
            }
        ],
    }
    return yaml.safe_dump(config, sort_keys=False)


def _grafana_files() -> dict[PurePosixPath, str]:
    source = {
        "name": "Prometheus",
        "uid": "winnow-prometheus",
        "type": "prometheus",
        "access": "proxy",
        "url": f"http://{PROMETHEUS}:{PORTS[PROMETHEUS]}",
        "isDefault": True,
    }
    provider = {"name": "winnow", "type": "file", "options": {"path": "/etc/winnow/dashboards"}}
    folder = DASHBOARD.parents[1] / "provisioning"
    return {
        folder / "datasources/winnow.yaml": yaml.safe_dump({"apiVersion": 1, "datasources": [source]}, sort_keys=False),
        folder / "dashboards/winnow.yaml": yaml.safe_dump({"apiVersion": 1, "providers": [provider]}, sort_keys=False),
    }


def _port(request: MonitoringRequest, service: str) -> int:
    return request.ports.get(service, PORTS[service])


def _write(folder: Path, path: PurePosixPath, text: str) -> None:
    """Write a file that services may read, though they run as other users."""
    _make(folder, path.parent)
    replace_text(folder / path, text, mode=0o644)


def _make(folder: Path, path: PurePosixPath) -> None:
    for each in (*reversed(path.parents), path):
        if each.parts:
            (folder / each).mkdir(exist_ok=True)
            (folder / each).chmod(0o755)  # despite the umask


def _value(url: str, metric: str) -> str:
    """The value of a metric without labels; empty where the service does not answer."""
    lines = (own_answer(f"{url}/metrics", timeout_s=_ANSWER_S) or "").splitlines()
    return next((line.partition(" ")[2] for line in lines if line.startswith(f"{metric} ")), "")
