"""Files of continuous-integration servers for one experiment: readable, to be kept and changed.

They are rendered from the files in `templates/`. A word between two @ stands for a value; where it is alone in a line,
the lines that replace it get the same indent.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeAlias

from winnow.config.cron import NAMED
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.names import LONGEST_STUDY
from winnow.config.next_command import next_flag
from winnow.model_query.gates import Gates

Kind: TypeAlias = Literal["github", "jenkins", "gitlab"]

TEMPLATES = Path(__file__).parent / "templates"
FILES: Mapping[Kind, Mapping[str, str]] = {
    "github": {f"{name}.yml": f".github/workflows/{name}.yml" for name in ("ci", "train", "ml-pipeline")},
    "jenkins": {"Jenkinsfile": "Jenkinsfile"},
    "gitlab": {"gitlab-ci.yml": ".gitlab-ci.yml"},
}
"""Templates by their names, and the files that they become."""
CLONES: Mapping[Kind, str] = {"github": "/tmp/winnow", "jenkins": "$WORKSPACE_TMP/winnow", "gitlab": "/tmp/winnow"}
"""Where winnow is installed on the server's machine, outside the project, as a shell reads it."""
LONGEST_RUN = len("-ci-12345678901")
"""A study of each run has the run's number in its name."""
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
"""Of what else a name stands for, as a branch or a tag, a server has to ask each time."""
_PLAIN_PATH = re.compile(r"[\w.-][\w./-]*")
_BLOCK = re.compile(r"^(?P<indent> *(?:- )?)@(?P<name>[A-Z]+)@\n", re.MULTILINE)
_VALUE = re.compile(r"@([A-Z]+)@")


@dataclass(frozen=True)
class Source:
    """Where a server gets winnow from: a commit, branch or tag of a repository, or a wheel (`commit` is None)."""

    url: str
    commit: str | None


@dataclass(frozen=True)
class Project:
    """The folder that a pipeline checks out.

    Attributes:
        checks: its targets among `lint` and `test`.
        source: where winnow comes from; None if `make setup` provides it.
        has_requirements: it has packages of its own, in `requirements.txt`.
    """

    checks: tuple[str, ...]
    source: Source | None
    has_requirements: bool = False

    @classmethod
    def of(cls, folder: Path, source: Source | None) -> Self:
        """Look into a folder.

        Raises:
            InputError: it has no Makefile, or one that expects a winnow and `source` is None.
        """
        try:
            makefile = (folder / "Makefile").read_text(encoding="utf-8", errors="replace")
        except OSError:
            raise InputError(
                str(folder),
                expected="the folder of a project, with its Makefile",
                found="none",
                remedy="Run this in a project's folder, or make one: `winnow init`.",
            ) from None
        if source is None and re.search(r"^WINNOW\s*\?=", makefile, re.MULTILINE):
            commit = next_flag("source", "git+https://HOST/winnow.git@COMMIT")
            raise InputError(
                next_flag("source"),
                expected="where the server gets winnow from, as this project does not contain it",
                found="nothing",
                remedy=f"Name a commit ({commit}), or a wheel's URL.",
            )
        checks = tuple(name for name in ("lint", "test") if re.search(rf"^{name}\s*:(?!=)", makefile, re.MULTILINE))
        return cls(checks, source, (folder / "requirements.txt").exists())


def winnow_source(text: str) -> Source:
    """Read `git+https://HOST/PATH@COMMIT` or the URL of a wheel.

    Raises:
        InputError: it is neither, or has a credential, which would stand in the pipeline. A bare name is refused: on
            PyPI, `winnow` is another project.
    """
    if re.search(r"https?://[^/\s]*@|://[^/\s]*:[^/\s]*@", text):
        raise InputError(
            next_flag("source"),
            expected="an address without a credential, as it is written into the pipeline",
            found="one with it",
            remedy="Leave it out, and give git on the server a credential helper, or an SSH key (git+ssh://git@HOST/…).",
        )
    if found := re.fullmatch(r"git\+((?:https|ssh)://[\w.:@/~+-]+)@([\w./-]+)", text):
        return Source(found[1], found[2])
    if re.fullmatch(r"https?://[\w.:/~+%-]+\.whl", text):
        return Source(text, None)
    raise InputError(
        next_flag("source"),
        expected="`git+https://HOST/PATH@COMMIT`, or the URL of a wheel (`https://HOST/winnow-1.2.3-py3-none-any.whl`)",
        found=f"'{text}'",
        remedy="Name it by its address; `winnow` on PyPI is an unrelated project.",
    )


def render_pipeline(
    kind: Kind, experiment: Experiment, config: Path, gates: Gates | None, rules: Path | None, project: Project
) -> Mapping[str, str]:
    """The texts of a server's files, by their paths in the project. Equal input gives equal text.

    Args:
        config: the experiment file, by its path in the project.
        gates: those of the rules.
        rules: the rules file; None for winnow's own.

    Raises:
        InputError: the name leaves no room for a run's number, or a path is not one of the project.
    """
    if len(experiment.name) + LONGEST_RUN > LONGEST_STUDY:
        raise InputError(
            f"{config}: name",
            expected=f"at most {LONGEST_STUDY - LONGEST_RUN} characters, because each run names a study of its own",
            found=f"{len(experiment.name)}",
            remedy="Shorten the name.",
        )
    suffix = "" if rules is None else f" RULES={_path(rules, 'rules')}"
    gate = f'make promote-model CONFIG="$CONFIG" STAGE=staging{suffix}'
    values = {
        "NAME": experiment.name,
        "CONFIG": _path(config, "config"),
        "RULES": suffix,
        "TRAIN": {"local": "train"}.get(experiment.retrain.platform, f"train-{experiment.retrain.platform}"),
    }
    schedule = experiment.retrain.schedule
    blocks = _blocks(
        kind,
        setup=_setup(project, CLONES[kind]),
        checks=project.checks,
        gates=[gate] if gates is not None and gates.of("staging") else [],
        cron=None if schedule is None else NAMED.get(schedule, schedule),
        winnow=None if project.source is None else f"{CLONES[kind]}/.venv/bin/winnow",
    )
    return {
        target: _filled((TEMPLATES / kind / f"{name}.template").read_text(encoding="utf-8"), values, blocks)
        for name, target in FILES[kind].items()
    }


def _path(path: Path, flag: str) -> str:
    text = path.as_posix()
    if _PLAIN_PATH.fullmatch(text) and ".." not in path.parts:
        return text
    raise InputError(
        next_flag(flag),
        expected="a path in the project's folder, of letters, digits and . _ - /",
        found=f"'{text}'",
        remedy="Run this in the project's folder, and name the file relative to it.",
    )


def _setup(project: Project, clone: str) -> Sequence[str]:
    """The commands that make winnow available, as a shell takes them."""
    source, pip = project.source, f'"{clone}/.venv/bin/pip" install --quiet'
    if source is None:
        return ["make setup"]
    if source.commit is None:
        lines = [f'python3 -m venv "{clone}/.venv"', f'{pip} "winnow[postgres,s3] @ {source.url}"']
    else:
        # A server with an agent that lasts has the clone of an earlier run, perhaps of another source.
        is_commit = _COMMIT.fullmatch(source.commit) is not None
        branches = "'+refs/heads/*:refs/remotes/origin/*'"
        fetch = f'git -C "{clone}" fetch --quiet --tags --force {shlex.quote(source.url)}'
        lines = [
            f'git init --quiet "{clone}"',
            f"{fetch} {branches if is_commit else source.commit}",
            f'git -C "{clone}" checkout --quiet --detach {source.commit if is_commit else "FETCH_HEAD"}',
            f'make -C "{clone}" setup',
        ]
    return [*lines, *([f"{pip} --requirement requirements.txt"] if project.has_requirements else [])]


def _blocks(
    kind: Kind,
    *,
    setup: Sequence[str],
    checks: Sequence[str],
    gates: Sequence[str],
    cron: str | None,
    winnow: str | None,
) -> Mapping[str, Sequence[str]]:
    """The lines that replace a word which is alone in its line; with none, the line goes."""
    if kind == "jenkins":
        return {
            "SETUP": setup,
            "CHECKS": _jenkins_checks(checks),
            "GATES": _jenkins_stage("Gate", f"sh '{gates[0]}'") if gates else [],
            "TRIGGERS": [] if cron is None else ["triggers {", f"    cron('TZ=Etc/UTC\\n{cron}')", "}"],
            "WINNOW": []
            if winnow is None
            else [f'WINNOW = "{winnow.replace("$", "${env.", 1).replace("/", "}/", 1)}"'],
        }
    if kind == "gitlab":
        return {
            "SETUP": [_item(command) for command in setup],
            "CHECKS": [_item(_check(name)) for name in checks],
            "GATES": [_item(gate) for gate in gates],
            "WINNOW": [] if winnow is None else [f"WINNOW: {winnow}"],
        }
    return {
        "SETUP": setup,
        "CHECKS": [line for name in checks for line in (f"- name: {name.capitalize()}", f"  run: {_check(name)}")],
        "GATES": [line for gate in gates for line in ("- name: Gate", f"  run: {gate}")],
        "SCHEDULE": [] if cron is None else ["schedule:", f'  - cron: "{cron}" # UTC'],
        "WINNOW": [] if winnow is None else [f"WINNOW: {winnow}"],
    }


def _item(command: str) -> str:
    """A command as an item of a list in YAML, in quotes where it would be read as something else."""
    return command if command[0].isalpha() and ": " not in command else "'" + command.replace("'", "''") + "'"


def _check(name: str) -> str:
    return 'make test ARGS="--junitxml=reports/tests.xml"' if name == "test" else f"make {name}"


def _jenkins_checks(checks: Sequence[str]) -> Sequence[str]:
    """Stages side by side, once the set-up is done."""
    if not checks:
        return []
    stages = [
        f"        {line}" for name in checks for line in _jenkins_stage(name.capitalize(), f"sh '{_check(name)}'")
    ]
    return ["stage('Check') {", "    parallel {", *stages, "    }", "}"]


def _jenkins_stage(name: str, step: str) -> Sequence[str]:
    return [f"stage('{name}') {{", "    steps {", f"        {step}", "    }", "}"]


def _filled(template: str, values: Mapping[str, str], blocks: Mapping[str, Sequence[str]]) -> str:
    def lines(found: re.Match[str]) -> str:
        return "".join(f"{found['indent']}{line}\n" for line in blocks[found["name"]])

    text = _VALUE.sub(lambda found: values[found[1]], _BLOCK.sub(lines, template))
    return re.sub(r"\n{3,}", "\n\n", text)
