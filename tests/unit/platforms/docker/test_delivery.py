"""How images get to a cluster's nodes: what is pushed, what is loaded, and under which name it is run."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.platforms.docker.engines import Image, engine
from winnow.config.errors import InputError
from winnow.platforms.docker.delivery import deliver, pushed_digest
from winnow.platforms.images import NOTES, BuildFailedError, BuildOptions, ImageRoute, with_route

ID = "sha256:0123456789abcdef"
TAG = "winnow-train:0123456789ab"
DIGEST = "reg.example/team/winnow-train@sha256:77"


def image(*digests: str) -> Image:
    return Image(ID, ["winnow-train:latest"], digests=digests)


def command(folder: Path, status: int = 0) -> tuple[str, Path]:
    """A command that notes what it is given, and the file with that."""
    script, log = folder / "load", folder / "loaded"
    script.write_text(f"#!/bin/sh\necho \"$@\" >> '{log}'\necho out of room\nexit {status}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"'{script}' --name x", log


def test_an_image_is_loaded_once_under_a_name_that_only_it_has(tmp_path: Path) -> None:
    load, log = command(tmp_path)
    held = image()
    route = ImageRoute(load=load, cluster="one", notes=tmp_path / NOTES)
    assert [deliver(engine(held), ID, "winnow-train", route) for _ in range(2)] == [TAG, TAG]
    assert log.read_text() == f"--name x {TAG}\n"
    assert TAG in held.tags


def test_another_cluster_is_loaded_too_and_a_forced_load_is_made(tmp_path: Path) -> None:
    load, log = command(tmp_path)
    for cluster, is_forced in (("one", False), ("two", False), ("two", True)):
        route = ImageRoute(load=load, cluster=cluster, notes=tmp_path / NOTES)
        deliver(engine(image()), ID, "winnow-train", route, is_forced=is_forced)
    assert len(log.read_text().splitlines()) == 3
    assert json.loads((tmp_path / NOTES).read_text()) == {"one": {ID: TAG}, "two": {ID: TAG}}


def test_what_was_loaded_before_needs_no_command(tmp_path: Path) -> None:
    notes = tmp_path / NOTES
    notes.write_text(json.dumps({"one": {ID: TAG}}))
    assert deliver(engine(image()), ID, "winnow-train", ImageRoute(cluster="one", notes=notes)) == TAG


def test_notes_that_were_cut_short_cost_a_load_and_no_more(tmp_path: Path) -> None:
    (tmp_path / NOTES).write_text('{"one": {')
    load, _ = command(tmp_path)
    assert (
        deliver(engine(image()), ID, "winnow-train", ImageRoute(load=load, cluster="one", notes=tmp_path / NOTES))
        == TAG
    )


def test_a_load_that_fails_says_what_the_command_said(tmp_path: Path) -> None:
    load, _ = command(tmp_path, status=1)
    route = ImageRoute(load=load, cluster="one", notes=tmp_path / NOTES)
    with pytest.raises(
        BuildFailedError, match=r"not loaded by `.*load --name x winnow-train:0123456789ab`[^$]*out of room"
    ):
        deliver(engine(image()), ID, "winnow-train", route)
    assert not (tmp_path / NOTES).exists()


def test_a_command_that_is_not_there_is_named() -> None:
    for load, found in (
        ("no-such-command load", "'no-such-command load': No such file"),
        ("a 'b", "No closing quotation"),
    ):
        with pytest.raises(InputError, match=f"IMAGE_LOAD: expected a command .*{found}"):
            deliver(engine(image()), ID, "winnow-train", ImageRoute(load=load))


def test_an_image_that_was_pushed_before_is_found_by_its_own_name() -> None:
    held = image("other.example/base@sha256:66", DIGEST)
    assert deliver(engine(held), ID, "winnow-train:latest", ImageRoute()) == DIGEST


@pytest.mark.parametrize(
    ("repository", "digest"),
    [
        ("localhost:5001/cells", "sha256:02"),
        ("docker.io/team/cells", "sha256:03"),
        ("index.docker.io/team/cells", "sha256:03"),
        ("team/cells", "sha256:03"),
    ],
)
def test_a_pushed_image_is_addressed_by_the_digest_of_its_registry(repository: str, digest: str) -> None:
    """Docker calls docker.io/team/cells team/cells, whatever it was called when it was pushed."""
    held = engine(image("elsewhere.example/cells@sha256:01", "localhost:5001/cells@sha256:02", "team/cells@sha256:03"))
    assert pushed_digest(held, ID, repository) == f"{repository}@{digest}"


def test_an_image_that_its_engine_does_not_know_as_pushed_is_an_error() -> None:
    with pytest.raises(BuildFailedError, match=r"'reg.example/cells' was not pushed[^$]*is known as: nothing"):
        pushed_digest(engine(image()), ID, "reg.example/cells")


def test_without_any_way_both_are_named() -> None:
    with pytest.raises(InputError, match=r"REGISTRY=host/path.*IMAGE_LOAD='kind load docker-image'"):
        deliver(engine(image()), ID, "winnow-train", ImageRoute())
    with pytest.raises(InputError, match="WINNOW_REGISTRY"):
        ImageRoute().check()
    ImageRoute(registry="reg.example").check()


@pytest.mark.parametrize("made", [ImageRoute, BuildOptions])
def test_a_registry_is_no_web_address(made: Callable[..., object]) -> None:
    with pytest.raises(InputError, match=r"REGISTRY: expected .*without a scheme, found 'http://me:\*\*\*@host/x'"):
        made(registry="http://me:hunter2@host/x")


@pytest.mark.parametrize(
    ("flags", "registry", "load"),
    [
        ({}, "reg.example", "kind load"),
        ({"load": "minikube image load"}, "", "minikube image load"),
        ({"registry": "other.example"}, "other.example", ""),
    ],
)
def test_what_a_command_says_of_the_way_stands_instead_of_the_variables(
    flags: dict[str, str], registry: str, load: str
) -> None:
    environment = with_route({"WINNOW_REGISTRY": "reg.example", "WINNOW_IMAGE_LOAD": "kind load"}, **flags)
    route = ImageRoute.from_environment(environment)
    assert (route.registry, route.load) == (registry, load)


def test_a_route_comes_from_the_environment(tmp_path: Path) -> None:
    environment = {"WINNOW_REGISTRY": "reg.example/team/", "WINNOW_IMAGE_LOAD": "kind load docker-image"}
    route = ImageRoute.from_environment(environment, cluster="c", home=tmp_path)
    assert route == ImageRoute("reg.example/team/", "kind load docker-image", "c", tmp_path / NOTES)
    assert route.render("winnow-train:latest") == "docker push reg.example/team/winnow-train:ID"
    assert ImageRoute(load="kind load").render("winnow-train") == "kind load winnow-train:ID"
