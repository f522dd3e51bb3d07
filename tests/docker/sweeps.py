"""Sweeps in containers, for tests of what a Docker engine may do to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import docker

from tests.remote_sweeps import RemoteSweep, end, wait_until
from winnow.platforms.labels import STUDY

__all__ = ["DockerSweep", "end", "wait_until"]


@dataclass(frozen=True)
class DockerSweep(RemoteSweep):
    """`RemoteSweep` on an engine."""

    engine: docker.DockerClient = field(kw_only=True)

    @property
    def target(self) -> str:
        return "docker"

    def containers(self) -> list[Any]:
        """Those of this study, running or over."""
        return list(self.engine.containers.list(all=True, filters={"label": f"{STUDY}={self.study}"}))

    def left(self) -> list[str]:
        """Names of all that the engine holds for this study."""
        label = {"label": f"{STUDY}={self.study}"}
        names = [container.name for container in self.containers()]
        names += [network.name for network in self.engine.networks.list(filters=label)]
        return names + [volume.name for volume in self.engine.volumes.list(filters=label)]

    def processes(self, words: str, container: Any = None) -> list[int]:
        """Process ids, as the host counts them, of a group's processes whose name or command holds these words."""
        chosen = [container] if container is not None else [c for c in self.containers() if c.status == "running"]
        found = []
        for each in chosen:
            listed = each.top(ps_args="-eo pid,comm,args")
            found += [int(line[0]) for line in listed["Processes"] or [] if words in " ".join(line[1:])]
        return found

    def remove(self) -> None:
        """End what a failed test has left, and let go of the study."""
        self.close()
        for container in self.containers():
            container.remove(force=True, v=True)
        for network in self.engine.networks.list(filters={"label": f"{STUDY}={self.study}"}):
            network.remove()
