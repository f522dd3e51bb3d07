from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.platforms.docker.build import PROJECT, BuildPlan, build, push, steps
from winnow.platforms.images import PROD_BASE, BuildFailedError, BuildOptions, BuildStep

PLAN = BuildPlan(
    dockerfile=Path("/project/Dockerfile.train"),
    context=Path("/project"),
    tags=("winnow-train:latest", "registry.example/winnow-train:latest"),
    target="train",
    arguments={"BASE_IMAGE": "python:3.12-slim", "TORCH_INDEX": "https://index.example/cu130"},
    labels={"winnow.code": "0f0f"},
    network="host",
    pip_config=Path("/home/ada/pip.conf"),
    is_cached=False,
)

PROGRESS = """\
#1 [internal] load build definition from Dockerfile.train
#1 transferring dockerfile: 4.40kB done
#1 DONE 0.0s
#7 [tracking 1/5] COPY requirements.lock /requirements/
#7 CACHED
#8 [train 2/8] RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked     pip install      torch
#8 0.512 Collecting torch
#9 [train 7/8] COPY . .
#8 3.902 Installing collected packages: torch
#8 DONE 4.1s
#9 DONE 0.1s
#10 exporting to image
#10 exporting layers 3.7s done
#10 DONE 3.7s
"""


def test_a_plan_is_one_command() -> None:
    assert PLAN.argv == (
        "docker",
        "build",
        "--progress=plain",
        "--file=/project/Dockerfile.train",
        "--target=train",
        "--tag=winnow-train:latest",
        "--tag=registry.example/winnow-train:latest",
        "--build-arg=BASE_IMAGE=python:3.12-slim",
        "--build-arg=TORCH_INDEX=https://index.example/cu130",
        "--label=winnow.code=0f0f",
        "--network=host",
        "--secret=id=pip-config,src=/home/ada/pip.conf",
        "--no-cache",
        "/project",
    )


def test_what_is_not_asked_for_is_left_out() -> None:
    plan = BuildPlan(dockerfile=Path("/p/Dockerfile.prod"), context=Path("/a b"), tags=("name:1",))
    assert plan.render() == (
        "DOCKER_BUILDKIT=1 docker build --progress=plain --file=/p/Dockerfile.prod --tag=name:1 '/a b'"
    )


def test_steps_that_do_something_are_shown_and_cached_ones_are_not() -> None:
    assert list(steps(PROGRESS.splitlines())) == [
        BuildStep("[internal] load build definition from Dockerfile.train", took_s=0.0),
        BuildStep("[train 2/8] RUN pip install torch", line="Collecting torch"),
        BuildStep("[train 2/8] RUN pip install torch", line="Installing collected packages: torch"),
        BuildStep("[train 2/8] RUN pip install torch", took_s=4.1),
        BuildStep("[train 7/8] COPY . .", took_s=0.1),
    ]


def stand_in(folder: Path, script: str) -> str:
    """A PATH on which `docker` is this shell script."""
    command = folder / "docker"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return str(folder)


def test_a_build_returns_the_id_that_docker_wrote(tmp_path: Path) -> None:
    path = stand_in(
        tmp_path,
        'for each in "$@"; do case "$each" in --iidfile=*) printf sha256:ab > "${each#--iidfile=}";; esac; done\n'
        'echo "#3 [1/1] RUN x $DOCKER_BUILDKIT"; echo "#3 DONE 2.0s"',
    )
    shown: list[BuildStep] = []
    assert build(PLAN, shown.append, environment={"PATH": path}) == "sha256:ab"
    assert shown == [BuildStep("[1/1] RUN x 1", took_s=2.0)]


def test_a_build_removes_the_image_that_had_its_name_before_if_it_is_this_project_s(tmp_path: Path) -> None:
    path = stand_in(
        tmp_path,
        f'echo "$1 $2 $3 $4" >> {tmp_path}/asked\n'
        'for each in "$@"; do case "$each" in --iidfile=*) printf sha256:ab > "${each#--iidfile=}";; esac; done',
    )
    build(replace(PLAN, labels={PROJECT: "0123abcd"}), environment={"PATH": path})
    assert (tmp_path / "asked").read_text().splitlines()[1:] == [
        "image prune --force --filter=label=winnow.project=0123abcd"
    ]


def test_a_failed_build_is_one_error_with_the_end_of_the_output(tmp_path: Path) -> None:
    lines = "\\n".join(f"#3 {number}.0 line {number}" for number in range(40))
    path = stand_in(tmp_path, f"printf '{lines}\\nERROR: no such package\\n' >&2; exit 1")
    with pytest.raises(BuildFailedError) as told:
        build(PLAN, environment={"PATH": path})
    first, *rest = str(told.value).splitlines()
    assert first == "image 'winnow-train:latest' was not built. The end of the output:"
    assert rest == [*(f"    #3 {number}.0 line {number}" for number in range(21, 40)), "    ERROR: no such package"]
    assert told.value.exit_code == 1


def test_without_the_command_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the docker command: expected one on the PATH.*Install Docker"):
        build(PLAN, environment={"PATH": str(tmp_path)})


def test_options_come_from_the_environment(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.touch()
    environment = {
        "WINNOW_PROD_BASE_IMAGE": "python:3.12-slim",
        "WINNOW_TRAIN_BASE_IMAGE": "cuda",
        "WINNOW_REGISTRY": "",
        "WINNOW_BUILD_NETWORK": "host",
        "WINNOW_PIP_CONFIG": str(config),
    }
    expected = BuildOptions(base_image="python:3.12-slim", network="host", pip_config=config)
    assert BuildOptions.from_environment(environment, base=PROD_BASE) == expected
    assert BuildOptions.from_environment({}, base=PROD_BASE) == BuildOptions()
    with pytest.raises(InputError, match=r"WINNOW_PIP_CONFIG: expected a pip\.conf, found '/no/such'"):
        BuildOptions.from_environment({"WINNOW_PIP_CONFIG": "/no/such"}, base=PROD_BASE)


def test_a_push_that_fails_says_what_to_check(tmp_path: Path) -> None:
    path = stand_in(tmp_path, "echo no basic auth credentials; exit 1")
    with pytest.raises(BuildFailedError) as told:
        push("reg.example:5000/team/winnow-train:1", environment={"PATH": f"{path}:/bin"})
    first, said, remedy = str(told.value).splitlines()
    assert first == "image 'reg.example:5000/team/winnow-train:1' was not pushed. The end of the output:"
    assert said.strip() == "no basic auth credentials"
    assert all(part in remedy for part in ("reaches", "`docker login reg.example:5000`", "REGISTRY="))
