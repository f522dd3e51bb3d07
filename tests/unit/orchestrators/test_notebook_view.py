"""A sweep's progress in a notebook: one output that is replaced."""

from __future__ import annotations

from winnow.orchestrators.progress import LINES, PRE, NotebookView, is_notebook
from winnow.study.status import StudyStatus
from winnow.tracking.records import TrialRecord

STATUS = StudyStatus("cells", 1, 2, 0, 0, 0.5, 0, "maximize", (), 0, 1000, 1, 2)
TRIAL = TrialRecord("cells", 0, "complete", {"lr": "<b>"}, (), 0.5, 1, None, 0, 1)


def test_every_change_replaces_the_output_and_at_most_twice_a_second() -> None:
    shown: list[dict[str, str]] = []
    now = [0.0]
    with NotebookView("f1", shown.append, lambda: now[0]) as view:
        view.update(STATUS)
        view.trial_finished(TRIAL, 0.5)
        view.update(STATUS)
        assert len(shown) == 1
        now[0] = 1.0
        view.update(STATUS)
        assert len(shown) == 2
    first, *_ = shown[-1]["text/plain"].splitlines()
    assert first == "trial 0  0.5000 best so far  0.0 s  lr=<b>"
    assert shown[-1]["text/html"] == f"{PRE}{shown[-1]['text/plain'].replace('<b>', '&lt;b&gt;')}</pre>"


def test_only_the_latest_messages_are_shown() -> None:
    shown: list[dict[str, str]] = []
    view = NotebookView("f1", shown.append)
    view.note("\n".join(map(str, range(LINES + 5))))
    assert shown[-1]["text/plain"].splitlines() == [str(number) for number in range(5, LINES + 5)]


def test_a_step_of_the_check_is_replaced_by_the_next_one() -> None:
    shown: list[dict[str, str]] = []
    with NotebookView("f1", shown.append).checking() as show:
        show("loading")
        show("checking the data")
    assert [each["text/plain"] for each in shown] == ["loading …", "checking the data …"]


def test_this_process_is_no_notebook() -> None:
    assert not is_notebook()
