from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import ONNX, read_manifest
from winnow.config.clock import Clock
from winnow.config.errors import InputError
from winnow.config.process_identity import identity_of, is_running
from winnow.platforms.deployer import OvertakenError, check_next
from winnow.platforms.local import revision_plan
from winnow.platforms.local.deployer import LocalDeployer
from winnow.platforms.local.revision_plan import EarlierProcess, EarlierState, Folder, Process
from winnow.routing import (
    Entry,
    PredictionLogSettings,
    Record,
    Release,
    ReplicaSettings,
    Revision,
    Route,
    RouterSettings,
    Scale,
)

RELEASE = Release("cells", "2", "bb" * 32, Path("/models/bb"))
SETTINGS = ReplicaSettings(settle_s=1.5, limits={"max_rows": 10}, is_access_logged=True, key="0123")


def test_a_revision_and_its_route_are_shown_as_commands() -> None:
    record = Record("cells", 3, (Revision(2, RELEASE, SETTINGS, Scale(2)),), Route(3, 2), entry=Entry(port=8080))
    folder = Folder(Path("/home/.winnow/deployments/cells"))
    start = (
        "  start  WINNOW_API_KEY_FILE=/home/.winnow/deployments/cells/keys/0123"
        """ 'WINNOW_SERVING={"drain_s":30,"is_access_logged":true,"max_rows":10,"settle_s":1.5}'"""
        " python -P -m winnow.serving --bundle /models/bb --model-version 2 --fd 3 --door-fd 4"
        " --ready-file /home/.winnow/deployments/cells/run/2-0.ready"
    )
    assert revision_plan.render(record, record.revisions[0], folder, "python").splitlines() == [
        f"cells: revision 2 is cells version 2 (sha256 {'bb' * 6})",
        start,
        start.replace("2-0", "2-1"),
        "cells: 127.0.0.1:8080 leads to revision 2",
    ]


def test_a_replicas_log_names_its_deployment_and_revision_and_a_router_has_none() -> None:
    logged = ReplicaSettings(log=PredictionLogSettings(to="/var/log/cells.jsonl"))
    folder = Folder(Path("/home/.winnow/deployments/cells"))
    replica = revision_plan.replica_environment(Revision(2, RELEASE, logged, Scale()), folder)
    log = {"sample": 1.0, "fields": [], "to": "/var/log/cells.jsonl", "deployment": "cells", "revision": 2}
    assert msgspec.json.decode(replica["WINNOW_SERVING"])["log"] == log
    router = revision_plan.router_environment(logged, RouterSettings("cells", Route(), (), ()), "token")
    assert '"log"' not in router["WINNOW_SERVING"]


def test_a_route_with_a_candidate_is_shown_with_its_shares() -> None:
    revision = Revision(1, RELEASE, ReplicaSettings(), Scale())
    record = Record("cells", 3, (revision,), Route(3, 1, candidate=2, weight=0.05, mirror=1.0))
    assert revision_plan.render(record, revision, Folder(Path("/cells")), "python").endswith(
        "\ncells: a free port of 127.0.0.1 leads to revision 1; 0.05 of the requests to revision 2, copies of 1 of them"
        " to it too\n"
    )


def test_a_record_is_replaced_by_the_next_one_or_by_itself() -> None:
    record = Record("cells", 3)
    check_next(record, record)
    check_next(record, Record("cells", 4))
    check_next(None, Record("cells", 1))
    for another in (Record("cells", 3, history=5), Record("cells", 5)):
        with pytest.raises(OvertakenError):
            check_next(record, another)


def _recorded(home: Path, release: Release) -> tuple[LocalDeployer, Record]:
    record = Record("cells", 1, (Revision(1, release, ReplicaSettings(), Scale()),))
    deployer = LocalDeployer(home)
    deployer.write(record)
    return deployer, record


@pytest.mark.parametrize("recorded_as", ["digest", "onnx_sha256"])
def test_a_revision_finds_its_bundle_in_a_home_that_was_moved(recorded_as: str, tmp_path: Path) -> None:
    manifest = read_manifest(bundles.classification(tmp_path / "moved" / "models" / "first"))
    release = Release("cells", "1", getattr(manifest, recorded_as), tmp_path / "old" / "models" / "first")
    deployer, record = _recorded(tmp_path / "moved", release)
    deployer.check_change(record, 1)


@pytest.mark.parametrize("damage", ["gone", "damaged", "another"])
def test_a_revision_whose_bundle_is_not_there_is_refused(damage: str, tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "models" / "first")
    release = Release("cells", "1", read_manifest(bundle).digest, bundle)
    if damage == "gone":
        bundle.rename(tmp_path / "elsewhere")
    elif damage == "damaged":
        (bundle / ONNX).write_bytes(b"other")
    else:
        release = replace(release, digest="cc" * 32)
    deployer, record = _recorded(tmp_path, release)
    with pytest.raises(InputError, match=r"expected the bundle of cells version 1, found .*make select-model"):
        deployer.check_change(record, 1)
    with pytest.raises(InputError, match="expected the bundle of cells version 1"):
        deployer.start(record, 1, None)
    assert deployer.observe("cells").replicas == ()


def test_a_deployment_of_an_earlier_version_names_the_command_that_removes_it(tmp_path: Path) -> None:
    state = tmp_path / "deployments" / "cells" / "state.json"
    state.parent.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as replica:
        identity = identity_of(replica.pid)
        state.write_bytes(msgspec.json.encode(EarlierState((EarlierProcess(identity),))))
        deployer = LocalDeployer(tmp_path)
        assert deployer.names() == ("cells",)
        with pytest.raises(InputError, match="prod-remove"):
            deployer.observe("cells")
        with pytest.raises(InputError, match="prod-remove"):
            deployer.write(Record("cells", 1))
        assert deployer.remove("cells") is True
        assert not is_running(identity)
    assert deployer.names() == ()


def test_a_lost_key_is_an_error_and_not_an_open_model(tmp_path: Path) -> None:
    bundle = bundles.classification(tmp_path / "models" / "first")
    release = Release("cells", "1", read_manifest(bundle).digest, bundle)
    record = Record("cells", 1, (Revision(1, release, ReplicaSettings(key="0123"), Scale()),), Route(1, 1))
    deployer = LocalDeployer(tmp_path)
    deployer.write(record)
    with pytest.raises(InputError, match="the API key of revision 1"):
        deployer.key(record)
    with pytest.raises(InputError, match="the API key of revision 1"):
        deployer.start(record, 1, None)
    assert deployer.observe("cells").replicas == ()


def test_a_driver_whose_deployment_was_removed_under_it_has_lost_it(tmp_path: Path) -> None:
    deployer = LocalDeployer(tmp_path)
    with deployer.held("cells") as held:
        held.renew()
        (tmp_path / "deployments" / "cells" / "driver.lock").unlink()
        with pytest.raises(OvertakenError):
            held.renew()


def test_replicas_end_after_the_routers_that_ask_them(tmp_path: Path) -> None:
    deployer, record = _recorded(tmp_path, RELEASE)
    folder = Folder(tmp_path / "deployments" / "cells")
    folder.run.mkdir()
    ending, asked = "sleep 0.3; touch router-gone", "trap 'ls > at-end; exit' TERM; while :; do sleep 0.02; done"
    with (
        subprocess.Popen(["sh", "-c", ending], cwd=tmp_path) as router,
        subprocess.Popen(["sh", "-c", asked], cwd=tmp_path) as replica,
    ):
        for each in (
            Process(identity_of(router.pid), "router-1-0", kill_at=Clock().now() + 10),
            Process(identity_of(replica.pid), "1-0", 1),
        ):
            folder.process(each.label).write_bytes(msgspec.json.encode(each))
        deployer.scale(record, 1, 0)
    assert "router-gone" in (tmp_path / "at-end").read_text().split()
