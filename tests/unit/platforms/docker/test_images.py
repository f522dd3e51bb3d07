from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import docker
import pytest

from tests.unit.platforms.docker.engines import Image, engine
from tests.unit.serving import bundles
from winnow.config.errors import UnavailableError
from winnow.platforms.docker.images import DockerImages, ModelImageBuild
from winnow.platforms.docker.prod_image import BASE_IMAGE, INPUTS
from winnow.platforms.images import BuildOptions, ModelImageRequest, TrainImagesRequest

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def request_of(tmp_path_factory: pytest.TempPathFactory) -> ModelImageRequest:
    bundle = bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")
    return ModelImageRequest(bundle, "3", ROOT, BuildOptions(), run_id="run-3")


@pytest.fixture
def no_engine() -> Mapping[str, str]:
    """An environment that names an engine at a closed port."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return {"DOCKER_HOST": f"tcp://127.0.0.1:{closed.getsockname()[1]}"}


def planned(request: ModelImageRequest, held: docker.DockerClient) -> ModelImageBuild:
    return DockerImages(engine=held).plan_model_image(request)


def test_a_models_image_names_its_version_and_run(request_of: ModelImageRequest) -> None:
    build = planned(request_of, engine())
    assert build.tag == f"winnow-prod-cells:3-{build.image.inputs[:8]}"
    assert (build.image.version, build.image.labels["winnow.model.run"], build.unknown) == ("3", "run-3", ())


def test_a_newer_base_makes_another_image(request_of: ModelImageRequest) -> None:
    engines = (engine(), engine(Image("sha256:ab", [BASE_IMAGE])), engine(Image("sha256:cd", [BASE_IMAGE])))
    assert len({planned(request_of, held).image.inputs for held in engines}) == 3


def test_an_image_that_is_there_is_not_built_again(request_of: ModelImageRequest) -> None:
    image = planned(request_of, engine()).image
    build = planned(request_of, engine(Image("sha256:ab", [image.tag], {INPUTS: image.inputs})))
    assert build.find() == build.build() == "sha256:ab"


def test_without_an_engine_a_models_image_is_planned_without_its_base(
    request_of: ModelImageRequest, no_engine: Mapping[str, str]
) -> None:
    build = DockerImages(no_engine).plan_model_image(request_of)
    assert build.render() == planned(request_of, engine()).render()
    assert build.unknown == (
        f"the id of the base image {BASE_IMAGE}, on which the image's tag depends: no Docker engine answers",
    )
    with pytest.raises(UnavailableError):
        build.find()


def test_a_sweeps_images_are_planned_without_an_engine(no_engine: Mapping[str, str]) -> None:
    options = BuildOptions(registry="reg.example/team")
    builds = DockerImages(no_engine).plan_train_images(TrainImagesRequest(ROOT, options, tag="t"))
    names = [f"reg.example/team/winnow-{each}:t" for each in ("tracking", "train")]
    assert [build.tag for build in builds] == names
    assert [build.render().splitlines()[-1] for build in builds] == [f"docker push {name}" for name in names]
