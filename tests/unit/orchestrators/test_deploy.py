from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import UNSET, structs

from tests.unit.orchestrators.registries import FakeRegistry
from tests.unit.orchestrators.serving import revision, serve
from tests.unit.platforms.kubernetes.api_server import kubeconfig
from tests.unit.serving import bundles
from tests.unit.study.studies import experiment
from winnow.bundle.manifest import read_manifest
from winnow.bundle.semantic import signature_of
from winnow.config.errors import InputError, UnavailableError
from winnow.config.serving import RolloutConfig
from winnow.config.settings import Settings
from winnow.orchestrators.deploy import (
    ServeRequest,
    check_plan,
    note_of,
    plan_serving,
    preview_serving,
    render,
)
from winnow.orchestrators.model_history import RejectedVersionError
from winnow.rollout.plan import Step, steps_of, to_values
from winnow.rollout.step import Desired
from winnow.routing import Observation, Record, Rejected, Rollout, RolloutState, Route
from winnow.testing.deployer import MemoryDeployer, MemoryWorld


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.classification(tmp_path_factory.mktemp("bundle") / "cells")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"WINNOW_HOME": str(tmp_path)})


CANARY = RolloutConfig(strategy="canary", initial_weight=0.1, weight_steps=(0.5, 1.0))


def desired(version: int, *, number: int | None = None, signature: str = "", steps: tuple[Step, ...] = ()) -> Desired:
    wanted = structs.replace(revision("cells", version), signature=signature)
    return Desired(structs.replace(wanted, number=version if number is None else number), steps)


def test_serving_the_champion_after_a_rollback_says_that_it_rolls_forward() -> None:
    deployer, request = MemoryDeployer(MemoryWorld()), ServeRequest("cells")
    serve(deployer, "cells", "1")
    assert note_of(deployer.observe("cells"), desired(2), request) == ""
    for version in ("2", "1"):
        serve(deployer, "cells", version)
    said = note_of(deployer.observe("cells"), desired(2), request)
    assert said == "Rolling forward to version 2, which is @champion and was served before version 1."


def test_a_candidate_with_other_columns_or_classes_is_refused_where_both_would_answer() -> None:
    first = structs.replace(revision("cells", 1), signature="old")
    observed = Observation(Record("cells", revisions=(first,), route=Route(1, stable=1)))
    steps, deployer = steps_of(CANARY), MemoryDeployer(MemoryWorld())
    check_plan(deployer, observed, desired(2, signature="old", steps=steps))
    check_plan(deployer, observed, desired(2, signature="new"))  # at once
    with pytest.raises(InputError, match="version 2 of cells: expected the columns and classes of version 1"):
        check_plan(deployer, observed, desired(2, signature="new", steps=steps))


def test_a_version_that_was_rolled_back_is_refused_until_it_is_asked_for_again() -> None:
    rejected = Rejected("cells", "2", desired(2).target.release.digest, 1_764_400_000.0, "ana rolled it back: slow")
    record = Record("cells", revisions=(revision("cells", 1),), route=Route(1, stable=1), rejected=(rejected,))
    deployer = MemoryDeployer(MemoryWorld())
    with pytest.raises(RejectedVersionError) as caught:
        check_plan(deployer, Observation(record), desired(2))
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(
        "deployment 'cells': version 2 was sent away on 2025-11-29 07:06 UTC: ana rolled it back: slow. Nothing was "
        "changed. Serve another version, or this one again with "
    )
    check_plan(deployer, Observation(record), desired(2), is_again=True)
    check_plan(deployer, Observation(record), desired(3))
    underway = structs.replace(
        record,
        revisions=(*record.revisions, desired(2).target),
        rollout=Rollout(2, 1, "canary", to_values(steps_of(CANARY))),
    )
    check_plan(deployer, Observation(underway), desired(2))  # it goes on


def test_a_second_rollout_is_refused_while_one_is_open() -> None:
    record = Record(
        "cells",
        revisions=(revision("cells", 1), revision("cells", 2)),
        route=Route(1, stable=1, candidate=2, weight=0.1),
        rollout=Rollout(2, 1, "canary", to_values(steps_of(CANARY))),
    )
    deployer = MemoryDeployer(MemoryWorld())
    for number in (1, 2):  # one ends it, the other goes on with it
        check_plan(deployer, Observation(record), desired(number))
    with pytest.raises(InputError, match="expected no other rollout, found one of version 2, running at step 1"):
        check_plan(deployer, Observation(record), desired(3))


def test_a_paused_rollout_stays_paused_when_its_version_is_served_again() -> None:
    stopped = Rollout(2, 1, "canary", to_values(steps_of(CANARY)), 1, RolloutState.PAUSED, reason="a person paused it")
    record = Record(
        "cells",
        revisions=(revision("cells", 1), revision("cells", 2)),
        route=Route(1, stable=1, candidate=2, weight=0.5),
        rollout=stopped,
    )
    deployer = MemoryDeployer(MemoryWorld())
    check_plan(deployer, Observation(record), desired(1))  # ends it
    with pytest.raises(InputError) as caught:
        check_plan(deployer, Observation(record), desired(2))
    assert "found one that is paused at step 2 of 2 (a person paused it)" in str(caught.value)
    assert "`make rollout-resume NAME=cells`" in str(caught.value)


def test_a_signature_tells_columns_and_classes_apart_but_not_fits(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    same = structs.replace(manifest, trial=7, metrics={"f1": 0.5})
    others = (structs.replace(manifest, class_names=("a", "b")), structs.replace(manifest, feature_names=("x",)))
    assert signature_of(same) == signature_of(manifest)
    assert len({signature_of(each) for each in (manifest, *others)}) == 3


def test_fewer_replicas_than_one_are_refused(bundle: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match="expected 1 or more, found 0"):
        plan_serving("local", settings, FakeRegistry(bundle), ServeRequest("cells", replicas=0))
    assert list(settings.home.iterdir()) == []


def test_a_log_of_columns_that_the_model_does_not_have_is_refused(bundle: Path, settings: Settings) -> None:
    file = settings.home / "experiment.yaml"
    content = experiment().model_dump(mode="json", by_alias=True)
    file.write_text(json.dumps({**content, "name": "cells", "serving": {"log": {"fields": ["mean radios"]}}}))
    with pytest.raises(InputError) as caught:
        plan_serving("local", settings, FakeRegistry(bundle), ServeRequest("cells", config=file))
    assert str(caught.value) == (
        "serving.log.fields: expected columns of cells version 3, found 'mean radios'. Did you mean 'mean radius'?"
    )


FEATURES = {"url": "http://features:6566", "service": "cells", "keys": ["cell", "plate", "at"]}
TRAINED = {
    "winnow.data.feast": "features#cells",
    "winnow.data.feast_keys": '{"at": "", "cell": "int64", "plate": "string"}',
}


def written(settings: Settings, **changes: object) -> Path:
    """The experiment file with a look-up of features."""
    file = settings.home / "experiment.yaml"
    content = {**experiment().model_dump(mode="json", by_alias=True), "name": "cells"}
    file.write_text(json.dumps({**content, "serving": {"features": {**FEATURES, **changes}}}))
    return file


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (
            {"service": "cell"},
            "serving.features.service: expected 'cells', on whose features cells version 3 is trained, found 'cell'. "
            "Name that service, or train a version on the other one.",
        ),
        (
            {"keys": ["cell", "plates", "at"]},
            "serving.features.keys: expected the keys of the service 'cells': at, cell, plate, found 'plates'. "
            "Did you mean 'plate'?",
        ),
        (
            {"keys": ["cell", "at"]},
            "serving.features.keys: expected the keys of the service 'cells': at, cell, plate, found cell, at, "
            "without 'plate'. Add it.",
        ),
        (
            {"fallback": {"mean radios": 1}},
            "serving.features.fallback.mean radios: expected a column of cells version 3, found none. "
            "Did you mean 'mean radius'?",
        ),
        (
            {"fallback": {"mean radius": "large"}},
            "serving.features.fallback.mean radius: expected a number, found 'large'. "
            "It would refuse every row that needs it.",
        ),
    ],
)
def test_a_lookup_that_does_not_fit_the_model_is_refused_before_anything_is_built_or_started(
    bundle: Path, settings: Settings, changes: dict[str, object], refusal: str
) -> None:
    file = written(settings, **changes)
    registry = FakeRegistry(bundle, lineage=TRAINED)
    with pytest.raises(InputError) as refused:
        plan_serving("local", settings, registry, ServeRequest("cells", config=file))
    assert str(refused.value) == refusal


@pytest.mark.parametrize(
    ("lineage", "kinds"),
    [(TRAINED, {"cell": "int64", "plate": "string"}), ({"winnow.data.feast": "features#cells"}, UNSET), (None, UNSET)],
)
def test_replicas_are_told_what_the_keys_of_the_models_features_are(
    bundle: Path, settings: Settings, lineage: dict[str, str] | None, kinds: object
) -> None:
    file = written(settings)
    plan = plan_serving("local", settings, FakeRegistry(bundle, lineage=lineage), ServeRequest("cells", config=file))
    found = plan.driver.desired.target.settings.features
    assert found is not None and found.kinds == kinds


def test_an_unknown_stage_is_refused(bundle: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match=r"expected staging, or a stage of `serving\.stages`, found 'live'"):
        plan_serving("local", settings, FakeRegistry(bundle), ServeRequest("cells", stage="live"))
    assert list(settings.home.iterdir()) == []


def test_a_version_is_planned_on_its_platform(bundle: Path, settings: Settings) -> None:
    registry, request = FakeRegistry(bundle, ("3", "2")), ServeRequest("cells", replicas=2)
    planned = plan_serving("local", settings, registry, request)
    assert planned.render().count("--model-version 3") == 2
    assert (planned.deployer.names(), planned.changes_nothing) == ((), False)
    older = plan_serving("local", settings, registry, replace(request, version="2"))
    assert older.render().count("--model-version 2") == 2


def test_the_file_says_how_it_is_served_and_flags_say_otherwise(bundle: Path, settings: Settings) -> None:
    file = settings.home / "experiment.yaml"
    stages = {"live": {"replicas": 3}}
    content = experiment().model_dump(mode="json", by_alias=True)
    file.write_text(json.dumps({**content, "name": "cells", "serving": {"replicas": 2, "stages": stages}}))
    request = ServeRequest("cells", config=file)
    asked = (request, replace(request, stage="live"), replace(request, replicas=4, port=8999))
    planned = [plan_serving("local", settings, FakeRegistry(bundle), each).record for each in asked]
    assert [(each.name, each.revisions[0].scale.replicas, each.entry.port) for each in planned] == [
        ("cells", 2, None),
        ("cells-live", 3, None),
        ("cells", 4, 8999),
    ]


def test_a_preview_on_this_machine_looks_everything_up(bundle: Path, settings: Settings) -> None:
    preview = preview_serving("local", settings, FakeRegistry(bundle), ServeRequest("cells"))
    assert (preview.unknown, preview.absences, preview.note) == ((), (), "")
    assert "--model-version 3" in preview.render()
    assert list(settings.home.iterdir()) == []


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a machine without a Docker engine and without a kubeconfig."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    return Settings.from_environment({"WINNOW_HOME": str(tmp_path / "home")})


IMAGE = f"registry.example/cells@sha256:{'1' * 64}"


@pytest.mark.parametrize(("platform", "image"), [("local", ""), ("docker", IMAGE), ("kubernetes", IMAGE)])
def test_rendering_asks_no_platform_and_gives_equal_text(
    platform: str, image: str, bundle: Path, nowhere: Settings
) -> None:
    first, second = (render(platform, nowhere, FakeRegistry(bundle), ServeRequest("cells"), image) for _ in range(2))
    assert first == second
    assert image in first
    assert "cells" in first


@pytest.mark.parametrize(
    ("platform", "image"), [("local", IMAGE), ("docker", ""), ("kubernetes", "registry.example/cells:latest")]
)
def test_rendering_refuses_an_image_that_is_not_named_by_its_digest(
    platform: str, image: str, bundle: Path, nowhere: Settings
) -> None:
    with pytest.raises(InputError, match=r"image by its digest|none on local"):
        render(platform, nowhere, FakeRegistry(bundle), ServeRequest("cells"), image)


@pytest.mark.parametrize(
    ("platform", "planned"),
    [("docker", "IMAGE-TO-BE-BUILT"), ("kubernetes", "image: IMAGE-TO-BE-BUILT")],
)
def test_a_preview_needs_neither_engine_nor_cluster(
    platform: str, planned: str, bundle: Path, nowhere: Settings
) -> None:
    registry, request = FakeRegistry(bundle, ("3", "2")), ServeRequest("cells", version="2")
    preview = preview_serving(platform, nowhere, registry, request)
    assert planned in preview.render()
    assert preview.unknown == (
        "what serves now, and whether the platform takes the change: it is planned as a first deployment",
        "whether the image is there, and its id",
    )
    engine = f"the Docker engine at {os.environ['DOCKER_HOST']}: "
    cluster = (f"kubeconfig {os.environ['KUBECONFIG']}: ",) if platform == "kubernetes" else ()
    assert [each.startswith(what) for each, what in zip(preview.absences, (*cluster, engine), strict=True)]
    assert not nowhere.home.exists()
    with pytest.raises(UnavailableError):
        plan_serving(platform, nowhere, registry, request)


def test_a_preview_does_not_need_a_cluster_that_is_down(
    bundle: Path, nowhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = os.environ["DOCKER_HOST"].replace("tcp", "http")
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(nowhere.home.with_name("kubeconfig"), address)))
    monkeypatch.setenv("WINNOW_NAMESPACE", "place")
    preview = preview_serving("kubernetes", nowhere, FakeRegistry(bundle), ServeRequest("cells"))
    assert (
        preview.unknown[0]
        == "what serves now, and whether the platform takes the change: it is planned as a first deployment"
    )
    assert address in preview.absences[0]
