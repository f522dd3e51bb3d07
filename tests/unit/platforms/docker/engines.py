"""A Docker engine for tests that need only its images: a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import docker
import docker.errors


@dataclass
class Image:
    id: str
    tags: list[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    digests: tuple[str, ...] = ()

    @property
    def attrs(self) -> dict[str, Any]:
        return {"RepoDigests": list(self.digests)}

    def tag(self, repository: str, tag: str) -> None:
        self.tags.append(f"{repository}:{tag}")


@dataclass
class Images:
    held: list[Image]

    def get(self, name: str) -> Image:
        full = name if ":" in name else f"{name}:latest"
        for image in self.held:
            if full in image.tags or name == image.id:
                return image
        raise docker.errors.ImageNotFound(name)

    def list(self, filters: Mapping[str, str]) -> list[Image]:
        name, _, value = filters["label"].partition("=")
        return [image for image in self.held if image.labels.get(name) == value]


class Engine:
    def __init__(self, *held: Image) -> None:
        self.images = Images(list(held))


def engine(*held: Image) -> docker.DockerClient:
    """An engine that holds these images."""
    return cast("docker.DockerClient", Engine(*held))
