"""What commits of promotions and rollbacks say, what a history of them means, and which image is promoted. Pure."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from winnow.config.errors import InputError
from winnow.config.next_command import next_command, next_flag
from winnow.integrations.gitops.layout import OverlayChange
from winnow.integrations.gitops.repository import PastCommit

if TYPE_CHECKING:
    from winnow.api import ModelStory, Promotion
    from winnow.study.story import GateVerdict

PROMOTION, ROLLBACK = "Winnow-Promotion", "Winnow-Rollback"
"""Trailers: what a commit promoted, and the full name of the commit that it reverts."""
WIDTH = 72


def key_of(model: str, stage: str, version: str, digest: str) -> str:
    """What a promotion's trailer says: which version, with which files, to which stage."""
    return f"{model}/{stage} version {version} sha256 {digest}"


def promotion_message(promotion: Promotion, story: ModelStory, change: OverlayChange) -> str:
    """The message of a promotion's commit: verdict, gates, model, image and lineage.

    Args:
        story: of the version; it has the verdict also where an earlier call gave it.
    """
    stage, origin, reason = promotion.stage, story.origin, reason_of(promotion, story)
    verdict = _verdict(promotion, story)
    gates = [f"- {name}: {result}; {why}" for name, result, why in (() if verdict is None else verdict.gates)]
    code = f"commit {origin.git_commit}{', with changes' if origin.has_changes else ''}" if origin.git_commit else ""
    facts = {
        "Model": f"{origin.name} version {origin.label}, sha256 {origin.digest}",
        "Image": change.image,
        "Study": f"{origin.study}, trial {origin.trial}, run {origin.run_id}",
        "Data": f"{origin.data_name}, sha256 {origin.data_sha256}",
        "Code": code,
        **dict(sorted(origin.lineage.items())),
    }
    return _message(
        f"Promote {origin.name} version {origin.label} to {stage}",
        f"{reason[:1].upper()}{reason[1:]}.",
        "\n".join(gates),
        "\n".join(f"{name}: {value}" for name, value in facts.items() if value),
        f"{PROMOTION}: {key_of(origin.name, stage, change.version, change.digest)}",
    )


def reason_of(promotion: Promotion, story: ModelStory) -> str:
    """Why a version is promoted, as a clause: the verdict, also where an earlier call gave it."""
    verdict = _verdict(promotion, story)
    return promotion.reason if verdict is None else verdict.reason


def _verdict(promotion: Promotion, story: ModelStory) -> GateVerdict | None:
    return next((each for each in story.verdicts if each.stage == promotion.stage), None)


def rollback_message(stage: str, reverted: PastCommit, now: OverlayChange, then: OverlayChange, reason: str) -> str:
    """The message of a commit that reverts a promotion. `now`, `then`: what it takes out, and what it puts back."""
    return _message(
        f"Roll {stage} of {now.model} back to version {then.version}",
        f"{reason[:1].upper()}{reason[1:]}.",
        f"This reverts commit {reverted.commit}, which promoted version {now.version}.",
        f"Image: {then.image}",
        f"{ROLLBACK}: {reverted.commit}",
    )


def last_promotion(history: Sequence[PastCommit]) -> PastCommit | None:
    """The newest promotion that was not rolled back; None where there is none. `history`: newest first."""
    reverted = {each.trailers[ROLLBACK] for each in history if ROLLBACK in each.trailers}
    found = (each for each in history if PROMOTION in each.trailers and each.commit not in reverted)
    return next(found, None)


def refuse_rolled_back(history: Sequence[PastCommit], key: str) -> None:
    """Refuse a version whose latest promotion was rolled back. `key`: see `key_of`.

    Raises:
        InputError: it was.
    """
    promoted = next((each.commit for each in history if each.trailers.get(PROMOTION) == key), None)
    found = (each for each in history if promoted and each.trailers.get(ROLLBACK) == promoted)
    if (rollback := next(found, None)) is None:
        return
    raise InputError(
        key.partition(" sha256 ")[0],
        expected="a version whose last promotion was not rolled back",
        found=f"that commit {rollback.commit[:12]} rolled it back",
        remedy=f"Promote another version, or this one nevertheless ({next_flag('again', True)}).",
    )


def registry_for(
    image: str, registry: str, deployed: OverlayChange | None, environment: Mapping[str, str] = os.environ
) -> str:
    """The registry that the image of a promotion is in, or is pushed to: HOST/PATH.

    Args:
        image: `REPOSITORY@sha256:…`; empty: it is still to be built.
        registry: that a person named; empty: that of the deployed image, else WINNOW_REGISTRY.

    Raises:
        InputError: no registry is known, the image is in another one, or has no digest.
    """
    known = registry or ("" if deployed is None else deployed.image.rpartition("/")[0])
    known = known.rstrip("/") or ("" if image else environment.get("WINNOW_REGISTRY", "").rstrip("/"))
    if image and not re.fullmatch(r"[^@\s]+/[^@/\s]+@sha256:[0-9a-f]{64}", image):
        raise InputError(
            next_flag("image"),
            expected="an image in a registry by its digest: HOST/REPOSITORY@sha256:…",
            found=f"'{image}'",
            remedy=f"`{next_command('build-prod', registry=...)}` prints it once it is pushed; or leave it out.",
        )
    its = image.partition("@")[0].rpartition("/")[0]
    if not (known or its):
        raise InputError(
            next_flag("registry"),
            expected="the registry that the cluster pulls from: HOST/PATH",
            found="none",
            remedy="Name it, or set WINNOW_REGISTRY.",
        )
    if image and known and its != known:
        raise InputError(
            next_flag("image"),
            expected=f"an image in {known}, from which the cluster pulls",
            found=f"'{image}'",
            remedy=f"Push it there; or if the cluster pulls from it, name it ({next_flag('registry', its)}).",
        )
    return its or known


def _message(*parts: str) -> str:
    subject, text, *others = parts
    wrapped = textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n\n".join(part for part in (subject, wrapped, *others) if part) + "\n"
