"""Which cluster and namespace are meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.platforms.kubernetes.api_server import kubeconfig
from winnow.config.errors import InputError
from winnow.platforms.kubernetes.connection import WAYS, Context, connect

URL = "http://127.0.0.1:1"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"


def test_the_context_names_the_namespace_unless_a_variable_or_the_stack_does(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(kubeconfig(tmp_path / "k", URL, namespace="of-context"))}
    assert connect(environment).namespace == "of-context"
    stack = Context("here", "of-stack")
    assert connect(environment, in_use=stack).namespace == "of-stack"
    assert connect({**environment, "WINNOW_NAMESPACE": "set"}, in_use=stack).namespace == "set"


def test_a_namespace_is_never_guessed(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(kubeconfig(tmp_path / "k", URL, namespace=None))}
    with pytest.raises(InputError, match="WINNOW_NAMESPACE: expected a namespace of the cluster 'here'"):
        connect(environment)
    with pytest.raises(InputError, match="lower-case letters"):
        connect({**environment, "WINNOW_NAMESPACE": "a/b"})


def test_a_named_context_needs_no_current_one(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(kubeconfig(tmp_path / "k", URL, current=False))}
    with pytest.raises(InputError, match="no current context"):
        connect(environment)
    assert connect({**environment, "WINNOW_CONTEXT": "here"}).context == "here"


def test_an_unknown_context_is_refused_with_those_there_are(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(kubeconfig(tmp_path / "k", URL)), "WINNOW_CONTEXT": "there"}
    with pytest.raises(InputError, match=r"expected a context of .*: here, found 'there'"):
        connect(environment)


def test_several_files_count_as_one(tmp_path: Path) -> None:
    first = kubeconfig(tmp_path / "a", URL, namespace="first")
    second = kubeconfig(tmp_path / "b", URL, namespace="second")
    environment = {"KUBECONFIG": os.pathsep.join(map(str, (tmp_path / "none", first, second)))}
    assert connect(environment).namespace == "first"


@pytest.mark.parametrize("content", [None, "- a list", "a: [", "contexts: []"])
def test_a_kubeconfig_that_is_none_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "k"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match="kubectl cluster-info"):
        connect({"KUBECONFIG": str(file)})


def test_a_context_without_its_cluster_is_named(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "k", URL)
    file.write_text(file.read_text().replace("cluster: c", "cluster: nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        connect({"KUBECONFIG": str(file)})


def test_clusters_are_told_apart_by_what_they_are(tmp_path: Path) -> None:
    one = {"KUBECONFIG": str(kubeconfig(tmp_path / "a", URL))}
    other = {"KUBECONFIG": str(kubeconfig(tmp_path / "b", "http://127.0.0.1:2"))}
    assert connect(one).identity == connect(one).identity != connect(other).identity


def in_use(environment: dict[str, str], namespace: str = "of-stack") -> Context:
    """A stack in use on the cluster of an environment."""
    cluster = connect(environment)
    return Context(cluster.context, namespace, cluster.identity)


def two_contexts(folder: Path) -> dict[str, str]:
    """Two clusters, `here`, which is current, and `there`, whose contexts name no namespace."""
    first = kubeconfig(folder / "a", URL, namespace=None)
    second = kubeconfig(folder / "b", "http://127.0.0.1:2", namespace=None, current=False)
    second.write_text(second.read_text().replace("here", "there").replace("cluster: c", "cluster: d"))
    second.write_text(second.read_text().replace("name: c", "name: d"))
    return {"KUBECONFIG": f"{first}{os.pathsep}{second}"}


def test_the_namespace_of_a_stack_is_not_taken_on_another_cluster(tmp_path: Path) -> None:
    environment = two_contexts(tmp_path)
    stack = in_use({**environment, "WINNOW_NAMESPACE": "any"})
    elsewhere = {**environment, "WINNOW_CONTEXT": "there"}
    with pytest.raises(InputError, match="WINNOW_NAMESPACE: expected a namespace of the cluster 'there'"):
        connect(elsewhere, in_use=stack)
    assert connect({**elsewhere, "WINNOW_NAMESPACE": "mine"}, in_use=stack).namespace == "mine"
    assert connect({**environment, "WINNOW_CONTEXT": "here"}, in_use=stack).namespace == "of-stack"


def test_the_stack_in_use_is_on_its_own_cluster_and_no_other_of_that_name(tmp_path: Path) -> None:
    stack = in_use({"KUBECONFIG": str(kubeconfig(tmp_path / "a", URL))})
    renamed = {"KUBECONFIG": str(kubeconfig(tmp_path / "b", "http://127.0.0.1:2", namespace="its-own"))}
    with pytest.raises(InputError, match="expected the cluster that it was started on") as refused:
        connect(renamed, in_use=stack)
    assert "KUBECONFIG" in refused.value.remedy and "of-stack" in refused.value.place
    assert connect({**renamed, "WINNOW_CONTEXT": "here"}, in_use=stack).namespace == "its-own"


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """What a pod is given of its service account."""
    folder = tmp_path / "account"
    folder.mkdir()
    for name, text in (("token", "t0"), ("namespace", "of-pod\n"), ("ca.crt", CERTIFICATE)):
        (folder / name).write_text(text)
    return folder


def test_in_a_pod_the_cluster_around_it_is_meant(tmp_path: Path, account: Path) -> None:
    inside = {
        "KUBECONFIG": str(tmp_path / "none"),
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
    }
    cluster = connect(inside, account=account)
    assert (cluster.context, cluster.namespace) == ("in-cluster", "of-pod")
    stack = Context(cluster.context, "of-stack", cluster.identity)
    assert connect(inside, in_use=stack, account=account).namespace == "of-stack"
    with pytest.raises(InputError, match="expected the cluster that it was started on"):
        connect({**inside, "KUBERNETES_SERVICE_HOST": "10.0.0.2"}, in_use=stack, account=account)
    assert set(inside) == set(WAYS)
