"""Where winnow's files are that its package does not hold: Dockerfiles, compose.yaml, manifests, the lock.

A clone of winnow has them. A project folder outside it uses those of the clone that its winnow is installed from.
"""

from __future__ import annotations

from pathlib import Path

CLONE = Path(__file__).resolve().parents[3]
"""The clone, if winnow is installed from one with `pip install --editable`, as `make setup` does."""


def own_folder(folder: Path, *names: str, clone: Path = CLONE) -> Path:
    """The folder that has these files: `folder`, else the clone. `folder` if neither has them all."""
    places = (place for place in (folder, clone) if all((place / name).exists() for name in names))
    return next(places, folder)
