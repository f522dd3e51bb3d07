"""What several modules read from a pod."""

from __future__ import annotations

from winnow.platforms.kubernetes.kinds import Manifest

INDEX = "batch.kubernetes.io/job-completion-index"
"""Label and annotation of a pod of an indexed Job: which of its pods it is."""


def is_over(pod: Manifest) -> bool:
    """Its processes have ended."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
