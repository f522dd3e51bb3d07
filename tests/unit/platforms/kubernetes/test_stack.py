"""A stack in a namespace, as far as the API alone says it: whose things are there, and who changed them meanwhile."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, Answer, FakeApi, cluster_of, refuse, reply, running
from tests.unit.platforms.kubernetes.passing_time import Time
from winnow.config.errors import InputError, UnreachableError
from winnow.platforms.kubernetes.stack import ClusterStack
from winnow.platforms.kubernetes.stack_plan import LABELS, ClusterStackPlan, Place, plan_stack
from winnow.platforms.kubernetes.stack_settings import Chosen, choose
from winnow.platforms.kubernetes.verb_pod import STORES
from winnow.platforms.stack import StackError

FOLDER = Path(__file__).parents[4] / "k8s" / "tracking"
CORE, APPS, BATCH = (f"/{group}/namespaces/{NAMESPACE}" for group in ("api/v1", "apis/apps/v1", "apis/batch/v1"))
SECRET = f"{CORE}/secrets/winnow-tracking"


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running() as listening:
        yield listening


@pytest.fixture
def stack(api: FakeApi, tmp_path: Path) -> ClusterStack:
    return ClusterStack(cluster_of(api, tmp_path), lambda _line: None)


def chosen(prefix: str = "generated", secret: dict[str, str] | None = None, **given: str) -> Chosen:
    numbers = count(1)
    return choose(given, secret, lambda: f"{prefix}-{next(numbers)}")


def plan_of(made: Chosen) -> ClusterStackPlan:
    return plan_stack(FOLDER, made, "an-image", Place("here", NAMESPACE))


def in_cluster(api: FakeApi) -> dict[str, str]:
    data: dict[str, str] = api.objects[SECRET]["data"]
    return {name: base64.b64decode(text).decode() for name, text in data.items()}


def test_of_two_first_starts_the_first_one_s_passwords_stay(api: FakeApi, stack: ClusterStack) -> None:
    first, second = chosen("first-one"), chosen("second-one")
    assert stack.keep_secret(first)
    for _ in range(2):
        with pytest.raises(InputError, match="another command has changed since"):
            stack.keep_secret(second)
        assert in_cluster(api) == first.secret
    # Run again, it takes what is there.
    assert not stack.keep_secret(chosen("third-one", stack.secret()))


def test_the_secret_names_the_home_that_made_it(stack: ClusterStack) -> None:
    assert stack.owner() is None
    stack.keep_secret(chosen(), "ada@laptop:/home/ada/.winnow")
    stack.keep_secret(chosen(secret=stack.secret()), "bob@desk:/home/bob/.winnow")
    assert stack.owner() == "ada@laptop:/home/ada/.winnow"


def test_a_secret_that_is_changed_between_its_reading_and_its_writing_is_left(
    api: FakeApi, stack: ClusterStack
) -> None:
    stack.keep_secret(chosen())
    wanted = chosen(secret=stack.secret(), MLFLOW_WORKERS="3")
    before, read = in_cluster(api), dict(api.objects[SECRET])
    # What is read here is older than what is there by the time of the change.
    api.answers[SECRET] = lambda to, asked: (
        stale(api, read)(to, asked) if asked.method == "GET" else api.answer(to, asked)
    )
    with pytest.raises(InputError, match="Run the command again"):
        stack.keep_secret(wanted)
    assert in_cluster(api) == before


def stale(api: FakeApi, read: dict[str, Any]) -> Any:
    """Answers with an object as it was, which somebody has touched since."""

    def answer(to: Any, _asked: Any) -> None:
        api.put(SECRET, api.objects[SECRET])
        reply(to, 200, read)

    return answer


def test_what_was_set_before_is_taken_out_of_the_secret(api: FakeApi, stack: ClusterStack) -> None:
    stack.keep_secret(chosen(MLFLOW_WORKERS="3"))
    assert "settings" in in_cluster(api)
    stack.keep_secret(chosen(secret=stack.secret(), MLFLOW_WORKERS=""))
    assert in_cluster(api) == chosen().secret


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"{APPS}/statefulsets/winnow-postgres", ("apps/v1", "StatefulSet")),
        (f"{CORE}/services/winnow-postgres", ("v1", "Service")),
        (SECRET, ("v1", "Secret")),
    ],
)
def test_objects_of_another_owner_are_not_taken_over(
    api: FakeApi, stack: ClusterStack, path: str, kind: tuple[str, str]
) -> None:
    plan = plan_of(chosen())
    name = path.rpartition("/")[2]
    foreign = {"apiVersion": kind[0], "kind": kind[1], "metadata": {"name": name, "labels": {"app": "theirs"}}}
    api.put(path, foreign)
    for refused in (lambda: stack.validate(plan), lambda: stack.start(plan)):
        with pytest.raises(InputError, match="found one without it") as error:
            refused()
        assert f"kubectl label --namespace place {kind[1].lower()} {name} winnow.stack=tracking" in str(error.value)
    assert {each.method for each in api.asked} == {"GET"}
    # What is handed over is taken.
    api.put(path, {**foreign, "metadata": {"name": name, "labels": dict(LABELS)}})
    stack.validate(plan)


def job(api: FakeApi, study: str, **status: Any) -> None:
    metadata = {"name": study, "labels": {"winnow.study": study}}
    api.put(f"{BATCH}/jobs/{study}", {"metadata": metadata, "spec": {"suspend": True}, "status": status})


def test_a_stack_is_in_use_also_by_workers_that_wait_in_a_queue(api: FakeApi, stack: ClusterStack) -> None:
    job(api, "over", conditions=[{"type": "Complete", "status": "True"}])
    job(api, "waiting", conditions=[{"type": "Suspended", "status": "True"}])
    with pytest.raises(InputError, match="found some of waiting"):
        stack.remove(volumes=False)
    assert {each.method for each in api.asked} == {"GET"}
    del api.objects[f"{BATCH}/jobs/waiting"]
    stack.remove(volumes=False)


def test_a_stack_is_in_use_by_an_airflow_that_keeps_studies_in_it(api: FakeApi, stack: ClusterStack) -> None:
    containers: list[dict[str, Any]] = [{"name": "scheduler"}, {"name": "other", "env": [{"name": "A", "value": "b"}]}]
    metadata = {"name": "winnow-airflow-scheduler", "labels": {"winnow.airflow": ""}}
    spec = {"template": {"spec": {"containers": containers}}}
    api.put(f"{APPS}/deployments/winnow-airflow-scheduler", {"metadata": metadata, "spec": spec})
    containers[0]["env"] = list(STORES)
    with pytest.raises(InputError, match=r"found the Deployment winnow-airflow-scheduler\. Remove that first"):
        stack.remove(volumes=False)
    assert {each.method for each in api.asked} == {"GET"}
    del containers[0]["env"]
    stack.remove(volumes=False)


def test_a_stack_is_in_use_by_regular_calls(api: FakeApi, stack: ClusterStack) -> None:
    metadata = {"name": "winnow-cells-retrain", "labels": {"winnow.watches": "cells"}}
    api.put(f"{BATCH}/cronjobs/winnow-cells-retrain", {"metadata": metadata, "spec": {}})
    with pytest.raises(InputError, match=r"the CronJob winnow-cells-retrain\..*--selector winnow\.watches=cells`"):
        stack.remove(volumes=False)
    assert {each.method for each in api.asked} == {"GET"}
    del api.objects[f"{BATCH}/cronjobs/winnow-cells-retrain"]
    stack.remove(volumes=False)


def test_several_servers_are_waited_for_as_one_is(api: FakeApi, stack: ClusterStack) -> None:
    overlay = "kind: Deployment\nmetadata: {name: winnow-mlflow}\nspec: {replicas: 2}\n"
    made = chosen(TRACKING_OVERLAY=overlay)
    plan = plan_of(made)
    counted = ("updatedReplicas", "readyReplicas", "replicas")

    def roll(*, servers: int) -> None:
        for path, replicas in (
            ("statefulsets/winnow-postgres", 1),
            ("statefulsets/winnow-minio", 1),
            ("deployments/winnow-mlflow", servers),
        ):
            status = dict.fromkeys(counted, replicas)
            api.answers[f"{APPS}/{path}"] = rolled(api, {"observedGeneration": 1, **status})

    roll(servers=1)
    with pytest.raises(StackError, match="mlflow not ready"):
        stack.start(plan, timeout_s=0)
    roll(servers=2)
    stack.start(plan, timeout_s=0)


def rolled(api: FakeApi, status: dict[str, Any]) -> Any:
    """Answers with the object as it was applied, and this as what came of it."""

    def answer(to: Any, asked: Any) -> None:
        if asked.method == "GET" and asked.path in api.objects:
            found = api.objects[asked.path]
            reply(to, 200, {**found, "metadata": {**found["metadata"], "generation": 1}, "status": status})
        else:
            api.answer(to, asked)

    return answer


CLAIM = f"{CORE}/persistentvolumeclaims/data-winnow-postgres-0"


def test_a_secret_of_another_owner_outlives_the_volumes(api: FakeApi, stack: ClusterStack) -> None:
    api.put(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "winnow-tracking"}})
    api.put(CLAIM, {"metadata": {"name": "data-winnow-postgres-0", "labels": dict(LABELS)}})
    with pytest.raises(InputError, match="found one without it"):
        stack.remove(volumes=True)
    assert {each.method for each in api.asked} == {"GET"}
    # Without the volumes it is in nobody's way.
    stack.remove(volumes=False)
    assert {SECRET, CLAIM} <= api.objects.keys()


def test_the_secret_that_is_removed_is_the_one_that_was_read(api: FakeApi, stack: ClusterStack) -> None:
    stack.remove(volumes=True)
    stack.keep_secret(chosen())
    uid = api.objects[SECRET]["metadata"]["uid"]
    stack.remove(volumes=True)
    assert SECRET not in api.objects
    (deleted,) = (each for each in api.asked if each.method == "DELETE")
    assert deleted.body["preconditions"] == {"uid": uid}


COUNTED = ("updatedReplicas", "readyReplicas", "replicas")
READY = {"observedGeneration": 1, **dict.fromkeys(COUNTED, 1)}


def silent(time: Time, until_s: float, status: int, then: Answer, *, selector: str = "") -> Answer:
    """Answers as an API whose server is replaced until then, of what carries labels that were selected."""

    def answer(to: Any, asked: Any) -> None:
        is_away = asked.method == "GET" and selector in asked.query.get("labelSelector", "") and time.now_s < until_s
        (refuse(status) if is_away else then)(to, asked)

    return answer


def starting(api: FakeApi, time: Time, until_s: float, status: int) -> ClusterStackPlan:
    """A plan for services that are ready at once, in a cluster that is silent about one of them once it is there."""
    for path in ("statefulsets/winnow-postgres", "statefulsets/winnow-minio", "deployments/winnow-mlflow"):
        api.answers[f"{APPS}/{path}"] = rolled(api, READY)
    minio = f"{APPS}/statefulsets/winnow-minio"
    away = silent(time, until_s, status, api.answers[minio])
    api.answers[minio] = lambda to, asked: (away if minio in api.objects else api.answer)(to, asked)
    return plan_of(chosen())


@pytest.mark.parametrize("status", [500, 503, 403])
def test_an_api_server_that_is_replaced_is_waited_for(api: FakeApi, tmp_path: Path, status: int) -> None:
    time, said = Time(), list[str]()
    stack = ClusterStack(cluster_of(api, tmp_path), said.append, time.clock())
    plan = starting(api, time, 100, status)
    stack.start(plan, timeout_s=5)
    assert time.now_s == 100
    (once,) = said
    assert once.startswith("asking again for up to 120 s: statefulsets/winnow-minio")


def test_an_api_that_stays_away_is_given_up(api: FakeApi, tmp_path: Path) -> None:
    time = Time()
    stack = ClusterStack(cluster_of(api, tmp_path), lambda _line: None, time.clock())
    plan = starting(api, time, 1000, 503)
    with pytest.raises(UnreachableError):
        stack.start(plan, timeout_s=5)
    assert 120 < time.now_s < 125


def test_time_without_an_answer_of_the_api_counts_against_no_service(api: FakeApi, tmp_path: Path) -> None:
    time = Time()
    stack = ClusterStack(cluster_of(api, tmp_path), lambda _line: None, time.clock())
    plan = starting(api, time, 100, 503)
    ready = api.answers[f"{APPS}/deployments/winnow-mlflow"]
    behind = rolled(api, {**READY, "readyReplicas": 0})
    api.answers[f"{APPS}/deployments/winnow-mlflow"] = lambda to, asked: (behind if time.now_s < 103 else ready)(
        to, asked
    )
    stack.start(plan, timeout_s=5)
    assert time.now_s == 103


def test_pods_that_end_while_the_api_server_is_replaced_are_waited_for(api: FakeApi, tmp_path: Path) -> None:
    time = Time()
    stack = ClusterStack(cluster_of(api, tmp_path), lambda _line: None, time.clock())
    api.answers[f"{CORE}/pods"] = silent(time, 100, 503, api.answer, selector="winnow.stack=")
    stack.remove(volumes=False, timeout_s=5)
    assert time.now_s == 100
