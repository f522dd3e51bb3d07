"""What a disk refuses, with the path and the remedy for that refusal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from winnow.config.disk import disk_fault, probe

HOME = Path("/srv/home")


@pytest.mark.parametrize(
    ("code", "path", "expected", "remedy"),
    [
        (
            errno.ENOSPC,
            "/srv/home/studies.db",
            "room to write",
            "or set WINNOW_HOME to a folder on another disk.",
        ),
        (errno.ENOSPC, "/srv/page.html", "room to write", "Make room on the disk, or name a path on another one."),
        (errno.EDQUOT, "/srv/page.html", "room to write", "Make room within the quota of its user, or name a path"),
        (errno.EROFS, "/srv/home", "a disk that can be written", "set WINNOW_HOME to a copy of /srv/home on another"),
        (errno.EROFS, "/srv/page.html", "a disk that can be written", "or name a path on another one."),
        (
            errno.EACCES,
            "/srv/home/studies",
            "permission for user ",
            "set WINNOW_HOME to a folder of your own.",
        ),
        (errno.EPERM, "/srv/page.html", "permission for user ", "Give it, or name another path."),
    ],
)
def test_a_refusal_names_the_path_and_its_own_remedy(code: int, path: str, expected: str, remedy: str) -> None:
    fault = disk_fault(OSError(code, os.strerror(code), path), HOME)
    assert fault is not None
    assert fault.place == path
    assert fault.expected.startswith(expected)
    assert fault.found.startswith(f"'{os.strerror(code)}'")
    assert remedy in fault.remedy


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(OSError, match="Not a directory") as refused:
        (tmp_path / "taken" / "page.html").write_text("")
    fault = disk_fault(refused.value, HOME)
    assert str(fault) == (
        f"{tmp_path}/taken/page.html: expected a path where a file can be made, found a file at {tmp_path}/taken. "
        "Move it away, or name another path."
    )


def test_a_name_that_is_too_long_is_told_its_length(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long") as refused:
        (tmp_path / ("é" * 150)).write_text("")
    fault = disk_fault(refused.value, HOME)
    assert fault is not None
    assert (fault.expected, fault.remedy) == ("names of at most 255 bytes", "Shorten the name.")
    assert fault.found.startswith("one of 300, in a path of ")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no path"), FileNotFoundError(errno.ENOENT, "none", "/x")])
def test_what_is_no_refusal_of_a_known_path_is_left_alone(error: OSError) -> None:
    assert disk_fault(error, HOME) is None


def test_a_database_is_probed_beside_its_file(tmp_path: Path) -> None:
    assert probe(tmp_path / "studies.db") is None
    refusal = probe(tmp_path / "missing" / "studies.db")
    assert refusal is not None
    assert refusal.errno == errno.ENOENT


def test_a_home_that_cannot_be_made_is_named() -> None:
    home = Path("/proc/none")
    with pytest.raises(FileNotFoundError) as refused:
        (home / "tools").mkdir(parents=True)
    assert str(disk_fault(refused.value, home)) == (
        "/proc/none: expected a folder that can be made, found 'No such file or directory'. "
        "Set WINNOW_HOME to a folder on a disk."
    )
