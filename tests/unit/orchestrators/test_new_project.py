"""`winnow init`: a folder that works outside the clone, with the clone's targets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.loader import load_experiment
from winnow.config.own_files import CLONE
from winnow.orchestrators.new_project import make_project, name_of, project_files

FILES = [".dockerignore", ".gitignore", "Makefile", "data.py", "experiment.schema.json", "experiment.yaml", "model.py"]


def make(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What make prints in a folder. A make above this one would add its flags."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    outer = {name: text for name, text in os.environ.items() if "MAKE" not in name and name != "MFLAGS"}
    command = ["make", "--old-file=.venv/.set-up", "--old-file=requirements.lock", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**outer, **variables}, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_new_project_is_a_folder_of_files_named_after_it(tmp_path: Path) -> None:
    made = make_project(tmp_path / "Red Wines")
    assert (made.folder, made.name) == (tmp_path / "Red Wines", "red-wines")
    assert sorted(map(str, made.files)) == sorted(path.name for path in made.folder.iterdir()) == FILES
    assert load_experiment(made.folder / "experiment.yaml").name == "red-wines"


def test_a_folder_with_other_files_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    make_project(tmp_path, "cells")
    assert (tmp_path / "notes.md").read_text() == "mine"
    assert load_experiment(tmp_path / "experiment.yaml").name == "cells"


def test_nothing_is_written_where_a_file_would_be_overwritten(tmp_path: Path) -> None:
    (tmp_path / "data.py").write_text("mine")
    (tmp_path / "Makefile").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"expected a folder without the files .*, found data\.py, Makefile\. "):
        make_project(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile", "data.py"]


def test_a_name_that_no_study_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--name: expected lower-case letters"):
        make_project(tmp_path / "new", "Cells!")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("Red Wines (2)", "red-wines-2"), ("Régions", "regions"), ("_", "my-project"), ("a" * 70, "a" * 63), ("x", "x")],
)
def test_the_name_is_like_the_folders(folder: str, name: str) -> None:
    assert name_of(Path("/home") / folder) == name


def test_the_project_and_the_clone_offer_the_same_verbs(tmp_path: Path) -> None:
    make_project(tmp_path, "cells")
    in_clone = make(CLONE, "help").stdout
    assert in_clone.startswith(make(tmp_path, "help").stdout)
    assert in_clone.count("\nDevelop\n") == 1


def test_help_names_every_target_in_80_columns() -> None:
    shown = make(CLONE, "help").stdout
    makefiles = "\n".join(
        path.read_text() for path in (CLONE / "Makefile", CLONE / "src/winnow/orchestrators/starter/targets.mk")
    )
    targets = re.findall(r"^([a-z][a-z-]*)(?: [a-z-]+)*:", makefiles, re.MULTILINE)
    assert sorted(re.findall(r"^  ([a-z][a-z-]*)", shown, re.MULTILINE)) == sorted(targets)
    assert max(map(len, shown.splitlines())) <= 80
    assert re.findall(r"^[A-Z].*$", shown, re.MULTILINE) == [
        *("Start", "Data", "Sweep", "Look", "Select", "Serve", "Watch", "Stack", "Develop")
    ]


@pytest.mark.parametrize("winnow", ["/opt/my$tools/a#b/winnow", "'/home/a b/winnow'", "/usr/bin/python -m winnow"])
def test_a_target_calls_the_winnow_that_made_the_project(tmp_path: Path, winnow: str) -> None:
    (tmp_path / "Makefile").write_text(project_files("cells", winnow)["Makefile"])
    assert make(tmp_path, "--dry-run", "train", "TRIALS=3").stdout.splitlines()[-1] == f"{winnow} train --trials '3'"


def test_another_winnow_can_be_named(tmp_path: Path) -> None:
    make_project(tmp_path, "cells")
    assert make(tmp_path, "studies", "WINNOW=echo").stdout == "studies\n"
    assert make(tmp_path, "studies", WINNOW="echo").stdout == "studies\n"


def test_a_winnow_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    make_project(tmp_path, "cells")
    done = make(tmp_path, "studies", "WINNOW=/gone/winnow")
    assert done.stderr.splitlines()[0] == ("error: there is no winnow at /gone/winnow. Name one: make studies WINNOW=…")
    assert done.returncode == 2


def test_a_project_installs_no_winnow_from_an_index() -> None:
    texts = "\n".join(project_files("cells", "winnow").values())
    assert "pip install winnow" not in texts
