"""What the images hold, and what they run on: a read-only root, no name, no network, no capability."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.docker.conftest import ROOT
from tests.unit.serving import bundles
from winnow.bundle.manifest import MANIFEST, read_manifest, sha256_of
from winnow.config.errors import InputError
from winnow.config.version import __version__
from winnow.platforms.docker import build, prod_image
from winnow.platforms.docker import train_image as images
from winnow.platforms.docker.prod_image import ProdImage
from winnow.platforms.images import BuildFailedError, BuildOptions, ModelImageRequest, TrainImagesRequest

pytestmark = [pytest.mark.docker, pytest.mark.slow]

LOCKED_DOWN: dict[str, Any] = {
    "read_only": True,
    "network_mode": "none",
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "", "/winnow": "mode=1777"},
}
SECRETS = (".env", ".netrc", "prod.env", "key.pem", "data/rows.csv", ".venv/bin/python", "part/.git/config")
MAY_BE_ADDED = 180_000_000
"""Bytes that serving may add to its base image."""

FORBIDDEN = re.compile(
    r"\.(pkl|pickle|pt|pth|joblib)$"
    r"|/(site|dist)-packages/(torch|mlflow|pandas|sklearn|pip|setuptools|pkg_resources|wheel)(/|-[0-9]|$)"
    r"|/ensurepip(/|$)|/bin/pip[0-9.]*$"
)


def run(engine: docker.DockerClient, image: str, *command: str) -> str:
    """What a locked-down container of an image prints."""
    output: bytes = engine.containers.run(image, list(command), remove=True, **LOCKED_DOWN)
    return output.decode()


@pytest.fixture(scope="module")
def model(
    engine: docker.DockerClient, build_options: BuildOptions, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProdImage]:
    """A model's image as it is planned; what carries its name is removed at the end."""
    bundle = bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")
    tag = f"t{uuid.uuid4().hex[:10]}:7"
    options = replace(build_options, base_image="")
    yield prod_image.plan(ModelImageRequest(bundle, "7", ROOT, run_id="0123abcd", tag=tag, options=options))
    for image in engine.images.list(name=tag.partition(":")[0]):
        engine.images.remove(image.id, force=True)


@pytest.fixture(scope="module")
def model_image(engine: docker.DockerClient, model: ProdImage) -> str:
    return prod_image.build(engine, model)


@pytest.fixture
def project(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Path]:
    """A small project of a person's own, with things in it that no image may hold."""
    folder = tmp_path / f"t{uuid.uuid4().hex[:10]}"
    for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE", "Dockerfile.train", ".dockerignore"):
        folder.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "src" / "winnow" / "config", folder / "src" / "winnow" / "config")
    shutil.copytree(ROOT / "src" / "winnow" / "platforms", folder / "src" / "winnow" / "platforms")
    for name in ("my_model.py", *SECRETS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("SECRET = 1\n")
    (folder / "src" / "winnow" / "__init__.py").touch()
    (folder / "my_model.py").chmod(0o600)
    (folder / "requirements.txt").write_text("iniconfig\n")
    yield folder
    for image in engine.images.list(filters={"label": f"{images.CODE}"}):
        if any(tag.endswith(f":{folder.name}") for tag in image.tags):
            engine.images.remove(image.id, force=True)


def test_a_worker_imports_what_it_needs_without_name_network_or_writable_root(
    engine: docker.DockerClient, train_image: str
) -> None:
    program = (
        "import getpass, json, os, torch, mlflow, accelerate, onnxscript, psycopg, winnow.worker.group;"
        "from importlib.metadata import version;"
        "import torch._inductor.runtime.cache_dir_utils as caches; caches.default_cache_dir();"
        "print(json.dumps([os.getuid(), os.getgid(), getpass.getuser(), os.getcwd(), os.environ['WINNOW_HOME'],"
        " version('winnow'), winnow.__file__]))"
    )
    found = json.loads(run(engine, train_image, "python", "-c", program).splitlines()[-1])
    package = "/workspace/src/winnow/__init__.py"
    assert found == [10001, 10001, "winnow", "/workspace", "/winnow", __version__, package]


def test_the_tracking_server_is_on_its_way_up_without_torch(engine: docker.DockerClient, tracking_image: str) -> None:
    assert "mlflow, version 3" in run(engine, tracking_image, "mlflow", "--version")
    program = (
        "import importlib.util as u; print([n for n in ('mlflow', 'psycopg', 'psycopg2', 'boto3', 'torch', 'winnow',"
        " 'optuna', 'pytest') if u.find_spec(n)])"
    )
    assert run(engine, tracking_image, "python", "-c", program) == "['mlflow', 'psycopg', 'psycopg2', 'boto3']\n"


def test_images_of_a_sweep_say_what_they_are_and_on_which_base(
    engine: docker.DockerClient, train_image: str, tracking_image: str
) -> None:
    labels = [engine.images.get(each).labels for each in (train_image, tracking_image)]
    named = [(each["org.opencontainers.image.title"], each["org.opencontainers.image.base.name"]) for each in labels]
    assert named == [(title, prod_image.BASE_IMAGE) for title in ("winnow-train", "winnow-tracking")]


def test_no_development_tool_is_in_a_worker(engine: docker.DockerClient, train_image: str) -> None:
    program = (
        "import importlib.util as u, shutil; print([n for n in ('pytest', 'mypy', 'ruff', 'hypothesis', 'piptools')"
        " if u.find_spec(n)], [shutil.which(n) for n in ('gcc', 'cc', 'git')])"
    )
    assert run(engine, train_image, "python", "-c", program) == "[] [None, None, None]\n"


def test_an_image_holds_a_persons_code_and_requirements_and_no_secret(
    engine: docker.DockerClient, build_options: BuildOptions, project: Path
) -> None:
    built = build.build(images.plan(TrainImagesRequest(project, build_options, tag=project.name), "train"))
    program = "import iniconfig, my_model; from pathlib import Path; print(*map(str, Path('.').rglob('*')))"
    found = run(engine, built, "python", "-c", program).split()
    assert {"my_model.py", "requirements.txt", "src/winnow/config/errors.py"} <= set(found)
    assert set(found) & set(SECRETS) == set()

    before = engine.images.get(built).attrs["RootFS"]["Layers"]
    (project / "my_model.py").write_text("SECRET = 2\n")
    began = time.monotonic()
    again = build.build(images.plan(TrainImagesRequest(project, build_options, tag=project.name), "train"))
    took_s = time.monotonic() - began
    after = engine.images.get(again).attrs["RootFS"]["Layers"]
    assert run(engine, again, "python", "-c", "import my_model; print(my_model.SECRET)") == "2\n"
    assert before[:-2] == after[:-2]
    assert took_s < 20
    # Nothing needs the image that had the name before.
    ours = {"label": f"{build.PROJECT}={build.project_id(project)}"}
    assert [image.id for image in engine.images.list(all=True, filters=ours)] == [again]


def test_an_image_of_other_code_is_refused_unless_it_is_named(
    engine: docker.DockerClient, build_options: BuildOptions, project: Path
) -> None:
    # Built here and not for the session: the code may be edited while tests run.
    built = build.build(images.plan(TrainImagesRequest(ROOT, build_options), "train"))
    named = f"{images.TRAIN}:{images.project_tag(ROOT)}"
    assert images.check(engine, None, ROOT) == images.check(engine, named, project) == built
    engine.images.get(built).tag(images.TRAIN, images.project_tag(project))
    with pytest.raises(InputError, match=r"expected one built from the code in .*build-train.*winnow-train"):
        images.check(engine, None, project)
    engine.images.remove(f"{images.TRAIN}:{images.project_tag(project)}")


def test_a_step_that_fails_is_one_error_with_the_end_of_the_output(build_options: BuildOptions, project: Path) -> None:
    (project / "requirements.txt").write_text("numpy==0.0.1\n")
    plan = images.plan(TrainImagesRequest(project, build_options, tag=project.name), "train")
    with pytest.raises(BuildFailedError, match=r"(?s)'winnow-train:t.*' was not built.*numpy==0\.0\.1") as told:
        build.build(plan)
    assert len(str(told.value).splitlines()) <= build.END_LINES + 1


def test_serving_adds_little_to_its_base(engine: docker.DockerClient, model_image: str) -> None:
    sizes = [engine.images.get(image).attrs["Size"] for image in (model_image, prod_image.BASE_IMAGE)]
    assert sizes[0] - sizes[1] <= MAY_BE_ADDED


def test_no_file_of_the_image_is_a_pickle_a_trainer_or_an_installer(
    engine: docker.DockerClient, model_image: str
) -> None:
    names = files_of(engine, model_image)
    assert "/model/model.onnx" in names
    assert [name for name in names if FORBIDDEN.search(name)] == []
    program = (
        "import importlib.util as u; print([n for n in ('torch', 'mlflow', 'pandas', 'sklearn', 'pip', 'setuptools')"
        " if u.find_spec(n)])"
    )
    for python in ("/opt/venv/bin/python", "python3"):
        output = engine.containers.run(model_image, ["-c", program], entrypoint=[python], remove=True, **LOCKED_DOWN)
        assert output == b"[]\n"


def test_the_served_package_is_the_part_that_serves(engine: docker.DockerClient, model_image: str) -> None:
    inside = "/opt/winnow/winnow/"
    names = [name.removeprefix(inside) for name in files_of(engine, model_image) if name.startswith(inside)]
    assert {name.partition("/")[0] for name in names if "/" in name} == {"__pycache__", "bundle", "config", "serving"}


def test_it_serves_without_network_name_or_writable_root(engine: docker.DockerClient, model_image: str) -> None:
    container = engine.containers.run(model_image, detach=True, environment={"WINNOW_SETTLE_S": "0"}, **LOCKED_DOWN)
    try:
        answer = ask(container)
        assert (answer["model"]["name"], answer["model"]["version"]) == ("cells", "7")
        assert answer["predictions"] == ["malignant"]
        assert container.exec_run(["/opt/venv/bin/python", "-c", "import os; print(os.getuid())"]).output == b"10001\n"
        check = container.attrs["Config"]["Healthcheck"]["Test"][1:]
        assert container.exec_run(check).exit_code == 0
        container.stop(timeout=20)
        assert container.wait()["StatusCode"] == 0
    finally:
        container.remove(force=True)


def test_the_routers_image_holds_no_model_and_says_what_it_needs(
    engine: docker.DockerClient, model_image: str, build_options: BuildOptions
) -> None:
    router = prod_image.build(engine, prod_image.plan_router(ROOT, replace(build_options, base_image="")))
    assert [name for name in files_of(engine, router) if name.startswith("/model")] == []
    layers = [engine.images.get(image).attrs["RootFS"]["Layers"] for image in (router, model_image)]
    assert layers[0] == layers[1][:-1]
    with pytest.raises(docker.errors.ContainerError, match="WINNOW_ROUTER_TOKEN: expected a secret text"):
        engine.containers.run(router, remove=True, **LOCKED_DOWN)


def test_an_image_says_what_model_it_serves(engine: docker.DockerClient, model: ProdImage, model_image: str) -> None:
    config = engine.images.get(model_image).attrs["Config"]
    manifest = read_manifest(model.bundle)
    labels = {name: value for name, value in config["Labels"].items() if not name.endswith((".title", ".description"))}
    assert labels == {
        "org.opencontainers.image.version": "7",
        "org.opencontainers.image.revision": manifest.git_commit,
        "org.opencontainers.image.created": manifest.created_at,
        "org.opencontainers.image.base.name": prod_image.BASE_IMAGE,
        "winnow.model.name": "cells",
        "winnow.model.version": "7",
        "winnow.model.run": "0123abcd",
        "winnow.model.study": "cells",
        "winnow.model.trial": "7",
        "winnow.model.sha256": sha256_of(model.bundle / MANIFEST),
        "winnow.model.data": "sklearn:breast_cancer",
        "winnow.model.data.sha256": "0f" * 32,
        build.PROJECT: build.project_id(ROOT),
        prod_image.INPUTS: model.inputs,
    }
    assert (config["User"], config["ExposedPorts"], config["StopSignal"]) == (
        "10001:10001",
        {"8080/tcp": {}},
        "SIGTERM",
    )


def test_the_same_model_is_the_same_image_and_built_anew_the_same_layer(
    engine: docker.DockerClient, model: ProdImage, model_image: str, tmp_path: Path
) -> None:
    assert prod_image.build(engine, model) == model_image
    copy = tmp_path / "copied later"
    shutil.copytree(model.bundle, copy)
    same = prod_image.plan(ModelImageRequest(copy, "7", ROOT, run_id="0123abcd", tag=model.tag, options=model.options))
    assert same.inputs == model.inputs
    anew = prod_image.build(engine, replace(same, tag=model.tag.replace(":7", ":anew")), is_cached=False)
    assert anew != model_image
    layers = [engine.images.get(image).attrs["RootFS"]["Layers"] for image in (model_image, anew)]
    assert layers[0][-1] == layers[1][-1]
    other = prod_image.plan(
        ModelImageRequest(model.bundle, "8", ROOT, tag=model.tag.replace(":7", ":8"), options=model.options)
    )
    began = time.time()
    image = engine.images.get(prod_image.build(engine, other))
    assert image.attrs["RootFS"]["Layers"][-1] == layers[0][-1]
    # The engine may hold several builds of the packages' layers; none is built again for another version.
    assert [layer["CreatedBy"] for layer in image.history() if layer["Size"] and layer["Created"] >= began] == []


def ask(container: Any) -> Any:
    """The answer to the model's own example, asked from inside, for there is no network."""
    program = (
        "import urllib.request as u; b = open('/model/input_example.json', 'rb').read();"
        "r = u.Request('http://127.0.0.1:8080/predict', b, {'content-type': 'application/json'});"
        "print(u.urlopen(r, timeout=5).read().decode())"
    )
    deadline = time.monotonic() + 30
    while True:
        done = container.exec_run(["/opt/venv/bin/python", "-c", program])
        if done.exit_code == 0:
            container.reload()
            return json.loads(done.output)
        assert time.monotonic() < deadline, container.logs().decode()
        time.sleep(0.2)


def files_of(engine: docker.DockerClient, image: str) -> Sequence[str]:
    """Every path of an image."""
    container = engine.containers.create(image)
    try:
        with tempfile.TemporaryFile() as stored:
            for piece in container.export():
                stored.write(piece)
            stored.seek(0)
            with tarfile.open(fileobj=stored) as tar:
                return [f"/{name}" for name in tar.getnames()]
    finally:
        container.remove(force=True)
