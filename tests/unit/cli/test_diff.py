"""The exit status of `winnow diff`: what could not be compared is not the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.unit.platforms.kubernetes.api_server import Answer, FakeApi, kubeconfig, refuse, running
from winnow.cli import winnow

ROOT = Path(__file__).parents[3]
UNSET = {name: None for name in os.environ if name.startswith(("WINNOW_", "MLFLOW_", "KUBE"))}


class Failing(dict[str, Answer]):
    """Answers of an API that fails at all but a few paths."""

    def __init__(self, status: int, but: dict[str, Answer]) -> None:
        super().__init__(but)
        self._failure = refuse(status)

    def get(self, path: str, default: object = None) -> Answer:  # type: ignore[override]
        return super().get(path) or self._failure


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with running() as listening:
        yield listening


def diff(home: Path, kubeconfig: Path, *arguments: str, **environment: str) -> Result:
    """Run it on an empty home, in the project's folder."""
    environment = {"KUBECONFIG": str(kubeconfig), "WINNOW_HOME": str(home), **environment}
    arguments = ("diff", "--config", str(ROOT / "experiments" / "breast_cancer.yaml"), "--exit-code", *arguments)
    return CliRunner().invoke(winnow, arguments, env={**UNSET, **environment}, standalone_mode=False)


def test_without_a_cluster_nothing_is_compared_and_nothing_is_said_to_be_the_same(tmp_path: Path) -> None:
    done = diff(tmp_path / "home", tmp_path / "none")
    assert done.return_value == 2
    assert "stack was not compared: " in done.output
    assert done.output.endswith("\nprod was not compared, for the same reason.\n")


def test_where_nothing_is_chosen_yet_the_stack_alone_counts(api: FakeApi, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "kubeconfig", api.url)
    done = diff(tmp_path / "home", file)
    assert done.return_value == 1, done.output
    assert (
        "prod: there is nothing to compare yet: " in done.output and "+++ statefulsets/winnow-postgres" in done.output
    )
    # A part that may not be looked at may have changed, whatever the other one says.
    api.allowed = set()
    assert diff(tmp_path / "home", file).return_value == 2


def test_what_the_environment_sets_is_in_the_difference(api: FakeApi, tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "kubeconfig", api.url)
    done = diff(tmp_path / "home", file, "--part", "stack", POSTGRES_VOLUME="50Gi", MLFLOW_WORKERS="")
    assert done.return_value == 1, done.output
    assert "storage: 50Gi" in done.output and "storage: 20Gi" in done.output


@pytest.mark.parametrize("part", [(), ("--part", "stack"), ("--part", "prod")], ids=" ".join)
@pytest.mark.parametrize("status", [500, 503])
def test_a_cluster_that_gives_no_answer_is_not_one_that_differs(
    api: FakeApi, tmp_path: Path, part: tuple[str, ...], status: int
) -> None:
    # Where permissions are asked first, the objects are what fails.
    reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    api.answers = Failing(status, {reviews: api.answer})
    done = diff(tmp_path / "home", kubeconfig(tmp_path / "kubeconfig", api.url), *part)
    assert done.return_value == 2, done.output
    assert f"{part[-1] if part else 'stack'} was not compared: " in done.output


def test_a_part_that_is_asked_for_and_not_there_is_not_compared(api: FakeApi, tmp_path: Path) -> None:
    done = diff(tmp_path / "home", kubeconfig(tmp_path / "kubeconfig", api.url), "--part", "prod")
    assert done.return_value == 2, done.output
    assert "prod: there is nothing to compare yet: " in done.output
