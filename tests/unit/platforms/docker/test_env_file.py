"""The environment file: a person's lines, and the block beside them."""

from pathlib import Path

import pytest

from winnow.config.env_file import read_variables
from winnow.config.errors import InputError
from winnow.platforms.docker.env_file import BEGIN, END, EnvFile, parse, read, render, without, write


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("NAME=a", "a"),
        ("export NAME = a ", "a"),
        ("NAME='a # b'", "a # b"),
        ('NAME="a" # said so', "a"),
        ("NAME=a # said so", "a"),
        ("NAME=a#b", "a#b"),
        ("NAME=postgresql://me:x@h/d?a=b", "postgresql://me:x@h/d?a=b"),
        ("NAME=", ""),
        ("NAME=a\nNAME=b", "b"),
    ],
)
def test_lines_are_read_as_compose_reads_them(line: str, value: str) -> None:
    assert read_variables(f"# NAME=x\n{line}\n") == {"NAME": value}


def test_what_is_written_is_read_again() -> None:
    file = EnvFile("# mine\nMINE=1\n", {"PASSWORD": "a-b_c", "HOSTS": "a:*,b c", "EMPTY": ""})
    text = render(file)
    assert text == f"# mine\nMINE=1\n{BEGIN}\nPASSWORD=a-b_c\nHOSTS='a:*,b c'\nEMPTY=\n{END}\n"
    assert parse(text) == file
    assert read_variables(text) == file.variables()


def test_lines_around_the_block_are_kept() -> None:
    file = parse(f"A=1\n{BEGIN}\nB=2\n{END}\nC=3\n")
    assert file == EnvFile("A=1\nC=3\n", {"B": "2"})


def test_a_last_line_without_an_end_stays_a_line() -> None:
    assert render(EnvFile("A=1", {"B": "2"})).startswith(f"A=1\n{BEGIN}\n")


def test_a_value_that_no_line_can_hold_is_refused() -> None:
    with pytest.raises(InputError, match="NAME"):
        render(EnvFile("", {"NAME": "a'b"}))


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n")
    path.chmod(0o644)
    assert write(path, EnvFile("A=1\n", {"B": "2"}))
    assert (path.stat().st_mode & 0o777, read(path)) == (0o600, EnvFile("A=1\n", {"B": "2"}))
    assert not write(path, EnvFile("A=1\n", {"B": "2"}))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read(tmp_path / ".env") is None


def test_own_lines_outlive_the_volumes_but_for_their_secrets() -> None:
    file = EnvFile("# mine\nMINE=1\nMINIO_ROOT_PASSWORD=abcdefgh\n", {"B": "2"})
    assert without(file, frozenset({"MINIO_ROOT_PASSWORD"})) == EnvFile("# mine\nMINE=1\n")
    assert without(EnvFile("\n", {"B": "2"}), frozenset()) == EnvFile("")
