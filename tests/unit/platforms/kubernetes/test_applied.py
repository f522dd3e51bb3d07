from __future__ import annotations

from winnow.platforms.kubernetes.applied import applied_of

LIVE = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "cells",
        "uid": "7",
        "labels": {"ours": "1", "theirs": "2"},
        "finalizers": ["ours/one", "theirs/two"],
        "managedFields": [
            {"manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {}}},
            {
                "manager": "winnow",
                "operation": "Update",
                "apiVersion": "apps/v1",
                "subresource": "scale",
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            },
            {
                "manager": "winnow",
                "operation": "Apply",
                "apiVersion": "apps/v1",
                "fieldsV1": {
                    "f:metadata": {"f:labels": {"f:ours": {}}, "f:finalizers": {'v:"ours/one"': {}}},
                    "f:spec": {
                        "f:args": {},
                        "f:volume": {"f:emptyDir": {}},
                        "f:containers": {
                            'k:{"name":"server"}': {".": {}, "f:name": {}, "f:image": {}},
                            'k:{"name":"gone"}': {".": {}, "f:name": {}},
                        },
                        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                        "f:gone": {},
                    },
                },
            },
        ],
    },
    "spec": {
        "replicas": 4,
        "args": ["--all", "of them"],
        "volume": {"emptyDir": {}},
        "containers": [{"name": "injected"}, {"name": "server", "image": "a", "terminationMessagePath": "/dev/x"}],
        "ports": [{"containerPort": 80, "protocol": "UDP"}, {"containerPort": 80, "protocol": "TCP"}],
    },
    "status": {"replicas": 4},
}


def test_what_one_has_applied_is_read_back_and_nothing_else() -> None:
    assert applied_of(LIVE) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "cells", "labels": {"ours": "1"}, "finalizers": ["ours/one"]},
        "spec": {
            "args": ["--all", "of them"],
            "volume": {"emptyDir": {}},
            "containers": [{"name": "server", "image": "a"}],
            "ports": [{"containerPort": 80}],
        },
    }


def test_what_one_took_over_by_a_change_is_read_back_as_its_owner_had_it() -> None:
    before = {**LIVE, "spec": {**LIVE["spec"], "ports": [{"containerPort": 80, "protocol": "TCP", "hostPort": 9}]}}
    taken = {
        "f:labels": {"f:new": {}},
        "f:spec": {
            "f:replicas": {},
            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {"f:hostPort": {}}},
            "f:containers": {'k:{"name":"new"}': {".": {}, "f:name": {}}},
        },
    }
    entry = {"manager": "winnow", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": taken}
    changed = {"metadata": {"managedFields": [entry]}, "spec": {"replicas": 1}}
    restored, usual = applied_of(before, changed=changed), applied_of(before)
    assert restored is not None and usual is not None
    assert restored["spec"] == {
        **usual["spec"],
        "replicas": 4,
        "ports": [{"containerPort": 80, "hostPort": 9}],
    }
    assert restored["metadata"] == usual["metadata"]


def test_an_object_that_winnow_never_applied_has_no_record() -> None:
    assert applied_of({**LIVE, "metadata": {**LIVE["metadata"], "managedFields": []}}) is None
