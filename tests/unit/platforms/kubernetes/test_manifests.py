"""Manifests: what is read, changed and shown of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from winnow.config.errors import InputError
from winnow.platforms.kubernetes.manifests import APPEND, Named, changed, load, merged, named, to_yaml

CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"


def job() -> dict[str, Any]:
    containers = [{"name": "a", "image": "one"}, {"name": "worker", "image": "two", "args": ["x"]}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"template": {"spec": {"containers": containers}}},
    }


WORKER = ("spec", "template", "spec", "containers", Named("worker"))


def test_resources_are_read_in_their_order_folders_among_them(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "kustomization.yaml").write_text("resources: [two.yaml]\n")
    (tmp_path / "base" / "two.yaml").write_text(f"{CONFIG_MAP % 'b'}---\n{CONFIG_MAP % 'c'}")
    (tmp_path / "one.yaml").write_text(CONFIG_MAP % "a")
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nresources: [one.yaml, base]\n")
    assert [each["metadata"]["name"] for each in load(tmp_path)] == ["a", "b", "c"]


def test_a_mode_is_octal_as_kubectl_reads_it(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [a.yaml]\n")
    (tmp_path / "a.yaml").write_text(f"{CONFIG_MAP % 'a'}mode: 0440\n")
    assert load(tmp_path)[0]["mode"] == 0o440


@pytest.mark.parametrize(
    ("kustomization", "file", "said"),
    [
        (None, "", "kustomization.yaml: expected a file of manifests, found No such file"),
        ("resources: [none.yaml]", "", "none.yaml: expected a file of manifests"),
        ("resources: [a.yaml]\npatches: []", CONFIG_MAP % "a", "kubectl apply -k .* found 'patches'"),
        ("resources: [a.yaml]", "a: [", "expected YAML"),
        ("resources: [a.yaml]", "- 1", "expected maps"),
        ("resources: [a.yaml]", "apiVersion: v1\nkind: Nothing\nmetadata: {name: a}", "found v1 Nothing"),
        ("resources: [a.yaml]", "apiVersion: v1\nkind: ConfigMap", "metadata.name"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(
    tmp_path: Path, kustomization: str | None, file: str, said: str
) -> None:
    if kustomization is not None:
        (tmp_path / "kustomization.yaml").write_text(kustomization)
    (tmp_path / "a.yaml").write_text(file)
    with pytest.raises(InputError, match=said):
        load(tmp_path)


def test_fields_are_changed_by_their_path_in_a_copy() -> None:
    before = job()
    after = changed(
        before,
        {
            (*WORKER, "image"): "three",
            (*WORKER, "args", 0): "y",
            (*WORKER, "env", APPEND): {"name": "E"},
            ("metadata", "labels", "new"): "l",
            ("spec", "template", "spec", "containers", Named("a")): None,
        },
    )
    assert before == job()
    assert after["metadata"] == {"name": "j", "labels": {"new": "l"}}
    assert after["spec"]["template"]["spec"]["containers"] == [
        {"name": "worker", "image": "three", "args": ["y"], "env": [{"name": "E"}]}
    ]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            ("spec", "template", "spec", "containers", Named("b"), "image"),
            r"containers\.\[name=b\]: expected this field",
        ),
        ((*WORKER, "args", 7), r"args\.7"),
        ((*WORKER, "image", "tag"), "image"),
    ],
)
def test_a_field_that_was_taken_out_is_named(path: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        changed(job(), {path: "x"})


def test_an_overlay_merges_maps_and_named_things_and_replaces_the_rest() -> None:
    base = {
        "a": {"kept": 1, "gone": 2, "new": 3},
        "containers": [{"name": "worker", "env": [{"name": "A", "value": "1"}], "args": ["x", "y"]}],
        "mounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b"}],
        "tolerations": [{"key": "a"}],
    }
    overlay = {
        "a": {"gone": None, "new": 4, "more": {"x": None, "y": 5}},
        "containers": [
            {"name": "worker", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}], "args": ["z"]},
            {"name": "beside"},
        ],
        "mounts": [{"name": "v", "mountPath": "/b", "readOnly": True}],
        "tolerations": [{"key": "b"}],
    }
    assert merged(base, overlay) == {
        "a": {"kept": 1, "new": 4, "more": {"y": 5}},
        "containers": [
            {"name": "worker", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}], "args": ["z"]},
            {"name": "beside"},
        ],
        "mounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "readOnly": True}],
        "tolerations": [{"key": "b"}],
    }


def test_what_is_printed_holds_no_secret() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "stringData": {"password": "hunter2"},
        "data": {"key": "aHVudGVyMg=="},
    }
    text = to_yaml([secret, {"kind": "ConfigMap", "data": {"script": "one\ntwo\n", "list": ["a"]}}])
    assert text == (
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  password: '***'\ndata:\n  key: '***'\n"
        "---\nkind: ConfigMap\ndata:\n  script: |\n    one\n    two\n  list:\n    - a\n"
    )


def test_an_object_that_is_missing_from_the_manifests_is_named() -> None:
    assert named([job()], "Job", "j") == job()
    with pytest.raises(InputError, match="Service 's'"):
        named([job()], "Service", "s")
