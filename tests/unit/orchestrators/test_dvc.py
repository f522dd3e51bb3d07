import json
from pathlib import Path

import pytest

from winnow.config.errors import InputError, WinnowError
from winnow.orchestrators.dvc import FAULTS, DvcProject
from winnow.orchestrators.dvc_process import KINDS


def project(folder: Path, script: str) -> DvcProject:
    """A project whose interpreter is a script for the shell."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    return DvcProject(python, folder, folder / "home", "data.source")


def error_of(folder: Path, **answer: object) -> InputError:
    (folder / "answer").write_text(json.dumps(answer))
    with pytest.raises(InputError) as caught:
        project(folder, f"cat {folder}/answer").ask("resolve", folder / "data" / "t.csv", rev="v1")
    return caught.value


def test_the_process_gets_the_path_in_the_project_and_its_answer_is_returned(tmp_path):
    asked = project(tmp_path, 'echo "{\\"argument\\": \\"$1\\", \\"request\\": $(cat)}"')
    request = {"verb": "resolve", "root": str(tmp_path), "path": "data/t.csv", "rev": None}
    assert asked.ask("resolve", tmp_path / "data" / "t.csv", rev=None) == {"argument": "-I", "request": request}


def test_a_stale_file_is_one_sentence_with_the_ways_out(tmp_path):
    assert str(error_of(tmp_path, fault="stale", detail="data/t.csv.dvc")) == (
        "data.source: expected data/t.csv as data/t.csv.dvc describes it, "
        "found other content: data/t.csv.dvc is stale. "
        f"Make the content a version: `make data-version INPUT={tmp_path}/data/t.csv`; "
        "or name a revision: `data: {rev: HEAD}`."
    )


def test_an_unknown_revision_is_an_error_of_its_key(tmp_path):
    error = error_of(tmp_path, fault="revision", detail="unknown Git revision 'v1'")
    assert (error.place, error.found) == ("data.rev", "'v1'")


@pytest.mark.parametrize("kind", [*FAULTS, "something new"])
def test_every_failure_is_one_line(tmp_path, kind):
    error = error_of(tmp_path, fault=kind, detail="what DVC said")
    assert "\n" not in str(error) and str(error).endswith(".")


def test_a_long_message_of_dvc_is_told_whole(tmp_path):
    assert error_of(tmp_path, fault="push", detail="x" * 300).found == f"'{'x' * 300}'"


def test_every_kind_that_the_process_tells_by_an_exception_has_its_sentence():
    assert set(KINDS) <= set(FAULTS)


def test_a_full_disk_is_told_as_everywhere(tmp_path):
    answer = {"fault": "system", "detail": "No space left on device", "errno": 28, "filename": f"{tmp_path}/home/draft"}
    assert str(error_of(tmp_path, **answer)).startswith(f"{tmp_path}/home/draft: expected room to write")


def test_a_process_that_dies_is_told_with_its_last_line(tmp_path):
    with pytest.raises(WinnowError, match="ended with status 1: ImportError: dvc"):
        project(tmp_path, "echo 'ImportError: dvc' >&2; exit 1").ask("resolve", tmp_path / "t.csv", rev=None)
