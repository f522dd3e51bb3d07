"""What commits of promotions say, and what their history means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from winnow.api import GateVerdict, ModelStory, Origin, Promotion
from winnow.config.errors import InputError
from winnow.integrations.gitops.layout import OverlayChange
from winnow.integrations.gitops.promotion import (
    PROMOTION,
    ROLLBACK,
    key_of,
    last_promotion,
    promotion_message,
    refuse_rolled_back,
    registry_for,
    rollback_message,
)
from winnow.integrations.gitops.repository import PastCommit

IMAGE = f"registry.example.com/team/winnow-prod-wine@sha256:{'e' * 64}"
DEPLOYED = OverlayChange(IMAGE, "wine", "2", "d" * 64, None)
ORIGIN = Origin(
    name="wine",
    version="2",
    semantic="1.1.0",
    run_id="r2",
    digest="d" * 64,
    created_at=datetime(2026, 11, 29, tzinfo=UTC),
    study="wine-2",
    trial=7,
    params={},
    metrics={},
    data_name="wine.csv",
    data_source="wine.csv",
    data_sha256="a" * 64,
    data_rows=1234,
    lineage={"winnow.data.version": "0acf482b8e54", "winnow.data.source": "prepared"},
    tags={},
    git_commit="c0ffee",
    has_changes=True,
    environment={},
    study_started_at=None,
)
VERDICT = GateVerdict(
    ORIGIN.created_at,
    "production",
    "version 2 (1.1.0) passed the gate of production; compared with version 1",
    (("f1 at least 0.8", "pass", "0.88 is above 0.8."),),
)
JUDGED = Promotion(
    name="wine",
    stage="production",
    alias="champion",
    version="2",
    champion="2",
    source="",
    findings=(),
    is_promoted=True,
    is_new=False,
    reason="version 2 (1.1.0) is @champion already",
)
STORY = ModelStory(ORIGIN, ("champion",), (VERDICT,), ())


def promoted(commit: str, version: str) -> PastCommit:
    return PastCommit(commit, {PROMOTION: key_of("wine", "production", version, "d")})


def test_a_promotion_says_verdict_model_image_and_lineage() -> None:
    assert (
        promotion_message(JUDGED, STORY, DEPLOYED)
        == f"""\
Promote wine version 2 (1.1.0) to production

Version 2 (1.1.0) passed the gate of production; compared with version
1.

- f1 at least 0.8: pass; 0.88 is above 0.8.

Model: wine version 2 (1.1.0), sha256 {"d" * 64}
Image: {IMAGE}
Study: wine-2, trial 7, run r2
Data: wine.csv, sha256 {"a" * 64}
Code: commit c0ffee, with changes
winnow.data.source: prepared
winnow.data.version: 0acf482b8e54

Winnow-Promotion: wine/production version 2 sha256 {"d" * 64}
"""
    )


def test_a_rollback_names_the_commit_that_it_reverts() -> None:
    then = OverlayChange(IMAGE.replace("e", "f"), "wine", "1", "b" * 64, None)
    assert (
        rollback_message("production", promoted("c2", "2"), DEPLOYED, then, "errors since noon")
        == f"""\
Roll production of wine back to version 1

Errors since noon.

This reverts commit c2, which promoted version 2.

Image: {then.image}

Winnow-Rollback: c2
"""
    )


def test_the_last_promotion_is_the_newest_that_was_not_rolled_back() -> None:
    first, second, by_hand = promoted("c1", "1"), promoted("c2", "2"), PastCommit("c3", {})
    assert last_promotion([by_hand, second, first]) == second
    assert last_promotion([PastCommit("c4", {ROLLBACK: "c2"}), by_hand, second, first]) == first
    assert last_promotion([by_hand]) is None


def test_a_version_that_was_rolled_back_is_promoted_only_where_one_asks_for_it_again() -> None:
    history = [PastCommit("c3" * 20, {ROLLBACK: "c2"}), promoted("c2", "2"), promoted("c1", "1")]
    with pytest.raises(InputError, match=r"wine/production version 2: .*found that commit c3c3c3c3c3c3 rolled it back"):
        refuse_rolled_back(history, key_of("wine", "production", "2", "d"))
    for allowed in (key_of("wine", "production", "1", "d"), key_of("wine", "production", "2", "other files")):
        refuse_rolled_back(history, allowed)
    refuse_rolled_back([promoted("c4", "2"), *history], key_of("wine", "production", "2", "d"))


def test_images_come_from_the_registry_of_the_deployed_one() -> None:
    team, other = "registry.example.com/team", f"ghcr.io/us/wine@sha256:{'a' * 64}"
    assert registry_for("", "", DEPLOYED, {"WINNOW_REGISTRY": "other"}) == team
    assert registry_for("", "", None, {"WINNOW_REGISTRY": "other/"}) == "other"
    assert registry_for(other, "", None, {"WINNOW_REGISTRY": "other"}) == "ghcr.io/us"
    assert registry_for(other, "ghcr.io/us/", DEPLOYED, {}) == "ghcr.io/us"
    with pytest.raises(InputError, match=f"expected an image in {team}, from which the cluster pulls, found '{other}'"):
        registry_for(other, "", DEPLOYED, {})
    with pytest.raises(InputError, match="expected the registry that the cluster pulls from"):
        registry_for("", "", None, {})


@pytest.mark.parametrize("image", ["team/wine:latest", "wine@sha256:" + "a" * 64, "team/wine@sha256:abc", "a b"])
def test_an_image_without_a_registry_or_a_digest_is_refused(image: str) -> None:
    with pytest.raises(InputError, match="expected an image in a registry by its digest"):
        registry_for(image, "", None, {})
