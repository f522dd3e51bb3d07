from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.platforms.docker.engines import Image, engine
from tests.unit.serving import bundles
from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError
from winnow.orchestrators.build import build_image, plan_image, with_image
from winnow.platforms.deployer import Release
from winnow.platforms.docker.prod_image import BASE_IMAGE, INPUTS
from winnow.platforms.images import NOTES, BuildOptions, ImageRoute
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError

ROOT = Path(__file__).parents[3]


class Registered:
    """A registry with two versions of each model."""

    def versions(self, name: str) -> list[ModelVersion]:
        return [ModelVersion(name, "4", "run-4"), ModelVersion(name, "3", "run-3")]


class Away:
    def versions(self, name: str) -> list[ModelVersion]:
        raise TrackingUnavailableError("connection refused")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    bundle = bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")
    return Release("cells", "3", read_manifest(bundle).digest, bundle)


def test_an_image_names_the_run_of_the_release(release: Release) -> None:
    image = plan_image(engine(), Registered(), release, BuildOptions(), ROOT)
    tag = f"winnow-prod-cells:3-{image.inputs[:8]}"
    assert (image.tag, image.version, image.labels["winnow.model.run"]) == (tag, "3", "run-3")


def test_a_newer_base_makes_another_image(release: Release) -> None:
    plans = [
        plan_image(held, Registered(), release, BuildOptions(), ROOT)
        for held in (engine(), engine(Image("sha256:ab", [BASE_IMAGE])), engine(Image("sha256:cd", [BASE_IMAGE])))
    ]
    assert len({plan.inputs for plan in plans}) == 3


def test_an_image_that_is_there_is_not_built_again(release: Release) -> None:
    image = plan_image(engine(), Registered(), release, BuildOptions(), ROOT)
    held = engine(Image("sha256:ab", [image.tag], {INPUTS: image.inputs}))
    assert build_image(held, image) == "sha256:ab"
    assert with_image(held, Registered(), release, BuildOptions(), ROOT).image == "sha256:ab"


def test_a_store_that_is_away_is_an_error_for_a_person(release: Release) -> None:
    with pytest.raises(InputError, match=r"tracking store: expected a store that answers, found connection refused"):
        plan_image(engine(), Away(), release, BuildOptions(), ROOT)


def test_an_image_for_a_cluster_is_named_as_its_nodes_find_it(release: Release, tmp_path: Path) -> None:
    image = plan_image(engine(), Registered(), release, BuildOptions(), ROOT)
    held = engine(Image("sha256:ab", [image.tag], {INPUTS: image.inputs}))
    (tmp_path / NOTES).write_text('{"one": {"sha256:ab": "winnow-prod-cells:ab"}}')
    assert build_image(held, image, route=ImageRoute(cluster="one", notes=tmp_path / NOTES)) == "winnow-prod-cells:ab"


def test_an_image_that_could_not_get_to_the_cluster_is_not_built(release: Release) -> None:
    image = plan_image(engine(), Registered(), release, BuildOptions(), ROOT)
    with pytest.raises(InputError, match="WINNOW_IMAGE_LOAD"):
        build_image(engine(), image, route=ImageRoute())
