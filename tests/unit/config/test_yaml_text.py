"""YAML as its 1.2 standard reads it."""

import math

import pytest
import yaml

from winnow.config.yaml_text import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-2.", -2.0),
        ("-.inf", -math.inf),
        ("12", 12),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("190:20:30", "190:20:30"),
        ("2026-11-21", "2026-11-21"),
        ("~", None),
        ("null", None),
        ('"1e-4"', "1e-4"),
        ("=", "="),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}").content["key"]
    assert (read, type(read)) == (value, type(value))


def test_every_key_and_item_has_its_line() -> None:
    document = read_yaml("a: 1\nb:\n  - x\n  - c: 2\n")
    assert document.lines == {("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4}


def test_an_empty_file_has_no_content() -> None:
    assert read_yaml("# nothing\n").content is None


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(yaml.MarkedYAMLError) as refused:
        read_yaml("a:\n  b: 1\n  b: 2\n")
    assert (refused.value.problem, refused.value.problem_mark.line + 1) == ("the key 'b' a second time", 3)


def test_a_merged_mapping_may_be_overridden() -> None:
    assert read_yaml("base: &base {x: 1, y: 1}\nmine:\n  <<: *base\n  y: 2\n").content["mine"] == {"x": 1, "y": 2}


def test_tags_that_make_objects_are_refused() -> None:
    with pytest.raises(yaml.YAMLError):
        read_yaml("key: !!python/object/apply:os.getcwd []")
