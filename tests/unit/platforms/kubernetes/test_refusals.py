"""What an API's refusals are about."""

from __future__ import annotations

import json
from typing import Any

import pytest

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.refusals import NotAdmittedError, refusal

JOBS = "/apis/batch/v1/namespaces/place/jobs"
QUOTA = (
    'jobs.batch "a" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, used: count/jobs.batch=1, '
    "limited: count/jobs.batch=1"
)
WEBHOOK = 'jobs.batch "a" is forbidden: a rule says no'
ROLE = 'jobs.batch is forbidden: User "somebody" cannot create resource "jobs" in API group "batch" in the namespace'


def answer(message: str, **details: str) -> bytes:
    """As kube-apiserver 1.34 gives it."""
    status: dict[str, Any] = {"kind": "Status", "message": message, "reason": "Forbidden", "code": 403}
    return json.dumps({**status, "details": {"group": "batch", "kind": "jobs", **details}}).encode()


@pytest.mark.parametrize(("method", "message"), [("POST", QUOTA), ("POST", WEBHOOK), ("PATCH", QUOTA)])
def test_a_quota_or_a_rule_is_not_taken_for_missing_permissions(method: str, message: str) -> None:
    found = refusal(method, f"{JOBS}/a" if method == "PATCH" else JOBS, 403, answer(message, name="a"))
    assert isinstance(found, NotAdmittedError)
    assert found.found == message
    assert "Request less" in found.remedy and "kubectl describe quota" in found.remedy
    assert "credentials" not in str(found)


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("POST", answer(ROLE)),
        ("PATCH", answer(ROLE.replace("create", "patch"), name="a")),
        ("POST", b"<html>a proxy says no</html>"),
        ("POST", b"[]"),
    ],
)
def test_missing_permissions_are_not_taken_for_a_quota(method: str, body: bytes) -> None:
    found = refusal(method, JOBS, 403, body)
    assert isinstance(found, InputError) and not isinstance(found, NotAdmittedError)
    assert "KUBECONFIG" in found.remedy
