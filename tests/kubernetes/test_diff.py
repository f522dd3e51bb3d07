"""`winnow diff` on a cluster, of the stack; of what is served `test_prod_commands` tries it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

import pytest

from tests.kubernetes.places import Place
from tests.winnow_command import winnow

pytestmark = pytest.mark.kubernetes


def difference(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return winnow("diff", "--exit-code", *arguments, env=environment, timeout=120)


def test_where_there_is_nothing_all_is_new_and_nothing_is_made(own_place: Place) -> None:
    new = difference(own_place.environment)
    assert new.returncode == 1, new.stderr
    assert "+++ statefulsets/winnow-postgres (planned)" in new.stdout
    assert "+  WINNOW_DB_PASSWORD: '***'" in new.stdout
    assert "prod: there is nothing to compare yet: " in new.stderr
    there = ["configmap/kube-root-ca.crt", "serviceaccount/default", "serviceaccount/winnow-user"]
    assert own_place.admin.names("all,secrets,configmaps,serviceaccounts,persistentvolumeclaims") == there


def test_a_stack_in_use_differs_in_nothing(stack: Place) -> None:
    same = difference(stack.environment, "--part", "stack")
    assert (same.returncode, same.stdout) == (0, ""), same.stdout + same.stderr
