"""Functions of a script or a notebook reach other processes as text, with all that they use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from winnow.config.errors import InputError
from winnow.config.session_code import SessionCode, with_names

SCRIPT = """
import functools
import math as m
import sys
from collections import Counter, OrderedDict as Ordered
from pathlib import Path

RATE, NAMES, UNUSED = 0.5, ("a", "b"), object()
HOME = Path("data")

def twice(function):
    @functools.wraps(function)
    def called(*arguments):
        return 2 * function(*arguments)
    return called

class Base:
    def size(self):
        return len(NAMES) + again(0)

class Shape(Base):
    kind = Counter

def again(number):
    return number and load(number - 1)

@twice
def load(number: int = 3):
    count = lambda: RATE
    return m.floor(Shape().size() + count() + again(number)) + len(HOME.parts) + len(Ordered())

from winnow.config.errors import InputError
from winnow.config.session_code import SessionCode
code = SessionCode(Path("code/own.py"))
try:
    print(CALL)
    Path("code").mkdir()
    code.file.write_text(code.text)
except InputError as error:
    sys.exit(str(error))
"""


def run(call: str, folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """The script's end, with a call in place of CALL."""
    (folder / "script.py").write_text(before + SCRIPT.replace("CALL", call))
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)


def test_a_function_is_copied_with_all_that_it_uses(tmp_path: Path) -> None:
    done = run('code.name_of(load, "data.source"), load()', tmp_path)
    assert (done.stdout, done.stderr) == ("code/own.py:load 90\n", "")
    copy = [sys.executable, "-c", "import own; print(own.load())"]
    asked = subprocess.run(copy, cwd=tmp_path / "code", capture_output=True, text=True, check=True)
    assert asked.stdout == "90\n"
    text = (tmp_path / "code/own.py").read_text()
    assert "UNUSED" not in text and "SessionCode" not in text


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ("lambda: 1", "a lambda"),
        ("functools.partial(load, 1)", "a value of type partial"),
        ("(lambda: load)().__call__", "a value of type method-wrapper"),
        ("twice(again).__closure__[0].cell_contents and (lambda x: (lambda: x))(1)", "a lambda"),
        ("nested()", "a function that is defined inside a function"),
        ("uses", "`UNUSED`, a value of type object, which it uses"),
        ("calls", "`square`, a lambda, which it uses"),
        ("made", "`made`, whose source is not at hand"),
    ],
)
def test_what_cannot_be_copied_is_refused(tmp_path: Path, call: str, found: str) -> None:
    before = (
        "def uses():\n    return UNUSED\nexec('def made(): pass')\n"
        "def nested():\n    def inner(): pass\n    return inner\n"
        "square = lambda x: x * x\ndef calls():\n    return square(2)\n"
    )
    done = run(f'code.name_of({call}, "data.source")', tmp_path, before)
    assert done.returncode == 1
    assert done.stderr.startswith(f"data.source: expected a function that other processes can import, found {found}. ")


def test_an_importable_function_keeps_its_name(tmp_path: Path) -> None:
    code = SessionCode(tmp_path / "own.py")
    assert code.name_of(json.dumps, "data.source") == "json:dumps"
    own = code.name_of(test_an_importable_function_keeps_its_name, "data.source")
    assert own == "tests/unit/config/test_session_code.py:test_an_importable_function_keeps_its_name"
    assert code.text == ""


def test_functions_and_numbers_of_numpy_become_names_and_numbers(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "data": {"source": json.loads, "options": {"rows": np.int64(3)}},
        "search": {"metrics": ["f1", json.dumps], "space": {"width": {"choice": np.array([8, 16])}}},
    }
    named = with_names(content, SessionCode(tmp_path / "own.py"))
    assert named == {
        "data": {"source": "json:loads", "options": {"rows": 3}},
        "search": {"metrics": ["f1", "json:dumps"], "space": {"width": {"choice": [8, 16]}}},
    }
    assert type(named["data"]["options"]["rows"]) is int


def test_a_function_without_a_name_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"search\.metrics\[0\]: expected a function .* found a lambda\."):
        with_names({"search": {"metrics": [lambda: 1]}}, SessionCode(tmp_path / "own.py"))
