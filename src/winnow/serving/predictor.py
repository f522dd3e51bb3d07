"""Runs the exported model: one ONNX Runtime session on one thread that never spins.

A server scales by replicas. In a container's share of the CPUs, threads sized to the host's cores or spinning between
requests cost more than they gain at these sizes.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from winnow.bundle import manifest as bundle
from winnow.bundle.example import published_example
from winnow.bundle.profile import read_profile
from winnow.serving import values
from winnow.serving.problems import ProblemError
from winnow.serving.signature import MOST_ROWS, Signature, signature_of
from winnow.serving.values import Matrix

INPUT, OUTPUT = "input", "output"
LARGEST_INLINE = 65_536
"""Bytes of numbers that are decoded without delaying health checks."""
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 1e-4, 1e-5
"""How far the answers to the reference rows may lie from those at export: other CPUs round differently."""


class WrongModelError(Exception):
    """The bundle cannot be served: it is damaged, or answers differently than when it was exported."""


class Predictor:
    """A loaded model that has reproduced its reference rows.

    Args:
        directory: the bundle.
        version: of the model as served; by default the digest's first twelve digits.
        most_rows: rows that one request may have.

    Raises WrongModelError where the bundle is incomplete, damaged, or gives other answers than at export.
    """

    def __init__(self, directory: Path, version: str | None = None, most_rows: int = MOST_ROWS) -> None:
        self.directory = directory
        try:
            self.manifest = bundle.read_manifest(directory)
            self.signature: Signature = signature_of(self.manifest, version, most_rows)
            self.profile = read_profile(directory)
        except (OSError, ValueError) as error:  # msgspec's ValidationError is a ValueError
            raise WrongModelError(f"{directory}: {error}") from error
        if self.signature.images is not None and importlib.util.find_spec("PIL") is None:
            raise WrongModelError(f"{directory}: a model of images needs Pillow: pip install 'winnow[serve,images]'")
        self.example = published_example(directory, self.manifest)
        self._session = _session(directory / bundle.ONNX)
        with np.load(directory / bundle.REFERENCE, allow_pickle=False) as reference:
            inputs, expected = reference["inputs"], reference["outputs"]
        self._check_reference(inputs.astype(np.float32, copy=False), expected)
        one_s, all_s = (min(self._seconds(matrix) for _ in range(3)) for matrix in (inputs[:1], inputs))
        signature = self.signature
        # What is no number takes longer to decode than its bytes tell.
        largest = 0 if signature.images is not None else LARGEST_INLINE if signature.is_numeric else LARGEST_INLINE // 4
        self.inline_bytes = inline_limit(one_s, all_s, len(inputs), signature.row_values, largest=largest)

    def outputs(self, matrix: Matrix) -> Matrix:
        """Outputs of shape [rows, outputs] for rows of shape [rows, *input_shape].

        Raises:
            ProblemError: `no-answer` where a row has no finite output; `model-failed` where the model raises.
        """
        try:
            found: NDArray[np.float32] = self._session.run([OUTPUT], {INPUT: matrix})[0]
        except Exception as error:
            raise ProblemError("model-failed", "The model raised an error; the server's log has it.") from error
        found = found.reshape(len(matrix), -1)
        is_finite = np.isfinite(found)
        if not is_finite.all():
            # The reference rows have finite outputs, so the cause is in these rows and not in the model.
            findings = values.unanswered(matrix, np.flatnonzero(~is_finite.all(axis=1)), self.signature)
            raise ProblemError("no-answer", findings[0].detail, findings)
        return found

    def _check_reference(self, inputs: Matrix, expected: Matrix) -> None:
        try:
            found = self.outputs(inputs)
        except ProblemError as error:
            raise WrongModelError(f"the reference rows have no answer: {error.detail}") from error
        expected = expected.reshape(len(inputs), -1)
        if found.shape != (len(inputs), self.signature.outputs) or expected.shape != found.shape:
            shapes = f"{list(found.shape)} from the model, {list(expected.shape)} at export"
            raise WrongModelError(
                f"expected {self.signature.outputs} outputs for each of {len(inputs)} reference rows, found {shapes}"
            )
        if not np.allclose(found, expected, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE):
            worst = float(np.abs(found - expected).max())
            raise WrongModelError(f"the reference rows are answered differently than at export: up to {worst:.3g} off")

    def _seconds(self, matrix: Matrix) -> float:
        started = time.perf_counter()
        self._session.run([OUTPUT], {INPUT: matrix})
        return time.perf_counter() - started


def inline_limit(
    one_row_s: float,
    many_rows_s: float,
    many: int,
    row_values: int,
    *,
    budget_s: float = 0.002,
    largest: int = LARGEST_INLINE,
) -> int:
    """The largest body, in bytes, that is answered on the event loop's thread without delaying health checks.

    The model needs at most `budget_s` for as many rows as it can hold (a number and its comma take two bytes), and
    decoding `largest` bytes is short.
    """
    if one_row_s > budget_s:
        return 0
    row_s = max((many_rows_s - one_row_s) / (many - 1), 1e-9) if many > 1 else one_row_s
    return min(int((budget_s - one_row_s) / row_s + 1) * 2 * row_values, largest)


def _session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise WrongModelError(f"{path}: ONNX Runtime cannot load it: {error}") from error
    names = [each.name for each in session.get_inputs()], [each.name for each in session.get_outputs()]
    if INPUT not in names[0] or OUTPUT not in names[1]:
        raise WrongModelError(f'{path}: expected an input "{INPUT}" and an output "{OUTPUT}", found {names}')
    return session
