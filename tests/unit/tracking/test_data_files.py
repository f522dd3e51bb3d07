"""Data files in the artifact store: once, whole, and the same that were put there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from winnow.tracking.data_files import DamagedFileError, DataFiles
from winnow.tracking.store import prepare
from winnow.tracking.tracker import TrackingUnavailableError


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    prepare(made)
    return made


def stored(uri: str) -> list[Path]:
    root = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_file_comes_back_as_it_was_put(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"a,b\n1,2\n")
    digest = DataFiles(uri).put(file)
    assert digest == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    fetched = DataFiles(uri).fetch(digest, "rows.csv", tmp_path / "here")
    assert fetched == tmp_path / "here" / digest / "rows.csv"
    assert fetched.read_bytes() == b"a,b\n1,2\n"


def test_a_file_is_stored_once(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "once.csv"
    file.write_bytes(b"once\n")
    DataFiles(uri).put(file)
    times = [path.stat().st_mtime_ns for path in stored(uri)]
    DataFiles(uri).put(file)
    assert [path.stat().st_mtime_ns for path in stored(uri)] == times


def test_a_copy_that_was_cut_short_is_stored_again_also_beside_a_whole_one(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "whole.csv"
    file.write_bytes(b"a,b\n3,4\n")
    digest = DataFiles(uri).put(file)
    (kept,) = (path for path in stored(uri) if path.name == "whole.csv")
    kept.with_name("other.csv").write_bytes(b"a,")
    assert DataFiles(uri).put(file.rename(tmp_path / "other.csv")) == digest
    assert DataFiles(uri).fetch(digest, "other.csv", tmp_path / "here").read_bytes() == b"a,b\n3,4\n"


def test_a_file_that_was_fetched_is_not_fetched_again(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "again.csv"
    file.write_bytes(b"again\n")
    digest = DataFiles(uri).put(file)
    DataFiles(uri).fetch(digest, "again.csv", tmp_path / "here")
    away = DataFiles(f"sqlite:///{tmp_path / 'no-store.db'}")
    assert away.fetch(digest, "again.csv", tmp_path / "here").is_file()


def test_a_file_that_was_changed_in_the_store_is_refused(uri: str, tmp_path: Path) -> None:
    file = tmp_path / "changed.csv"
    file.write_bytes(b"before\n")
    digest = DataFiles(uri).put(file)
    (kept,) = (path for path in stored(uri) if path.name == "changed.csv")
    kept.write_bytes(b"after\n")
    with pytest.raises(DamagedFileError, match=digest):
        DataFiles(uri).fetch(digest, "changed.csv", tmp_path / "here")


def test_a_store_that_is_away_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailableError):
        DataFiles(f"sqlite:///{tmp_path / 'no-store.db'}").fetch("ab" * 32, "rows.csv", tmp_path)
