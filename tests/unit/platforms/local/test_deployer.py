from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import ONNX, read_manifest
from winnow.config.errors import InputError
from winnow.config.process_identity import ProcessIdentity
from winnow.platforms.local.release_deployer import LocalDeployer
from winnow.platforms.local.release_plan import Record, ReplicaRecord
from winnow.routing import Release

GONE = ReplicaRecord(ProcessIdentity(2**22 - 1, "1"), "2-0")


def _recorded(home: Path, previous: Release) -> LocalDeployer:
    """A deployer whose deployment `cells` was recorded with that release before the current one."""
    current = Release("cells", "2", "bb" * 32, home / "models" / "bb")
    record = Record("cells", 2, current, previous, "127.0.0.1", 8080, False, (GONE,))
    state = home / "deployments" / "cells" / "state.json"
    state.parent.mkdir(parents=True)
    state.write_bytes(msgspec.json.encode(record, enc_hook=str))
    return LocalDeployer(home)


@pytest.mark.parametrize("recorded_as", ["digest", "onnx_sha256"])
def test_a_rollback_finds_the_bundle_of_a_home_that_was_moved(recorded_as: str, tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "moved" / "models" / "first")
    manifest = read_manifest(bundle)
    previous = Release("cells", "1", getattr(manifest, recorded_as), tmp_path / "old" / "models" / "first")
    plan = _recorded(tmp_path / "moved", previous).plan_rollback("cells")
    assert plan.request.release == Release("cells", "1", manifest.digest, bundle)


@pytest.mark.parametrize("damage", ["gone", "damaged", "another"])
def test_a_rollback_to_a_bundle_that_is_not_there_is_refused(damage: str, tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "models" / "first")
    previous = Release("cells", "1", read_manifest(bundle).digest, bundle)
    if damage == "gone":
        bundle.rename(tmp_path / "elsewhere")
    elif damage == "damaged":
        (bundle / ONNX).write_bytes(b"other")
    else:
        previous = Release("cells", "1", "cc" * 32, bundle)
    with pytest.raises(InputError, match=r"expected the bundle of cells version 1, found .*make select-model"):
        _recorded(tmp_path, previous).plan_rollback("cells")
