"""The overlay of the stack's manifests (`TRACKING_OVERLAY`): what it changes, and the account that it gives MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from winnow.config.errors import InputError
from winnow.config.yaml_text import not_yaml
from winnow.platforms.kubernetes.kinds import Manifest
from winnow.platforms.kubernetes.manifests import merged

SERVER = "Deployment winnow-mlflow"


def lay_over(manifests: Sequence[Manifest], overlay: str) -> list[Manifest]:
    """The manifests with the overlay's parts merged into them (`manifests.merged`).

    Raises:
        InputError: the overlay is not YAML, or a part of it belongs to no manifest.
    """
    found = list(manifests)
    for part in _parts(overlay):
        metadata = part.get("metadata")
        name = metadata.get("name") if isinstance(metadata, dict) else None
        meant = [
            index
            for index, each in enumerate(found)
            if (each["kind"], each["metadata"]["name"]) == (part.get("kind"), name)
        ]
        if not meant:
            raise InputError(
                "TRACKING_OVERLAY",
                expected=f"parts of {', '.join(named(each) for each in manifests)}",
                found=f"one of {part.get('kind')} '{name}'",
                remedy="Correct its kind and metadata.name.",
            )
        found[meant[0]] = merged(found[meant[0]], part)
    return found


def account_of(overlay: str) -> str:
    """The ServiceAccount that the overlay gives MLflow's pod; empty where it gives none. Raises InputError."""
    for part in _parts(overlay):
        place: Any = part if f"{part.get('kind')} {(part.get('metadata') or {}).get('name')}" == SERVER else {}
        for name in ("spec", "template", "spec", "serviceAccountName"):
            place = place.get(name) if isinstance(place, dict) else None
        if place:
            return str(place)
    return ""


def named(manifest: Manifest) -> str:
    """Kind and name, for people."""
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def _parts(overlay: str) -> list[dict[str, Any]]:
    try:
        parts = [part for part in yaml.safe_load_all(overlay) if part is not None]
    except yaml.YAMLError as error:
        raise not_yaml(Path("TRACKING_OVERLAY"), error) from error
    if not all(isinstance(part, dict) for part in parts):
        raise InputError(
            "TRACKING_OVERLAY",
            expected="YAML documents that are maps",
            found="another",
            remedy="Write parts of manifests, each with its kind and metadata.name.",
        )
    return parts
