"""What winnow keeps is for its user alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from winnow.config.private import make_home, tighten


def modes(folder: Path) -> dict[str, str]:
    """The modes of a folder and of all below it, by their paths from there."""
    found = sorted([folder, *folder.rglob("*")])
    return {str(each.relative_to(folder)): f"{each.stat().st_mode & 0o777:o}" for each in found}


def older_home(home: Path) -> Path:
    """A home as a version wrote it that left modes to the umask."""
    for place in ("studies/a-study/report.html", "models/aa/model.onnx", "mlflow.db", "studies.db-wal"):
        path = home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)
        path.write_text("rows")
        path.chmod(0o644)
    home.chmod(0o755)
    return home


def test_a_new_home_is_for_its_user_alone(tmp_path: Path) -> None:
    make_home(tmp_path / "new" / "home")
    assert modes(tmp_path / "new" / "home") == {".": "700"}


def test_an_existing_home_is_closed_to_others(tmp_path: Path) -> None:
    home = older_home(tmp_path / "home")
    tighten(home)
    found = modes(home)
    assert {name: found[name] for name in (".", "studies", "models", "mlflow.db", "studies.db-wal")} == {
        ".": "700",
        "studies": "700",
        "models": "700",
        "mlflow.db": "600",
        "studies.db-wal": "600",
    }


def test_a_folder_that_holds_other_things_stays_as_open_as_it_is(tmp_path: Path) -> None:
    home = older_home(tmp_path / "home")
    (home / "page.html").touch(mode=0o644)
    tighten(home)
    found = modes(home)
    assert (found["."], found["page.html"], found["studies"], found["mlflow.db"]) == ("755", "644", "700", "600")
    tighten(tmp_path / "nowhere")
    tighten(home / "page.html")


def test_a_command_tightens_its_home_and_leaves_what_a_person_names_to_the_umask(tmp_path: Path) -> None:
    home = older_home(tmp_path / "home of mine")
    command = [sys.executable, "-m", "winnow", "generate-data", "--rows", "50", "--output", "rows.csv"]
    done = subprocess.run(
        ["sh", "-c", 'umask 022; exec "$@"', "sh", *command],
        cwd=tmp_path,
        env={**os.environ, "WINNOW_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = modes(tmp_path)
    assert (found["rows.csv"], found["home of mine"], found["home of mine/mlflow.db"]) == ("644", "700", "600")


def test_folders_that_a_person_names_are_as_open_as_the_umask_says(tmp_path: Path) -> None:
    winnow = f"{sys.executable} -m winnow"
    images = "generate-data --kind images --rows 10 --output drawn"
    done = subprocess.run(
        ["sh", "-c", f"umask 022; {winnow} init project && {winnow} {images}"],
        cwd=tmp_path,
        env={**os.environ, "WINNOW_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for folder in ("project", "drawn"):
        found = {(path.is_dir(), f"{path.stat().st_mode & 0o777:o}") for path in (tmp_path / folder).rglob("*")}
        assert found <= {(True, "755"), (False, "644")}
        assert f"{(tmp_path / folder).stat().st_mode & 0o777:o}" == "755"
    assert modes(tmp_path)["drawn.answer.json"] == "644"
