"""Exceptions of a training, and their conversion to the kind and the one-line reason that a study records."""

from __future__ import annotations

import traceback

import torch

from winnow.training.messages import Failed


class DivergedError(Exception):
    """A loss or a metric is not a finite number. Every rank raises it, since the ranks exchange losses."""


class StoppedError(Exception):
    """The supervisor has stopped the fold after an epoch. Every rank raises it."""


class OtherDataError(Exception):
    """A rank's rows have another digest than those of its study."""


class OtherCodeError(Exception):
    """A file of user code differs from the one that the study's trials were trained with."""


class ExportError(Exception):
    """A trained model could not be exported; the cause is chained."""


class ExportDiffersError(Exception):
    """The exported model's answers differ from torch's by more than rounding."""


def failure_of(error: BaseException) -> Failed:
    """What an exception means for the job during which it was raised."""
    detail = "".join(traceback.format_exception(error))
    match error:
        case DivergedError():
            return Failed(kind="diverged", reason=str(error), detail="")
        case ExportDiffersError():
            return Failed(kind="export_differs", reason=str(error), detail="")
        case OtherDataError():
            return Failed(kind="other_data", reason=str(error), detail="")
        case OtherCodeError():
            return Failed(kind="other_code", reason=str(error), detail="")
        case _ if is_out_of_memory(error):
            return Failed(kind="out_of_memory", reason=f"out of memory: {_one_line(error)}", detail=detail)
        case _:
            return Failed(kind="exception", reason=_one_line(error), detail=detail)


def is_shared(error: BaseException) -> bool:
    """Whether every rank knows of the failure, so that the group can go on with the next job.

    A loss or metric that is not finite is compared among the ranks; an export happens on rank 0 alone, while the
    others already wait for the next job.
    """
    return isinstance(error, DivergedError | ExportDiffersError | ExportError)


def may_be_a_peers(error: BaseException) -> bool:
    """Whether this is how a broken connection to another rank shows: gloo and NCCL raise RuntimeErrors."""
    return isinstance(error, RuntimeError) and not is_out_of_memory(error)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # torch's allocator for the CPU raises a plain RuntimeError: there is no class to catch, only its name in the text.
    return type(error) is RuntimeError and "DefaultCPUAllocator" in str(error)


def _one_line(error: BaseException) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
