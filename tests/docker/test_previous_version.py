"""What an earlier version of winnow has left on a Docker engine is found, changed and ended by this one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import previous
from tests.docker import serving_images
from tests.docker.groups import IMAGE, SLEEP, Sandbox, sandbox
from winnow.platforms.docker.release_deployer import DockerDeployer
from winnow.platforms.executor import GroupState
from winnow.platforms.release_deployer import DeploymentRequest, DeploymentState
from winnow.routing import Release

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


def test_its_deployment_is_listed_rolled_forward_and_back_and_removed(tmp_path: Path) -> None:
    made = serving_images.make_releases(tmp_path / "bundles")
    first, second = (serving_images.with_image(made[name]) for name in ("first", "second"))
    name, home = f"t{secrets.token_hex(4)}", tmp_path / "home"
    deployer = DockerDeployer(home)
    try:
        url = previous.run(SERVE, str(home), name, *described(first))
        found = deployer.status(name)
        assert (found.state, found.url, found.release, len(found.replicas)) == (DeploymentState.READY, url, first, 2)
        rolled = deployer.deploy(deployer.plan(DeploymentRequest(name, second, ready_within_s=60)))
        assert (rolled.url, rolled.release, rolled.previous, len(rolled.replicas)) == (url, second, first, 2)
        assert deployer.deploy(deployer.plan_rollback(name)).release == first
        assert (deployer.remove(name), deployer.names()) == (True, ())
    finally:
        serving_images.remove_deployment(name)
        serving_images.forget((first, second))


def described(release: Release) -> tuple[str, ...]:
    return release.model, release.version, release.digest, str(release.bundle), release.image
