"""The commands that messages tell a person to type."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from winnow.config.next_command import Value, has_targets, render

PATH = "/tmp/home of mine/it's $x.yaml"


def test_in_a_clone_it_is_a_target_of_make_and_elsewhere_a_verb_of_winnow() -> None:
    given: dict[str, Value] = {"study": "cells", "follow": True, "worker": None, "lines": 5, "json": False, "port": ...}
    assert render("logs", given, has_targets=True) == "make logs STUDY=cells FOLLOW=1 LINES=5 PORT=…"
    assert render("logs", given, has_targets=False) == "winnow logs --study cells --follow --lines 5 --port …"


@pytest.mark.parametrize(
    ("verb", "platform", "made"),
    [
        ("train", "local", "train"),
        ("train", "docker", "train-docker"),
        ("prod", None, "prod-local"),
        ("prod", "kubernetes", "prod-kubernetes"),
        ("prod-remove", "docker", "prod-remove PLATFORM=docker"),
        ("mlflow-init", "docker", "mlflow-init"),
        ("retry", "local", "retry"),
        ("retry", "docker", "retry PLATFORM=docker"),
        ("mlflow-init", "kubernetes", "mlflow-init PLATFORM=kubernetes"),
    ],
)
def test_a_platform_has_its_own_make_target_where_there_is_one(verb: str, platform: str | None, made: str) -> None:
    assert render(verb, {"platform": platform}, has_targets=True) == f"make {made}"


def test_it_can_be_pasted_whatever_the_paths_are() -> None:
    words = shlex.split(render("train", {"config": Path(PATH)}, has_targets=False, home="/tmp/home of mine"))
    assert words == ["WINNOW_HOME=/tmp/home of mine", "winnow", "train", "--config", PATH]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_hands_the_verb_the_path_as_it_is() -> None:
    command = render("train", {"config": PATH}, has_targets=True)
    # Nothing is set up, and the recipe's shell prints the words that the verb would get.
    asked = command.replace("make", "make -e -o setup -o .venv/.set-up", 1)
    # A make above this one (`make test`) would add its flags, and lines about folders.
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: text for name, text in os.environ.items() if name not in outer} | {"WINNOW": 'printf "%s|"'}
    shown = subprocess.run(["sh", "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout == f"train|--config|{PATH}|"


def test_a_makefile_of_another_project_has_no_targets_of_winnow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert has_targets()
    monkeypatch.chdir(tmp_path)
    assert not has_targets()
    (tmp_path / "Makefile").write_text("train:\n\tpython train.py\n")
    assert not has_targets()
