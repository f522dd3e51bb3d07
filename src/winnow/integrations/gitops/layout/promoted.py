"""What an overlay's kustomization says is promoted, and how a promotion changes it: values in their places. Pure.

A seal, which is a comment, shows whether these values are as a promotion wrote them. All else in the file is the
user's, and stays as it is.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import yaml

from winnow.config.errors import InputError
from winnow.config.yaml_edit import KeyPath, value_at, with_values

IMAGE = "winnow-prod"
NOT_PROMOTED = "not-promoted-yet"
_SEAL = re.compile(r"^# Seal: (\S+)$", re.MULTILINE)
_IMAGE_BY_DIGEST = re.compile(r"(\S+)@(sha256:[0-9a-f]{64})")
_REPOSITORY: KeyPath = ("images", IMAGE, "newName")
_DIGEST: KeyPath = ("images", IMAGE, "digest")
_MODEL: KeyPath = ("commonAnnotations", "winnow.model")
_VERSION: KeyPath = ("commonAnnotations", "winnow.model.version")
_REVISION: KeyPath = ("labels", 0, "pairs", "winnow.revision")
_SHA256: KeyPath = ("commonAnnotations", "winnow.model.sha256")
_COUNT: KeyPath = ("replicas", 0, "count")


@dataclass(frozen=True)
class OverlayChange:
    """What a stage deploys.

    Attributes:
        image: by its digest, `REPOSITORY@sha256:…`.
        model, version: as registered.
        digest: of the model's bundle.
        replicas: how many; None leaves the number, which an autoscaler may own.
    """

    image: str
    model: str
    version: str
    digest: str
    replicas: int | None = None

    @property
    def seal(self) -> str:
        """A digest of what a promotion writes, without the replicas, which people may change."""
        values = "\n".join((self.image, self.model, self.version, self.digest))
        return hashlib.sha256(values.encode()).hexdigest()[:16]


def current(text: str, place: str) -> OverlayChange | None:
    """What an overlay deploys; None before the first promotion.

    Args:
        place: of the file, for errors.

    Raises:
        InputError: the file is not a kustomization with these values, or they were changed by hand.
    """
    try:
        paths = (_REPOSITORY, _DIGEST, _MODEL, _VERSION, _SHA256)
        repository, digest, model, version, sha256 = (value_at(text, path) for path in paths)
        count = value_at(text, _COUNT)
    except yaml.YAMLError as error:
        raise _not_as_written(place, f"no YAML ({' '.join(str(error).split())})") from error
    found = OverlayChange(f"{repository}@{digest}", str(model), str(version), str(sha256), count)
    seals = _SEAL.findall(text)
    if len(seals) != 1:
        raise _not_as_written(place, f"{len(seals)} lines `# Seal: …`")
    if seals[0] == "none" and (repository, digest, version) == (NOT_PROMOTED, "", ""):
        return None
    if seals[0] != found.seal:
        remedy = f"Restore them from git. If the change is meant, set the seal to {found.seal}, and commit both."
        expected = f"the image and the annotations that a promotion wrote (seal {seals[0]})"
        raise InputError(place, expected=expected, found=f"others: version {version}, {found.image}", remedy=remedy)
    return found


def edited(text: str, change: OverlayChange, place: str) -> str:
    """The kustomization of an overlay after a promotion: comments and all other fields stay.

    Args:
        place: of the file, for errors.

    Raises:
        InputError: as `current`; the image is not named by its digest; or replicas are given where none are set.
    """
    current(text, place)
    named = _IMAGE_BY_DIGEST.fullmatch(change.image)
    if named is None:
        remedy = "Push the image: a registry gives it a digest."
        raise InputError("image", expected="REPOSITORY@sha256:…", found=f"'{change.image}'", remedy=remedy)
    values = {
        _REPOSITORY: named[1],
        _DIGEST: named[2],
        _MODEL: change.model,
        _VERSION: change.version,
        _REVISION: change.version,
        _SHA256: change.digest,
    }
    if change.replicas is not None:
        if value_at(text, _COUNT) is None:
            expected = "no number of replicas, which another file of this stage sets"
            remedy = "Change minReplicas in autoscaler.yaml, or replicas in rollout.yaml."
            raise InputError(place, expected=expected, found=str(change.replicas), remedy=remedy)
        values[_COUNT] = change.replicas
    return _SEAL.sub(f"# Seal: {change.seal}", with_values(text, values))


def _not_as_written(place: str, found: str) -> InputError:
    return InputError(
        place,
        expected="a kustomization that `winnow gitops-init` wrote, with one seal",
        found=found,
        remedy="Restore the file from git.",
    )
