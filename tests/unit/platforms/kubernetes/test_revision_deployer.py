"""What a deployer on a cluster does while the API does not answer, and after its manifests were edited."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import structs

from tests.unit.orchestrators.serving import revision
from tests.unit.platforms.kubernetes.passing_time import Time
from winnow.config.errors import UnreachableError
from winnow.platforms.kubernetes.deployer import KubernetesDeployer
from winnow.platforms.kubernetes.refusals import SILENT_S
from winnow.platforms.kubernetes.revision_plan import FOLDER
from winnow.rollout.step import revision_for
from winnow.routing import Observation, Record, Route


def silent_until(time: Time, answers_at: float) -> Callable[[], str]:
    def step() -> str:
        if time.now_s < answers_at:
            raise UnreachableError("no answer")
        return "done"

    return step


def test_a_step_is_repeated_while_an_api_that_has_answered_before_is_away() -> None:
    time = Time()
    deployer = KubernetesDeployer(Path("home"), clock=time.clock())
    assert deployer.insist(silent_until(time, 0)) == "done"
    assert deployer.insist(silent_until(time, 60)) == "done"
    assert 60 <= time.now_s < 62
    with pytest.raises(UnreachableError):
        deployer.insist(silent_until(time, time.now_s + 2 * SILENT_S))


def test_an_api_that_has_never_answered_is_reported_at_once() -> None:
    time = Time()
    with pytest.raises(UnreachableError):
        KubernetesDeployer(Path("home"), clock=time.clock()).insist(silent_until(time, 60))
    assert time.now_s == 0


def test_edited_manifests_make_another_revision_of_the_same_model(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(FOLDER, tmp_path / "prod"))
    served = structs.replace(revision("cells", 1), files=KubernetesDeployer(tmp_path, folder=folder).files)
    observed = Observation(Record("cells", revisions=(served,), route=Route(1, stable=1)))
    numbers = []
    for added in ("", "# a comment\n", "  minReadySeconds: 7\n"):
        file = folder / "deployment.yaml"
        file.write_text(file.read_text() + added)
        wanted = structs.replace(served, number=0, files=KubernetesDeployer(tmp_path, folder=folder).files)
        numbers.append(revision_for(observed, wanted).number)
    assert numbers == [1, 1, 2]
