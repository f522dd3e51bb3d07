"""The pipelines of this repository, and those that `winnow ci-init` writes, under the tools of their servers.

Workflows and GitLab's file are checked against schemas and by zizmor and actionlint. A Jenkinsfile is linted, and run
against stubs of Jenkins' steps (`jenkins.groovy`); its shell commands are run with a `make` that only notes its call.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.tools import installed
from winnow import integrations
from winnow.config.file_lock import locked

pytestmark = pytest.mark.tools("workflows")

ROOT = Path(__file__).parents[2]
LINTER = "npm-groovy-lint@16.2.0"
EXPERIMENT = """
name: wine
data: {source: "sklearn:wine"}
model: {factory: "winnow.models:mlp"}
search: {space: {lr: {float: [0.001, 0.1]}}, trials: 2, metric: f1}
retrain: weekly
"""
GATES = "gates: {staging: [{type: metric, metric: f1, min: 0.5}]}\n"
COMMIT = "git+https://git.example.com/ml/winnow.git@3d3c42e"
NOTED = """#!/bin/sh
for each; do line="$line $each"; done
echo "$(basename "$0")$line" >> "$NOTES"
echo "winnow-prod-wine:1-ab  300 MB  registry.example.com/winnow-prod-wine@sha256:0f"
"""


def program(name: str, cache: Path) -> str:
    """A Debian package's program, installed where it is absent."""
    with locked(cache / "apt.lock"):
        if shutil.which(name) is None:
            apt, sudo = shutil.which("apt-get"), [] if os.geteuid() == 0 else ["sudo", "-n"]
            if apt is None:
                pytest.skip(f"there is no {name} here, and no apt-get to install it")
            subprocess.run([*sudo, apt, "update", "-qq"], check=False, capture_output=True)
            install = [*sudo, apt, "install", "--yes", "--no-install-recommends", "-qq", name]
            subprocess.run(install, check=True, capture_output=True)
    found = shutil.which(name)
    assert found is not None
    return found


@pytest.fixture(scope="session")
def cache() -> Path:
    return installed("workflows").parents[2]


@pytest.fixture(scope="session")
def java(cache: Path) -> Mapping[str, str]:
    """The environment of Debian's groovy and of the linter, which both look for Java."""
    program("groovy", cache)
    java = shutil.which("java")
    assert java is not None
    return {**os.environ, "JAVA_HOME": str(Path(java).resolve().parents[1])}


@pytest.fixture(scope="session")
def linter(cache: Path, java: Mapping[str, str]) -> Path:
    if shutil.which("npm") is None:
        pytest.skip(f"there is no npm here to install {LINTER}")
    folder = cache / LINTER
    with locked(cache / f"{LINTER}.lock"):
        found = folder / "node_modules" / ".bin" / "npm-groovy-lint"
        if not found.exists():
            install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), LINTER]
            subprocess.run(install, check=True, capture_output=True)
    return found


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the pipelines of all servers, a schedule, gates and checks of its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "experiment.yaml").write_text(EXPERIMENT)
    (folder / "rules.yaml").write_text(GATES)
    (folder / "Makefile").write_text("WINNOW ?= winnow\nlint:\n\ttrue\ntest:\n\ttrue\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for kind in ("github", "jenkins", "gitlab"):
            integrations.ci_init(kind, "experiment.yaml", rules="rules.yaml", source=COMMIT)  # type: ignore[arg-type]
    return folder


def passes(command: Sequence[object], **options: Any) -> None:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_pass_schema_actionlint_and_zizmor(project: Path, cache: Path) -> None:
    bin_ = installed("workflows").parent
    workflows = [path for folder in (ROOT, project) for path in sorted((folder / ".github/workflows").glob("*.yml"))]
    assert len(workflows) == 6 + 3
    passes([bin_ / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows])
    passes([bin_ / "check-jsonschema", "--builtin-schema", "vendor.gitlab-ci", project / ".gitlab-ci.yml"])
    passes([bin_ / "actionlint", *workflows])
    passes([bin_ / "zizmor", "--offline", "--no-progress", *workflows])


def test_zizmor_refuses_what_the_pipelines_avoid(project: Path, tmp_path: Path) -> None:
    text = (project / ".github/workflows/train.yml").read_text()
    weak = tmp_path / "train.yml"
    weak.write_text(text.replace('STUDY="$STUDY"', 'STUDY="${{ inputs.study }}"'))
    done = subprocess.run(
        [installed("workflows").parent / "zizmor", "--offline", weak], capture_output=True, text=True, check=False
    )
    assert (done.returncode != 0, "template-injection" in done.stdout) == (True, True), done.stdout


def test_jenkinsfiles_pass_their_linter(project: Path, linter: Path, java: Mapping[str, str], tmp_path: Path) -> None:
    for name, folder in (("own", ROOT), ("written", project)):
        (tmp_path / name).mkdir()
        shutil.copy(folder / "Jenkinsfile", tmp_path / name / "Jenkinsfile")
    passes([linter, "--noserver", "--failon", "warning", "--path", tmp_path], env=java, cwd=tmp_path)


def run(jenkinsfile: Path, java: Mapping[str, str], *parameters: str) -> subprocess.CompletedProcess[str]:
    command = ["groovy", str(Path(__file__).with_name("jenkins.groovy")), str(jenkinsfile), *parameters]
    return subprocess.run(command, env=java, capture_output=True, text=True, check=False)


def noted(steps: Sequence[Mapping[str, Any]], folder: Path) -> list[str]:
    """What the shell commands of a pipeline call, each with its stage."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in ("make", "docker", "git"):
        (programs / name).write_text(NOTED)
        (programs / name).chmod(0o755)
    calls = []
    for step in steps:
        if step["step"] != "sh":
            continue
        notes = folder / "notes"
        environment = {**step["env"], "PATH": f"{programs}:/usr/bin:/bin", "NOTES": str(notes)}
        passes(["sh", "-e", "-c", step["what"]], cwd=folder, env=environment)
        calls += [f"{step['stage']}: {line}" for line in notes.read_text().splitlines()]
        notes.unlink()
    return calls


def test_a_jenkinsfile_runs_the_verbs_in_order(project: Path, java: Mapping[str, str], tmp_path: Path) -> None:
    done = run(project / "Jenkinsfile", java, "GITOPS_REPOSITORY=https://git.example.com/ops.git", "TRIALS=5")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert noted(steps, tmp_path / "ws") == [
        "Set up: git init --quiet /tmp/ws@tmp/winnow",
        "Set up: git -C /tmp/ws@tmp/winnow fetch --quiet --tags --force https://git.example.com/ml/winnow.git "
        "+refs/heads/*:refs/remotes/origin/*",
        "Set up: git -C /tmp/ws@tmp/winnow checkout --quiet --detach 3d3c42e",
        "Set up: make -C /tmp/ws@tmp/winnow setup",
        "Check/Lint: make lint",
        "Check/Test: make test ARGS=--junitxml=reports/tests.xml",
        "Data: make pipeline CONFIG=experiment.yaml UNTIL=prepare",
        "Train: make train CONFIG=experiment.yaml STUDY=wine-ci-7 TRIALS=5",
        "Train: make report CONFIG=experiment.yaml STUDY=wine-ci-7 OUTPUT=report.html",
        "Select: make select-model CONFIG=experiment.yaml STUDY=wine-ci-7 RULES=rules.yaml",
        "Gate: make promote-model CONFIG=experiment.yaml STAGE=staging RULES=rules.yaml",
        "Build: make build-prod CONFIG=experiment.yaml ALIAS=candidate",
        "Scan: make install-tool TOOL=audit",
        "Scan: make audit OUTPUT=audit",
        "Push: docker login --username ada --password-stdin registry.example.com",
        "Push: make build-prod CONFIG=experiment.yaml ALIAS=candidate REGISTRY=registry.example.com/winnow",
        "Promote: make gitops-promote CONFIG=experiment.yaml STAGE=production REPO=gitops "
        "IMAGE=registry.example.com/winnow-prod-wine@sha256:0f RULES=rules.yaml",
    ]
    environment = {step["env"]["WINNOW"] for step in steps if step["step"] == "sh"}
    assert environment == {"/tmp/ws@tmp/winnow/.venv/bin/winnow"}
    others = [(step["stage"], step["step"]) for step in steps if step["step"] != "sh"]
    assert others == [
        ("", "cron"),
        ("Checkout", "checkout"),
        ("Promote", "input"),
        ("Promote/gitops", "git"),
        ("always", "junit"),
        ("always", "archiveArtifacts"),
    ]


def test_a_jenkinsfile_without_a_repository_promotes_nothing(java: Mapping[str, str]) -> None:
    done = run(ROOT / "Jenkinsfile", java, "NOTIFY=ada@example.com")
    assert done.returncode == 0, done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step["stage"] for step in steps][-4:] == ["Push", "always", "always", "unsuccessful"]


def test_the_stubs_refuse_an_unknown_step_and_argument(java: Mapping[str, str], tmp_path: Path) -> None:
    text = (ROOT / "Jenkinsfile").read_text()
    for name, wrong in {
        "checkOut": text.replace("checkout scm", "checkOut scm"),
        "credentialId": text.replace("credentialsId: 'registry'", "credentialId: 'registry'"),
    }.items():
        (tmp_path / "Jenkinsfile").write_text(wrong)
        done = run(tmp_path / "Jenkinsfile", java)
        assert (done.returncode != 0, name in done.stderr) == (True, True), done.stderr
