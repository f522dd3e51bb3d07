"""Pipelines, rendered from an experiment. `tests/e2e/test_ci_pipelines.py` has their tools check and run them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from winnow import integrations
from winnow.cli import winnow
from winnow.config.errors import InputError
from winnow.integrations.ci import pipelines
from winnow.integrations.ci.pipelines import FILES, Project, Source

REPOSITORY = Path(__file__).parents[3]
EXPERIMENT = """
name: wine-2
data: {source: "sklearn:wine"}
model: {factory: "winnow.models:mlp"}
search: {space: {lr: {float: [0.001, 0.1]}}, trials: 2, metric: f1}
"""
GATES = "gates: {staging: [{type: metric, metric: f1, min: 0.5}]}\n"
COMMIT = "git+https://git.example.com/ml/winnow.git@3d3c42e"
WHEEL = "https://files.example.com/winnow-1.2.3-py3-none-any.whl"
OF_MAKE = {"setup", "lint", "test"}
"""Targets that are no verbs."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project that `winnow init` made, more or less."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    (tmp_path / "rules.yaml").write_text(GATES)
    (tmp_path / "Makefile").write_text("WINNOW ?= /home/ada/winnow/.venv/bin/winnow\n")
    return tmp_path


def written(kind: str, **arguments: object) -> dict[str, str]:
    made = integrations.ci_init(kind, "experiment.yaml", **{"source": COMMIT, "force": True, **arguments})  # type: ignore[arg-type]
    return {path.as_posix(): path.read_text() for path in made}


@pytest.mark.parametrize("kind", FILES)
def test_the_repository_has_what_it_renders(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    (tmp_path / "Makefile").write_text((REPOSITORY / "Makefile").read_text())
    made = integrations.ci_init(kind, "experiments/breast_cancer.yaml", rules=".ci/rules.yaml", output=tmp_path)  # type: ignore[arg-type]
    # Its own checks are those of .ci/run, and it is on GitHub.
    own = {".github/workflows/ci.yml", ".gitlab-ci.yml"}
    texts = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in made}
    assert {name: text for name, text in texts.items() if name not in own} == {
        name: (REPOSITORY / name).read_text() for name in texts if name not in own
    }


@pytest.mark.parametrize("kind", FILES)
def test_what_it_runs_are_verbs_with_their_flags(kind: str, project: Path) -> None:
    commands = [
        found
        for text in written(kind, rules="rules.yaml").values()
        for found in re.findall(
            r"\bmake (?!-C)((?:[^\n#'\\]|\\\n|'\{print \$NF\}')+)", re.sub(r"(?m)^ *(//|#).*", "", text)
        )
    ]
    assert len(commands) > 8
    for command in commands:
        verb, variables = command.split()[0], re.findall(r"\b([A-Z_]+)=", command)
        if verb in OF_MAKE:
            continue
        known = winnow.get_command(click.Context(winnow), verb.removesuffix("-docker").removesuffix("-kubernetes"))
        assert known is not None, verb
        flags = {flag for parameter in known.params for flag in parameter.opts}
        assert {f"--{name.lower().replace('_', '-')}" for name in variables} - flags == set(), command


def test_a_schedule_starts_the_pipeline_alone(project: Path) -> None:
    (project / "experiment.yaml").write_text(EXPERIMENT + "retrain: weekly\n")
    workflows = {name: yaml.load(text, yaml.BaseLoader)["on"] for name, text in written("github").items()}
    assert {name: on.get("schedule") for name, on in workflows.items()} == {
        ".github/workflows/ci.yml": None,
        ".github/workflows/train.yml": None,
        ".github/workflows/ml-pipeline.yml": [{"cron": "0 0 * * 1"}],
    }
    assert "cron('TZ=Etc/UTC\\n0 0 * * 1')" in written("jenkins")["Jenkinsfile"]


def gitlab(**arguments: object) -> dict[str, list[str]]:
    jobs = yaml.safe_load(written("gitlab", **arguments)[".gitlab-ci.yml"])
    return {"setup": jobs["default"]["before_script"], **{name: jobs[name]["script"] for name in ("check", "model")}}


def test_only_gates_that_are_configured_are_judged(project: Path) -> None:
    gate = 'make promote-model CONFIG="$CONFIG" STAGE=staging RULES=rules.yaml'
    assert gate in gitlab(rules="rules.yaml")["model"]
    assert [line for line in gitlab()["model"] if "promote" in line] == []


def test_a_promotion_without_gates_is_told_of_before_it_is_refused(project: Path) -> None:
    said: list[str] = []
    written("jenkins", say=said.append)
    assert [line.partition(";")[0] for line in said] == ["warning: winnow's own rules: no gates.production"]
    (project / "rules.yaml").write_text("gates: {production: [{type: metric, metric: f1, min: 0.6}]}")
    written("jenkins", rules="rules.yaml", say=said.append)
    assert len(said) == 1


def test_lint_and_test_are_checks_where_the_makefile_has_them(project: Path) -> None:
    assert gitlab()["check"][0].startswith("make train")
    with (project / "Makefile").open("a") as makefile:
        makefile.write("lint:\n\truff check\n")
    assert gitlab()["check"][0] == "make lint"


def test_winnow_comes_from_a_commit_or_a_wheel(project: Path) -> None:
    (project / "requirements.txt").write_text("lightgbm\n")
    own = '"/tmp/winnow/.venv/bin/pip" install --quiet --requirement requirements.txt'
    assert gitlab()["setup"] == [
        'git init --quiet "/tmp/winnow"',
        'git -C "/tmp/winnow" fetch --quiet --tags --force https://git.example.com/ml/winnow.git '
        "'+refs/heads/*:refs/remotes/origin/*'",
        'git -C "/tmp/winnow" checkout --quiet --detach 3d3c42e',
        'make -C "/tmp/winnow" setup',
        own,
    ]
    assert gitlab(source=WHEEL)["setup"] == [
        'python3 -m venv "/tmp/winnow/.venv"',
        f'"/tmp/winnow/.venv/bin/pip" install --quiet "winnow[postgres,s3] @ {WHEEL}"',
        own,
    ]


def test_an_agent_that_lasts_gets_what_the_source_names_now(tmp_path: Path) -> None:
    """A branch that has moved, another branch, a tag, a commit of it, and another repository."""

    def git(folder: Path, *arguments: str) -> str:
        author = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
        return subprocess.check_output(["git", *author, "-C", str(folder), *arguments], text=True).strip()

    def commit(repository: Path, text: str) -> str:
        (repository / "Makefile").write_text(f"setup:\n\techo {text} > installed\n")
        git(repository, "add", "Makefile")
        git(repository, "commit", "--quiet", "--message", text)
        return git(repository, "rev-parse", "--short=7", "HEAD")

    def installed(repository: Path, revision: str) -> str:
        source = Source(repository.as_uri(), revision)
        steps = pipelines._setup(Project((), source), str(tmp_path / "clone"))
        subprocess.run(["sh", "-e", "-c", "\n".join(steps)], check=True)
        return (tmp_path / "clone" / "installed").read_text().strip()

    first, other = tmp_path / "first", tmp_path / "other"
    for repository in (first, other):
        repository.mkdir()
        git(repository, "init", "--quiet")
    before = commit(first, "before")
    git(first, "tag", "--annotate", "v1", "--message", "v1")
    assert installed(first, "main") == "before"
    commit(first, "after")
    assert installed(first, "main") == "after"
    assert installed(first, before) == "before"
    git(first, "checkout", "--quiet", "-b", "next")
    commit(first, "next")
    assert [installed(first, each) for each in ("next", "v1", "main")] == ["next", "before", "after"]
    commit(other, "another one")
    assert installed(other, "main") == "another one"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "winnow"}, "expected `git\\+https://HOST/PATH@COMMIT`, or the URL of a wheel"),
        ({"source": "git+https://t0ken@git.example.com/winnow.git@3d3c42e"}, "a credential.*found one with it"),
        ({"source": "git+ssh://git:t0ken@git.example.com/winnow.git@3d3c42e"}, "a credential.*found one with it"),
        ({"source": WHEEL.replace("://", "://bob:t0ken@")}, "a credential.*found one with it"),
        ({"source": None}, "expected where the server gets winnow from"),
        ({"rules": "/etc/rules.yaml"}, "rules.yaml"),
        ({"output": "elsewhere"}, "expected the folder of a project, with its Makefile"),
    ],
)
def test_bad_input_writes_nothing(arguments: dict[str, object], message: str, project: Path) -> None:
    before = sorted(project.rglob("*"))
    with pytest.raises(InputError, match=message):
        written("github", **arguments)
    assert sorted(project.rglob("*")) == before


def test_a_name_leaves_room_for_the_number_of_the_run(project: Path) -> None:
    (project / "experiment.yaml").write_text(EXPERIMENT.replace("wine-2", "w" * 49))
    with pytest.raises(InputError, match="expected at most 48 characters, because each run names a study of its own"):
        written("jenkins")
    (project / "experiment.yaml").write_text(EXPERIMENT.replace("wine-2", "w" * 48))
    assert list(written("jenkins")) == ["Jenkinsfile"]
