"""The model bundle: the folder in which a trained model travels from a refit to the server.

    manifest.json       this module's `Manifest`: what the model is and where it comes from
    model.onnx          the network with its preprocessing: input "input" float32 [batch, *input_shape]; output "output"
                        float32: class probabilities [batch, classes], or target values [batch, targets]
    model.safetensors   the same weights, for Python
    input_example.json  a body that `POST /predict` takes, with typical values; in format 1 a row of the holdout
    reference.npz       "inputs" and "outputs": rows with the answers that the model gave when it was exported
                        (numpy's own format, read with allow_pickle=False). Each value is one of its column's in the
                        training rows, shuffled by column; in format 1 the rows are those of the holdout
    profile.json        `winnow.bundle.profile`: what the model was trained on, as counts; older bundles have none

Nothing in it needs torch, mlflow or pickle to read. Written by training, stored by tracking, read by serving.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from winnow.bundle.columns import Column
from winnow.bundle.images import ImageInput

FORMAT = 2
VERDICTS = "verdicts.json"
"""What gates said of the version, by stage, where it was judged. Written when the bundle is fetched, and no part of it:
the digest stays."""
REGISTERED = "registered.json"
"""The version's `semantic_version` and the `lineage` of its data, as the registry has them; kept in the same way."""
MANIFEST, ONNX, WEIGHTS = "manifest.json", "model.onnx", "model.safetensors"
EXAMPLE, REFERENCE = "input_example.json", "reference.npz"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the model is.

    Attributes:
        name: the experiment's name, which is also the registered model's.
        study, trial: where its parameters were found.
        input_shape: shape of one row of the graph's input, without the batch; for a table the width of its columns.
        feature_names: one name per column for tabular models, None for tensors.
        columns: the codec of a table's columns, in the order of their names; None for tensors, and for a table whose
            columns are numbers that are their own code.
        images: how an image becomes a row, for a model that takes images.
        class_names: one name per class, in the order of the output; None for regression.
        positive: of two classes the one that binary metrics are about; None where the study names none.
        threshold: the probability of `positive` from which on it is predicted; None: the likelier class is.
        target_names: one name per output column for regression; the target's name alone for classification.
        metrics: cross-validation means (`f1`), their spread (`f1.std`) and the holdout (`holdout.f1`).
        parity: largest absolute difference between this ONNX model and torch on the holdout.
        files: sha256 of every other file of the bundle, by name.
    """

    name: str
    task: Literal["classification", "regression"]
    input_shape: tuple[int, ...]
    feature_names: tuple[str, ...] | None
    class_names: tuple[str, ...] | None
    target_names: tuple[str, ...]
    study: str
    trial: int
    params: dict[str, object]
    metrics: dict[str, float]
    parity: float
    data_name: str
    data_sha256: str
    git_commit: str
    created_at: str
    files: dict[str, str]
    columns: tuple[Column, ...] | None = None
    images: ImageInput | None = None
    positive: str | None = None
    threshold: float | None = None
    format: int = FORMAT

    @property
    def table(self) -> tuple[Column, ...] | None:
        """The codec of a table's columns; None for tensors."""
        if self.columns is None and self.feature_names is not None:
            return tuple(Column(name) for name in self.feature_names)
        return self.columns

    @property
    def digest(self) -> str:
        """sha256 of `manifest.json`: the identity of all that is served, as the manifest names every other file's."""
        return hashlib.sha256(_text(self)).hexdigest()

    @property
    def onnx_sha256(self) -> str:
        """sha256 of the network alone. Models of different names, classes or columns may share it."""
        return self.files[ONNX]


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write `manifest.json`, indented, into `directory`."""
    (directory / MANIFEST).write_bytes(_text(manifest))


def read_manifest(directory: Path) -> Manifest:
    """Read and check `manifest.json`.

    Raises:
        FileNotFoundError: there is no manifest in `directory`.
        msgspec.ValidationError: it is not one that this version reads.
        ValueError: a file of the bundle is missing or not the one that was exported.
    """
    manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    for name, expected in manifest.files.items():
        if not (directory / name).is_file():
            raise ValueError(f"{directory / name}: expected a file of the bundle, found none")
        found = sha256_of(directory / name)
        if found != expected:
            raise ValueError(f"{directory / name}: expected sha256 {expected}, found {found}")
    return manifest


def _text(manifest: Manifest) -> bytes:
    content = msgspec.to_builtins(manifest)
    # A bundle from before these has the digest that it always had.
    for name in ("columns", "images", "positive", "threshold"):
        if content[name] is None:
            del content[name]
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
