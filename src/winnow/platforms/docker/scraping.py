"""Keeps the Prometheus of a home, where there is one, informed of the replicas of a deployment.

Prometheus joins the deployment's network, and reads the addresses from a file: it needs no access to the engine. A
replica's address is the short identifier of its container, which the engine resolves on that network; host names such
as `replica-1-0` exist on every deployment's network.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.config.atomic_write import replace_text
from winnow.platforms.docker import traefik
from winnow.platforms.docker.compose_project import SERVICE
from winnow.platforms.docker.engine_deployment import EngineDeployment, number_of
from winnow.platforms.labels import MONITORING

if TYPE_CHECKING:
    from docker.models.containers import Container

    from winnow.platforms.docker.client import Engine

SHORT_ID = 12


def monitoring_folder(deployments: Path) -> Path:
    """The folder with the configuration of the Prometheus that scrapes the deployments of a folder."""
    return deployments.parents[1] / "monitoring-stack" / deployments.name


def target_file(found: EngineDeployment) -> Path:
    """The file from which Prometheus reads a deployment's addresses."""
    return monitoring_folder(found.folder.parent) / "prometheus" / "targets" / f"{found.name}.json"


def targets(name: str, replicas: list[tuple[str, str, int]]) -> str:
    """The content of a target file (Prometheus, "file_sd_config").

    Args:
        replicas: identifiers and names of containers, and the numbers of their revisions.
    """
    groups: list[dict[str, Any]] = [
        {
            "targets": [f"{identifier[:SHORT_ID]}:{traefik.SERVER_PORT}"],
            "labels": {"deployment": name, "revision": str(number), "replica": replica, "instance": replica},
        }
        for identifier, replica, number in replicas
    ]
    # Prometheus 2.42 keeps the last targets of a file that becomes empty where it reads its configuration just then.
    return json.dumps(groups or [{"targets": []}], indent=1) + "\n"


def scrape(engine: Engine, found: EngineDeployment) -> None:
    """Have the replicas of a deployment scraped, and no others of it; nothing where its home has no Prometheus."""
    path = target_file(found)
    if not path.parent.is_dir():
        return
    prometheus = _prometheus(engine, found.folder.parent)
    if prometheus is not None and found.network is not None and found.network.name not in _networks(prometheus):
        found.network.connect(prometheus)
    replicas = [(str(each.id), str(each.name), number_of(each)) for each in found.replicas]
    replace_text(path, targets(found.name, replicas), mode=0o644)


def forget(engine: Engine, found: EngineDeployment) -> None:
    """Have a deployment scraped no more, before its network is removed. Its own rules go with it."""
    path = target_file(found)
    if not path.parent.is_dir():
        return
    replace_text(path, targets(found.name, []), mode=0o644)
    prometheus = _prometheus(engine, found.folder.parent)
    if prometheus is not None and found.network is not None and found.network.name in _networks(prometheus):
        found.network.disconnect(prometheus, force=True)
    rules = path.parents[1] / "rules" / f"{found.name}.yaml"
    if rules.is_file():
        rules.unlink()
        reload(prometheus)


def reload(service: Container | None) -> None:
    """Have a service read its configuration anew, where it runs."""
    import docker

    if service is not None:
        with contextlib.suppress(docker.errors.APIError):
            service.kill("SIGHUP")


def _prometheus(engine: Engine, deployments: Path) -> Container | None:
    labels = [f"{MONITORING}={deployments}", f"{SERVICE}=prometheus"]
    return next(iter(engine.containers.list(all=True, filters={"label": labels})), None)


def _networks(container: Container) -> set[str]:
    return set(container.attrs["NetworkSettings"]["Networks"])
