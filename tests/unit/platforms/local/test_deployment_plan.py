from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from winnow.config.process_identity import ProcessIdentity
from winnow.platforms.local.release_plan import Folder, LocalPlan, Record, ReplicaCommand, ReplicaRecord, plan
from winnow.platforms.release_deployer import Action, DeploymentRequest
from winnow.routing import Release

FOLDER = Folder(Path("/home/ada/.winnow/deployments/cells"))
FIRST = Release("cells", "1", "aa" * 32, Path("/models/aa"))
SECOND = Release("cells", "2", "bb" * 32, Path("/models/bb"))
REPLICA = ReplicaRecord(ProcessIdentity(4711, "123456"), "4-0")
RECORD = Record("cells", 4, FIRST, None, "127.0.0.1", 8080, False, (REPLICA,))


def _plan(request: DeploymentRequest, current: Record | None = RECORD, **changes: Any) -> LocalPlan:
    alive = changes.pop("alive", current.replicas if current is not None else ())
    is_answering = changes.pop("is_answering", bool(alive))
    return plan(request, current, alive, FOLDER, "python", is_answering=is_answering)


def test_a_first_deployment_starts_on_a_free_port() -> None:
    request = DeploymentRequest("cells", FIRST)
    command = ReplicaCommand(
        label="1-0",
        argv=(
            *("python", "-P", "-m", "winnow.serving", "--bundle", "/models/aa", "--model-version", "1", "--fd", "3"),
            *("--door-fd", "4", "--ready-file", "/home/ada/.winnow/deployments/cells/run/1-0.ready"),
            *("--settle-s", "0.2"),
        ),
    )
    assert _plan(request, None) == LocalPlan(request, Action.START, 0, None, None, (command,), ())


def test_another_model_keeps_port_and_number_of_replicas_and_drains_the_old_one() -> None:
    made = _plan(DeploymentRequest("cells", SECOND))
    assert (made.action, made.basis, made.port, made.previous) == (Action.REPLACE, 4, 8080, FIRST)
    assert [each.label for each in made.starts] == ["5-0"]
    assert made.stops == (REPLICA,)
    assert made.render() == (
        "cells: serve cells version 2 (sha256 bbbbbbbbbbbb) at 127.0.0.1:8080\n"
        "  start  python -P -m winnow.serving --bundle /models/bb --model-version 2 --fd 3 --door-fd 4"
        " --ready-file /home/ada/.winnow/deployments/cells/run/5-0.ready --settle-s 0.2\n"
        "  then, when ready:\n"
        "  drain  process 4711"
    )


def test_the_same_model_changes_nothing() -> None:
    made = _plan(DeploymentRequest("cells", FIRST))
    assert (made.action, made.starts, made.stops) == (Action.NOTHING, (), ())
    assert made.render() == "cells: cells version 1 is being served already; nothing to do."


def test_the_same_bundle_under_another_version_is_served_as_that_version() -> None:
    made = _plan(DeploymentRequest("cells", replace(FIRST, version="9")))
    assert (made.action, made.previous) == (Action.REPLACE, FIRST)


def test_other_replicas_or_another_port_change_something() -> None:
    assert _plan(DeploymentRequest("cells", FIRST, replicas=2)).action is Action.REPLACE
    assert _plan(DeploymentRequest("cells", FIRST, port=9000)).action is Action.REPLACE
    assert _plan(DeploymentRequest("cells", FIRST, port=8080)).action is Action.NOTHING


def test_the_same_model_is_started_again_where_it_died_and_replaced_where_it_hangs() -> None:
    assert _plan(DeploymentRequest("cells", FIRST), alive=()).action is Action.START
    assert _plan(DeploymentRequest("cells", FIRST), is_answering=False).action is Action.REPLACE


def test_serving_the_same_model_again_keeps_what_a_rollback_brings_back() -> None:
    record = msgspec.structs.replace(RECORD, release=SECOND, previous=FIRST)
    assert _plan(DeploymentRequest("cells", SECOND, replicas=3), record).previous == FIRST
