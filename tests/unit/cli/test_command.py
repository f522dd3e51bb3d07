"""The `winnow` command: fast to start, and every error as one message."""

import errno
import json
import os
import pty
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from winnow.cli import VERBS, run, winnow
from winnow.config.errors import InputError, WinnowError
from winnow.config.exit_codes import CommandExit


def help_of(verb: str) -> str:
    """A verb's help."""
    return CliRunner().invoke(winnow, [verb, "--help"]).output


HEAVY = {"torch", "mlflow", "optuna", "pandas", "sklearn", "numpy", "pydantic", "sqlalchemy", "onnxruntime"}


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import json, sys, winnow.cli as cli\n"
        "helps = [['--help'], *([verb, '--help'] for verb in cli.VERBS)]\n"
        "statuses = [cli.run(arguments) for arguments in helps]\n"
        "json.dump([statuses, sorted({name.partition('.')[0] for name in sys.modules})], sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    statuses, modules = json.loads(done.stderr)
    assert set(statuses) == {0}
    assert HEAVY.isdisjoint(modules)
    assert all(verb in done.stdout for verb in VERBS)


def test_the_file_is_checked_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("- a list\n")
    verbs = [verb for verb in VERBS if "--config" in help_of(verb) and verb not in ("demo", "diff", "plan-rollout")]
    program = (
        "import json, sys, winnow.cli as cli\n"
        "statuses = [cli.run(arguments) for arguments in json.loads(sys.argv[1])]\n"
        "print(json.dumps([statuses, sorted({name.partition('.')[0] for name in sys.modules})]))"
    )
    needed = {"compare-ab": ["--a", "1", "--b", "2"]}
    needed |= {verb: ["--stage", "staging"] for verb in ("promote-model", "gitops-promote", "gitops-rollback")}
    needed["ci-init"] = ["--kind", "jenkins"]
    needed["predict"] = ["--input", "rows.csv", "--output", "predictions.csv"]
    files = ("missing.yaml", "wrong.yaml")
    calls = [[verb, "--config", file, *needed.get(verb, ())] for verb in verbs for file in files]
    command = [sys.executable, "-c", program, json.dumps(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    statuses, modules = json.loads(done.stdout)
    assert {"train", "select-model", "report", "prod", "logs", "cancel"} <= set(verbs)
    assert set(statuses) == {2}
    assert [line.partition(": expected ")[0] for line in done.stderr.splitlines()] == [
        f"error: {file}" for _, _, file, *_ in calls
    ]
    # pydantic is what checks the file.
    assert set(modules) & HEAVY == {"pydantic"}


def test_a_mistyped_verb_is_told_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trian"]) == 2
    assert capsys.readouterr().err.endswith("Error: No such command 'trian'. Did you mean 'train'?\n")


@pytest.mark.parametrize("verb", [verb for verb in VERBS if "--study" in help_of(verb)])
@pytest.mark.parametrize("name", ["*", "", "../x", "ä", "a\nb", "-"])
def test_a_name_that_no_study_can_have_is_refused(verb: str, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([verb, f"--study={name}"]) == 2
    assert capsys.readouterr().err == (
        "error: --study: expected lower-case letters, digits and dashes, with no dash at either end, "
        f"found {name!r}. It names the study, its runs, its model and its files.\n"
    )


def test_a_name_that_is_too_long_is_told_its_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cancel", "--study", "a" * 64]) == 2
    assert capsys.readouterr().err == (
        "error: --study: expected at most 63 characters, "
        f"found '{'a' * 60}…', which has 64 characters. It names the study, its runs, its model and its files.\n"
    )


def on_a_terminal(program: str, environment: dict[str, str]) -> str:
    """What a Python program writes where its streams are a terminal."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=child, stdout=child, stderr=child, env=environment
    ) as process:
        os.close(child)
        process.wait()
    written = os.read(parent, 100_000).decode()
    os.close(parent)
    return written


@pytest.mark.parametrize(("variables", "error"), [({}, "\x1b[31m\x1b[1merror:\x1b[0m"), ({"NO_COLOR": "1"}, "error:")])
def test_errors_are_red_on_a_terminal_unless_it_wants_no_colour(variables: dict[str, str], error: str) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    program = "import winnow.cli; winnow.cli.run(['cancel', '--study', 'A'])"
    assert on_a_terminal(program, plain | variables).startswith(f"{error} --study: expected ")


def test_python_m_winnow_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "winnow", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("winnow, version ")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_command(verb: str) -> None:
    done = CliRunner().invoke(winnow, [verb, "--help"], prog_name="winnow")
    assert (done.exit_code, done.exception) == (0, None)
    assert done.output.startswith(f"Usage: winnow {verb}")


def raising(error: BaseException) -> click.Command:
    """A command that fails with `error`."""

    @click.command
    def command() -> None:
        raise error

    return command


def returning(status: int | None) -> click.Command:
    """A command that ends with `status`."""

    @click.command
    def command() -> int | None:
        return status

    return command


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_a_verb_returns_its_exit_status(returned: int | None, status: int) -> None:
    assert run([], returning(returned)) == status


def test_bad_input_is_one_message_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    error = InputError("x.yaml: name", expected="a name", found="nothing", remedy="Add it.")
    error.add_note("x.yaml: data: expected a value, found nothing. Add it.")
    assert run([], raising(error)) == 2
    assert capsys.readouterr() == (
        "",
        "error: x.yaml: name: expected a name, found nothing. Add it.\n"
        "error: x.yaml: data: expected a value, found nothing. Add it.\n",
    )


def test_an_error_of_winnow_brings_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    class NonePassesError(WinnowError):
        exit_code = 3

    assert run([], raising(NonePassesError("no run passes"))) == 3
    assert capsys.readouterr().err == "error: no run passes\n"


def test_ctrl_c_ends_with_the_status_of_shells() -> None:
    assert run([], raising(KeyboardInterrupt())) == CommandExit.INTERRUPTED


def test_a_mistyped_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--nonsense"]) == 2
    assert "No such option" in capsys.readouterr().err


def test_a_disk_that_takes_nothing_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise RuntimeError("wrapped") from OSError(errno.EROFS, "Read-only file system", "/srv/file")
    except RuntimeError as error:
        assert run([], raising(error)) == 2
    assert capsys.readouterr().err == (
        "error: /srv/file: expected a disk that can be written, found 'Read-only file system'. "
        "Mount the disk for writing, or name a path on another one.\n"
    )


def test_a_read_only_database_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect("file::memory:?mode=memory", uri=True)
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(sqlite3.OperationalError) as refused:
        connection.execute("CREATE TABLE t (x)")
    connection.close()
    assert run([], raising(refused.value)) == 2
    assert "WINNOW_HOME" in capsys.readouterr().err


def test_a_fault_of_winnow_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run([], raising(ZeroDivisionError()))


@pytest.mark.parametrize("verb", ["jobs", "prod", "retry", "mlflow-init"])
def test_the_former_name_of_a_flag_is_refused_with_its_present_one(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([verb, "--target", "docker"]) == 2
    assert capsys.readouterr().err == (
        "error: --target: expected --platform, found its old name. Write --platform NAME, or PLATFORM=NAME with make.\n"
    )
