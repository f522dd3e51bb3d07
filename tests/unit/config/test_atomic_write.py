"""Files are replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from winnow.config.atomic_write import replace_bytes, replace_text, replacing


def test_a_file_and_its_folder_are_made_and_no_draft_stays(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    replace_text(path, "größer")
    replace_bytes(path, b"2")
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == {"file": b"2"}


def test_a_failed_write_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"file": "old"}


def test_a_reader_of_the_old_file_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_text(path, "old")
    with path.open() as reader:
        replace_text(path, "new")
        assert (reader.read(), path.read_text()) == ("old", "new")


def test_a_given_mode_holds_whatever_the_umask_is(tmp_path: Path) -> None:
    usual = os.umask(0o077)
    try:
        for name, mode in (("usual", None), ("shared", 0o644), ("secret", 0o600)):
            replace_text(tmp_path / name, "", mode=mode)
    finally:
        os.umask(usual)
    modes = {each.name: oct(each.stat().st_mode & 0o777) for each in tmp_path.iterdir()}
    assert modes == {"usual": "0o600", "shared": "0o644", "secret": "0o600"}
