"""What an exception means for a job."""

import pytest
import torch

from winnow.training.failures import DivergedError, ExportDiffersError, ExportError, failure_of, is_shared


def _raised(function):
    with pytest.raises(BaseException) as raised:
        function()
    return raised.value


def test_an_allocation_that_fails_is_out_of_memory():
    assert failure_of(_raised(lambda: torch.empty(10**16))).kind == "out_of_memory"
    assert failure_of(MemoryError()).kind == "out_of_memory"
    assert failure_of(torch.OutOfMemoryError("CUDA out of memory")).kind == "out_of_memory"


def test_any_other_exception_keeps_its_first_line_and_traceback():
    failure = failure_of(_raised(lambda: torch.ones(2) @ torch.ones(3)))
    assert failure.kind == "exception"
    assert failure.reason.startswith("RuntimeError: ")
    assert "\n" not in failure.reason
    assert "Traceback" in failure.detail


def test_what_all_ranks_know_is_answered_in_place():
    assert [is_shared(error) for error in (DivergedError("nan"), ExportDiffersError("far"), ExportError("full"))] == [
        *(True, True, True)
    ]
    assert not is_shared(ValueError("only here"))
    assert failure_of(DivergedError("the loss became nan")).reason == "the loss became nan"
