"""Semantic versions of models: a rule that compares a version with the one before it.

    1.0.0   the first version of a model
    major   requests or answers look different, or an answer means something else: columns, shape, classes, targets,
            task, or which class is the positive one
    minor   they do not, but the features, the network or the source differ: `data` and `model` of the experiment file,
            a column's type, the user's code
    patch   nothing of this differs: the model was trained again

What a sweep finds (parameters, categories, the threshold) makes no difference: the same file on new data is a patch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from winnow.bundle.manifest import Manifest

FIRST = "1.0.0"
_SAME_MODEL = (
    *("data.holdout", "data.load", "data.group", "data.time", "data.weight"),
    *("data.rev", "data.prepare.engine", "data.prepare.sort", "data.prepare.partition_by"),
)
"""Keys of `data` that say how a model is trained and scored, or which version of the data it is, not what it is."""


@dataclass(frozen=True)
class Facts:
    """What the rule knows of a version.

    Attributes:
        settings: values of the experiment file by dotted key, as in `model.factory`; empty where they are not known.
        code: digest of the user's code; empty if there is none or it is not known.
    """

    manifest: Manifest
    settings: Mapping[str, str] = field(default_factory=dict)
    code: str = ""


def next_version(number: str, before: Facts | None, after: Facts | None) -> str:
    """The semantic version of `after`, whose predecessor `before` has `number`.

    None stands for a version whose bundle cannot be read. It counts as major: nothing shows that the two answer the
    same requests.
    """
    major, minor, patch = map(int, number.split("."))
    if before is None or after is None or _meaning(before.manifest) != _meaning(after.manifest):
        return f"{major + 1}.0.0"
    if _has_other_design(before, after):
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def signature_of(manifest: Manifest) -> str:
    """A digest of what requests and answers of a model look like: columns, input, classes and targets."""
    columns = None if manifest.table is None else [(each.name, each.kind) for each in manifest.table]
    facts = (manifest.task, columns, manifest.input_shape if columns is None else None, manifest.images)
    named = (manifest.class_names, manifest.target_names)
    return hashlib.sha256(msgspec.json.encode((facts, named), order="sorted")).hexdigest()[:16]


def _meaning(manifest: Manifest) -> tuple[str, str | None]:
    """The signature, and the positive one of two classes, which is the second where none is named."""
    classes = manifest.class_names or ()
    return signature_of(manifest), manifest.positive or (classes[1] if len(classes) == 2 else None)


def _has_other_design(before: Facts, after: Facts) -> bool:
    if [each.dtype for each in before.manifest.table or ()] != [each.dtype for each in after.manifest.table or ()]:
        return True
    if not before.settings or not after.settings:
        return False
    return (before.code, _design(before.settings)) != (after.code, _design(after.settings))


def _design(settings: Mapping[str, str]) -> dict[str, str]:
    return {
        key: value for key, value in settings.items() if key.startswith(("data.", "model.")) and key not in _SAME_MODEL
    }
