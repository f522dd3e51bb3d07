"""The project's own files: the lock, the Makefile, the package's metadata."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from winnow.cli import VERBS, winnow
from winnow.orchestrators.new_project import STARTER

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = [line for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
OF_MAKE = {"PYTHON", "TORCH_INDEX", "WINNOW", "DIR"}
"""Variables that are no flags."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    """The packages that requirements name, as indexes spell them."""
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {re.sub(r"[-_.]+", "-", match.group()).lower() for match in found if match}


def test_the_lock_pins_public_versions_and_names_no_place() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[a-z0-9._-]+==[0-9][0-9a-z.]*", pin)] == []
    assert re.search(r"://|--|@ |(?<=[ =])/|\.\./", LOCK) is None


def test_the_lock_pins_the_torch_that_every_index_has() -> None:
    assert "torch==2.13.0" in PINS


def test_the_lock_holds_all_that_the_two_commands_need() -> None:
    assert names([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]) - names(PINS) == set()


def test_the_lock_does_not_take_this_project_from_an_index() -> None:
    assert PROJECT["name"] not in names(PINS)


def test_the_serving_extra_is_a_part_of_the_dependencies() -> None:
    assert set(PROJECT["optional-dependencies"]["serve"]) <= set(PROJECT["dependencies"])


def dry_make(*arguments: str, variables: Mapping[str, str] | None = None) -> str:
    """The commands that make would run, as one text."""
    make = shutil.which("make")
    if make is None:
        pytest.skip("needs make")
    # These tests may themselves have been started by make, which hands its own flags on in the environment.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name and name != "MFLAGS"}
    command = [make, "--dry-run", "--old-file=.venv/.set-up", "--old-file=requirements.lock", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**environment, **(variables or {})}, capture_output=True, text=True, check=True
    )
    return " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train"], "winnow train"),
        (["train", "CONFIG=a b.yaml", "TRIALS=3"], "winnow train --config 'a b.yaml' --trials '3'"),
        (["select-model", "JSON=1", "DRY_RUN=0"], "winnow select-model --json"),
        (["prod-local", "PORT=0"], "winnow prod --platform local --port '0'"),
        (["inference-one-input", "INPUT=it's.json"], "winnow inference-one --input 'it'\\''s.json'"),
        (["train", "TORCH_INDEX="], "winnow train"),
    ],
)
def test_a_variable_is_the_flag_of_the_same_name(arguments: list[str], command: str) -> None:
    ran = dry_make(*arguments)
    assert sorted(ran[ran.index("winnow ") :].split(" --")) == sorted(command.split(" --"))


def test_every_flag_without_a_value_is_a_switch_of_the_makefile() -> None:
    """One that is not would be passed as `--flag 1`, and the 1 refused."""
    commands = [winnow.get_command(click.Context(winnow), verb) for verb in VERBS if verb != "config-reference"]
    options = [option for command in commands if command for option in command.params]
    switched = [each for each in options if isinstance(each, click.Option) and each.is_flag and not each.hidden]
    flags = {opt[2:] for option in switched for opt in option.opts}
    switches = re.search(r"^SWITCHES := (.*)$", (STARTER / "targets.mk").read_text(), re.MULTILINE)
    assert switches is not None
    assert set(switches[1].split()) == {flag.upper().replace("-", "_") for flag in flags}


def test_variables_of_the_environment_are_no_flags() -> None:
    assert "--port" not in dry_make("prod-local", variables={"PORT": "1"})


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_link_between_documents_leads_somewhere() -> None:
    links = [
        (document, link, anchor)
        for document in DOCUMENTS
        for link, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", document.read_text(encoding="utf-8"))
        if "://" not in link
    ]
    found = {(document, link, anchor): document.parent / link if link else document for document, link, anchor in links}
    assert links
    assert [f"{document.name}: {link}" for (document, link, _), path in found.items() if not path.exists()] == []
    named = [(key, path) for key, path in found.items() if key[2] and path.suffix == ".md"]
    assert [f"{key[0].name}: {key[1]}#{key[2]}" for key, path in named if key[2] not in anchors(path)] == []


def test_every_make_command_of_the_documents_has_a_target_and_flags() -> None:
    makefiles = "".join((ROOT / path).read_text() for path in ("Makefile", STARTER / "targets.mk"))
    verbs = {
        target: command.removeprefix("$(WINNOW) ").split()[0] if command.startswith("$(WINNOW) ") else ""
        for targets, command in re.findall(r"^([a-z][a-z0-9 -]*):.*\n\t@(.*)$", makefiles, re.MULTILINE)
        for target in targets.split()
    }
    variable = r"""[A-Z_]+=(?:"[^"]*"|'[^']*'|[^\s`]*)"""
    command = re.compile(rf"(?:^ *|`|&& |\w=\S+ )make ([a-z][a-z0-9-]*[a-z])\b(?![-*])((?: {variable})*)", re.MULTILINE)
    unknown = []
    for document in DOCUMENTS:
        for target, given in command.findall(document.read_text(encoding="utf-8")):
            names_given = {each.partition("=")[0] for each in re.findall(variable, given)} - OF_MAKE
            names_known = flags_of(verbs[target]) if verbs.get(target) else set()
            if target not in verbs or (verbs[target] and not names_given <= names_known):
                unknown.append(f"{document.name}: make {target}{given}")
    assert unknown == []


def flags_of(verb: str) -> set[str]:
    """The flags of a verb, as variables of make."""
    command = winnow.get_command(click.Context(winnow), verb)
    assert command is not None
    flags = [flag for option in command.params for flag in (*option.opts, *option.secondary_opts)]
    return {flag[2:].upper().replace("-", "_") for flag in flags if flag.startswith("--")}


def test_lint_refuses_words_that_name_no_subject(tmp_path: Path) -> None:
    def lint() -> tuple[int, list[str]]:
        done = subprocess.run([ROOT / ".ci/words"], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    for folder in ("src/winnow", "docs", "k8s", "experiments", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "README.md").write_text("A word like 'nobodys' passes.\n")
    (tmp_path / "tests" / "test_it.py").write_text("# somebody\n")
    assert lint() == (0, [])
    texts = {
        "README.md": "Nobody",
        "src/winnow/a.py": "# whoever asks",
        "docs/b.md": "somebody",
        "k8s/c.yaml": "# NOBODY",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(f"{text}\n")
    code, lines = lint()
    assert (code, sorted(lines)) == (1, sorted(f"{name}:1:{text}" for name, text in texts.items()))
