"""A version on its way into manifests and out again: gates, commits, the model's history. The remote is a folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.docker.champions import Winnow
from tests.manifest_clones import Manifests, git, manifests_of
from winnow import api
from winnow.config.errors import InputError
from winnow.integrations import gitops_init, gitops_promote, gitops_rollback
from winnow.integrations.gitops.layout import OverlayChange
from winnow.tracking.registry import Registry


def image(digit: str, registry: str = "registry.example.com/team") -> str:
    return f"{registry}/winnow-prod@sha256:{digit * 64}"


@pytest.fixture
def manifests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifests:
    winnow = Winnow(tmp_path / "home")
    monkeypatch.setenv("WINNOW_HOME", str(winnow.home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", winnow.uri)
    return manifests_of(winnow, tmp_path)


def promote(to: Manifests, image: str, *, again: bool = False, branch: str | None = None) -> bool:
    """Whether the candidate passed the gate."""
    chosen = {"repo": to.clone, "source": to.rows, "rules": to.rules}
    found = gitops_promote("production", to.winnow.file, **chosen, image=image, again=again, branch=branch)
    return found.promotion.is_promoted


def test_a_version_is_promoted_replaced_rolled_back_and_stays_out(manifests: Manifests) -> None:
    manifests.ask_for(0)
    assert promote(manifests, image("a"))
    first = manifests.deployed()
    assert first is not None and (first.image, first.version) == (image("a"), "1")
    assert git(manifests.bare, "show", "--format=%an: %s", "--name-only", "main").split("\n") == [
        f"Ada: Promote {manifests.winnow.name} version 1 (1.0.0) to production",
        "",
        manifests.overlay,
    ]
    before = manifests.references()
    assert promote(manifests, image("a")) and manifests.references() == before  # it is deployed already

    manifests.ask_for(1)
    promote(manifests, image("b"))
    overlay = git(manifests.bare, "show", f"main~1:{manifests.overlay}")
    done = gitops_rollback("production", manifests.winnow.file, repo=manifests.clone, reason="errors since noon")
    assert (done.version, done.replaced, done.image, done.is_local) == ("1", "2", image("a"), True)
    assert git(manifests.bare, "show", f"main:{manifests.overlay}") == overlay  # to the byte
    assert git(manifests.clone, "status", "--porcelain") == ""

    before = manifests.references()
    with pytest.raises(InputError, match=f"found that commit {done.commit[:12]} rolled it back"):
        promote(manifests, image("b"))
    with pytest.raises(InputError, match="was the first one"):
        gitops_rollback("production", manifests.winnow.file, repo=manifests.clone)
    assert manifests.references() == before
    events = [each.text for each in api.why(manifests.winnow.file, version="2").events if each.kind == "commit"]
    assert len(events) == 2 and "in place of version 1" in events[0] and "takes it out of" in events[1]
    assert events[1].endswith("for version 1 (1.0.0): errors since noon")
    promote(manifests, image("b"), again=True)
    last = [each.text for each in api.why(manifests.winnow.file, version="2").events if each.kind == "commit"][-1]
    assert last.endswith("passed the gate of production; compared with version 1 (1.0.0)")
    digest = api.why(manifests.winnow.file, version="2").origin.digest
    found = manifests.deployed()
    assert found is not None
    assert replace(found, replicas=None) == OverlayChange(image("b"), manifests.winnow.name, "2", digest, None)


def test_nothing_is_committed_where_something_is_wrong(manifests: Manifests) -> None:
    manifests.ask_for(0)
    promote(manifests, image("a"))
    manifests.ask_for(1)
    before = manifests.references()
    with pytest.raises(InputError, match=r"an image in registry\.example\.com/team, from which the cluster pulls"):
        promote(manifests, image("b", "ghcr.io/us"))
    manifests.demand(1.0)
    assert not promote(manifests, image("b"))
    assert manifests.references() == before
    file = manifests.clone / manifests.overlay
    file.write_text(file.read_text().replace("a" * 64, "c" * 64))
    git(manifests.clone, "commit", "--quiet", "--all", "--message", "Change the image by hand")
    with pytest.raises(InputError, match="no commits that origin/main lacks"):
        promote(manifests, image("b"))
    git(manifests.clone, "push", "--quiet")
    before = manifests.references()
    with pytest.raises(InputError, match=manifests.overlay):
        promote(manifests, image("b"))
    assert manifests.references() == before
    champion = Registry(manifests.winnow.uri).champion(manifests.winnow.name)
    assert champion is not None and champion.version == "1"


def test_a_champion_that_no_gate_has_judged_is_judged_before_it_is_committed(manifests: Manifests) -> None:
    manifests.ask_for(0)
    Registry(manifests.winnow.uri).crown(manifests.winnow.versions[0], "the highest f1")  # selection without gates
    manifests.demand(1.0)
    before = manifests.references()
    assert not promote(manifests, image("a"))
    assert manifests.references() == before


def test_replicas_are_set_where_no_autoscaler_owns_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    winnow = Winnow(tmp_path / "home", serving={"autoscale": None, "replicas": 2})
    monkeypatch.setenv("WINNOW_HOME", str(winnow.home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", winnow.uri)
    manifests = manifests_of(winnow, tmp_path)
    manifests.ask_for(0)
    chosen = {"repo": manifests.clone, "source": manifests.rows, "rules": manifests.rules, "image": image("a")}
    gitops_promote("production", winnow.file, **chosen, replicas=5)
    found = manifests.deployed()
    assert found is not None and found.replicas == 5


def test_replicas_that_an_autoscaler_owns_are_refused_before_the_gates(manifests: Manifests) -> None:
    manifests.ask_for(0)
    before = manifests.references()
    with pytest.raises(InputError, match=r"minReplicas in autoscaler\.yaml"):
        gitops_promote("production", manifests.winnow.file, repo=manifests.clone, image=image("a"), replicas=5)
    assert manifests.references() == before
    assert Registry(manifests.winnow.uri).champion(manifests.winnow.name) is None


def test_a_rollout_that_argo_rollouts_cannot_carry_out_is_refused_before_the_gates(manifests: Manifests) -> None:
    manifests.ask_for(0)
    strategies = {"canary": {"steps": [{"setWeight": 500}]}, "blueGreen": {"activeService": "other"}}
    rollout = {"kind": "Rollout", "metadata": {"name": "x"}, "spec": {"strategy": strategies}}
    file = (manifests.clone / manifests.overlay).with_name("rollout.yaml")
    for text, message in ((json.dumps(rollout), "strategy"), ("a: [", "expected manifests as YAML")):
        file.write_text(text)
        git(manifests.clone, "add", ".")
        git(manifests.clone, "commit", "--quiet", "--message", "Change the rollout by hand")
        git(manifests.clone, "push", "--quiet")
        before = manifests.references()
        with pytest.raises(InputError, match=message):
            promote(manifests, image("a"))
        assert manifests.references() == before
    assert Registry(manifests.winnow.uri).champion(manifests.winnow.name) is None


def test_a_promotion_may_be_a_pull_request_and_init_keeps_what_is_deployed(manifests: Manifests) -> None:
    manifests.ask_for(0)
    promote(manifests, image("a"), branch="promote/1")
    assert manifests.deployed() is None
    git(manifests.clone, "pull", "--quiet", "origin", "promote/1")
    git(manifests.clone, "push", "--quiet", "origin", "main")
    deployed = manifests.deployed()
    assert deployed is not None and deployed.image == image("a")
    gitops_init(manifests.winnow.file, repo=manifests.clone, force=True)
    assert git(manifests.clone, "status", "--porcelain") == ""
