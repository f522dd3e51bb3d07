"""winnow as a library: light to import, and the same words as the command."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import FunctionType

import pytest

import winnow
from winnow import api, integrations
from winnow.api.arguments import ARGUMENTS, ATTRIBUTES
from winnow.api.reference import api_reference, attribute_types, entries_of
from winnow.cli import VERBS

OTHER_NAMES = {
    "prod": "serve",
    "prod-remove": "remove_deployment",
    "prod-status": "status",
    **{f"rollout-{each}": "change_rollout" for each in ("promote", "pause", "resume", "abort")},
    # `winnow.report` is a package.
    "report": "write_report",
}
WITHOUT = {
    # They run other verbs' commands, to show them.
    "demo",
    "demo-loop",
}
PUBLIC = {name: getattr(package, name) for package in (api, integrations) for name in package.__all__}
HEAVY = {"torch", "mlflow", "optuna", "pandas", "sklearn", "pydantic"}


def test_importing_winnow_imports_nothing_heavy() -> None:
    code = f"import sys, winnow, winnow.api, winnow.integrations; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"


def test_the_package_offers_every_name_of_its_api() -> None:
    assert set(winnow.__all__) == {*api.__all__, "__version__"}
    assert all(getattr(winnow, name) is getattr(api, name) for name in api.__all__)


def test_every_function_and_type_has_a_docstring() -> None:
    documents = {name: each.__doc__ or "" for name, each in PUBLIC.items()}
    # A dataclass without a docstring of its own is given its signature.
    assert [name for name, text in documents.items() if not text or text.startswith(f"{name}(")] == []


def test_another_name_is_refused_as_usual() -> None:
    with pytest.raises(AttributeError, match="no attribute 'sweep'"):
        _ = winnow.sweep


def test_bad_input_is_raised_and_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(winnow.WinnowError, match="no such file"):
        winnow.train(tmp_path / "none.yaml")
    assert capsys.readouterr().err == ""


def test_the_version_is_the_installed_one() -> None:
    assert winnow.__version__ == metadata.version("winnow")


def test_every_argument_is_described() -> None:
    functions = [each for each in PUBLIC.values() if isinstance(each, FunctionType)]
    arguments = {(each.__name__, name) for each in functions for name in inspect.signature(each).parameters}
    described = {(each.__name__, name) for each in functions for name in entries_of(each, "Args")}
    assert described - arguments == set()
    assert {argument for argument in arguments - described if argument[1] not in ARGUMENTS} == set()


def test_every_attribute_is_described() -> None:
    types = [each for each in PUBLIC.values() if isinstance(each, type)]
    values = [each for each in types if dataclasses.is_dataclass(each)]
    attributes = {(each.__name__, name) for each in values for name in attribute_types(each)}
    described = {(each.__name__, name) for each in values for name in entries_of(each, "Attributes")}
    assert described - attributes == set()
    assert {attribute for attribute in attributes - described if attribute[1] not in ATTRIBUTES} == set()


def test_the_reference_has_every_name_once() -> None:
    text = api_reference()
    headings = re.findall(r"^### `(\w+)`$", text, re.MULTILINE)
    errors = re.findall(r"^\| `(\w+Error)` \|", text, re.MULTILINE)
    assert sorted([*headings, *errors]) == sorted(PUBLIC)


def test_every_type_that_is_returned_is_public() -> None:
    values = [each for each in PUBLIC.values() if isinstance(each, type) and dataclasses.is_dataclass(each)]
    names = {name for each in values for annotation in attribute_types(each).values() for name in named(annotation)}
    functions = [each for each in PUBLIC.values() if isinstance(each, FunctionType)]
    names |= {name for each in functions for name in named(str(inspect.signature(each).return_annotation))}
    assert names - set(PUBLIC) == set()


def test_every_verb_of_the_command_is_a_function() -> None:
    assert {verb for verb in VERBS if OTHER_NAMES.get(verb, verb.replace("-", "_")) not in PUBLIC} == WITHOUT


def named(annotation: str) -> set[str]:
    """The types of winnow in an annotation."""
    words = set(re.findall(r"[A-Z]\w+", annotation))
    return words - {"Any", "Iterator", "Literal", "Mapping", "None", "Path", "Sequence"}
