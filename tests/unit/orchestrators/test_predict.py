"""Files are scored with the answers that the server gives."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest

from tests.unit.orchestrators.test_evidence import FEATURES, table, version
from tests.unit.serving import bundles
from winnow.bundle.manifest import read_manifest
from winnow.config.errors import InputError
from winnow.config.next_command import next_flag
from winnow.config.settings import Settings
from winnow.orchestrators.evidence import LoadedVersion
from winnow.orchestrators.predict import predict_table
from winnow.serving.predict_codec import PredictCodec
from winnow.tracking.tracker import ModelVersion


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.from_environment({"WINNOW_HOME": str(tmp_path / "home")})


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("given", [".parquet", ".csv", ".arrow"])
def test_every_form_holds_what_the_server_answers(tmp_path: Path, settings: Settings, given: str, suffix: str) -> None:
    source, output, one = tmp_path / f"rows{given}", tmp_path / f"out{suffix}", version(tmp_path, "3")
    frame = table().assign(number=range(200))
    {".parquet": frame.to_parquet, ".csv": lambda path: frame.to_csv(path, index=False), ".arrow": frame.to_feather}[
        given
    ](source)
    # Several batches, the last one smaller.
    done = predict_table(str(source), output, one, settings, carry=["number", "group"], at_once=64)
    found = {
        ".parquet": pd.read_parquet,
        ".csv": pd.read_csv,
        ".jsonl": lambda path: pd.DataFrame(map(msgspec.json.decode, path.read_bytes().splitlines())),
    }[suffix](output)
    assert (done.rows, list(found.columns[:3])) == (200, ["number", "group", "prediction"])
    assert found["number"].astype(int).tolist() == list(range(200))

    codec = PredictCodec(one.predictor.signature)
    request = codec.decode(msgspec.json.encode({"rows": FEATURES.astype(float).tolist()}), "application/json")
    answer = msgspec.json.decode(codec.encode(request, one.predictor.outputs(request.matrix), "a"))
    assert found["prediction"].tolist() == answer["predictions"]
    for name in bundles.CLASSES:
        theirs = [each[name] for each in answer["probabilities"]]
        assert found[f"probability.{name}"].astype(np.float64).tolist() == theirs


def test_values_have_the_names_of_the_targets(tmp_path: Path, settings: Settings) -> None:
    bundle = bundles.regression(tmp_path / "bundle")
    one = LoadedVersion(ModelVersion("progression", "1", "run"), bundle, read_manifest(bundle), None)
    table().to_parquet(tmp_path / "rows.parquet")
    predict_table(str(tmp_path / "rows.parquet"), tmp_path / "out.parquet", one, settings)
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert np.allclose(found[["first", "second"]], FEATURES @ bundles.TARGET_WEIGHTS, rtol=1e-5)


def test_a_row_that_does_not_fit_is_named_and_leaves_nothing_behind(tmp_path: Path, settings: Settings) -> None:
    frame = table().astype({"mean radius": object})
    frame.loc[150, "mean radius"] = "wide"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    one = version(tmp_path, "3")
    with pytest.raises(InputError, match=r"rows\.csv, row 151, column 'mean radius': expected a number"):
        predict_table(str(tmp_path / "rows.csv"), tmp_path / "out.csv", one, settings, at_once=64)
    assert not list(tmp_path.glob("*out*"))


def test_an_output_is_checked_before_anything_is_scored(tmp_path: Path, settings: Settings) -> None:
    one, rows, output = version(tmp_path, "3"), tmp_path / "rows.parquet", tmp_path / "out.parquet"
    table().to_parquet(rows)
    output.write_text("mine")
    refused = {output: "does not exist yet", rows: "another file than the input", tmp_path / "a.xls": ".jsonl"}
    for wrong, said in refused.items():
        with pytest.raises(InputError, match=said):
            predict_table(str(rows), wrong, one, settings)
    assert output.read_text() == "mine"
    with pytest.raises(InputError, match="found 'numbr'"):
        predict_table(str(rows), output, one, settings, carry=["numbr"], is_forced=True)
    assert output.read_text() == "mine"
    assert predict_table(str(rows), output, one, settings, is_forced=True).rows == 200


def test_numbers_beyond_float32_and_names_of_answers_are_refused(tmp_path: Path, settings: Settings) -> None:
    one, rows = version(tmp_path, "3"), tmp_path / "rows.parquet"
    frame = table()
    frame.loc[7, "mean texture"] = 1e39
    frame.to_parquet(rows)
    with pytest.raises(InputError, match=r"row 8, column 'mean texture': expected a finite number"):
        predict_table(str(rows), tmp_path / "out.csv", one, settings)
    with pytest.raises(InputError, match="expected columns of other names than the answers', found 'prediction'"):
        predict_table(str(rows), tmp_path / "out.csv", one, settings, carry=["prediction"])


def test_files_that_cannot_be_read_are_blamed_on_the_flag(tmp_path: Path, settings: Settings) -> None:
    one, broken = version(tmp_path, "3"), tmp_path / "rows.csv.xz"
    broken.write_bytes(b"no archive")
    (tmp_path / "empty").mkdir()
    for source, said in (
        (broken, "expected a table"),
        (tmp_path / "none.csv", "no such file"),
        (tmp_path / "empty", "found an empty folder"),
    ):
        with pytest.raises(InputError, match=said) as caught:
            predict_table(str(source), tmp_path / "out.csv", one, settings)
        assert caught.value.place == next_flag("input")


def test_columns_that_folders_name_are_read_too(tmp_path: Path, settings: Settings) -> None:
    one, folder = version(tmp_path, "3"), tmp_path / "rows"
    for radius in (1, 2):
        (folder / f"mean radius={radius}").mkdir(parents=True)
        table(3).drop(columns="mean radius").to_parquet(folder / f"mean radius={radius}" / "part.parquet")
    assert predict_table(str(folder), tmp_path / "out.csv", one, settings, carry=["mean radius"]).rows == 6
    assert pd.read_csv(tmp_path / "out.csv")["mean radius"].tolist() == [1, 1, 1, 2, 2, 2]
