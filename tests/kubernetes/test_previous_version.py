"""What an earlier version of winnow has left on a cluster is found and ended by this one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import previous
from tests.docker import serving_images
from tests.kubernetes import serving
from tests.kubernetes.groups import SLEEP, Sandbox, remove, sandbox, wait_until
from tests.kubernetes.places import PERSON, Place
from tests.kubernetes.serving import Site
from winnow.config.errors import InputError
from winnow.platforms.executor import GroupState
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.routing import Release

pytestmark = pytest.mark.kubernetes

START = """
import os, sys
from pathlib import Path
from winnow.cluster import manifests
from winnow.cluster.connection import connect
from winnow.executors.executor import GroupResources, GroupSpec
from winnow.executors.kubernetes import KubernetesExecutor, KubernetesSite
study, image, home, code = sys.argv[1:]
small = GroupResources(cpus=0.02, memory_bytes=64 * 2**20, shm_bytes=2**20)
group = GroupSpec(study, "p0", ("python3", "-c", code), {"WINNOW_TEST": "1"}, resources=small)
site = KubernetesSite(image, manifests.load(Path("k8s/train")))
KubernetesExecutor(connect(os.environ), site, Path(home)).start(group)
"""
SERVE = """
import sys
from pathlib import Path
from winnow.deployers.deployer import DeploymentRequest, Release
from winnow.deployers.kubernetes import KubernetesDeployer
home, name, model, version, digest, bundle, image = sys.argv[1:]
deployer = KubernetesDeployer(Path(home))
release = Release(model, version, digest, Path(bundle), image)
print(deployer.deploy(deployer.plan(DeploymentRequest(name, release, ready_within_s=90))).url, end="")
"""


@pytest.fixture
def here(shared_place: Place, tmp_path: Path) -> Iterator[Sandbox]:
    made = sandbox(shared_place, tmp_path)
    yield made
    remove(made)


def test_its_worker_group_is_listed_not_started_twice_and_cancelled(here: Sandbox) -> None:
    previous.run(START, here.study, here.workers.image, str(here.home), SLEEP, given=here.place.environment)
    executor, job = here.executor(), here.job()["metadata"]["uid"]
    (found,) = executor.groups(here.study)
    assert (found.name, found.state) == ("p0", GroupState.RUNNING)
    executor.start(here.group())
    assert here.job()["metadata"]["uid"] == job
    executor.cancel(here.study, "p0", 5)
    executor.clear(here.study)
    wait_until(lambda: here.left() == [])


def test_its_deployment_is_listed_named_with_the_command_that_removes_it_and_removed(
    shared_place: Place, tmp_path: Path
) -> None:
    made = serving_images.make_releases(tmp_path)
    first = serving.delivered(serving_images.with_image(made["first"]), shared_place)
    site = Site(shared_place, f"t{secrets.token_hex(4)}")
    deployer = KubernetesDeployer(shared_place.home, environment=site.environment())
    try:
        # The earlier version also listed ReplicaSets.
        shared_place.admin("create", "role", "earlier", "--verb=list", "--resource=replicasets.apps")
        person = f"--serviceaccount={shared_place.namespace}:{PERSON}"
        shared_place.admin("create", "rolebinding", "earlier", "--role=earlier", person)
        previous.run(SERVE, str(shared_place.home), site.name, *described(first), given=site.environment())
        assert site.name in deployer.names()
        with pytest.raises(InputError, match="prod-remove"):
            deployer.observe(site.name)
        assert (deployer.remove(site.name), site.name in deployer.names()) == (True, False)
        assert deployer.remove(site.name) is False
    finally:
        site.close()
        serving_images.forget((first,))


def described(release: Release) -> tuple[str, ...]:
    return release.model, release.version, release.digest, str(release.bundle), release.image
