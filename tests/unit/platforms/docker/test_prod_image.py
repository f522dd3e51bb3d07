from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.platforms.docker.engines import Image, engine
from tests.unit.serving import bundles
from winnow.bundle.manifest import MANIFEST, ONNX, sha256_of
from winnow.config.errors import InputError
from winnow.platforms.docker import prod_image
from winnow.platforms.docker.build import PROJECT, project_id
from winnow.platforms.docker.prod_image import (
    INPUTS,
    ProdImage,
    find,
    full_tag,
    lay_out,
    plan,
    plan_router,
    write_model_layer,
)
from winnow.platforms.images import BuildOptions, ModelImageRequest

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")


@pytest.fixture(scope="module")
def image(bundle: Path) -> ProdImage:
    return plan(
        ModelImageRequest(bundle, "7", ROOT, run_id="0123abcd", options=BuildOptions(registry="registry.example/team"))
    )


def test_a_models_image_is_one_command(image: ProdImage, bundle: Path) -> None:
    assert image.command(Path("/laid-out")).argv == (
        "docker",
        "build",
        "--progress=plain",
        f"--file={ROOT}/Dockerfile.prod",
        f"--tag=registry.example/team/winnow-prod-cells:7-{image.inputs[:8]}",
        "--build-arg=BASE_IMAGE=python:3.11-slim-bookworm",
        "--build-arg=MODEL_VERSION=7",
        "--label=org.opencontainers.image.title=cells",
        "--label=org.opencontainers.image.description=classification model cells, version 7: f1 0.97",
        "--label=org.opencontainers.image.version=7",
        "--label=org.opencontainers.image.revision=c0ffeec0ffeec0ffeec0ffeec0ffeec0ffeec0ff",
        "--label=org.opencontainers.image.created=2026-11-21T12:00:00+00:00",
        "--label=org.opencontainers.image.base.name=python:3.11-slim-bookworm",
        "--label=winnow.model.name=cells",
        "--label=winnow.model.version=7",
        "--label=winnow.model.run=0123abcd",
        "--label=winnow.model.study=cells",
        "--label=winnow.model.trial=7",
        f"--label=winnow.model.sha256={sha256_of(bundle / MANIFEST)}",
        "--label=winnow.model.data=sklearn:breast_cancer",
        f"--label=winnow.model.data.sha256={'0f' * 32}",
        f"--label=winnow.project={project_id(ROOT)}",
        f"--label={INPUTS}={image.inputs}",
        "/laid-out",
    )
    assert image.render().splitlines()[-1] == f"docker push {image.tag}"


@pytest.mark.parametrize(
    ("given", "name", "version", "registry", "tag"),
    [
        ("", "breast-cancer", "3", "", "winnow-prod-breast-cancer:3-0123abcd"),
        ("", "My Model/ä", "1.0+b", "", "winnow-prod-my-model:1.0-b-0123abcd"),
        ("", "ä", ".", "localhost:5001/", "localhost:5001/winnow-prod-model:0-0123abcd"),
        ("cells", "x", "3", "registry.example/team", "registry.example/team/cells:3"),
        ("localhost:5001/cells", "x", "3", "", "localhost:5001/cells:3"),
        ("cells:blue", "x", "3", "", "cells:blue"),
    ],
)
def test_a_name_becomes_one_that_docker_takes(given: str, name: str, version: str, registry: str, tag: str) -> None:
    assert full_tag(given, name, version, registry, "0123abcd" * 8) == tag


def test_the_inputs_are_all_that_the_image_is_made_of_and_not_where_or_how(bundle: Path, tmp_path: Path) -> None:
    same = tmp_path / "same"
    shutil.copytree(bundle, same)
    first = plan(ModelImageRequest(bundle, "7", ROOT))
    elsewhere = plan(ModelImageRequest(same, "7", ROOT, tag="other:1", options=BuildOptions(network="host")))
    assert elsewhere.inputs == first.inputs
    others = [
        plan(ModelImageRequest(bundle, "8", ROOT)),
        plan(ModelImageRequest(bundle, "7", ROOT, run_id="0123abcd")),
        plan(ModelImageRequest(bundle, "7", ROOT), base_id="sha256:ab"),
        plan(ModelImageRequest(bundle, "7", ROOT, options=BuildOptions(base_image="python:3.12-slim"))),
        plan(ModelImageRequest(bundles.classification(tmp_path / "scaled", scale=2.0), "7", ROOT)),
    ]
    assert len({first.inputs, *(other.inputs for other in others)}) == 6


def test_the_images_of_two_projects_have_names_of_their_own(bundle: Path, tmp_path: Path) -> None:
    for name in ("Dockerfile.prod", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    here, there = (plan(ModelImageRequest(bundle, "7", folder)) for folder in (ROOT, tmp_path))
    assert [each.tag for each in (here, there)] == [f"winnow-prod-cells:7-{each.inputs[:8]}" for each in (here, there)]
    assert here.tag != there.tag


def test_the_models_layer_depends_on_names_and_bytes_alone(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / ONNX).chmod(0o600)
    os.utime(copy / MANIFEST, (1, 1))
    write_model_layer(bundle, tmp_path / "a.tar")
    write_model_layer(copy, tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        found = [(each.name, oct(each.mode), each.mtime, each.uid, each.gid, each.uname) for each in tar]
    assert found == [
        ("model", "0o755", 0, 0, 0, ""),
        *(
            (f"model/{name}", "0o644", 0, 0, 0, "")
            for name in ("input_example.json", "manifest.json", "model.onnx", "reference.npz")
        ),
    ]


def test_what_is_laid_out_is_what_serves(image: ProdImage, tmp_path: Path) -> None:
    lay_out(image, tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"model.tar", "requirements.txt", "requirements.lock", "winnow/serving/assets/docs.html"} <= names
    assert {name.split("/")[1] for name in names if name.startswith("winnow/")} == {
        "__init__.py",
        "bundle",
        "config",
        "routing.py",
        "serving",
    }
    assert "onnxruntime" in (tmp_path / "requirements.txt").read_text()
    assert [name for name in names if "__pycache__" in name] == []


def test_a_server_imports_nothing_that_is_not_laid_out(image: ProdImage, tmp_path: Path) -> None:
    lay_out(image, tmp_path)
    modules = ("__main__", "server", "docs_page", "router.__main__", "router.server")
    program = "".join(f"import winnow.serving.{each}; " for each in modules) + "print(winnow.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{tmp_path}/winnow/__init__.py\n", done.stderr


def test_an_image_of_the_same_inputs_is_found_and_gets_its_name_back(image: ProdImage) -> None:
    held = Image("sha256:ab", ["other:1"], {INPUTS: image.inputs})
    assert find(engine(held), image) == "sha256:ab"
    assert held.tags == ["other:1", image.tag]
    assert find(engine(held), replace(image, inputs="0f")) is None


def test_of_two_images_of_the_same_inputs_the_one_of_that_name_is_taken(image: ProdImage) -> None:
    labels = {INPUTS: image.inputs}
    assert find(engine(Image("sha256:ab", [], labels), Image("sha256:cd", [image.tag], labels)), image) == "sha256:cd"


def test_the_base_is_known_by_its_id_where_it_is_held() -> None:
    held = engine(Image("sha256:ab", ["python:3.11-slim-bookworm"]))
    assert prod_image.base_id(held, prod_image.BASE_IMAGE) == "sha256:ab"
    assert prod_image.base_id(held, "python:3.12") == ""


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    (damaged / ONNX).write_bytes(b"other")
    with pytest.raises(InputError, match=r"damaged: expected a whole model bundle, found .*sha256"):
        plan(ModelImageRequest(damaged, "7", ROOT))


def test_a_project_outside_the_clone_serves_from_the_clones_files(bundle: Path, tmp_path: Path) -> None:
    made = plan(ModelImageRequest(bundle, "7", tmp_path))
    assert (made.folder, made.labels[PROJECT]) == (ROOT, project_id(tmp_path))


def test_the_routers_image_depends_on_no_model_and_holds_none(image: ProdImage, tmp_path: Path) -> None:
    router = plan_router(tmp_path, BuildOptions(registry="registry.example/team"))
    lay_out(router, tmp_path)
    assert router.command(Path("/laid-out")).argv == (
        "docker",
        "build",
        "--progress=plain",
        f"--file={ROOT}/Dockerfile.prod",
        "--target=router",
        f"--tag=registry.example/team/winnow-router:{router.inputs[:8]}",
        "--build-arg=BASE_IMAGE=python:3.11-slim-bookworm",
        "--label=org.opencontainers.image.title=winnow-router",
        "--label=org.opencontainers.image.description=splits the requests of a deployment between two revisions",
        "--label=org.opencontainers.image.base.name=python:3.11-slim-bookworm",
        f"--label={INPUTS}={router.inputs}",
        "/laid-out",
    )
    assert not (tmp_path / "model.tar").exists()
    assert router.requirements == image.requirements
    assert plan_router(ROOT, BuildOptions()).inputs == router.inputs
