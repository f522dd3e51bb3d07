"""Sets of objects: applied, compared, pruned; and what has to be allowed for it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.platforms.kubernetes.api_server import NAMESPACE, FakeApi
from winnow.config.errors import InputError
from winnow.platforms.kubernetes.client import Cluster
from winnow.platforms.kubernetes.difference import difference
from winnow.platforms.kubernetes.kinds import CONFIG_MAP, DEPLOYMENT, POD, SECRET
from winnow.platforms.kubernetes.permissions import Permission, applying, check, verbs
from winnow.platforms.kubernetes.prune import apply_all
from winnow.platforms.kubernetes.role import role

OURS = {"winnow.stack": "x"}
KINDS = (CONFIG_MAP, SECRET)


def config_map(name: str, value: str = "1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": OURS, **metadata},
        "data": {"key": value},
    }


def secret(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": OURS}, "data": data}


def names(api: FakeApi) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in api.objects)


def test_what_is_no_longer_wanted_goes_away(api: FakeApi, cluster: Cluster) -> None:
    apply_all(cluster, [config_map("a"), config_map("b")], OURS, KINDS)
    apply_all(cluster, [config_map("b"), config_map("c")], OURS, KINDS)
    assert names(api) == ["b", "c"]


def test_what_is_to_be_kept_stays_whatever_is_wanted(api: FakeApi, cluster: Cluster) -> None:
    apply_all(cluster, [config_map("a"), config_map("b")], OURS, KINDS)
    (kept,) = [each["metadata"]["uid"] for path, each in api.objects.items() if path.endswith("/a")]
    apply_all(cluster, (), OURS, KINDS, kept=[kept])
    assert names(api) == ["a"]


def test_what_others_made_or_own_stays(api: FakeApi, cluster: Cluster) -> None:
    cluster.apply({**config_map("theirs"), "metadata": {"name": "theirs", "labels": {"winnow.stack": "y"}}})
    cluster.apply(config_map("owned", ownerReferences=[{"controller": True}]))
    cluster.apply(config_map("leaving", deletionTimestamp="2030-01-01T00:00:00Z"))
    apply_all(cluster, [], OURS, KINDS)
    assert names(api) == ["leaving", "owned", "theirs"]


def test_an_orphan_is_removed_as_the_very_one_that_was_seen(api: FakeApi, cluster: Cluster) -> None:
    cluster.apply(config_map("a"))
    uid = api.objects[f"/api/v1/namespaces/{NAMESPACE}/configmaps/a"]["metadata"]["uid"]
    apply_all(cluster, [], OURS, KINDS)
    assert api.asked[-1].body["preconditions"] == {"uid": uid}


def test_an_object_that_could_not_be_found_again_is_not_applied(api: FakeApi, cluster: Cluster) -> None:
    with pytest.raises(ValueError, match=r"expected configmaps/a to have the labels winnow.stack=z"):
        apply_all(cluster, [config_map("a")], {"winnow.stack": "z"}, KINDS)
    with pytest.raises(ValueError, match="expected labels"):
        apply_all(cluster, [], {}, KINDS)
    assert api.asked == []


def test_nothing_differs_where_nothing_would_change(cluster: Cluster) -> None:
    wanted = [config_map("a"), secret(key="aA==")]
    apply_all(cluster, wanted, OURS, KINDS)
    assert difference(cluster, wanted, OURS, KINDS) == ""


def test_a_difference_names_what_is_new_changed_and_removed(api: FakeApi, cluster: Cluster) -> None:
    apply_all(cluster, [config_map("a"), config_map("b")], OURS, KINDS)
    before = dict(api.objects)
    text = difference(cluster, [config_map("b", "2"), config_map("c")], OURS, KINDS)
    assert api.objects == before
    headers = [line for line in text.splitlines() if line.startswith(("---", "+++"))]
    assert headers == [
        "--- configmaps/b (in the cluster)",
        "+++ configmaps/b (planned)",
        "--- configmaps/c (not in the cluster)",
        "+++ configmaps/c (planned)",
        "--- configmaps/a (in the cluster)",
        "+++ configmaps/a (removed)",
    ]
    assert "-  key: '1'\n+  key: '2'\n" in text
    assert "uid" not in text


def test_a_difference_shows_no_secret_but_that_it_differs(cluster: Cluster) -> None:
    last = {"kubectl.kubernetes.io/last-applied-configuration": '{"data": {"key": "aHVudGVyMg=="}}'}
    live = secret(key="aHVudGVyMg==", same="c2FtZQ==", gone="Z29uZQ==")
    cluster.apply({**live, "metadata": {**live["metadata"], "annotations": last}})
    text = difference(cluster, [secret(key="aHVudGVyMw==", same="c2FtZQ==")], OURS, KINDS)
    assert "-  gone: '***'\n-  key: '*** (old)'\n+  key: '*** (new)'\n   same: '***'\n" in text
    assert not any(value in text for value in ("aHVud", "c2FtZQ", "Z29uZQ"))


def test_every_missing_verb_is_named_at_once(api: FakeApi, cluster: Cluster) -> None:
    api.allowed = {"get pods", "create deployments"}
    wanted = (*verbs("get list", POD), *verbs("get", POD, subresource="log"), *applying(DEPLOYMENT))
    with pytest.raises(InputError) as caught:
        check(cluster, wanted, "serving")
    assert str(caught.value) == (
        "namespace 'place' of the cluster 'here': expected permission for serving, found none to "
        "get pods/log, list pods, patch deployments.apps. Ask its owner to bind the Role to you: "
        "`kubectl apply -f k8s/role.yaml` and a RoleBinding, as in docs/security.md."
    )
    assert sorted(api.log) == ["POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"] * 5


def test_what_is_allowed_passes(cluster: Cluster) -> None:
    check(cluster, verbs("get", POD), "looking")
    check(cluster, (), "nothing")


def test_a_role_grants_just_what_is_used() -> None:
    used = (Permission("list", POD), *verbs("get", POD, subresource="log"), *applying(SECRET, CONFIG_MAP))
    assert role(used)["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["create", "patch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
