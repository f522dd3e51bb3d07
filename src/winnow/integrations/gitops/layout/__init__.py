"""The files that a repository of manifests has for a model, and what a promotion changes in them. Pure."""

from __future__ import annotations

from winnow.integrations.gitops.layout.files import argocd_files, base_files, overlay_files
from winnow.integrations.gitops.layout.promoted import OverlayChange, current, edited
from winnow.integrations.gitops.layout.rollout import check_rollout
from winnow.integrations.gitops.layout.stages import FOLDER, overlay_path, stages_of

__all__ = [
    "FOLDER",
    "OverlayChange",
    "argocd_files",
    "base_files",
    "check_rollout",
    "current",
    "edited",
    "overlay_files",
    "overlay_path",
    "stages_of",
]
