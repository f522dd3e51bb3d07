from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import ONNX, read_manifest
from winnow.config.errors import InputError
from winnow.config.settings import Settings
from winnow.orchestrators.deploy import (
    Wanted,
    champion_release,
    champion_version,
    find_deployment,
    plan_champion,
    reachable,
    rolls_forward,
    served,
)
from winnow.platforms.deployer import DeploymentRequest, Release, UnknownDeploymentError
from winnow.testing.deployer import MemoryDeployer, MemoryWorld
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError


class Champions:
    """A registry with one model; counts downloads."""

    def __init__(self, bundle: Path | None, *, is_away: bool = False) -> None:
        self._bundle = bundle
        self._is_away = is_away
        self.downloads = 0

    def champion(self, name: str, alias: str = "champion") -> ModelVersion | None:
        if self._is_away:
            raise TrackingUnavailableError("connection refused")
        return ModelVersion(name, "3", "run") if self._bundle is not None else None

    def versions(self, name: str) -> list[ModelVersion]:
        return [ModelVersion(name, "3", "run")]

    def download_bundle(self, version: ModelVersion, destination: Path) -> Path:
        assert self._bundle is not None
        self.downloads += 1
        shutil.copytree(self._bundle, destination)
        read_manifest(destination)
        return destination


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")


def test_the_champion_is_fetched_once(bundle: Path, tmp_path: Path) -> None:
    registry = Champions(bundle)
    first = champion_release(registry, "cells", "champion", tmp_path, store="here")
    again = champion_release(registry, "cells", "champion", tmp_path, store="here")
    digest = read_manifest(bundle).digest
    assert first == again
    assert (first.model, first.version, first.digest, first.bundle) == (
        "cells",
        "3",
        digest,
        tmp_path / "models" / digest,
    )
    assert read_manifest(first.bundle).name == "cells"
    assert registry.downloads == 1


def test_a_second_study_with_equal_weights_is_served_under_its_own_name(bundle: Path, tmp_path: Path) -> None:
    other = bundles.classification(tmp_path / "other", name="tissue")
    assert read_manifest(other).onnx_sha256 == read_manifest(bundle).onnx_sha256
    home = tmp_path / "home"
    releases = [
        champion_release(Champions(source), name, "champion", home, store="here")
        for source, name in ((bundle, "cells"), (other, "tissue"))
    ]
    assert [read_manifest(each.bundle) for each in releases] == [read_manifest(bundle), read_manifest(other)]
    assert not releases[0].is_same(releases[1])


def test_a_copy_that_is_kept_under_the_digest_of_its_weights_alone_is_fetched_again(
    bundle: Path, tmp_path: Path
) -> None:
    weights = read_manifest(bundle).onnx_sha256
    bundles.classification(tmp_path / "models" / weights, name="tissue")
    (tmp_path / "models" / "versions").mkdir()
    (tmp_path / "models" / "versions" / "cells-3-run").write_text(weights)
    release = champion_release(Champions(bundle), "cells", "champion", tmp_path, store="here")
    assert read_manifest(release.bundle) == read_manifest(bundle)


def test_a_damaged_copy_is_fetched_again(bundle: Path, tmp_path: Path) -> None:
    registry = Champions(bundle)
    release = champion_release(registry, "cells", "champion", tmp_path, store="here")
    (release.bundle / ONNX).write_bytes(b"damaged")
    assert champion_release(registry, "cells", "champion", tmp_path, store="here") == release
    assert read_manifest(release.bundle).digest == release.digest
    assert registry.downloads == 2


def test_a_dry_run_leaves_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    release = champion_release(Champions(bundle), "cells", "champion", tmp_path, store="here", is_kept=False)
    assert release.digest == read_manifest(bundle).digest
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        (Champions(None), "alias 'champion', found none. Run `make select-model STUDY="),
        (Champions(None, is_away=True), "tracking store here: expected a store that answers"),
    ],
)
def test_without_a_champion_or_a_store_the_remedy_is_named(registry: Champions, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        champion_release(registry, "cells", "champion", tmp_path, store="here")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_was_changed_in_the_store_is_refused(bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    (changed / ONNX).write_bytes(b"other")
    with pytest.raises(InputError, match="expected the bundle that was registered"):
        champion_release(Champions(changed), "cells", "champion", tmp_path / "home", store="here")


def _tier(*names: str) -> MemoryDeployer:
    """A tier that serves a model under each of the names."""
    deployer = MemoryDeployer(MemoryWorld())
    for name in names:
        release = Release(name, "1", "aa" * 32, Path("/models/aa"))
        deployer.deploy(deployer.plan(DeploymentRequest(name, release)))
    return deployer


def _command(name: str, tier: str | None) -> str:
    return f"stop {name}" if tier is None else f"stop {name} on {tier}"


def test_serving_the_champion_after_a_rollback_says_that_it_rolls_forward() -> None:
    first, second = (
        Release("cells", version, digest * 32, Path("/models")) for version, digest in (("1", "aa"), ("2", "bb"))
    )
    deployer = MemoryDeployer(MemoryWorld())

    def said(release: Release) -> str:
        return rolls_forward(deployer, deployer.plan(DeploymentRequest("cells", release)), "champion")

    assert said(first) == ""
    deployer.deploy(deployer.plan(DeploymentRequest("cells", first)))
    assert said(second) == ""
    deployer.deploy(deployer.plan(DeploymentRequest("cells", second)))
    assert said(second) == ""
    deployer.deploy(deployer.plan_rollback("cells"))
    assert said(second) == "Rolling forward to version 2, which is @champion and was served before version 1."


def test_the_tier_that_serves_a_name_is_found() -> None:
    tiers = {"local": _tier("cells"), "docker": _tier("digits")}
    assert find_deployment(tiers, "digits", _command) == ("docker", "digits")
    assert [(each.platform, each.deployment.name) for each in served(tiers)] == [
        ("local", "cells"),
        ("docker", "digits"),
    ]
    assert [each.platform for each in served(tiers, "digits")] == ["docker"]


def test_without_a_name_the_only_deployment_is_meant() -> None:
    assert find_deployment({"local": _tier(), "docker": _tier("digits")}, None, _command) == ("docker", "digits")


def test_several_that_may_be_meant_are_listed_with_the_command_for_each() -> None:
    tiers = {"local": _tier("cells", "wine"), "docker": _tier("cells")}
    with pytest.raises(InputError) as unnamed:
        find_deployment(tiers, None, _command)
    assert str(unnamed.value) == (
        "deployments: expected one, since none is named, found 3: cells (local), wine (local), cells (docker). "
        "Say which is meant:\n  stop cells on local\n  stop wine\n  stop cells on docker"
    )
    with pytest.raises(InputError) as named:
        find_deployment(tiers, "cells", _command)
    assert str(named.value) == (
        "deployment 'cells': expected one platform that serves it, found 2: cells (local), cells (docker). "
        "Say which is meant:\n  stop cells on local\n  stop cells on docker"
    )
    assert len(served(tiers, "cells")) == 2


def test_a_name_that_is_not_served_is_one_error_that_names_those_that_are_served() -> None:
    tiers = {"local": _tier("cells"), "docker": _tier()}
    with pytest.raises(UnknownDeploymentError, match="served: cells"):
        find_deployment(tiers, "wine", _command)
    with pytest.raises(UnknownDeploymentError, match="served: cells"):
        served(tiers, "wine")
    with pytest.raises(UnknownDeploymentError, match="expected something that is being served, found nothing"):
        find_deployment({"local": _tier()}, None, _command)


def test_a_named_tier_alone_is_asked(tmp_path: Path) -> None:
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    assert list(reachable(settings, "local")) == ["local"]
    with pytest.raises(InputError, match="one of local, docker"):
        reachable(settings, "moon")


def test_the_champion_is_planned_on_its_tier(bundle: Path, tmp_path: Path) -> None:
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path)})
    deployer, plan = plan_champion("local", settings, Champions(bundle), Wanted("cells", replicas=2))
    assert plan.render().count("--model-version 3") == 2
    assert deployer.names() == ()


def test_who_is_champion_is_unknown_without_a_store(bundle: Path) -> None:
    registries = (Champions(bundle), Champions(None), Champions(None, is_away=True))
    assert [champion_version(each, "cells") for each in registries] == ["3", None, None]
