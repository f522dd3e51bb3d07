"""Functions named in an experiment file: both forms, and each way in which a name can be wrong."""

from __future__ import annotations

import math
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.config.functions import load_function, names_function


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A working directory; what is imported from it is forgotten again."""
    modules, path = set(sys.modules), list(sys.path)
    with chdir(tmp_path):
        yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def error_of(spec: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_function(spec, "model.factory")
    assert caught.value.place == "model.factory"
    return caught.value


def test_a_function_of_an_installed_module_is_loaded() -> None:
    assert load_function("math:sqrt", "model.factory") is math.sqrt
    assert load_function("os.path:join", "model.factory") is os.path.join


def test_a_class_counts_as_a_function(folder: Path) -> None:
    (folder / "nets_a.py").write_text("class Net: ...\n")
    assert load_function("nets_a.py:Net", "model.factory").__name__ == "Net"


def test_a_module_is_found_from_the_working_directory(folder: Path) -> None:
    (folder / "my_package").mkdir()
    (folder / "my_package" / "nets.py").write_text("def build(): return 7\n")
    assert load_function("my_package.nets:build", "model.factory")() == 7


def test_a_file_is_found_from_the_working_directory_and_finds_its_neighbours(folder: Path) -> None:
    (folder / "parts").mkdir()
    (folder / "parts" / "width_b.py").write_text("WIDTH = 3\n")
    (folder / "parts" / "net_b.py").write_text("from width_b import WIDTH\ndef build(): return WIDTH\n")
    assert load_function("parts/net_b.py:build", "model.factory")() == 3


def test_a_neighbour_with_the_name_of_a_standard_module_does_not_stand_in_for_it(folder: Path) -> None:
    sys.modules.pop("tabnanny", None)
    (folder / "own_c.py").write_text("NAME = 'own'\n")
    (folder / "net_c.py").write_text("import own_c, tabnanny\ndef build(): return own_c.NAME, tabnanny.__file__\n")
    (folder / "tabnanny.py").write_text("")
    name, standard = load_function("net_c.py:build", "model.factory")()
    assert (name, Path(standard).parent) == ("own", Path(os.__file__).parent)


@pytest.mark.parametrize("hiding", ["mlflow.py", "tqdm.py", "onnx/__init__.py"])
def test_a_neighbour_that_would_hide_a_package_that_winnow_needs_is_refused(folder: Path, hiding: str) -> None:
    (folder / "net_d.py").write_text("def build(): ...\n")
    (folder / hiding).parent.mkdir(exist_ok=True)
    (folder / hiding).write_text("")
    for spec in ("net_d.py:build", "net_d:build", "math:sqrt"):
        name = Path(hiding).parts[0]
        error = error_of(spec)
        assert (error.expected, error.found) == (
            f"no file in {folder} with the name of a package that winnow needs",
            f"{name}, which would be imported instead of the installed {Path(name).stem}",
        )


def test_neighbours_of_other_names_hide_nothing(folder: Path) -> None:
    for name in ("net_e.py", "utils.py", "pytest.py", "_tqdm.py"):
        (folder / name).write_text("def build(): return 5\n")
    (folder / "mlflow").mkdir()
    assert load_function("net_e.py:build", "model.factory")() == 5


def test_a_file_runs_once_and_what_it_defines_pickles(folder: Path) -> None:
    (folder / "once_c.py").write_text(
        "from pathlib import Path\n"
        "with Path('ran').open('a') as log: log.write('x')\n"
        "def build(): ...\ndef load(): ...\n"
    )
    build = load_function("once_c.py:build", "model.factory")
    load_function(str(folder / "once_c.py") + ":load", "data.source")
    assert (folder / "ran").read_text() == "x"
    assert pickle.loads(pickle.dumps(build)) is build  # noqa: S301 - our own bytes


def test_files_of_the_same_name_in_two_folders_are_two_modules(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "same_d.py").write_text(f"def build(): return {name!r}\n")
    first, second = (load_function(f"{name}/same_d.py:build", "model.factory") for name in ("one", "two"))
    assert (first(), second()) == ("one", "two")
    assert pickle.loads(pickle.dumps(second)) is second  # noqa: S301 - our own bytes


def test_a_file_named_like_an_installed_module_does_not_replace_it(folder: Path) -> None:
    (folder / "math.py").write_text("def build(): return 1\n")
    (folder / "statistics.py").write_text("def build(): return 2\n")
    assert load_function("math.py:build", "model.factory")() == 1
    assert load_function("statistics.py:build", "model.factory")() == 2
    assert sys.modules["math"] is math


@pytest.mark.parametrize("spec", ["package.module", ":build", "package.module:", "module:a.b", ""])
def test_a_name_of_another_form_is_refused(spec: str) -> None:
    error = error_of(spec)
    assert "`package.module:function` or `path/file.py:function`" in str(error)
    assert repr(spec) in str(error)


def test_a_missing_file_is_told_with_the_nearest_one(folder: Path) -> None:
    (folder / "network.py").write_text("")
    assert "no such file" in str(error_of("netwrok.py:build"))
    assert "Did you mean 'network.py'?" in str(error_of("netwrok.py:build"))


@pytest.mark.parametrize(
    ("spec", "missing"),
    [("not_there_at_all:build", "not_there_at_all"), ("os.nothing:build", "os.nothing")],
)
def test_a_missing_module_is_told_apart_from_one_that_fails(spec: str, missing: str) -> None:
    error = error_of(spec)
    assert f"no module named '{missing}'" in str(error)
    assert "install the package" in str(error)


def test_an_import_that_fails_inside_a_module_is_named_with_its_line(folder: Path) -> None:
    (folder / "needs_e.py").write_text("import math\nimport not_there_either\n")
    for spec in ("needs_e:build", "needs_e.py:build"):
        error = error_of(spec)
        assert "ModuleNotFoundError: No module named 'not_there_either' (needs_e.py, line 2)" in error.found
    assert "needs_e" not in sys.modules


def test_a_syntax_error_is_shown(folder: Path) -> None:
    (folder / "broken_f.py").write_text("def build(:\n")
    assert "SyntaxError" in error_of("broken_f.py:build").found
    assert "broken_f.py, line 1" in error_of("broken_f:build").found


def test_an_error_deep_in_a_library_is_told_with_the_line_of_ones_own_file(folder: Path) -> None:
    (folder / "deep_g.py").write_text("import json\n\njson.loads('{')\n")
    assert error_of("deep_g.py:build").found.endswith("(deep_g.py, line 3)")


def test_a_name_that_is_not_there_is_told_with_the_nearest(folder: Path) -> None:
    (folder / "net_h.py").write_text("def build(): ...\nSIZE = 3\n")
    assert "Did you mean 'build'?" in str(error_of("net_h.py:biuld"))
    assert "It holds build." in str(error_of("net_h.py:xyz"))
    assert "a value of type int" in str(error_of("net_h.py:SIZE"))


def test_a_functions_name_is_told_by_its_form() -> None:
    assert names_function("package.module:load")
    assert names_function("some folder/file.py:load")
    assert not names_function("data/rows.csv")
    assert not names_function("s3://bucket/rows.csv")
