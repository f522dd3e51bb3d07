"""The plan of a sweep's groups: golden, per platform."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from winnow.config.errors import InputError
from winnow.config.experiment import ExecutionConfig
from winnow.config.settings import Settings
from winnow.orchestrators.groups import find_secrets, gpu_sharing, parse_volume, plan_groups
from winnow.platforms.executor import GroupResources, GroupSpec, Volume
from winnow.platforms.sweep import WorkerHost
from winnow.platforms.table import platform_for


def host(platform: str, *, cpus: int | None, gpus: tuple[str, ...] | None) -> WorkerHost:
    """What workers find on a platform, with stores and interpreter of a container."""
    found = platform_for(platform, Settings.from_environment({}))
    return WorkerHost(
        platform=platform,
        capabilities=found.capabilities,
        python="/opt/venv/bin/python",
        home=Path("/winnow"),
        storage_url="postgresql://winnow:pw@postgres:5432/winnow",
        tracking_uri="http://mlflow:5000",
        cpus=cpus,
        gpus=gpus,
    )


CONTAINERS = host("docker", cpus=4, gpus=())
PODS = host("kubernetes", cpus=None, gpus=None)
LOCAL = host("local", cpus=4, gpus=())


def execution(**changes: Any) -> ExecutionConfig:
    return ExecutionConfig.model_validate(changes)


def test_a_container_group_has_all_that_it_needs_to_find_the_rest() -> None:
    asked = execution(
        workers=1,
        nodes=2,
        processes=2,
        env={"A": "1"},
        secrets=["KEY"],
        volumes=["/srv/data:/data"],
        resources={"cpu": 1.5, "memory": "2Gi", "shm": "64Mi"},
    )
    (group,) = plan_groups("a-study", asked, CONTAINERS, environment={"KEY": "s3cret"}, data_file="ab12/rows.csv")
    assert group == GroupSpec(
        study="a-study",
        name="c0",
        argv=("/opt/venv/bin/python", "-P", "-m", "winnow.worker.group", "--study", "a-study", "--group", "c0"),
        env={
            "A": "1",
            "WINNOW_HOME": "/winnow",
            "WINNOW_STORAGE": "postgresql://winnow:pw@postgres:5432/winnow",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "WINNOW_GROUP_CPUS": "1",
            "WINNOW_GROUP_GPUS": "",
            "WINNOW_RELAY_LOGS": "1",
            "WINNOW_DATA_FILE": "ab12/rows.csv",
        },
        secrets={"KEY": "s3cret"},
        nodes=2,
        resources=GroupResources(cpus=1.5, memory_bytes=2 * 2**30, shm_bytes=64 * 2**20),
        volumes=(Volume("/srv/data", "/data", is_read_only=True),),
    )


def test_the_machine_is_shared_equally_where_nothing_is_said() -> None:
    groups = plan_groups("a-study", execution(workers=2), CONTAINERS, environment={})
    assert [group.resources.cpus for group in groups] == [2, 2]
    (spread,) = plan_groups("a-study", execution(workers=1, nodes=2), CONTAINERS, environment={})
    assert spread.resources.cpus == 2


def test_a_pod_gets_limits_where_nothing_is_said() -> None:
    groups = plan_groups("a-study", execution(workers=200), PODS, environment={})
    assert len(groups) == 200
    assert {group.resources for group in groups} == {
        GroupResources(cpus=1.0, memory_bytes=2 * 2**30, shm_bytes=256 * 2**20)
    }


def test_pods_ask_for_a_gpu_for_every_rank_and_count_them_from_0() -> None:
    asked = execution(workers=2, nodes=2, processes=4, device="cuda", kubernetes={"queue": "gpus"})
    groups = plan_groups("a-study", asked, PODS, environment={})
    assert [group.name for group in groups] == ["p0", "p1"]
    assert {group.resources.gpus for group in groups} == {("0", "1", "2", "3")}
    assert {group.env["WINNOW_GROUP_GPUS"] for group in groups} == {"0,1,2,3"}
    assert [group.options for group in groups] == [asked.kubernetes] * 2


@pytest.mark.parametrize("host", [LOCAL, CONTAINERS])
def test_groups_share_the_gpus_where_there_are_too_few_and_say_so(host: WorkerHost) -> None:
    groups = plan_groups("a-study", execution(workers=4), replace(host, gpus=("2", "5")), environment={})
    assert [group.resources.gpus for group in groups] == [("2",), ("5",), ("2",), ("5",)]
    assert gpu_sharing(groups) == "4 workers share 2 GPUs; with execution.workers: 2 none would share"


@pytest.mark.parametrize(("changes", "gpus"), [({"workers": 2}, ("0", "1")), ({"workers": 2, "device": "cpu"}, ("0",))])
def test_groups_with_gpus_of_their_own_or_none_have_nothing_to_say(
    changes: dict[str, Any], gpus: tuple[str, ...]
) -> None:
    assert gpu_sharing(plan_groups("a-study", execution(**changes), replace(LOCAL, gpus=gpus), environment={})) is None


def test_groups_of_different_platforms_have_different_names() -> None:
    names = [plan_groups("a-study", execution(), host, environment={})[0].name for host in (LOCAL, CONTAINERS, PODS)]
    assert names == ["w0", "c0", "p0"]


def test_a_file_of_secrets_fills_what_the_environment_leaves_out(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("ONE=from-file\nTWO='of two words'\nUNNAMED=x\n")
    asked = execution(secrets=["ONE", "TWO"], secrets_file=str(file))
    assert find_secrets(asked, {"ONE": "from-environment"}) == {"ONE": "from-environment", "TWO": "of two words"}


@pytest.mark.parametrize(
    ("changes", "host", "place"),
    [
        ({"secrets": ["NOWHERE"]}, LOCAL, "execution.secrets"),
        ({"secrets": ["WORLD_SIZE"]}, LOCAL, "execution.secrets"),
        ({"env": {"PET_NNODES": "2"}}, CONTAINERS, "execution.env"),
        ({"env": {"ACCELERATE_MIXED_PRECISION": "bf16"}}, PODS, "execution.env"),
        ({"secrets_file": "no-such-file"}, LOCAL, "execution.secrets_file"),
        ({"volumes": ["data"]}, CONTAINERS, "execution.volumes"),
        ({"volumes": ["/a:b"]}, CONTAINERS, "execution.volumes"),
        ({"volumes": ["/a:/b:rx"]}, CONTAINERS, "execution.volumes"),
        ({"nodes": 2}, LOCAL, "execution.nodes"),
        ({"device": "cuda"}, LOCAL, "execution.device"),
        ({"device": "cuda", "workers": 2}, replace(LOCAL, gpus=("0",)), "execution.workers"),
        ({"processes": 2}, replace(LOCAL, gpus=("0",)), "execution.processes"),
        ({"nodes": 2}, replace(CONTAINERS, gpus=("0", "1")), "execution.nodes"),
        ({"resources": {"cpu": 5}}, CONTAINERS, "execution.resources.cpu"),
        ({"share_gpus": True}, PODS, "execution.share_gpus"),
        ({"resources": {"memory": "10Mi"}}, CONTAINERS, "execution.resources.memory"),
    ],
)
def test_what_a_platform_cannot_give_is_refused(changes: dict[str, Any], host: WorkerHost, place: str) -> None:
    with pytest.raises(InputError) as refused:
        plan_groups("a-study", execution(**changes), host, environment={})
    assert refused.value.place == place


def test_volumes_are_read_only_unless_they_say_otherwise() -> None:
    assert parse_volume("models:/models:rw") == Volume("models", "/models", is_read_only=False)
    assert parse_volume("./rows:/rows") == Volume(str(Path("rows").absolute()), "/rows", is_read_only=True)
