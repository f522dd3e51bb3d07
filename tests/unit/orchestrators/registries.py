"""A registry with one model, for tests of what is done with a registered version."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from winnow.bundle.manifest import read_manifest
from winnow.tracking.tracker import ModelVersion, TrackingUnavailableError


class FakeRegistry:
    """A registry with one model, whose champion is its newest version; counts downloads.

    Args:
        bundle: the bundle of every version; None: there is no version.
        numbers: the versions, newest first; a mapping has their semantic versions, too.
        is_away: the store does not answer.
        lineage: where the rows of every version come from.
    """

    def __init__(
        self,
        bundle: Path | None,
        numbers: Sequence[str] | Mapping[str, str] = ("3",),
        *,
        is_away: bool = False,
        lineage: Mapping[str, str] | None = None,
    ) -> None:
        self._bundle = bundle
        self._numbers = numbers if isinstance(numbers, Mapping) else dict.fromkeys(numbers, "")
        self._is_away = is_away
        self._lineage = lineage or {"winnow.data.version": "0acf482b8e54"}
        self.downloads = 0

    def champion(self, name: str, alias: str = "champion") -> ModelVersion | None:
        return next(iter(self.versions(name)), None)

    def versions(self, name: str) -> list[ModelVersion]:
        if self._is_away:
            raise TrackingUnavailableError("connection refused")
        if self._bundle is None:
            return []
        return [
            ModelVersion(name, number, f"run-{number}", semantic, self._lineage)
            for number, semantic in self._numbers.items()
        ]

    def verdicts(self, version: ModelVersion) -> dict[str, str]:
        return {}

    def download_bundle(self, version: ModelVersion, destination: Path) -> Path:
        assert self._bundle is not None
        self.downloads += 1
        shutil.copytree(self._bundle, destination)
        read_manifest(destination)
        return destination
