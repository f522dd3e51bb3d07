"""The generated parts of the documents."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from winnow.api.documents import documents, generators
from winnow.cli.project import config_reference as command
from winnow.config.errors import InputError
from winnow.config.reference import experiment_reference, fill, targets_reference

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", documents(ROOT), ids=lambda path: path.name)
def test_the_documents_are_as_new_as_the_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert fill(text, generators(ROOT), path.name) == text


def test_every_generator_stands_in_some_document() -> None:
    texts = "".join(path.read_text(encoding="utf-8") for path in documents(ROOT))
    assert {name for name in generators(ROOT) if f"<!-- generated: {name} -->" in texts} == set(generators(ROOT))


def test_every_key_says_what_it_means() -> None:
    assert [line for line in experiment_reference().splitlines() if re.search(r"\|\s*\|$", line)] == []


def test_marked_parts_are_replaced_and_the_rest_is_kept() -> None:
    text = "a\n<!-- generated: x -->\nold\n<!-- end generated -->\nb\n"
    filled = "a\n<!-- generated: x -->\nnew\n<!-- end generated -->\nb\n"
    assert fill(text, {"x": lambda: "new\n"}, "file") == filled
    assert fill(filled, {"x": lambda: "new\n"}, "file") == filled


@pytest.mark.parametrize("text", ["<!-- generated: y -->\n<!-- end generated -->", "<!-- generated: x -->\n"])
def test_an_unknown_or_open_mark_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        fill(text, {"x": str}, "file")


def test_targets_come_from_the_makefile_itself() -> None:
    makefile = "##@ Group\na: b ## Do a\nc d-e: ## Do c | e\n\t@false ## no\nf: g\n"
    assert targets_reference(makefile).splitlines()[2:] == [
        "| **Group** |  |",
        "| `make a` | Do a |",
        "| `make c` = `make d-e` | Do c \\| e |",
    ]


def test_check_shows_what_is_old_and_write_repairs_it(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "k8s").mkdir()
    (tmp_path / "Makefile").write_text("a: ## Do a\n")
    (role := tmp_path / "k8s" / "role.yaml").write_text("of yesterday\n")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- generated: targets -->\n<!-- end generated -->\n")
    runner = CliRunner()
    checked = runner.invoke(command, ["--root", str(tmp_path)], standalone_mode=False)
    assert (checked.return_value, "+| `make a` | Do a |" in checked.output) == (1, True)
    assert runner.invoke(command, ["--root", str(tmp_path), "--write"], standalone_mode=False).return_value == 0
    assert "| `make a` | Do a |" in readme.read_text()
    assert role.read_text() == Path("k8s/role.yaml").read_text()
    assert runner.invoke(command, ["--root", str(tmp_path)], standalone_mode=False).return_value == 0
