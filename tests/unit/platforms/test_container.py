"""What a group's nodes are, whatever runs them; and that platforms agree on what a worker may do."""

from __future__ import annotations

from pathlib import Path

from winnow.platforms.container import SHM_BYTES, STOP_GRACE_S, USER, ContainerSpec, plan_containers
from winnow.platforms.executor import GroupResources, GroupSpec, Volume
from winnow.platforms.kubernetes.manifests import load, named

ROOT = Path(__file__).parents[3]


def test_every_node_of_a_group_knows_its_place() -> None:
    resources, volumes = GroupResources(cpus=2.0), (Volume("cache", "/cache"),)
    group = GroupSpec(
        "a-study", "g0", ("run",), {"A": "1"}, {"TOKEN": "t0ken"}, nodes=2, resources=resources, volumes=volumes
    )
    assert plan_containers(group, "an-image", "g0-0", {"team": "vision"}) == tuple(
        ContainerSpec(
            study="a-study",
            group="g0",
            index=index,
            nodes=2,
            image="an-image",
            command=("run",),
            environment={
                "A": "1",
                "WINNOW_HOME": "/winnow",
                "WINNOW_NODE": str(index),
                "WINNOW_NODES": "2",
                "WINNOW_MASTER_ADDR": "g0-0",
                "WINNOW_MASTER_PORT": "29400",
            },
            secrets={"TOKEN": "t0ken"},
            labels={"team": "vision", "winnow.study": "a-study", "winnow.group": "g0"},
            resources=resources,
            volumes=volumes,
        )
        for index in (0, 1)
    )


def test_pods_are_held_in_as_containers_of_an_engine_are() -> None:
    job = named(load(ROOT / "k8s" / "train"), "Job", "winnow-train")
    pod = job["spec"]["template"]["spec"]
    shm = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
    assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == USER
    assert pod["terminationGracePeriodSeconds"] == STOP_GRACE_S
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": f"{SHM_BYTES // 2**20}Mi"}


def test_no_value_of_a_secret_is_shown_by_accident() -> None:
    group = GroupSpec("a-study", "g0", ("run",), {}, {"TOKEN": "t0ken"})
    assert "t0ken" not in repr(plan_containers(group, "an-image", "", {}))
