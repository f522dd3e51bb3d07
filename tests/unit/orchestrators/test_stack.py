"""Which platform's stack is meant, and what a platform says that does not offer what is asked of its stack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.stack_record import AnyStack, ClusterStackRecord, StackRecord, keep_stack
from winnow.orchestrators import stack as stacks

ON_DOCKER = StackRecord("mine", "mine_inside", "compose.yaml", ".env", "http://127.0.0.1:5000", "http://mlflow:5000")
ON_CLUSTER = ClusterStackRecord("a-cluster", "ml", "http://winnow-mlflow.ml.svc:5000", "postgresql://winnow@db/winnow")


@pytest.mark.parametrize("act", [stacks.init, stacks.remove, stacks.logs, stacks.secrets])
def test_a_platform_without_a_stack_is_one_error_that_names_those_with_one(
    act: Callable[..., object], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="docker or kubernetes, which can run a stack"):
        act("local", {}, say=print, environment={"WINNOW_HOME": str(tmp_path)})


def test_what_compose_cannot_do_is_refused_with_what_does_it(tmp_path: Path) -> None:
    away = {"WINNOW_HOME": str(tmp_path), "DOCKER_HOST": "tcp://127.0.0.1:1"}
    with pytest.raises(InputError, match="make mlflow-init DRY_RUN=1"):
        stacks.difference("docker", say=print, environment=away)
    with pytest.raises(InputError, match="make mlflow-init"):
        stacks.secrets("docker", {}, say=print, environment=away)


@pytest.mark.parametrize(("record", "meant"), [(None, "docker"), (ON_DOCKER, "docker"), (ON_CLUSTER, "kubernetes")])
def test_the_platform_of_the_stack_in_use_is_meant(record: AnyStack | None, meant: str, tmp_path: Path) -> None:
    if record is not None:
        keep_stack(tmp_path, record)
    assert stacks.platform_in_use({"WINNOW_HOME": str(tmp_path)}) == meant
