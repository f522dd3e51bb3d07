from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.unit.orchestrators.registries import FakeRegistry
from tests.unit.serving import bundles
from winnow.bundle.manifest import ONNX, REGISTERED, read_manifest
from winnow.config.errors import InputError
from winnow.orchestrators.releases import (
    as_kept,
    choose_version,
    fetch_release,
    known_champion,
    shown_release,
)
from winnow.routing import Release
from winnow.tracking.tracker import ModelVersion


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")


def release_of(registry: FakeRegistry, home: Path, name: str = "cells") -> Release:
    """The champion's release."""
    return fetch_release(registry, choose_version(registry, name, store="here"), home, store="here")


def test_the_champion_is_fetched_once(bundle: Path, tmp_path: Path) -> None:
    registry = FakeRegistry(bundle)
    first = release_of(registry, tmp_path)
    again = release_of(registry, tmp_path)
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
    releases = [release_of(FakeRegistry(source), home, name) for source, name in ((bundle, "cells"), (other, "tissue"))]
    assert [read_manifest(each.bundle) for each in releases] == [read_manifest(bundle), read_manifest(other)]
    assert not releases[0].is_same(releases[1])


def test_a_copy_that_is_kept_under_the_digest_of_its_weights_alone_is_fetched_again(
    bundle: Path, tmp_path: Path
) -> None:
    weights = read_manifest(bundle).onnx_sha256
    bundles.classification(tmp_path / "models" / weights, name="tissue")
    (tmp_path / "models" / "versions").mkdir()
    (tmp_path / "models" / "versions" / "cells-3-run-3").write_text(weights)
    release = release_of(FakeRegistry(bundle), tmp_path)
    assert read_manifest(release.bundle) == read_manifest(bundle)


def test_a_damaged_copy_is_fetched_again(bundle: Path, tmp_path: Path) -> None:
    registry = FakeRegistry(bundle)
    release = release_of(registry, tmp_path)
    (release.bundle / ONNX).write_bytes(b"damaged")
    assert release_of(registry, tmp_path) == release
    assert read_manifest(release.bundle).digest == release.digest
    assert registry.downloads == 2


def test_a_release_that_is_only_shown_leaves_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    registry = FakeRegistry(bundle)
    version = choose_version(registry, "cells", store="here")
    with shown_release(registry, version, tmp_path, store="here") as shown:
        assert read_manifest(shown.bundle).digest == shown.digest == read_manifest(bundle).digest
    assert (shown.bundle.exists(), list(tmp_path.iterdir())) == (False, [])
    assert as_kept(shown, tmp_path).bundle == tmp_path / "models" / shown.digest


def test_a_release_that_is_here_is_shown_from_here(bundle: Path, tmp_path: Path) -> None:
    registry = FakeRegistry(bundle)
    release = release_of(registry, tmp_path)
    with shown_release(registry, choose_version(registry, "cells", store="here"), tmp_path, store="here") as shown:
        assert shown == release
    assert registry.downloads == 1


def test_a_version_is_chosen_by_its_number(bundle: Path) -> None:
    registry = FakeRegistry(bundle, ("10", "9", "2"))
    chosen = [choose_version(registry, "cells", store="here", number=number) for number in (None, "9")]
    assert [each.version for each in chosen] == ["10", "9"]


def test_a_version_is_chosen_by_its_semantic_version_and_keeps_it_with_its_lineage(
    bundle: Path, tmp_path: Path
) -> None:
    registry = FakeRegistry(bundle, {"10": "2.0.0", "9": "1.1.0"})
    chosen = choose_version(registry, "cells", store="here", number="1.1.0")
    release = fetch_release(registry, chosen, tmp_path, store="here")
    lineage = {"winnow.data.version": "0acf482b8e54"}
    assert (chosen.version, release.label, release.lineage) == ("9", "9 (1.1.0)", lineage)
    assert json.loads((release.bundle / REGISTERED).read_text()) == {"semantic_version": "1.1.0", "lineage": lineage}
    with pytest.raises(InputError, match=r"one of its versions: 9 \(1\.1\.0\), 10 \(2\.0\.0\), found version '1\.1'"):
        choose_version(registry, "cells", store="here", number="1.1")


def test_an_unknown_version_lists_the_versions_there_are(bundle: Path) -> None:
    with pytest.raises(InputError) as unknown:
        choose_version(FakeRegistry(bundle, ("10", "9", "2")), "cells", store="here", number="3")
    assert str(unknown.value) == (
        "registered model 'cells' in here: expected one of its versions: 2, 9, 10, found version '3'. "
        "Name one of them, or leave it out for the champion."
    )
    with pytest.raises(InputError, match=r"expected a model with versions, found none\. Run `make select-model"):
        choose_version(FakeRegistry(None), "cells", store="here", number="3")


@pytest.mark.parametrize(
    ("registry", "message"),
    [
        (FakeRegistry(None), "alias 'champion', found none. Run `make select-model STUDY="),
        (FakeRegistry(None, is_away=True), "tracking store here: expected a store that answers"),
    ],
)
def test_without_a_champion_or_a_store_the_remedy_is_named(
    registry: FakeRegistry, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        release_of(registry, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_was_changed_in_the_store_is_refused(bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    (changed / ONNX).write_bytes(b"other")
    with pytest.raises(InputError, match="expected the bundle that was registered"):
        release_of(FakeRegistry(changed), tmp_path / "home")


def test_the_champions_number_is_unknown_without_a_store(bundle: Path) -> None:
    registries = (FakeRegistry(bundle), FakeRegistry(None), FakeRegistry(None, is_away=True))
    assert [known_champion(each, "cells") for each in registries] == [ModelVersion("cells", "3", "run-3"), None, None]
