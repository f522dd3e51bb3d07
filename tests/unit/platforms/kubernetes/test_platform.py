"""How a model's image reaches the cluster on which it is served."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.platforms.docker.engines import Image, engine
from tests.unit.platforms.kubernetes.api_server import kubeconfig
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.platforms.docker.images import DockerImages
from winnow.platforms.images import NOTES, Show, silent
from winnow.platforms.kubernetes.platform import KubernetesPlatform


@dataclass
class Build:
    """An image with an id, which is there or is built."""

    found: str | None
    tag: str = "winnow-prod-cells:3"
    unknown: tuple[str, ...] = ()
    builds: int = 0

    def render(self) -> str:
        return "docker build"

    def find(self) -> str | None:
        return self.found

    def build(self, show: Show = silent) -> str:
        self.builds += 1
        return self.found or "sha256:new"


@pytest.fixture
def platform(tmp_path: Path) -> KubernetesPlatform:
    """A cluster that no registry and no command leads to."""
    file = kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1")
    environment = {"WINNOW_HOME": str(tmp_path), "KUBECONFIG": str(file), "WINNOW_NAMESPACE": "place"}
    images = DockerImages(engine=engine(Image("sha256:ab", ["winnow-prod-cells:3"])))
    return KubernetesPlatform(Settings.from_environment(environment), images, environment)


def test_an_image_that_was_loaded_is_named_as_the_nodes_find_it(platform: KubernetesPlatform, tmp_path: Path) -> None:
    identity = platform.cluster.identity
    (tmp_path / NOTES).write_text(json.dumps({identity: {"sha256:ab": "winnow-prod-cells:ab"}}))
    assert platform.find_image(Build("sha256:ab")) == "winnow-prod-cells:ab"
    assert platform.prepare_image(Build("sha256:ab")) == "winnow-prod-cells:ab"


def test_an_image_that_was_never_delivered_has_no_name_there(platform: KubernetesPlatform) -> None:
    assert (platform.find_image(Build("sha256:ab")), platform.find_image(Build(None))) == ("", "")


def test_an_image_that_could_not_be_delivered_is_not_built(platform: KubernetesPlatform) -> None:
    build = Build(None)
    with pytest.raises(InputError, match="WINNOW_IMAGE_LOAD"):
        platform.prepare_image(build)
    assert build == dataclasses.replace(build, builds=0)
