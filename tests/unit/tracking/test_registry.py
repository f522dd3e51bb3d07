from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pytest

from tests.unit.tracking.made_up import STUDY, bundle, new_store, sweep, trial
from winnow.bundle.manifest import read_manifest
from winnow.bundle.row_digests import TRAINED_ROWS, write_digests
from winnow.tracking.history import AlertRecord, RejectedRecord
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import SEMANTIC, ChampionRecord, Registry
from winnow.tracking.tracker import ModelVersion, Sent, TrackingUnavailableError

NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def clock() -> Iterator[datetime]:
    now = NOON
    while True:
        yield now
        now += timedelta(hours=1)


def registered(uri: str, folder: Path, count: int) -> list[ModelVersion]:
    tracker, record = MlflowTracker(uri), sweep()
    parent = tracker.start_sweep(record)
    trials = [trial(number) for number in range(count)]
    return [
        tracker.log_bundle(record, parent, one, bundle(folder / f"bundle-{one.number}", one, scale=1.0 + one.number))
        for one in trials
    ]


def test_a_model_that_does_not_exist_has_neither_versions_nor_champions(tmp_path: Path) -> None:
    registry = Registry(new_store(tmp_path))
    assert registry.versions("nobody") == []
    assert registry.champion("nobody") is None
    assert registry.champions("nobody") == []


def test_versions_come_newest_first(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    first, second = registered(uri, tmp_path, 2)
    registry = Registry(uri)
    assert registry.versions(STUDY) == [second, first]
    assert registry.version_of(STUDY, first.run_id) == first
    assert registry.version_of(STUDY, "0" * 32) is None


def test_the_history_says_who_was_champion_since_when_and_why(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    first, second = registered(uri, tmp_path, 2)
    times = clock()
    registry = Registry(uri, now=lambda: next(times))
    assert registry.crown(first, "the only one")
    assert registry.crown(second, "better f1")
    assert not registry.crown(second, "better f1, again")
    assert registry.crown(first, "rolled back")
    assert registry.champion(STUDY) == first
    assert registry.champions(STUDY) == [
        ChampionRecord(first, NOON, "the only one"),
        ChampionRecord(second, NOON + timedelta(hours=1), "better f1"),
        ChampionRecord(first, NOON + timedelta(hours=2), "rolled back"),
    ]


WRITER = """
import sys
from datetime import UTC, datetime
from winnow.tracking.history import AlertRecord
from winnow.tracking.registry import Registry

registry, noon = Registry(sys.argv[1]), datetime(2026, 11, 21, 12, tzinfo=UTC)
for number in range(20):
    registry.note("cells", AlertRecord("1", sys.argv[2], "firing", "WinnowDrift", str(number), "moved"), noon)
"""


def test_processes_that_write_at_the_same_time_lose_no_record(tmp_path: Path) -> None:
    uri, deployments = new_store(tmp_path), ("east", "west")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, uri, each]) for each in deployments]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    found = {(each.deployment, each.subject) for _, each in Registry(uri).records("cells", AlertRecord)}
    assert found == {(deployment, str(number)) for deployment in deployments for number in range(20)}


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_home_that_was_moved_or_copied_serves_its_own_files(is_copied: bool, tmp_path: Path) -> None:
    before, after = tmp_path / "a home", tmp_path / "another"
    before.mkdir()
    uri = new_store(before)
    (version,) = registered(uri, tmp_path, 1)
    (shutil.copytree if is_copied else Path.rename)(before, after)
    uri = uri.replace(str(before), str(after))
    # A copy does not read, or write, what belongs to the other.
    for file in before.rglob("artifacts/**/*.onnx"):
        file.unlink()
    assert read_manifest(Registry(uri).download_bundle(version, tmp_path / "bundle")).study == STUDY
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    found = client.get_model_version(version.name, version.version), client.get_run(version.run_id).info
    places = [found[0].source, found[1].artifact_uri, client.get_experiment_by_name(STUDY).artifact_location]
    assert [place.startswith(f"{after.as_uri()}/artifacts/{STUDY}") for place in places] == [True] * 3


def test_aliases_have_histories_of_their_own(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    first, second = registered(uri, tmp_path, 2)
    registry = Registry(uri)
    registry.crown(first, "safe")
    registry.crown(second, "bold", alias="challenger")
    assert (registry.champion(STUDY), registry.champion(STUDY, "challenger")) == (first, second)
    assert [record.reason for record in registry.champions(STUDY, "challenger")] == ["bold"]


def test_a_coronation_that_died_before_its_note_is_noted_the_next_time(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    (only,) = registered(uri, tmp_path, 1)
    mlflow.MlflowClient(uri).set_registered_model_alias(STUDY, "champion", only.version)
    registry = Registry(uri)
    assert registry.crown(only, "the only one")
    assert [record.version for record in registry.champions(STUDY)] == [only]


def test_a_bundle_comes_back_as_it_was_exported(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    (only,) = registered(uri, tmp_path, 1)
    copy = Registry(uri).download_bundle(only, tmp_path / "copies" / "one")
    original = tmp_path / "bundle-0"
    assert read_manifest(copy) == read_manifest(original)
    assert {file.name for file in copy.iterdir()} == {file.name for file in original.iterdir()}
    assert [folder.name for folder in (tmp_path / "copies").iterdir()] == ["one"]
    with pytest.raises(FileExistsError):
        Registry(uri).download_bundle(only, copy)


def test_a_bundle_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    (only,) = registered(uri, tmp_path, 1)
    (stored,) = (tmp_path / "artifacts").rglob("model.onnx")
    stored.write_bytes(b"something else")
    with pytest.raises(ValueError, match="expected sha256"):
        Registry(uri).download_bundle(only, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_store_that_is_away_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailableError):
        Registry(f"sqlite:///{tmp_path}/nothing.db").champion(STUDY)


def test_verdicts_are_kept_with_a_version_by_stage(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    first, second = registered(uri, tmp_path, 2)
    registry = Registry(uri)
    registry.keep_verdict(first, "staging", '{"is_promoted":false}')
    registry.keep_verdict(first, "staging", '{"is_promoted":true}')
    assert registry.verdicts(first) == {"staging": '{"is_promoted":true}'}
    assert registry.verdicts(second) == {}


def test_records_of_one_time_are_all_kept_in_order_and_none_twice(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    alerts = [AlertRecord("1", "wine", "firing", "WinnowDrift", str(number), "moved") for number in range(24)]
    rejected = RejectedRecord("1", "wine", "ada rolled it back")
    registry = Registry(uri)
    registry.note("wine", rejected, NOON + timedelta(minutes=1))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: Registry(uri).note("wine", each, NOON), [*alerts, *alerts]))
    registry.note("wine", alerts[0], NOON - timedelta(seconds=1))
    first, *others = registry.records("wine", AlertRecord)
    assert first == (NOON - timedelta(seconds=1), alerts[0])
    assert sorted((at, each.subject) for at, each in others) == sorted((NOON, each.subject) for each in alerts)
    assert registry.records("wine", RejectedRecord) == [(NOON + timedelta(minutes=1), rejected)]


def test_the_folds_scores_of_a_version_come_in_the_order_of_the_folds(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent, one = tracker.start_sweep(record), trial(0)
    tracker.sync_trial(record, parent, one, Sent())
    version = tracker.log_bundle(record, parent, one, bundle(tmp_path / "bundle", one))
    scores = {fold.fold: fold.metrics[record.metric] for fold in one.folds}
    found = Registry(uri).fold_scores(version)[record.metric]
    assert found.tolist() == [scores[fold] for fold in sorted(scores)]


def test_digests_of_training_rows_are_found_again_and_older_versions_have_none(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, record = MlflowTracker(uri), sweep()
    parent, one, other = tracker.start_sweep(record), trial(0), trial(1)
    file = tmp_path / TRAINED_ROWS
    write_digests(file, np.array([7, 3, 7], np.uint64))
    kept = tracker.log_bundle(record, parent, one, bundle(tmp_path / "bundle-0", one), artifacts=[file])
    older = tracker.log_bundle(record, parent, other, bundle(tmp_path / "bundle-1", other, scale=2.0))
    found = Registry(uri).trained_rows(kept)
    assert found is not None and found.tolist() == [3, 7]
    assert Registry(uri).trained_rows(older) is None


def test_versions_get_semantic_versions_in_their_order_and_keep_them(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker, first = MlflowTracker(uri), sweep()
    changed = {**first.experiment, "model": {"factory": "nets.py:wide"}}
    sweeps = [first, sweep("again", experiment=first.experiment), sweep("wide", experiment=changed), first]
    versions = []
    for number, record in enumerate(sweeps):
        parent, one = tracker.start_sweep(record), trial(number, study=record.study)
        made = bundle(
            tmp_path / f"bundle-{number}", one, features=6 if number == 3 else 4, scale=2.0 + number, name=STUDY
        )
        versions.append(tracker.log_bundle(record, parent, one, made))
    numbers = {"1": "1.0.0", "2": "1.0.1", "3": "1.1.0", "4": "2.0.0"}
    assert {each.version: each.semantic for each in versions} == numbers
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    for each in versions:  # as an older winnow registered them
        client.delete_model_version_tag(STUDY, each.version, SEMANTIC)
    registry = Registry(uri)
    champion = registry.crown(versions[2], "bold") and registry.champion(STUDY)
    assert champion and champion.label == "3 (1.1.0)"
    assert {each.version: each.semantic for each in registry.versions(STUDY)} == numbers
    client.delete_model_version(STUDY, "2")
    assert [each.semantic for each in Registry(uri).versions(STUDY)] == ["2.0.0", "1.1.0", "1.0.0"]
    assert {each.label for each in Registry(uri).registered_by(versions[3].run_id)} == {"4 (2.0.0)"}


def test_another_version_of_prepared_rows_is_a_patch_and_another_recipe_a_minor_version(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    tracker = MlflowTracker(uri)
    prepared = [("0acf482b8e54", "aa"), ("77d1c0ffee00", "aa"), ("0acf482b8e54", "bb")]
    for number, (version, recipe) in enumerate(prepared):
        lineage = {"winnow.data.source": "prepared", "winnow.data.version": version, "winnow.data.recipe": recipe}
        values = {**sweep().experiment, "data": {"source": f"/home/data/cells/prepared/{version}"}}
        record = sweep(f"cells-{number}", experiment=values, lineage=lineage)
        parent, one = tracker.start_sweep(record), trial(number, study=record.study)
        made = bundle(tmp_path / f"bundle-{number}", one, scale=2.0 + number, name=STUDY)
        tracker.log_bundle(record, parent, one, made)
    versions = Registry(uri).versions(STUDY)
    assert [each.semantic for each in versions] == ["1.1.0", "1.0.1", "1.0.0"]
    assert versions[0].lineage == {**lineage, "winnow.data.sha256": record.data_sha256}


def test_a_version_whose_files_are_gone_has_a_semantic_version_too(tmp_path: Path) -> None:
    uri = new_store(tmp_path)
    client = mlflow.MlflowClient(uri, registry_uri=uri)
    for each in registered(uri, tmp_path, 2):
        client.delete_model_version_tag(STUDY, each.version, SEMANTIC)
    for file in tmp_path.rglob("artifacts/**/manifest.json"):
        file.unlink()
    assert [each.label for each in Registry(uri).versions(STUDY)] == ["2 (2.0.0)", "1 (1.0.0)"]
