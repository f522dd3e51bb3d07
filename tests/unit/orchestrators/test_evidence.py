"""What gates and comparisons judge by: unseen rows, and the versions' answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.unit.serving import bundles
from winnow.bundle.manifest import read_manifest
from winnow.bundle.row_digests import row_digests
from winnow.config.errors import InputError
from winnow.data.labelled import LabelledRows, inputs_of, read_labelled, target_for
from winnow.orchestrators.evaluate import compare, evaluate, metrics_of, slices_of
from winnow.orchestrators.evidence import LoadedVersion, Rows, gather
from winnow.tracking.tracker import ModelVersion

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(200, 3)).astype(np.float32)


def version(folder: Path, number: str, *, trained: Any = None, scale: float = 1.0) -> LoadedVersion:
    bundle = bundles.classification(folder / number, scale=scale)
    digests = None if trained is None else np.unique(row_digests(np.asarray(trained, np.float32).reshape(-1, 3)))
    return LoadedVersion(ModelVersion("cells", number, f"run-{number}"), bundle, read_manifest(bundle), digests)


def table(rows: int = 200) -> pd.DataFrame:
    """Rows with a group that is no feature, whose class is the model's own answer for three of four."""
    frame = pd.DataFrame(FEATURES[:rows].astype(np.float64), columns=list(bundles.COLUMNS))
    answers = (FEATURES[:rows] @ bundles.CLASS_WEIGHTS).argmax(axis=1)
    answers[::4] = 1 - answers[::4]
    return frame.assign(
        group=np.where(np.arange(rows) % 2, "odd", "even"), diagnosis=np.asarray(bundles.CLASSES)[answers]
    )


def rows_of(frame: pd.DataFrame) -> Rows:
    return Rows(LabelledRows("rows.csv", frame, frame["diagnosis"].to_numpy()))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_gives_the_rows_with_every_column_and_the_models_own_numbers(tmp_path: Path, suffix: str) -> None:
    file, frame = tmp_path / f"rows{suffix}", table()
    frame.to_csv(file, index=False) if suffix == ".csv" else frame.to_parquet(file)
    manifest = read_manifest(bundles.classification(tmp_path / "bundle"))
    found = read_labelled(str(file), manifest, "INPUT")
    assert list(found.rows.columns) == list(frame.columns)
    assert np.array_equal(inputs_of(found.rows, manifest, "rows"), FEATURES)
    assert [manifest.class_names[each] for each in target_for(found, manifest)] == frame["diagnosis"].tolist()  # type: ignore[index]


def test_rows_without_the_target_and_rows_of_another_model_are_refused(tmp_path: Path) -> None:
    manifest = read_manifest(bundles.classification(tmp_path / "bundle"))
    file = tmp_path / "rows.csv"
    table().drop(columns="diagnosis").to_csv(file, index=False)
    with pytest.raises(InputError, match="INPUT: expected rows with the target, column 'diagnosis'"):
        read_labelled(str(file), manifest, "INPUT")
    with pytest.raises(InputError, match="found none called 'mean texture'"):
        inputs_of(table().drop(columns="mean texture"), manifest, "rows")
    unknown = table().assign(diagnosis="unclear")
    with pytest.raises(InputError, match=r"rows.csv, row 1, column 'diagnosis': expected one of the model's classes"):
        target_for(rows_of(unknown).labelled, manifest)
    with pytest.raises(InputError, match="row 1, column 'mean radius': expected a number"):
        inputs_of(table().astype({"mean radius": object}).assign(**{"mean radius": "wide"}), manifest, "rows")


def test_a_class_is_known_by_each_form_of_its_name(tmp_path: Path) -> None:
    manifest = replace_classes(read_manifest(bundles.classification(tmp_path / "bundle")), ("0", "1"))
    for values in ([0, 1], [0.0, 1.0], ["0", "1"], [np.int64(0), np.float32(1)]):
        found = target_for(LabelledRows("rows", pd.DataFrame(index=[0, 1]), np.array(values, object)), manifest)
        assert found.tolist() == [0, 1]


def test_rows_that_the_candidate_was_trained_on_are_left_out(tmp_path: Path) -> None:
    found = gather(rows_of(table()), version(tmp_path, "2", trained=FEATURES[:50]), None, is_chosen=True)
    assert (len(found.target), len(found.rows), len(found.candidate.outputs)) == (150, 150, 150)
    assert found.source == "rows.csv, less 50 rows that version 2 was trained on"


def test_rows_that_the_champion_was_trained_on_are_marked(tmp_path: Path) -> None:
    candidate, champion = version(tmp_path, "2", trained=()), version(tmp_path, "1", trained=FEATURES[:30])
    found = gather(rows_of(table()), candidate, champion, is_chosen=False)
    assert found.is_unseen is not None
    assert found.is_unseen.tolist() == [False] * 30 + [True] * 170


def test_a_champion_of_unknown_rows_needs_rows_that_a_person_names(tmp_path: Path) -> None:
    candidate, champion = version(tmp_path, "2", trained=()), version(tmp_path, "1")
    found = gather(rows_of(table()), candidate, champion, is_chosen=False)
    assert (found.is_unseen, "name rows that it has not seen" in found.missing) == (None, True)
    found = gather(rows_of(table()), candidate, champion, is_chosen=True)
    assert found.is_unseen is not None and found.is_unseen.all() and not found.missing


def test_versions_of_other_classes_are_refused(tmp_path: Path) -> None:
    candidate = version(tmp_path, "2")
    other = replace(candidate, manifest=replace_classes(candidate.manifest, ("malignant", "unknown")))
    with pytest.raises(InputError, match="expected what version 2 predicts: the classes malignant, unknown"):
        gather(rows_of(table()), candidate, other, is_chosen=True)


def test_answers_are_timed_in_turn_and_sizes_are_known(tmp_path: Path) -> None:
    found = gather(rows_of(table()), version(tmp_path, "2"), version(tmp_path, "1"), is_chosen=True, latency=True)
    assert found.champion is not None
    assert (len(found.candidate.latency_s), len(found.champion.latency_s)) == (500, 500)
    assert (found.candidate.latency_s > 0).all() and found.candidate.size_bytes > 100


def test_an_evaluation_measures_all_rows_and_those_of_each_value(tmp_path: Path) -> None:
    one = version(tmp_path, "2")
    found = evaluate(
        "cells",
        gather(rows_of(table()), one, None, is_chosen=True),
        metrics_of(None, one.manifest, ["accuracy"]),
        "group",
    )
    accuracies = {each.name: (each.rows, each.metrics[0].value) for each in found.slices}
    assert accuracies == {"all": (200, 0.75), "group = even": (100, 0.5), "group = odd": (100, 1.0)}
    all_rows = found.slices[0].metrics[0]
    assert all_rows.low is not None and all_rows.high is not None
    assert 0.66 < all_rows.low < 0.75 < all_rows.high < 0.83


def test_slices_of_numbers_are_quartiles_and_slices_of_many_texts_are_refused() -> None:
    parts = slices_of(table(), "mean radius", "rows.csv")
    assert [int(is_in.sum()) for _, is_in in parts] == [50, 50, 50, 50]
    with pytest.raises(InputError, match="expected a column of at most 20 values"):
        slices_of(table().assign(name=[f"n{each}" for each in range(200)]), "name", "rows.csv")
    with pytest.raises(InputError, match=r"expected a column of rows\.csv, found 'grup'"):
        slices_of(table(), "grup", "rows.csv")


def test_a_comparison_says_which_version_is_better_in_one_sentence(tmp_path: Path) -> None:
    good, bad = version(tmp_path, "2"), version(tmp_path, "1", scale=-1.0)
    metrics = metrics_of(None, good.manifest, ["accuracy"])
    better = compare("cells", gather(rows_of(table()), good, bad, is_chosen=True), metrics)
    worse = compare("cells", gather(rows_of(table()), bad, good, is_chosen=True), metrics)
    equal = compare("cells", gather(rows_of(table()), good, good, is_chosen=True), metrics)
    assert better.values == {"accuracy": (0.25, 0.75)}
    assert better.verdict.startswith("Version 2 is better than version 1: accuracy 0.75 against 0.25 on 200 rows, ")
    assert worse.verdict.startswith("Version 1 is worse than version 2: accuracy 0.25 against 0.75 on 200 rows, ")
    assert equal.verdict.startswith("The rows do not tell versions 2 and 2 apart: ")


def test_what_the_other_version_was_trained_on_counts_in_no_comparison(tmp_path: Path) -> None:
    good, memory = version(tmp_path, "2"), version(tmp_path, "1", trained=FEATURES[:150])
    metrics = metrics_of(None, good.manifest, ["accuracy"])
    found = compare("cells", gather(rows_of(table()), good, memory, is_chosen=True), metrics)
    assert (found.findings[0].n, found.source) == (50, "rows.csv, less 150 rows that version 1 was trained on")
    everything = replace(memory, trained=np.unique(row_digests(FEATURES)))
    with pytest.raises(InputError, match="expected rows that neither version was trained on"):
        compare("cells", gather(rows_of(table()), good, everything, is_chosen=True), metrics)


def replace_classes(manifest: Any, names: tuple[str, ...]) -> Any:
    import msgspec

    return msgspec.structs.replace(manifest, class_names=names)
