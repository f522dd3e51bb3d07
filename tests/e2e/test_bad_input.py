"""Bad input ends with status 2 and one message, and leaves WINNOW_HOME and everything around it as it was.

One fault of each part that checks an experiment; the unit tests of the parts have all of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.unit.serving import bundles
from tests.unit.tracking import made_up
from tests.winnow_command import winnow
from winnow.config.loader import load_experiment
from winnow.config.user_code import code_of
from winnow.orchestrators.opened_study import describe_sweep
from winnow.study.database import Database
from winnow.study.projector import start_run
from winnow.study.store import StudyStore
from winnow.tracking.mlflow_tracker import MlflowTracker
from winnow.tracking.registry import Registry
from winnow.tracking.store import prepare
from winnow.training.fork_client import ForkServer

pytestmark = pytest.mark.slow

EXPERIMENT: dict[str, Any] = {
    "name": "bad",
    "data": {"source": "sklearn:iris"},
    "model": {"factory": "parts.py:build"},
    "search": {
        "space": {"lr": {"float": [0.001, 0.1], "log": True}},
        "trials": 2,
        "metric": {"name": "f1"},
    },
    "training": {"epochs": 1},
    "execution": {"workers": 1},
}

PARTS = """
from torch import nn

def build(input_shape, outputs, width=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(input_shape[0], outputs))

def raises(input_shape, outputs):
    raise RuntimeError("no such layer")

def takes_lr(input_shape, outputs, lr):
    return nn.Linear(input_shape[0], outputs)
"""

ROWS = [(f"{one / 7:.3f}", f"{one % 5}", "yes" if one % 3 else "no") for one in range(30)]


def table(rows: list[tuple[str, ...]]) -> str:
    return "\n".join(",".join(row) for row in [("a", "b", "target"), *rows])


def with_target(values: list[str]) -> str:
    return table([(a, b, value) for (a, b, _), value in zip(ROWS, values, strict=True)])


GOOD = table(ROWS)
CSV: dict[str, Any] = {"data": {"source": "rows.csv", "target": "target"}}


@dataclass(frozen=True)
class Bad:
    """An experiment file with one fault, and what its message has to name.

    Attributes:
        place: how the message begins, `FILE` standing for the experiment file.
        found: a part of what it says it found.
        remedy: a part of what it tells the person to do.
        changes: sections and keys that differ from EXPERIMENT.
        rows: the content of rows.csv.
        flags: further arguments of `winnow train`.
        environment: further variables.
    """

    place: str
    found: str
    remedy: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    rows: str = GOOD
    flags: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def space(**parameters: Any) -> dict[str, Any]:
    return {"search": {"space": {**EXPERIMENT["search"]["space"], **parameters}}}


BAD = {
    # the file
    "an unknown key": Bad(
        "FILE: training.epoch", "unknown key 'epoch'", "Did you mean 'epochs'?", {"training": {"epoch": 3}}
    ),
    "no trials": Bad("FILE: search.trials", "0", "Trials of the finished study", {"search": {"trials": 0}}),
    "a name that is no name": Bad("FILE: name", "'My Study'", "Lower-case letters", {"name": "My Study"}),
    "bounds the wrong way round": Bad("FILE: search.space.x", "[0.1, 0.001]", "", space(x={"float": [0.1, 0.001]})),
    "log from zero": Bad("FILE: search.space.x", "0", "", space(x={"float": [0, 1], "log": True})),
    # the data
    "a missing column": Bad(
        "FILE: data.target", "'targt'", "Did you mean 'target'?", {"data": {"source": "rows.csv", "target": "targt"}}
    ),
    "a blank column": Bad(
        "FILE: data.source",
        "none in column 'b'",
        "data.columns: {b: drop}",
        CSV,
        table([(a, "", target) for a, _, target in ROWS]),
    ),
    # the model
    "a factory that raises": Bad(
        "FILE: model.factory",
        "RuntimeError: no such layer",
        "parts.py:raises",
        {"model": {"factory": "parts.py:raises"}},
    ),
    # the search
    "an unknown metric": Bad(
        "FILE: search.metric.name", "'acuracy'", "Did you mean 'accuracy'?", {"search": {"metric": {"name": "acuracy"}}}
    ),
    "a name that MLflow refuses": Bad(
        "FILE: search.space.kernel/", "'kernel/'", "Rename the parameter", space(**{"kernel/": {"int": [1, 2]}})
    ),
    "accumulation in the space": Bad(
        "FILE: search.space.accumulation",
        "'accumulation'",
        "Set training.accumulation",
        space(accumulation={"int": [1, 4]}),
    ),
    "a condition on an optimizer without the setting": Bad(
        "FILE: search.space.momentum.when.optimizer",
        "'adamw'",
        "Correct the condition",
        space(optimizer={"choice": ["sgd", "adamw"]}, momentum={"float": [0, 0.9], "when": {"optimizer": "adamw"}}),
    ),
    "a grid over real numbers": Bad(
        "FILE: search.space.lr", "a range of real numbers", "Write a step", {"search": {"sampler": "grid"}}
    ),
    "a pruner that is none": Bad(
        "FILE: search.pruner.type", "parts.py:build", "Derive it from", {"search": {"pruner": "parts.py:build"}}
    ),
    "a budget that is no time": Bad(
        "FILE: search.budget.time", "'two hours'", "Working time", {"search": {"budget": {"time": "two hours"}}}
    ),
    "a point outside the space": Bad(
        "FILE: search.warm_start.points[1].lr",
        "5.0",
        "widen the space",
        {"search": {"warm_start": {"points": [{}, {"lr": 5.0}]}}},
    ),
    "a warm start from a study that is not there": Bad(
        "FILE: search.warm_start.study", "'another'", "studies", {"search": {"warm_start": {"study": "another"}}}
    ),
    # the machine
    "a missing secret": Bad(
        "FILE: execution.secrets",
        "'NO_SUCH_TOKEN'",
        "Export NO_SUCH_TOKEN",
        {"execution": {"secrets": ["NO_SUCH_TOKEN"]}},
    ),
    # the environment
    "a storage that is no database": Bad(
        "WINNOW_STORAGE", "'redis://here'", "WINNOW_HOME", environment={"WINNOW_STORAGE": "redis://here"}
    ),
    "a home that no URL can name": Bad(
        "WINNOW_HOME", "100%", "another folder", environment={"WINNOW_HOME": "/tmp/100%"}
    ),
}
if not torch.cuda.is_available():
    BAD["a GPU that is not there"] = Bad("FILE: execution.device", "'cuda'", "auto", {"execution": {"device": "cuda"}})


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below a folder, with digests of what files hold.

    A database counts by its rows: its bytes, the files beside it and the planner's statistics change with its readers.
    """
    paths = [path for path in folder.rglob("*") if not path.name.endswith((".db-wal", ".db-shm"))]
    return {str(path.relative_to(folder)): digest(path) if path.is_file() else "folder" for path in paths}


def digest(file: Path) -> str:
    if file.suffix != ".db":
        return hashlib.sha256(file.read_bytes()).hexdigest()
    connection = sqlite3.connect(file)
    content = "\n".join(line for line in connection.iterdump() if "ANALYZE" not in line and "sqlite_stat" not in line)
    connection.close()
    return hashlib.sha256(content.encode()).hexdigest()


class Person:
    """A person's folder: an experiment file, functions, rows, and winnow's home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.file = folder / "experiment.yaml"
        folder.mkdir(exist_ok=True)
        (folder / "parts.py").write_text(PARTS)
        self.write()

    def write(self, changes: Mapping[str, Any] = {}, rows: str = GOOD) -> None:
        whole = dict(EXPERIMENT)
        for key, value in changes.items():
            is_section = isinstance(value, dict) and not (key == "data" and "target" in value)
            whole[key] = {**EXPERIMENT.get(key, {}), **value} if is_section else value
        self.file.write_text(yaml.safe_dump({k: v for k, v in whole.items() if v is not None}, sort_keys=False))
        (self.folder / "rows.csv").write_text(rows)

    def run(self, *arguments: str, environment: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WINNOW_", "MLFLOW_"))}
        env = {**kept, "WINNOW_HOME": str(self.home), **environment}
        return winnow(*arguments, env=env, cwd=self.folder, timeout=60)

    def refused(self, *arguments: str, environment: Mapping[str, str] = {}) -> str:
        """The one message of a call that has to be refused and to leave everything as it is."""
        before = snapshot(self.folder)
        ended = self.run(*arguments, environment=environment)
        assert ended.returncode == 2, ended
        assert ended.stdout == ""
        lines = ended.stderr.splitlines()
        assert len(lines) == 1, ended.stderr
        assert snapshot(self.folder) == before
        message = lines[0].removeprefix("error: ")
        assert message != lines[0]
        assert ": expected " in message
        assert ", found " in message
        assert message[-1] in ".?…", message
        return message


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path / "person")


@pytest.mark.parametrize("name", BAD)
def test_an_experiment_with_a_fault_is_refused(name: str, person: Person) -> None:
    bad = BAD[name]
    person.write(bad.changes, bad.rows)
    message = person.refused("train", "--config", "experiment.yaml", *bad.flags, environment=bad.environment)
    place = re.sub(r"^experiment\.yaml(:\d+)?", "FILE", message.partition(": expected ")[0])
    assert place == bad.place
    found = message.partition(", found ")[2]
    assert bad.found in found, message
    assert bad.remedy in found, message


def test_a_file_that_is_no_experiment_is_refused(person: Person) -> None:
    person.file.write_text("name: [bad\n")
    assert person.refused("train", "--config", "experiment.yaml").startswith("experiment.yaml:2: expected ")


def test_a_file_that_is_not_there_is_refused(person: Person) -> None:
    message = person.refused("train", "--config", "nowhere.yaml")
    assert message == (
        "nowhere.yaml: expected an experiment file that can be read, found no such file. Name one with --config …."
    )


def test_a_home_that_is_a_file_is_refused(person: Person) -> None:
    person.home.write_text("not a folder")
    for arguments in (["train"], ["report"], ["select-model"], ["prod"], ["inference-one"], ["cancel"], ["ui"]):
        with_config = [] if arguments == ["ui"] else ["--config", "experiment.yaml"]
        assert str(person.home) in person.refused(*arguments, *with_config), arguments


# Verbs that need something which is not there yet


@pytest.mark.parametrize(
    ("verb", "place", "remedy"),
    [
        ("select-model", "tracking store", "train"),
        ("prod", "tracking store", "train"),
        ("rollback", "deployment 'bad'", "winnow prod --platform local --name bad"),
        ("inference-one", "deployment 'bad'", "winnow prod --platform local --name bad"),
        ("report", "HOME/studies.db", "train"),
        ("cancel", "HOME/studies.db", "train"),
        ("ui", "HOME/mlflow.db", "train"),
    ],
)
def test_a_verb_that_comes_too_early_says_what_to_run_first(verb: str, place: str, remedy: str, person: Person) -> None:
    message = person.refused(verb, *([] if verb == "ui" else ["--config", "experiment.yaml"]))
    assert message.startswith(place.replace("HOME", str(person.home))), message
    assert remedy in message


@pytest.mark.parametrize(
    ("rules", "place", "found"),
    [
        ("filters: [{metric: f1, minn: 0.9}]", "rules.yaml:1: filters[0].minn", "unknown key 'minn'"),
        (None, "rules.yaml", "no such file"),
    ],
)
def test_rules_with_a_fault_are_refused(rules: str | None, place: str, found: str, person: Person) -> None:
    if rules is not None:
        (person.folder / "rules.yaml").write_text(rules)
    message = person.refused("select-model", "--config", "experiment.yaml", "--rules", "rules.yaml")
    assert message.startswith(f"{place}: expected"), message
    assert found in message


# A study that exists


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """A person whose study was made and has not run yet."""
    person = Person(tmp_path_factory.mktemp("begun") / "person")
    person.write(CSV)
    uri = f"sqlite:///{person.home / 'mlflow.db'}"
    source = {"source": str(person.folder / "rows.csv"), "target": "target"}
    factory = {"factory": f"{person.folder / 'parts.py'}:build"}
    person.write({"data": source, "model": factory})
    experiment = load_experiment(person.file)
    prepare(uri)
    store = StudyStore(Database(f"sqlite:///{person.home / 'studies.db'}", create=True), "bad")
    with contextlib.chdir(person.folder):
        with contextlib.closing(ForkServer.start(os.environ, ends_with_parent=True)) as server:
            checked = server.check(experiment)
        sweep = describe_sweep(experiment, "bad", checked, code_of(experiment, Path.cwd()))
    store.create(experiment, sweep)
    start_run(store, MlflowTracker(uri))
    store.database.close()
    return person


@pytest.mark.parametrize(
    ("changes", "rows", "place", "found"),
    [
        (space(x={"float": [0, 1]}) | {"training": {"loop": "parts.py:build"}}, GOOD, "", ""),
        (space(lr={"float": [0.001, 0.2]}), GOOD, "study 'bad': search.space.lr", "0.2"),
        ({"training": {"epochs": 2}}, GOOD, "study 'bad': training.epochs", "2"),
        ({}, with_target(["yes", "no"] * 15), "study 'bad': data (its content)", ""),
    ],
    ids=["several", "another space", "another training", "other data"],
)
def test_a_study_of_another_definition_is_left_as_it_is(
    changes: dict[str, Any], rows: str, place: str, found: str, begun: Person
) -> None:
    source = {"source": str(begun.folder / "rows.csv"), "target": "target"}
    factory = {"factory": f"{begun.folder / 'parts.py'}:build"}
    begun.write({"data": source, "model": factory, **changes}, rows)
    message = begun.refused("train", "--config", "experiment.yaml")
    assert message.startswith(place or "study 'bad'"), message
    assert found in message.partition(", found ")[2]
    assert "another name" in message


def test_a_study_that_nobody_made_is_refused(begun: Person) -> None:
    for verb in ("select-model", "prod", "report", "cancel"):
        message = begun.refused(verb, "--study", "unknown", "--config", "experiment.yaml")
        assert "'unknown'" in message, message


# Serving


@pytest.fixture(scope="module")
def serving() -> Iterator[Person]:
    """A person with one registered champion, `cells`, that is being served and was the first."""
    with tempfile.TemporaryDirectory(prefix="winnow-test-") as folder:
        person = Person(Path(folder) / "person")
        uri = f"sqlite:///{person.home / 'mlflow.db'}"
        prepare(uri)
        tracker = MlflowTracker(uri)
        sweep = made_up.sweep("cells")
        parent = tracker.start_sweep(sweep)
        bundle = bundles.classification(Path(folder) / "bundle")
        version = tracker.log_bundle(sweep, parent, made_up.trial(0, study="cells"), bundle)
        Registry(uri).crown(version, "test")
        yield person
        serve(person, "prod-remove")


def serve(person: Person, *arguments: str) -> None:
    env = {**os.environ, "WINNOW_HOME": str(person.home)}
    winnow(*arguments, "--study", "cells", env=env, timeout=120).check_returncode()


def test_a_port_that_is_taken_is_refused_and_nothing_is_served(serving: Person) -> None:
    before = snapshot(serving.home)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = serving.run("prod", "--study", "cells", "--port", str(port))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(
        f"error: address 127.0.0.1:{port}: expected a port of this machine that is free, found "
    )
    assert "Leave the port out" in ended.stderr
    # The copy of the bundle stays, which the next attempt takes.
    created = {name.split("/")[0] for name in snapshot(serving.home).items() ^ before.items() for name in name[:1]}
    assert created == {"models"}


def test_a_study_without_a_champion_is_not_served(serving: Person) -> None:
    message = serving.refused("prod", "--study", "cells", "--alias", "candidate")
    assert "'candidate'" in message
    assert "select-model" in message


def test_a_rollback_needs_something_to_go_back_to(serving: Person) -> None:
    serve(serving, "prod")
    message = serving.refused("rollback", "--study", "cells")
    assert message.startswith("deployment 'cells': expected a revision that was served before")


# Disks


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A small file system of its own at `folder`; the test is skipped where none can be had."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    folder.mkdir(exist_ok=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", *options, "none", str(folder)], capture_output=True, text=True)
    if mount.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mount.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_read_only_disk_is_refused(person: Person) -> None:
    with mounted(person.home, "-o", "size=64m,ro"):
        assert str(person.home) in person.refused("train", "--config", "experiment.yaml")


@pytest.mark.parametrize("room", ["16k", "256k", "600k"])
def test_a_full_disk_is_refused(room: str, person: Person) -> None:
    with mounted(person.home, "-o", f"size={room}"):
        assert str(person.home) in person.refused("train", "--config", "experiment.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any folder")
def test_a_folder_that_must_not_be_written_to_is_refused(person: Person) -> None:
    person.home.mkdir(mode=0o555)
    assert str(person.home) in person.refused("train", "--config", "experiment.yaml")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "--trials", "0"], "--trials"),
        (["train", "--nonsense"], "--nonsense"),
        (["trian"], "trian"),
        (["prod", "--port", "70000"], "--port"),
        (["prod", "--platform", "moon"], "--platform"),
    ],
)
def test_a_mistyped_command_line_is_refused(arguments: list[str], named: str, person: Person) -> None:
    before = snapshot(person.folder)
    ended = person.run(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert named in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert snapshot(person.folder) == before
