"""Changes that go wrong, on an API that can be made to; on real ones they are made by `tests/kubernetes`."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, FakeApi, cluster_of, kubeconfig, running
from tests.unit.platforms.kubernetes.serving_api import ServingApi
from winnow.config.errors import InputError, UnreachableError
from winnow.orchestrators.deployments import other_answer
from winnow.platforms.api_key import API_KEY
from winnow.platforms.kubernetes.deployment_settings import READY_WITHIN_S
from winnow.platforms.kubernetes.lease import DURATION_S
from winnow.platforms.kubernetes.refusals import SILENT_S
from winnow.platforms.kubernetes.release_deployer import (
    ANSWERS_S,
    BACK_WITHIN_S,
    NO_ADDRESS,
    READ_PERMISSIONS,
    HalfChangedError,
    KubernetesDeployer,
)
from winnow.platforms.release_deployer import (
    Action,
    Deployment,
    DeploymentFailedError,
    DeploymentRequest,
    DeploymentState,
    ManualAccess,
    Say,
    mute,
)
from winnow.routing import Release

ROOT = Path(__file__).parents[4]
FIRST = Release("cells", "1", "aa" * 32, Path("/models/aa"), "winnow-prod-cells@sha256:aa")
SECOND = Release("cells", "2", "bb" * 32, Path("/models/bb"), "winnow-prod-cells@sha256:bb")
THIRD = Release("cells", "3", "cc" * 32, Path("/models/cc"), "winnow-prod-cells@sha256:cc")
NAME = "winnow-prod-cells"


@pytest.fixture
def api() -> Iterator[ServingApi]:
    made = ServingApi()
    with running(made):
        yield made


def take_over(api: ServingApi) -> None:
    """As another command does that finds a lease not renewed."""
    for each in api.live("Lease"):
        each["spec"]["holderIdentity"] = "somebody"


@pytest.fixture
def said() -> list[str]:
    """What the deployer has told."""
    return []


@pytest.fixture
def deployer(api: ServingApi, tmp_path: Path, said: list[str]) -> KubernetesDeployer:
    return deployer_of(api, tmp_path, said.append)


def deployer_of(api: ServingApi, home: Path, say: Say, **settings: str) -> KubernetesDeployer:
    return KubernetesDeployer(
        home,
        cluster=cluster_of(api, home),
        environment={"WINNOW_INGRESS_URL": api.url, "WINNOW_SETTLE_S": "5", **settings},
        folder=ROOT / "k8s" / "prod",
        clock=api.time.clock(),
        say=say,
    )


def deploy(deployer: KubernetesDeployer, release: Release, **changes: Any) -> Deployment:
    request = DeploymentRequest("cells", release, ready_within_s=30, **changes)
    return deployer.deploy(deployer.plan(request))


def is_first(pod: dict[str, Any]) -> bool:
    return bool(pod["spec"]["containers"][0]["image"] == FIRST.image)


def served(api: ServingApi) -> str:
    (deployment,) = api.live("Deployment")
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_release_is_rolled_and_removed(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST, replicas=2)
    second = deploy(deployer, SECOND)
    assert (second.state, second.release, second.previous) == (DeploymentState.READY, SECOND, FIRST)
    assert len(second.replicas) == 2
    assert deployer.remove("cells") is True
    assert api.objects == {}


def test_the_previous_release_is_restored_even_if_no_log_can_be_read_or_kept(
    api: ServingApi, deployer: KubernetesDeployer
) -> None:
    first = deploy(deployer, FIRST)
    api.is_ready, api.log_status = is_first, 500
    with pytest.raises(DeploymentFailedError, match="what was served before still is") as caught:
        deploy(deployer, SECOND)
    assert "its node does not answer" in " ".join(caught.value.lines)
    assert deployer.status("cells") == first
    api.log_status = 200
    template = deployer.plan(DeploymentRequest("cells", THIRD)).template
    (deployer.log_path("cells") / f"{NAME}-{template}-0.log").mkdir()  # as little to be written to as a full disk
    with pytest.raises(DeploymentFailedError):
        deploy(deployer, THIRD)
    assert deployer.status("cells") == first


def test_putting_back_removes_nothing_that_was_there_before(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST)
    (path,) = (path for path in api.objects if "/services/" in path)
    api.objects[path]["metadata"]["ownerReferences"] = [{"kind": "Application", "name": "theirs", "uid": "7"}]
    before = set(api.objects)
    api.is_ready = is_first
    with pytest.raises(DeploymentFailedError):
        deploy(deployer, SECOND)
    assert set(api.objects) == before
    plan = deployer.plan(DeploymentRequest("cells", SECOND, ready_within_s=30))
    for path, each in list(api.objects.items()):  # what is planned for may lose its record before it is changed
        api.put(path, {**each, "metadata": {**each["metadata"], "managedFields": []}})
    with pytest.raises(DeploymentFailedError):
        deployer.deploy(plan)
    assert set(api.objects) == before


def test_objects_that_could_not_be_restored_are_not_changed(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST)
    for path, each in api.objects.items():
        api.put(path, {**each, "metadata": {**each["metadata"], "managedFields": []}})
    with pytest.raises(InputError, match="expected winnow's own entry in metadata"):
        deployer.plan(DeploymentRequest("cells", SECOND))
    deployer.plan(DeploymentRequest("cells", FIRST))  # nothing to do is no change


@pytest.mark.parametrize("status", [503, 500, 403])
def test_an_api_that_restarts_is_waited_for_and_its_silence_is_nobodys_fault(
    api: ServingApi, deployer: KubernetesDeployer, status: int
) -> None:
    deploy(deployer, FIRST)
    # Ready 25 s after the change, of which nobody hears for 80 s; 30 s are allowed.
    began = api.time.now_s
    api.is_ready = lambda pod: is_first(pod) or api.time.now_s > began + 105
    api.refusal = lambda: status if began + 5 < api.time.now_s < began + 85 else 0
    assert deploy(deployer, SECOND).release == SECOND


def test_a_change_that_neither_goes_on_nor_back_says_how_to_go_on(
    api: ServingApi, deployer: KubernetesDeployer
) -> None:
    deploy(deployer, FIRST)
    began = api.time.now_s
    api.is_ready = is_first
    api.refusal = lambda: 503 if api.time.now_s > began + 5 else 0
    with pytest.raises(HalfChangedError, match="make rollback STUDY=cells") as caught:
        deploy(deployer, SECOND)
    assert isinstance(caught.value.__cause__, UnreachableError)
    assert SILENT_S + BACK_WITHIN_S <= api.time.now_s - began < SILENT_S + BACK_WITHIN_S + 20
    api.refusal = lambda: 0
    assert served(api) == SECOND.image
    api.is_ready = lambda _pod: True
    assert deployer.deploy(deployer.plan_rollback("cells")).release == FIRST


def test_putting_back_waits_for_an_api_that_restarts(api: ServingApi, deployer: KubernetesDeployer) -> None:
    first = deploy(deployer, FIRST)
    began = api.time.now_s
    api.is_ready = is_first
    # It is away from the moment on at which patience with the new replica ends: that one was 30 s long.
    api.refusal = lambda: 503 if began + 30 < api.time.now_s < began + 60 else 0
    with pytest.raises(DeploymentFailedError):
        deploy(deployer, SECOND)
    assert deployer.status("cells") == first


def test_a_change_that_takes_over_is_not_undone(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST)
    began = api.time.now_s
    api.is_ready = is_first

    def overtaken() -> int:
        if api.time.now_s > began + 20:
            take_over(api)
        return 0

    api.refusal = overtaken
    with pytest.raises(InputError, match="another command has changed since"):
        deploy(deployer, SECOND)
    assert served(api) == SECOND.image


def test_a_change_that_took_over_during_a_long_silence_is_not_undone(
    api: ServingApi, deployer: KubernetesDeployer
) -> None:
    deploy(deployer, FIRST)
    began = api.time.now_s
    api.is_ready = is_first

    def overtaken() -> int:
        if began + 5 < api.time.now_s < began + SILENT_S + 10:
            return 503
        if api.time.now_s > began + SILENT_S:
            take_over(api)
        return 0

    api.refusal = overtaken
    with pytest.raises(InputError, match="another command has changed since"):
        deploy(deployer, SECOND)
    assert served(api) == SECOND.image


def test_the_lease_is_held_while_replicas_leave(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deployer = KubernetesDeployer(
        deployer.log_path("cells").parents[4],
        cluster=deployer.cluster,
        environment={"WINNOW_INGRESS_URL": api.url, "WINNOW_SETTLE_S": "60"},
        folder=ROOT / "k8s" / "prod",
        clock=api.time.clock(),
    )
    deploy(deployer, FIRST)
    for change in (lambda: deploy(deployer, SECOND), lambda: deployer.remove("cells")):
        began = api.time.now_s
        api.renewed.clear()
        api.leaving_until = began + 50
        change()
        assert api.time.now_s >= began + 50
        assert max(later - sooner for sooner, later in pairwise([began, *api.renewed, api.time.now_s])) < DURATION_S


def test_what_is_waited_for_and_how_far_it_is_is_told(
    api: ServingApi, deployer: KubernetesDeployer, said: list[str]
) -> None:
    began = api.time.now_s
    api.is_ready = lambda pod: api.time.now_s > began + (3 if pod["metadata"]["name"].endswith("-0") else 6)
    deploy(deployer, FIRST, replicas=2)
    assert said == [
        "waiting for 2 replicas of version 1",
        "1 of 2 replicas of version 1 ready",
        "2 of 2 replicas of version 1 ready",
    ]


def test_what_keeps_replicas_from_starting_is_told_once_and_soon(
    api: ServingApi, deployer: KubernetesDeployer, said: list[str]
) -> None:
    deploy(deployer, FIRST)
    said.clear()
    began, told_at = api.time.now_s, list[float]()
    api.is_ready = is_first

    def pulled() -> int:  # by two names in turn, as a kubelet does it
        reason = "ErrImagePull" if int(api.time.now_s) % 8 < 4 else "ImagePullBackOff"
        api.waits_for = {"reason": reason, "message": "no such image"}
        if not told_at and any("no such image" in line for line in said):
            told_at.append(api.time.now_s - began)
        return 0

    api.refusal = pulled
    with pytest.raises(DeploymentFailedError, match="no such image"):
        deploy(deployer, SECOND)
    (told,) = [line for line in said if "no such image" in line]
    assert told.startswith("not ready yet: container server: ") and "WINNOW_REGISTRY" in told
    assert told_at[0] < 15
    assert said[-1] == "the change to version 2 was undone: 'cells' serves cells version 1, as before"


@pytest.mark.parametrize(
    ("before", "left"), [(None, "nothing of 'cells' is left"), (FIRST, "'cells' serves cells version 1, as before")]
)
def test_ctrl_c_says_what_was_restored(
    api: ServingApi, tmp_path: Path, said: list[str], before: Release | None, left: str
) -> None:
    def interrupted(line: str) -> None:
        said.append(line)
        if line == "waiting for 1 replica of version 2":
            raise KeyboardInterrupt

    deployer = deployer_of(api, tmp_path, interrupted)
    if before is not None:
        deploy(deployer, before)
    api.is_ready = is_first
    with pytest.raises(KeyboardInterrupt):
        deploy(deployer, SECOND)
    assert said[-2:] == ["undoing the change, since it was interrupted", f"the change to version 2 was undone: {left}"]
    assert deployer.names() == (("cells",) if before is not None else ())


def test_a_listener_who_leaves_does_not_end_a_change(api: ServingApi, tmp_path: Path) -> None:
    def broken(_line: str) -> None:
        raise BrokenPipeError

    assert deploy(deployer_of(api, tmp_path, broken), FIRST).state is DeploymentState.READY


def test_an_address_that_another_model_has_is_not_waited_for_for_ever(
    api: ServingApi, deployer: KubernetesDeployer, said: list[str]
) -> None:
    api.answers_as = THIRD
    deployed = deploy(deployer, FIRST)
    assert said[-1] == f"waiting for an answer at {api.url}, {ANSWERS_S:g} s at most"
    assert ANSWERS_S <= api.time.now_s < ANSWERS_S + 10
    assert other_answer(deployed) == "cells version 3 (sha256 cccccccccccc) answers there"
    api.answers_as = None
    assert other_answer(deployed) == ""


def test_a_deployment_whose_ingress_has_no_address_is_reached_by_hand(api: ServingApi, tmp_path: Path) -> None:
    deployer = deployer_of(api, tmp_path, mute, WINNOW_INGRESS_URL="")
    deployed = deploy(deployer, FIRST)
    assert deployed.url == "http://winnow-prod-cells.place.svc"
    command = "kubectl port-forward --namespace place service/winnow-prod-cells 8080:80"
    assert deployer.manual_access(deployed) == ManualAccess(NO_ADDRESS, command, "http://127.0.0.1:8080")
    entry = deployer_of(api, tmp_path, mute)
    assert entry.manual_access(entry.status("cells")) is None
    (ingress,) = api.live("Ingress")
    ingress["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}
    assert deployer.manual_access(deployer.status("cells")) is None


def test_permissions_are_asked_for_before_anything_else(tmp_path: Path) -> None:
    api = FakeApi(allowed=set())
    with running(api):
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WINNOW_")},
            "KUBECONFIG": str(kubeconfig(tmp_path / "kubeconfig", api.url)),
            "WINNOW_HOME": str(tmp_path),
            "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db",
        }
        argv = [sys.executable, "-m", "winnow", "prod", "--platform", "kubernetes", "--study", "cells"]
        for more, verb in (((), "patch deployments.apps/scale"), (("--dry-run",), "list deployments.apps")):
            done = subprocess.run(
                [*argv, *more], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 2, done.stderr
            assert verb in done.stderr
    assert {each.path.rpartition("/")[2] for each in api.asked} == {"selfsubjectaccessreviews"}


LOST: dict[str, Callable[[ServingApi], object]] = {
    "its Secret is gone": lambda api: api.objects.pop(secret_path(api)),
    "it is in another field": lambda api: api.objects[secret_path(api)].update(data={"OTHER": "c2VzYW1l"}),
    "it is empty": lambda api: api.objects[secret_path(api)].update(data={"WINNOW_API_KEY": ""}),
    "it is no text": lambda api: api.objects[secret_path(api)].update(data={"WINNOW_API_KEY": "/w=="}),
    "it was set by hand": lambda api: key_variable(api).update(valueFrom=None, value="sesame"),
}


def secret_path(api: ServingApi) -> str:
    (path,) = (path for path, each in api.objects.items() if each["kind"] == "Secret")
    return path


def key_variable(api: ServingApi) -> dict[str, Any]:
    (deployment,) = api.live("Deployment")
    (found,) = (
        each for each in deployment["spec"]["template"]["spec"]["containers"][0]["env"] if each["name"] == API_KEY
    )
    variable: dict[str, Any] = found
    return variable


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST.keys())
def test_a_deployment_whose_key_is_lost_is_served_without_one_only_if_told_to(
    api: ServingApi, tmp_path: Path, lost: Callable[[ServingApi], object]
) -> None:
    deploy(deployer_of(api, tmp_path, mute, WINNOW_API_KEY="sesame"), FIRST)
    lost(api)
    for release in (FIRST, SECOND):
        with pytest.raises(InputError, match=r"its API key in .*or to nothing \(WINNOW_API_KEY=\) to serve without"):
            deployer_of(api, tmp_path, mute).plan(DeploymentRequest("cells", release))
    deploy(deployer_of(api, tmp_path, mute, WINNOW_API_KEY="another"), SECOND)
    assert key_variable(api)["valueFrom"]["secretKeyRef"]["name"] == f"{NAME}-key-2"
    lost(api)
    deploy(deployer_of(api, tmp_path, mute, WINNOW_API_KEY=""), SECOND)
    assert API_KEY not in str(api.live("Deployment")[0]["spec"])


def test_fields_of_other_managers_are_restored(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST)
    api.edit("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 5}})
    api.edit("Deployment", {"spec": {"progressDeadlineSeconds": 99, "minReadySeconds": 7}})
    before = [each["spec"] for each in api.live("HorizontalPodAutoscaler") + api.live("Deployment")]
    api.is_ready = is_first
    with pytest.raises(DeploymentFailedError):
        deploy(deployer, SECOND)
    assert [each["spec"] for each in api.live("HorizontalPodAutoscaler") + api.live("Deployment")] == before


DRIFTS: dict[str, Callable[[ServingApi], object]] = {
    "an object is gone": lambda api: api.objects.pop(
        *(p for p, each in api.objects.items() if each["kind"] == "Ingress")
    ),
    "a field is another": lambda api: api.edit("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 5}}),
    "a pod's field is another": lambda api: api.edit(
        "Deployment", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    ),
}


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS.keys())
def test_manual_changes_are_reverted(
    api: ServingApi, deployer: KubernetesDeployer, drift: Callable[[ServingApi], object]
) -> None:
    deploy(deployer, FIRST)
    before = {path: each.get("spec") for path, each in api.objects.items()}
    drift(api)
    plan = deployer.plan(DeploymentRequest("cells", FIRST))
    assert plan.action is Action.REPLACE
    assert deployer.deploy(plan).previous is None
    assert {path: each.get("spec") for path, each in api.objects.items()} == before
    assert deployer.plan(DeploymentRequest("cells", FIRST)).action is Action.NOTHING


def test_what_others_set_beside_it_and_how_many_run_is_no_change(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST)
    api.edit("Deployment", {"spec": {"replicas": 2}, "metadata": {"annotations": {"theirs": "1"}}})
    assert deployer.plan(DeploymentRequest("cells", FIRST)).action is Action.NOTHING


def test_a_caller_who_may_only_read_sees_a_plan_and_applies_nothing(api: ServingApi, tmp_path: Path) -> None:
    deploy(deployer_of(api, tmp_path, mute), FIRST)
    deployer = deployer_of(api, tmp_path, mute)
    api.allowed = {f"{each.verb} {each.resource}" for each in READ_PERMISSIONS}
    api.edit("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 5}})
    api.asked.clear()
    assert deployer.plan(DeploymentRequest("cells", FIRST)).action is Action.NOTHING
    assert deployer.plan(DeploymentRequest("cells", SECOND)).action is Action.REPLACE
    assert {each.method for each in api.asked if "reviews" not in each.path} == {"GET"}


def test_pods_of_a_changed_deployment_are_not_taken_for_new_ones(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST)
    api.edit("Deployment", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}})
    api.counted_from = api.time.now_s + 20
    deploy(deployer, FIRST)
    assert api.counted_from <= api.time.now_s < api.counted_from + 5


@pytest.mark.parametrize("when", ["it begins", "it ends"])
def test_a_process_that_was_cut_off_does_not_undo_a_later_change(
    api: ServingApi, deployer: KubernetesDeployer, when: str
) -> None:
    deploy(deployer, FIRST)
    plan = deployer.plan(DeploymentRequest("cells", SECOND, ready_within_s=30))
    last, applies = {"it begins": 1, "it ends": len(plan.manifests) + 1}[when], itertools.count(1)

    def cut_off() -> int:
        if "force" in api.asked[-1].query and next(applies) == last:
            api.time.now_s += 60
            take_over(api)
            return 503
        return 0

    api.refusal = cut_off
    with pytest.raises(InputError, match="another command has changed since"):
        deployer.deploy(plan)
    assert next(applies) == last + 1, "nothing was applied any more"


def test_a_rollback_has_as_long_as_a_deployment(api: ServingApi, deployer: KubernetesDeployer) -> None:
    deploy(deployer, FIRST)
    deploy(deployer, SECOND)
    assert deployer.plan_rollback("cells").request.ready_within_s == READY_WITHIN_S


def test_what_the_cluster_would_refuse_is_refused_before_anything_is_made(
    api: ServingApi, deployer: KubernetesDeployer
) -> None:
    api.is_invalid = lambda made: made["kind"] == "Ingress"
    with pytest.raises(InputError, match=r"ingresses/winnow-prod-cells .*Ingress is invalid"):
        deployer.plan(DeploymentRequest("cells", replace(FIRST, image="")))
    assert api.objects == {}


@pytest.mark.parametrize("status", [403, 500])
def test_a_lease_that_cannot_be_given_back_is_no_failure_of_what_was_done_under_it(
    api: ServingApi, deployer: KubernetesDeployer, status: int
) -> None:
    deploy(deployer, FIRST)
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}"
    api.refusal = lambda: status if (api.asked[-1].method, api.asked[-1].path) == ("DELETE", lease) else 0
    assert deploy(deployer, SECOND).release == SECOND
