"""What an earlier version of winnow has left on a Docker engine is found, changed and ended by this one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import previous
from tests.docker import serving_images
from tests.docker.groups import IMAGE, SLEEP, Sandbox, sandbox
from winnow.config.errors import InputError
from winnow.platforms.docker.deployer import DockerDeployer
from winnow.platforms.executor import GroupState
from winnow.platforms.readiness import is_answering
from winnow.routing import Record, Release

pytestmark = pytest.mark.docker

START = """
import sys
from pathlib import Path
from winnow.executors.docker import DockerExecutor, DockerSite
from winnow.executors.executor import GroupSpec
study, image, home, code = sys.argv[1:]
group = GroupSpec(study, "c0", ("python3", "-c", code), {"WINNOW_TEST": "1"}, nodes=2)
DockerExecutor(DockerSite(image=image), Path(home)).start(group)
"""
SERVE = """
import sys
from pathlib import Path
from winnow.deployers.deployer import DeploymentRequest, Release
from winnow.deployers.docker import DockerDeployer
home, name, model, version, digest, bundle, image = sys.argv[1:]
deployer = DockerDeployer(Path(home))
release = Release(model, version, digest, Path(bundle), image)
print(deployer.deploy(deployer.plan(DeploymentRequest(name, release, replicas=2, ready_within_s=60))).url, end="")
"""


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Sandbox]:
    with sandbox(tmp_path) as made:
        yield made


def test_its_worker_group_is_listed_not_started_twice_and_cancelled(here: Sandbox) -> None:
    previous.run(START, here.study, IMAGE, str(here.home), SLEEP)
    before, executor = here.left(), here.executor()
    (found,) = executor.groups(here.study)
    assert (found.name, found.state, found.lacks_nodes) == ("c0", GroupState.RUNNING, False)
    executor.start(here.group(nodes=2))
    assert here.left() == before
    executor.cancel(here.study, "c0", 5)
    executor.clear(here.study)
    assert here.left() == []


def test_its_deployment_is_listed_refused_with_the_command_that_removes_it_and_removed(tmp_path: Path) -> None:
    made = serving_images.make_releases(tmp_path / "bundles")
    first = serving_images.with_image(made["first"])
    name, home = f"t{secrets.token_hex(4)}", tmp_path / "home"
    deployer = DockerDeployer(tmp_path / "another-home")
    try:
        url = previous.run(SERVE, str(home), name, *described(first))
        assert name in deployer.names()
        record = Record(name, 1)
        for refused in (
            lambda: deployer.observe(name),
            lambda: deployer.write(record),
            lambda: deployer.wish(name, ""),
        ):
            with pytest.raises(InputError, match=r"one of an earlier version.*prod-remove"):
                refused()
        assert is_answering(url)
        assert deployer.remove(name)
        assert (name in deployer.names(), is_answering(url), deployer.remove(name)) == (False, False, False)
        assert list(home.rglob("route.yaml")) == []
    finally:
        serving_images.remove_deployment(name)
        serving_images.forget([first])


def described(release: Release) -> tuple[str, ...]:
    return release.model, release.version, release.digest, str(release.bundle), release.image
