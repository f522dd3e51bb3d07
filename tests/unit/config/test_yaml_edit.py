"""Values changed in a text of YAML, whose comments stay."""

from __future__ import annotations

from typing import Any

import pytest

from winnow.config.yaml_edit import KeyPath, value_at, with_scalars, with_values

TEXT = """\
# Head.
kind: Deployment
metadata:
  name: model  # the name
  labels:
    # Of the model.
    app: model
spec:
  rules:
    # The first rule.
    - http: {path: /}
  # The end.
"""


@pytest.mark.parametrize(
    ("path", "value", "old", "new"),
    [
        (("metadata", "name"), "other", "name: model  #", "name: other  #"),
        (("metadata", "name"), "7", "name: model  #", 'name: "7"  #'),
        (("metadata", "name"), 7, "name: model  #", "name: 7  #"),
        (("metadata", "labels", "role"), "replica", "app: model\n", "app: model\n    role: replica\n"),
        (("metadata", "marks", "a"), "b", "app: model\n", "app: model\n  marks:\n    a: b\n"),
        (("spec", "rules", 0, "host"), "h", "- http:", "- host: h\n      http:"),
        (("spec", "class"), "c", "- http: {path: /}\n", "- http: {path: /}\n  class: c\n"),
    ],
)
def test_one_value_changes_and_all_else_stays(path: KeyPath, value: Any, old: str, new: str) -> None:
    assert with_values(TEXT, {path: value}) == TEXT.replace(old, new)


def test_a_new_last_key_ends_a_text_without_a_last_newline() -> None:
    assert with_values("a: 1", {("b",): 2}) == "a: 1\nb: 2\n"


@pytest.mark.parametrize("path", [("metadata",), ("metadata", "name", "x"), ("spec", "rules", 3, "x")])
def test_a_value_of_another_kind_is_refused(path: KeyPath) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        with_values(TEXT, {path: "x"})


def test_items_are_found_by_name() -> None:
    text = "images:\n  - name: a\n    tag: 1\n  - name: b\n    tag: 2\n"
    assert with_values(text, {("images", "b", "tag"): 3}) == text.replace("tag: 2", "tag: 3")
    assert value_at(text, ("images", "b")) == {"name": "b", "tag": 2}
    assert value_at(text, ("images", "c", "tag")) is None


def test_scalars_are_replaced_in_all_documents() -> None:
    text = "a: old  # old\n---\n- {old: [old, 1]}\n"
    new = with_scalars(text, lambda key, value: f"{key or 'key'}-new" if value == "old" else value)
    assert new == "a: a-new  # old\n---\n- {key-new: [old-new, 1]}\n"
