"""From a trained model to a bundle on disk (`winnow.bundle`): ONNX, weights, an example, and reference answers.

A bundle is written beside its place and renamed into it when it is whole and has been checked: what lies at the place
is always complete.
"""

from __future__ import annotations

import base64
import functools
import json
import logging
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from safetensors.torch import save_model
from torch import nn

from winnow.bundle.columns import Column, decode_row
from winnow.bundle.images import IMAGE
from winnow.bundle.manifest import EXAMPLE, ONNX, REFERENCE, WEIGHTS, Manifest, sha256_of, write_manifest
from winnow.bundle.profile import PROFILE, Profile, write_profile
from winnow.data.dataset import DataSet
from winnow.data.rows import rows_in, spread
from winnow.training.failures import ExportDiffersError
from winnow.training.independence import CAUSE, ROWS, Answer, dependence
from winnow.training.onnx_graph import UnknownLayerError, graph_of
from winnow.training.onnx_model import OnnxNetwork
from winnow.training.typical import shuffled_rows, typical_row

TOLERANCE = 1e-4
"""How far an exported model's output may be from torch's, relative to the size of the outputs.

Two runtimes add up the same float32 products (relative error 6e-8 each) in another order; over the layers of a network
that grows to 1e-6 or 1e-5. What an export can get wrong (an operator, a missing scale, dropout left on) shows in the
first or second digit. 1e-4 lies between the two."""

REFERENCE_ROWS = 256
CHECKED_BYTES = 2**25
"""Rows on which ONNX and torch are compared, from everywhere among those given: 32 MiB."""
CHECKED_AT_ONCE = 1024
CHECKED_AT_ONCE_BYTES = 2**23


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: what its manifest says beside what the data set and the files say.

    Attributes:
        model: the experiment's name, which is also the registered model's; empty: the study's.
    """

    study: str
    trial: int
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    git_commit: str = ""
    positive: str | None = None
    threshold: float | None = None
    model: str = ""


def export(
    model: nn.Module,
    data: DataSet,
    rows: NDArray[np.int64],
    trained: NDArray[np.int64],
    origin: Origin,
    directory: Path,
    profile: Profile | None = None,
) -> float:
    """Write the bundle of a finished model, in eval mode and on the CPU, into `directory`.

    Args:
        rows: indexes of the rows on which ONNX and torch are compared: the holdout, or the training rows.
        trained: indexes of the training rows, of which the example and the reference rows are made.
        directory: taken over if it exists.
        profile: what live requests are compared with; None for a bundle without one.

    Returns:
        The largest absolute difference between the outputs of ONNX and of torch.

    Raises:
        ExportDiffersError: it is more than rounding, or an answer depends on the other rows of its batch; nothing is
            left behind.
        OSError: the directory cannot be written; nothing is left behind.
        torch.onnx.errors.OnnxExporterError: the network has no ONNX form.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        is_probability, most = data.task == "classification", rows_in(CHECKED_BYTES, data.features.shape)
        inputs = data.features[rows if len(rows) <= most else rows[spread(len(rows), most)]]
        several = inputs if len(inputs) > 1 else data.features
        sample = several[spread(len(several), ROWS)]
        check_independence("torch", functools.partial(torch_outputs, model), sample, is_probability)
        expected = torch_outputs(model, inputs)

        def checked(write: Callable[[nn.Module, NDArray[np.float32], Path], None]) -> tuple[Answer, float]:
            write(model, inputs[:2], unfinished / ONNX)
            answer = functools.partial(_onnx_outputs, _session(unfinished / ONNX))
            parity = check_parity(expected, answer(inputs), is_probability)
            check_independence("ONNX", answer, sample, is_probability)
            return answer, parity

        first = _write_own_graph if isinstance(model.network, OnnxNetwork) else _write_known_layers
        try:
            onnx, parity = checked(first)
        except (UnknownLayerError, ExportDiffersError, RuntimeError, ValueError):
            # torch's exporter knows every operator, and takes seconds.
            onnx, parity = checked(_write_any_layers)
        save_model(model, str(unfinished / WEIGHTS))
        typical = typical_row(data.features, trained, data.columns)
        (unfinished / EXAMPLE).write_text(_example_text(data, typical), encoding="utf-8")
        reference = shuffled_rows(data.features, trained, REFERENCE_ROWS, data.columns)
        _write_reference(model, onnx, reference, unfinished / REFERENCE)
        if profile is not None:
            write_profile(unfinished, profile)
        write_manifest(unfinished, _manifest(data, origin, parity, unfinished))
        shutil.rmtree(directory, ignore_errors=True)
        unfinished.rename(directory)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return parity


def check_parity(
    expected: NDArray[np.float32], found: NDArray[np.float32], is_probability: bool, of: str = "torch"
) -> float:
    """Compare two models' outputs, float32 [rows, outputs]; returns their largest absolute difference.

    `of`: where the expected ones are from, for the message.

    Each output may differ by `TOLERANCE` times its size: 1 for a probability, else the largest absolute value of its
    column, since rounding in the network is magnified by the target's scale. Two models within it choose the same class
    wherever the two likeliest classes are further apart than twice the tolerance.

    Raises:
        ExportDiffersError: they differ by more, in shape, or in what is finite.
    """
    if expected.shape != found.shape:
        raise ExportDiffersError(f"the ONNX model answers with shape {found.shape} instead of {expected.shape} of {of}")
    difference = np.abs(expected.astype(np.float64) - found)
    # Written so that a NaN on either side is a difference.
    within = difference <= _tolerance(expected, is_probability)
    if not within.all():
        row = int(np.argwhere(~within)[0][0])
        raise ExportDiffersError(
            f"the ONNX model differs from {of} in {int((~within).any(axis=1).sum())} of {len(expected)} rows by up to "
            f"{float(np.nanmax(difference)):.3g}; row {row}: {found[row].tolist()} instead of {expected[row].tolist()}"
        )
    return float(difference.max())


def check_independence(kind: str, answer: Answer, rows: NDArray[np.float32], is_probability: bool) -> None:
    """Compare the answers to rows alone with those in a batch.

    Args:
        kind: which model it is, for the message.
        answer: float32 [rows, *input_shape] to [rows, outputs].

    Raises:
        ExportDiffersError: they differ by more than rounding.
    """
    together = answer(rows)
    found = dependence(answer, rows, together, _tolerance(together, is_probability))
    if found is not None:
        raise ExportDiffersError(
            f"the {kind} model's answer to a row depends on the other rows of its batch: {found}. Its forward mixes "
            f"rows, by {CAUSE}"
        )


def _tolerance(outputs: NDArray[np.float32], is_probability: bool) -> NDArray[np.float64] | float:
    """How far two answers may be apart, for each output."""
    if is_probability:
        return TOLERANCE
    size: NDArray[np.float64] = np.maximum(np.abs(outputs).max(axis=0), np.finfo(np.float32).tiny).astype(np.float64)
    return TOLERANCE * size


def example_body(data: DataSet, row: NDArray[np.float32]) -> dict[str, Any]:
    """A body for `POST /predict` with one row of the features: raw values by name for tables, lists for tensors.

    An image is a PNG file in base64, which is far shorter than its numbers.
    """
    if data.images is not None:
        return {"rows": [{IMAGE: base64.b64encode(data.images.encode(row)).decode()}]}
    if data.table is None:
        return {"rows": [_shortest(row)]}
    missing_is_none = [np.nan if number is None else number for number in _shortest(row)]
    return {"rows": [decode_row(data.table, missing_is_none)]}


def _example_text(data: DataSet, row: NDArray[np.float32]) -> str:
    """The example as JSON, one feature a line where features have names."""
    return json.dumps(example_body(data, row), indent=2 if data.feature_names is not None else None) + "\n"


def _shortest(values: NDArray[np.float32]) -> Any:
    """Python numbers with no more digits than tell these float32 values apart (17.99, not 17.989999771118164)."""
    if values.ndim > 0:
        return [_shortest(value) for value in values]
    return None if np.isnan(values) else float(str(values))


def _write_reference(model: nn.Module, onnx: Answer, rows: NDArray[np.float32], path: Path) -> None:
    """Write the rows that both torch and ONNX answer, with torch's answers, for a server to check itself by."""
    expected, found = torch_outputs(model, rows), onnx(rows)
    is_answered = np.isfinite(expected).all(axis=1) & np.isfinite(found).all(axis=1)
    kept = is_answered if is_answered.any() else slice(None)
    np.savez(path, inputs=rows[kept], outputs=expected[kept])


def _write_own_graph(model: nn.Module, _rows: NDArray[np.float32], path: Path) -> None:
    path.write_bytes(model.network.model)  # type: ignore[union-attr,arg-type]


def _write_known_layers(model: nn.Module, rows: NDArray[np.float32], path: Path) -> None:
    path.write_bytes(graph_of(model, _example(rows)).SerializeToString())


def _example(rows: NDArray[np.float32]) -> torch.Tensor:
    """At least two rows: with a single one an exporter takes the batch for a constant."""
    return torch.from_numpy(rows if len(rows) > 1 else np.repeat(rows, 2, axis=0))


def _write_any_layers(model: nn.Module, rows: NDArray[np.float32], path: Path) -> None:
    batch = torch.export.Dim("batch")
    with _without_exporter_warnings():
        torch.onnx.export(
            model,
            (_example(rows),),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamic_shapes={"input": {0: batch}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@contextmanager
def _without_exporter_warnings() -> Iterator[None]:
    """Hide what torch's exporter warns of in its own code."""
    with warnings.catch_warnings():
        for category in (FutureWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", category=category, module=r"(torch|onnxscript|copyreg)(\.|$)")
        registration = logging.getLogger("torch.onnx._internal.exporter._registration")
        before = registration.level
        # It tells of every operator of torchvision that it does not offer, where torchvision is not installed.
        registration.setLevel(logging.ERROR)
        try:
            yield
        finally:
            registration.setLevel(before)


@torch.no_grad()
def torch_outputs(model: nn.Module, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """A model's outputs, float32 [rows, outputs], computed some megabytes at a time."""
    parts = torch.split(torch.from_numpy(inputs), _checked_at_once(inputs))
    outputs: NDArray[np.float32] = torch.cat([model(part) for part in parts]).float().numpy()
    return outputs


def _checked_at_once(inputs: NDArray[np.float32]) -> int:
    return min(CHECKED_AT_ONCE, rows_in(CHECKED_AT_ONCE_BYTES, inputs.shape))


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _onnx_outputs(session: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = _checked_at_once(inputs)
    parts = [inputs[start : start + rows] for start in range(0, len(inputs), rows)]
    outputs: NDArray[np.float32] = np.concatenate([session.run(["output"], {"input": part})[0] for part in parts])
    return outputs


def _manifest(data: DataSet, origin: Origin, parity: float, directory: Path) -> Manifest:
    return Manifest(
        name=origin.model or origin.study,
        task=data.task,
        input_shape=data.raw_shape,
        columns=_codec(data.columns),
        images=data.images,
        feature_names=data.feature_names,
        class_names=data.class_names,
        positive=origin.positive,
        threshold=origin.threshold,
        target_names=data.target_names,
        study=origin.study,
        trial=origin.trial,
        params=dict(origin.params),
        metrics=dict(origin.metrics),
        parity=parity,
        data_name=data.name,
        data_sha256=data.sha256,
        git_commit=origin.git_commit,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files={
            name: sha256_of(directory / name)
            for name in (ONNX, WEIGHTS, EXAMPLE, REFERENCE, PROFILE)
            if (directory / name).is_file()
        },
    )


def _codec(columns: tuple[Column, ...] | None) -> tuple[Column, ...] | None:
    """None for a table of plain numbers, so that its manifest is the one that earlier versions wrote."""
    return None if columns is None or columns == tuple(Column(column.name) for column in columns) else columns


def git_commit(folder: Path) -> str:
    """The commit of a folder, or WINNOW_GIT_COMMIT where there is no repository; empty if neither."""
    told = os.environ.get("WINNOW_GIT_COMMIT", "")
    if told or shutil.which("git") is None:
        return told
    asked = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else ""
