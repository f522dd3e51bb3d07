"""Which cluster and namespace are meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.cluster.api_server import kubeconfig
from winnow.cluster.connection import connect, identity
from winnow.config.errors import InputError

URL = "http://127.0.0.1:1"


def test_the_context_names_the_namespace_unless_somebody_else_does(tmp_path: Path) -> None:
    environment = {"KUBECONFIG": str(kubeconfig(tmp_path / "k", URL, namespace="of-context"))}
    assert connect(environment).namespace == "of-context"
    assert connect(environment, namespace="of-stack").namespace == "of-stack"
    assert connect({**environment, "WINNOW_NAMESPACE": "set"}, namespace="of-stack").namespace == "set"


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
    assert identity(one) == connect(one).identity
    assert identity(one) != identity(other)
    assert identity({"KUBECONFIG": str(tmp_path / "none")}) == ""
