"""How the verbs that build images take what is asked of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from winnow.cli.build import build_train
from winnow.platforms.docker.train_image import project_tag


def planned(*flags: str) -> list[str]:
    """What `build-train` would do after the builds."""
    shown = CliRunner().invoke(build_train, ["--dry-run", *flags])
    assert shown.exit_code == 0, shown.output
    return [line for line in shown.output.splitlines() if not line.startswith("DOCKER_BUILDKIT=1")]


def test_a_flag_for_the_way_to_the_nodes_stands_instead_of_the_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path))
    monkeypatch.setenv("WINNOW_REGISTRY", "reg.example")
    tag = project_tag(Path.cwd())
    pushed = [f"docker push reg.example/winnow-{each}:{tag}" for each in ("tracking", "train")]
    loaded = ["kind load winnow-tracking:ID", "kind load winnow-train:ID"]
    assert planned() == pushed
    assert planned("--image-load", "kind load") == loaded
    monkeypatch.setenv("WINNOW_REGISTRY", "")
    monkeypatch.setenv("WINNOW_IMAGE_LOAD", "kind load")
    assert planned() == loaded
    assert planned("--registry", "reg.example") == pushed
