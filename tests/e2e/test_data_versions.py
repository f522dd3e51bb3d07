"""Versions of data by the real DVC, with a folder as its remote."""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tools import installed
from winnow import api
from winnow.cli import winnow
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.settings import Settings
from winnow.orchestrators.data_source import resolve_source
from winnow.orchestrators.dvc import DvcVersion, fetch, restore
from winnow.orchestrators.ingest import ingest

pytestmark = pytest.mark.tools("dvc")

FIRST, SECOND = "day,rain\n1,0.5\n", "day,rain\n1,0.5\n2,3.0\n"


def git(project: Path, *arguments: str) -> str:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    return subprocess.check_output(["git", *author, "-C", str(project), *arguments], text=True).strip()


def new_project(folder: Path, url: str) -> Path:
    """A project like one of `git init && dvc init && dvc remote add --default store URL`."""
    (folder / ".dvc").mkdir(parents=True)
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (folder / ".dvc" / "config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {url}\n")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "A")
    git(folder, "config", "user.email", "a@example.com")
    return folder


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a table in two versions and a folder, and its remote beside it."""
    installed("dvc")
    folder = tmp_path_factory.mktemp("dvc")
    (folder / "remote").mkdir()
    project = new_project(folder / "project", f"{folder}/remote")
    table, parts = project / "data" / "rain.csv", project / "data" / "parts"
    (parts / "inner").mkdir(parents=True)
    table.write_text(FIRST)
    first = api.data_version(table, commit=True)
    table.write_text(SECOND)
    for name in ("a.csv", "inner/b.csv"):
        (parts / name).write_text(FIRST)
    assert first.committed and not api.data_version(table).committed
    assert api.data_version(parts, commit=True).committed
    assert api.data_version(table, commit=True).pushed == 0
    return project


@pytest.fixture
def project(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the project, as a clone has it: without DVC's cache and without the contents."""
    copy = tmp_path / "project"
    shutil.copytree(original, copy)
    shutil.copytree(original.parent / "remote", tmp_path / "remote")
    config = copy / ".dvc" / "config"
    config.write_text(config.read_text().replace(f"{original.parent}/remote", f"{tmp_path}/remote"))
    shutil.rmtree(copy / ".dvc" / "cache")
    shutil.rmtree(copy / "data" / "parts")
    (copy / "data" / "rain.csv").unlink()
    return copy


def refused(source: str, rev: str | None, home: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        fetch(source, rev, home, "data.source")
    kept = [path for path in (home / "data" / "dvc").rglob("*") if path.is_file()] if home.exists() else []
    assert kept == []
    return caught.value


def test_a_revision_has_its_content_and_is_fetched_once(project, tmp_path):
    home, source = tmp_path / "home", f"dvc:{project}/data/rain.csv"
    now, before = fetch(source, None, home, "data.source"), fetch(source, "HEAD~2", home, "data.source")
    assert (now.path.read_text(), before.path.read_text()) == (SECOND, FIRST)
    assert before == DvcVersion(
        home / "data" / "dvc" / before.md5 / "rain.csv",
        "data/rain.csv",
        before.md5,
        git(project, "rev-parse", "HEAD~2"),
    )
    shutil.rmtree(tmp_path / "remote")
    assert fetch(source, "HEAD~2", home, "data.source") == before
    assert fetch(source, None, home, "data.source") == now


def test_a_folder_is_fetched_whole_and_a_file_of_it_alone(project, tmp_path):
    home = tmp_path / "home"
    whole = fetch(f"dvc:{project}/data/parts", "HEAD", home, "data.source")
    assert whole.md5.endswith(".dir")
    assert {path.relative_to(whole.path).as_posix() for path in whole.path.rglob("*.csv")} == {"a.csv", "inner/b.csv"}
    one = fetch(f"dvc:{project}/data/parts/inner/b.csv", "HEAD", home, "data.source")
    assert (one.path.name, one.path.read_text()) == ("b.csv", FIRST)


def test_a_workspace_file_has_to_be_what_its_dvc_file_says(project, tmp_path):
    (project / "data" / "rain.csv").write_text("day,rain\n")
    error = refused(f"dvc:{project}/data/rain.csv", None, tmp_path / "home")
    assert error.found == "other content: data/rain.csv.dvc is stale"


def test_a_version_that_git_does_not_have_is_marked(project, tmp_path):
    (project / "data" / "new.csv").write_text(FIRST)
    api.data_version(project / "data" / "new.csv")
    found = fetch(f"dvc:{project}/data/new.csv", None, tmp_path / "home", "data.source")
    assert found.rev == git(project, "rev-parse", "HEAD") + "-dirty"


@pytest.mark.parametrize(
    ("path", "rev", "found"),
    [
        ("data/nothing.csv", None, "no data/nothing.csv.dvc, nor a stage of dvc.yaml with this output"),
        ("data", "HEAD", "no data.dvc at revision HEAD, nor a stage of dvc.yaml with this output"),
        ("data/parts/inner", "HEAD", "the folder data/parts/inner inside of one"),
        ("data/rain.csv", "nowhere", "'nowhere'"),
    ],
)
def test_what_is_not_tracked_is_refused(project, tmp_path, path, rev, found):
    assert refused(f"dvc:{project}/{path}", rev, tmp_path / "home").found == found


def test_content_that_cannot_be_had_is_refused_with_the_reason(project, tmp_path, monkeypatch):
    home, remote, config = tmp_path / "home", tmp_path / "remote", project / ".dvc" / "config"
    source, whole = f"dvc:{project}/data/rain.csv", f"dvc:{project}/data/parts"
    shutil.rmtree(remote)
    assert refused(source, "HEAD", home).found == f"'{remote}: no such folder'"
    remote.mkdir()
    assert refused(whole, "HEAD", home).found == "none there"
    set_remote = config.read_text()
    config.write_text("")
    assert refused(source, None, home).expected == "a default remote, where DVC keeps contents"
    config.write_text(set_remote.replace(str(remote), "s3://bucket/data\n    endpointurl = http://localhost:1"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert refused(source, None, home).expected == "DVC's remote to let this user in"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert refused(source, None, home).expected == "DVC's remote to answer"


def test_damaged_content_is_refused(project, tmp_path):
    for path in (tmp_path / "remote").rglob("*"):
        if path.is_file() and not path.name.endswith(".dir"):
            path.chmod(0o644)
            path.write_text("day,rain\n")
    error = refused(f"dvc:{project}/data/rain.csv", "HEAD", tmp_path / "home")
    assert error.found.startswith("content with the hash ")


def test_without_git_or_dvc_the_error_has_the_commands(tmp_path):
    dvc = installed("dvc").with_name("dvc")
    (tmp_path / "rain.csv").write_text(FIRST)
    with pytest.raises(InputError, match=f"`git init && {dvc} init`"):
        api.data_version(tmp_path / "rain.csv")
    git(tmp_path, "init", "--quiet")
    with pytest.raises(InputError, match=f"`cd {tmp_path} && {dvc} init`"):
        api.data_version(tmp_path / "rain.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".git", "rain.csv"]


def test_what_cannot_become_a_version_leaves_the_project_as_it_was(project, tmp_path):
    path = project / "data" / "table.csv"
    path.write_text(FIRST)
    git(project, "add", "--force", str(path))
    with pytest.raises(InputError) as caught:
        api.data_version(path)
    assert caught.value.found == "that Git tracks it"
    git(project, "rm", "--quiet", "--cached", str(path))
    shutil.rmtree(tmp_path / "remote")
    config = project / ".dvc" / "config"
    config.write_text(config.read_text().replace(f"{tmp_path}/remote", f"{tmp_path}/nowhere/remote"))
    with pytest.raises(InputError, match="no such folder"):
        api.data_version(path)
    assert not path.with_name("table.csv.dvc").exists()


@pytest.mark.parametrize("is_mount_point", [True, False])
def test_a_remote_that_has_lost_its_versions_is_not_made_anew(project, tmp_path, is_mount_point):
    path, remote = project / "data" / "rain.csv", tmp_path / "remote"
    path.write_text("day,rain\n9,9\n")
    written = path.with_name("rain.csv.dvc").read_text()
    shutil.rmtree(remote)
    if is_mount_point:
        remote.mkdir()
    with pytest.raises(InputError) as caught:
        api.data_version(path)
    assert str(caught.value).partition(": ")[2] == (
        f"expected the versions that DVC has already in its remote, the folder {remote}, "
        f"found {'nothing in it' if is_mount_point else 'no such folder'}. Mount it, or correct its address. If it is "
        f"lost, begin anew without old versions: `mkdir -p {remote}/files`."
    )
    assert path.with_name("rain.csv.dvc").read_text() == written and remote.exists() == is_mount_point
    (remote / "files").mkdir(parents=True)
    assert api.data_version(path).pushed == 1


def test_a_pipeline_whose_outputs_dvc_does_not_keep_leaves_no_remote_lost(tmp_path):
    installed("dvc")
    project = new_project(tmp_path / "project", f"{tmp_path}/remote")
    (project / "dvc.yaml").write_text(
        "stages:\n"
        "  score: {cmd: score, metrics: [score.json: {cache: false}]}\n"
        "  later: {cmd: later, outs: [later.csv]}\n"
    )
    path = project / "rain.csv"
    path.write_text(FIRST)
    assert api.data_version(path).pushed == 1


def experiment(**data: object) -> Experiment:
    search = {"space": {"lr": {"float": [0.1, 0.2]}}, "trials": 1, "metric": {"name": "f1"}}
    return Experiment.model_validate({"name": "rain", "data": {"target": "rain", **data}, "search": search})


def test_raw_data_are_ingested_as_dvc_has_them_and_say_so(project, tmp_path):
    home, source = tmp_path / "home", f"dvc:{project}/data/rain.csv"
    first = ingest(experiment(source="prepared", rev="HEAD~2", raw={"source": source}), home)
    assert first.ingested is not None and first.ingested.rows == 1
    assert first.ingested.lineage == {
        "winnow.data.dvc": hashlib.md5(FIRST.encode()).hexdigest(),
        "winnow.data.rev": git(project, "rev-parse", "HEAD~2"),
        "winnow.data.path": "data/rain.csv",
    }
    second, again = (ingest(experiment(source="prepared", raw={"source": source}), home) for _ in range(2))
    assert (second.state, again.state) == ("new", "unchanged")
    git(project, "commit", "--quiet", "--allow-empty", "--message", "Another commit with the same data")
    later = ingest(experiment(source="prepared", raw={"source": source}), home)
    assert later.state == "unchanged" and later.ingested is not None
    assert later.ingested.lineage["winnow.data.rev"] == git(project, "rev-parse", "HEAD")


def test_a_version_that_a_study_was_made_with_is_fetched_again(project, tmp_path):
    home, data = tmp_path / "home", experiment(source=f"dvc:{project}/data/rain.csv").data
    made = fetch(data.sources[0], None, home, "data.source")
    shutil.rmtree(home / "data")
    restore(data, made.path, made.lineage, home)
    assert made.path.read_text() == SECOND
    shutil.rmtree(home / "data")
    (project / "data" / "rain.csv").write_text(FIRST)
    api.data_version(project / "data" / "rain.csv")
    with pytest.raises(InputError, match="which the study was made with"):
        restore(data, made.path, {**made.lineage, "winnow.data.rev": f"{made.rev}-dirty"}, home)


def test_a_sweep_gets_the_files_of_the_version_and_its_tags(project, tmp_path):
    settings = Settings.from_environment({"WINNOW_HOME": str(tmp_path / "home")})
    given = experiment(source=f"dvc:{project}/data/rain.csv", rev="HEAD~2")
    resolved, tags = resolve_source(given, settings)
    md5, commit = hashlib.md5(FIRST.encode()).hexdigest(), git(project, "rev-parse", "HEAD~2")
    assert resolved.data.source == str(settings.home / "data" / "dvc" / md5 / "rain.csv")
    assert tags == {
        "winnow.data.source": f"dvc:{project}/data/rain.csv rev=HEAD~2",
        "winnow.data.dvc": md5,
        "winnow.data.rev": commit,
        "winnow.data.path": "data/rain.csv",
    }
    assert resolved.definition() == resolve_source(given, settings)[0].definition()


def test_the_command_says_what_to_commit(project, tmp_path):
    path = project / "data" / "new.csv"
    path.write_text("rain\n1\n")
    done = CliRunner().invoke(winnow, ["data-version", "--input", str(path)])
    *_, version, commit = done.output.splitlines()
    assert version == f"version {hashlib.md5(path.read_bytes()).hexdigest()} is in {tmp_path}/remote"
    assert commit.startswith(f"commit it: git add {path}.dvc {project}/data/.gitignore ")
    done = CliRunner().invoke(winnow, ["data-version", "--input", str(path), "--commit"])
    assert done.output.splitlines()[-2:] == [f"{version}, as before", "Git has it, too"]
    assert git(project, "status", "--porcelain", "data") == ""
