"""What the verbs around serving say when the cluster, or the model at an address, is not what is meant."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.unit.platforms.kubernetes.api_server import FakeApi, kubeconfig, reply, running
from winnow.cli.prod import remove, status
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.deployments import address_warning
from winnow.orchestrators.inference import check_model
from winnow.platforms.deployer import mute
from winnow.platforms.local.deployer import LocalDeployer
from winnow.platforms.table import platform_for
from winnow.routing import (
    Observation,
    Record,
    Release,
    ReplicaObserved,
    ReplicaSettings,
    Revision,
    Route,
    Scale,
)
from winnow.serving.client import Asked

FIRST = Release("cells", "1", "aa" * 32, Path("/models/aa"))
SECOND = Release("cells", "2", "bb" * 32, Path("/models/bb"))
OTHER = Release("wine", "1", "cc" * 32, Path("/models/cc"))


@pytest.fixture
def silent_cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who works with a cluster that is down; there is no Docker engine either."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    return {
        "KUBECONFIG": str(kubeconfig(tmp_path / "kubeconfig", url)),
        "WINNOW_NAMESPACE": "place",
        "WINNOW_HOME": str(tmp_path / "home"),
        "DOCKER_HOST": url.replace("http", "tcp"),
    }


def invoke(command: str, environment: dict[str, str]) -> Result:
    verb = {"prod-status": status, "prod-remove": remove}[command]
    arguments = ["--study", "cells"] if command == "prod-remove" else []
    return CliRunner().invoke(verb, arguments, env=environment, standalone_mode=False)


def test_a_cluster_that_is_meant_and_down_is_not_one_that_serves_nothing(silent_cluster: dict[str, str]) -> None:
    shown = invoke("prod-status", silent_cluster)
    assert shown.return_value == 1
    assert shown.stdout == "Nothing is being served on this machine; kubernetes did not answer.\n"
    assert shown.stderr.startswith("warning: kubernetes did not answer: ")
    assert "127.0.0.1" in shown.stderr
    removed = invoke("prod-remove", silent_cluster)
    assert removed.return_value == 1
    assert "kubernetes did not answer" in removed.stderr


def test_without_a_cluster_nothing_is_served_and_that_is_fine(silent_cluster: dict[str, str]) -> None:
    shown = invoke("prod-status", {**silent_cluster, "WINNOW_NAMESPACE": ""})
    assert (shown.return_value, shown.stderr) == (0, "")
    assert "Nothing is being served on this machine. `WINNOW_HOME=" in shown.stdout


def test_removing_what_is_not_served_names_what_is(silent_cluster: dict[str, str]) -> None:
    home = Path(silent_cluster["WINNOW_HOME"])
    LocalDeployer(home).write(Record("wine", 1, (Revision(1, OTHER, ReplicaSettings(), Scale()),)))
    removed = invoke("prod-remove", {**silent_cluster, "WINNOW_NAMESPACE": ""})
    assert removed.return_value == 0
    assert removed.stdout == "Nothing was removed: cells is not being served on this machine.\n"
    assert removed.stderr == f"  wine is being served: WINNOW_HOME={home} make prod-remove NAME=wine\n"


def test_two_revisions_of_one_version_share_its_requests(silent_cluster: dict[str, str]) -> None:
    LocalDeployer(Path(silent_cluster["WINNOW_HOME"])).write(deployed(FIRST, FIRST, candidate=2).record)
    environment = {**silent_cluster, "WINNOW_NAMESPACE": ""}
    shown = CliRunner().invoke(status, ["--json"], env=environment, standalone_mode=False)
    assert [each["traffic"] for each in msgspec.json.decode(shown.stdout)] == [{"1": 1.0}]


@pytest.mark.parametrize("target", ["local", "kubernetes"])
def test_an_address_that_leads_to_another_model_is_warned_of(silent_cluster: dict[str, str], target: str) -> None:
    def answering(to: BaseHTTPRequestHandler, _asked: object) -> None:
        reply(to, 200, {}, x_winnow_model=answers_as)

    deployer = platform_for(target, Settings.from_environment(silent_cluster), silent_cluster).deployer(say=mute)
    with running(FakeApi(answers={"/readyz": answering})) as api:
        served = msgspec.structs.replace(deployed(FIRST), url=api.url)
        answers_as = f"cells/1 sha256:{FIRST.digest}"
        assert address_warning(deployer, served) == ""
        answers_as = f"wine/1 sha256:{OTHER.digest}"
        warning = address_warning(deployer, served)
    assert warning.startswith(f"{api.url} does not lead to cells version 1 (sha256 aaaaaaaaaaaa)")
    assert "wine version 1 (sha256 cccccccccccc) answers there" in warning
    assert ("`kubectl describe ingress --namespace place winnow-prod-cells`" in warning) == (target == "kubernetes")


def answer(release: Release | None) -> Asked:
    model = f"{release.model}/{release.version} sha256:{release.digest}" if release is not None else ""
    return Asked("http://q4.localhost:8000/predict", b"{}", 200, {}, model)


def deployed(*releases: Release, candidate: int | None = None, with_replicas: tuple[int, ...] = ()) -> Observation:
    """All of the releases have served, the last one does now. Revisions are counted from 1."""
    revisions = tuple(Revision(i, each, ReplicaSettings(), Scale()) for i, each in enumerate(releases, 1))
    stable = len(releases) if candidate is None else candidate - 1
    replicas = tuple(ReplicaObserved(str(number), number, is_ready=True) for number in with_replicas)
    return Observation(Record("cells", 1, revisions, Route(1, stable, candidate, 0.5)), replicas, entry_serial=1)


def test_an_answer_of_another_model_is_an_error() -> None:
    check_model(answer(FIRST), deployed(FIRST))
    check_model(answer(None), deployed(FIRST))  # a proxy may have dropped the header
    for other in (OTHER, SECOND):
        with pytest.raises(InputError, match=f"found one of {other.model} version {other.version}") as caught:
            check_model(answer(other), deployed(FIRST))
        assert "expected an answer of cells version 1" in str(caught.value)
        assert "kubectl describe ingress" in str(caught.value)


def test_both_revisions_of_a_rollout_answer_and_one_that_still_has_replicas() -> None:
    with pytest.raises(InputError, match="found one of cells version 1"):
        check_model(answer(FIRST), deployed(FIRST, SECOND))
    check_model(answer(FIRST), deployed(FIRST, SECOND, with_replicas=(1,)))
    for each in (FIRST, SECOND):
        check_model(answer(each), deployed(FIRST, SECOND, candidate=2))
