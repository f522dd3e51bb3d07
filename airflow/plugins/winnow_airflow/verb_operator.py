"""`WinnowOperator`: a verb of winnow as a task."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

from winnow_airflow.job import Job, command_of, job_of
from winnow_airflow.links import LINKS, links_in
from winnow_airflow.place import DEFAULT, Place, PlaceError, place_of
from winnow_airflow.trigger import JobTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

DONE, REFUSED, NOT_PASSED = 0, 2, 3
SHOWN_LINES = 40
SHORT_POLL_S = 0.2


class WinnowOperator(BaseOperator):
    """Run a verb of winnow, such as `train` or `promote-model`.

    The verb runs in a process of its own. A task whose worker dies leaves it running, and the next try finds it; a verb
    that was killed goes on where it was, as winnow's verbs do. Exit status 2, bad input, fails the task without another
    try; 3 says that something was judged and did not pass, and `not_passed` says what then; any other is tried again.

    Args:
        verb: the verb.
        flags: its flags by name (`{"config": "experiments/churn.yaml", "if_due": True}`); they are templates.
        connection: the connection that says where winnow is.
        not_passed: what exit status 3 does: "fail" without another try, "skip" the task and what follows, or "pass".
        skips_where: skips them where the verb's JSON has these values: `{"state": "unchanged"}`.
        env: variables besides those of the connection; templates too.
        deferrable: whether the task gives up its slot for a long verb; needs a triggerer on the same machine.
        slot_s: for how long it keeps the slot first, in seconds. Giving it up and taking it again takes seconds itself.
        poll_s: how often to look afterwards, in seconds.

    Returns:
        The verb's JSON where it printed some, else its last lines.
    """

    template_fields: Sequence[str] = ("flags", "env", "connection")
    operator_extra_links = LINKS
    ui_color = "#e8f3ec"

    def __init__(
        self,
        *,
        verb: str,
        flags: Mapping[str, Any] | None = None,
        connection: str = DEFAULT,
        not_passed: Literal["fail", "skip", "pass"] = "fail",
        skips_where: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        deferrable: bool = True,
        slot_s: float = 10.0,
        poll_s: float = 5.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.verb, self.flags, self.env = verb, dict(flags or {}), dict(env or {})
        self.skips_where = dict(skips_where or {})
        self.connection, self.not_passed = connection, not_passed
        self.deferrable, self.slot_s, self.poll_s = deferrable, slot_s, poll_s
        self.links: dict[str, str] = {}
        self._job: Job | None = None

    def execute(self, context: Context) -> Any:
        """Start the verb, or find the process that an earlier try has started, and wait for it."""
        place, job = self._found(context)
        if job.is_running():
            self.log.info("%s runs already, in %s", self.verb, job.folder)
        elif job.status() == DONE and not job.is_closed():  # the worker died between the verb's end and the task's
            self.log.info("%s has ended in an earlier try", self.verb)
        else:
            command = command_of(place.winnow, self.verb, self.flags)
            self.log.info("in %s: %s", place.project, " ".join(command))
            job.start(command, place.project, {**place.environment(), **_run_tags(context), **self.env})
        self._job = job
        at, since = 0, time.monotonic()
        while job.is_running():
            at = self._show(job, at)
            held_s = time.monotonic() - since
            if self.deferrable and held_s >= self.slot_s:
                self.defer(trigger=JobTrigger(str(job.folder), self.poll_s, at), method_name="execute_complete")
            time.sleep(SHORT_POLL_S if held_s < self.slot_s else self.poll_s)
        return self._end(job, at)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Say how the verb ended. Airflow calls it when the trigger has fired."""
        _, job = self._found(context)
        return self._end(job, event["shown"])

    def on_kill(self) -> None:
        """A user has ended the task: Ctrl-C for the verb."""
        if self._job is not None:
            self._job.interrupt()

    def _checked(self, answer: Any) -> Any:
        is_equal = isinstance(answer, dict) and all(answer.get(key) == value for key, value in self.skips_where.items())
        if self.skips_where and is_equal:
            said = ", ".join(f"{key}: {value}" for key, value in self.skips_where.items())
            raise AirflowSkipException(f"winnow {self.verb} says {said}")
        return answer

    def _found(self, context: Context) -> tuple[Place, Job]:
        try:
            place = place_of(self.connection)
        except PlaceError as error:
            raise AirflowFailException(str(error)) from error
        ti = context["ti"]
        return place, job_of(place.home, ti.dag_id, ti.run_id, ti.task_id, ti.map_index)

    def _show(self, job: Job, since: int) -> int:
        text, end = job.log(since)
        for line in text.splitlines():
            self.log.info("%s", line)
        return end

    def _end(self, job: Job, since: int) -> Any:
        self._show(job, since)
        status, output = job.status(), job.output()
        self.links = links_in(f"{output}\n{job.log()[0]}")
        job.close()
        if status == DONE or (status == NOT_PASSED and self.not_passed == "pass"):
            return self._checked(_answer(output))
        last = _last_line(job.log()[0]) or _last_line(output) or "it printed nothing"
        if status is None:
            raise AirflowException(f"winnow {self.verb}: its process is gone; the next try goes on. It said: {last}")
        if status == NOT_PASSED and self.not_passed == "skip":
            raise AirflowSkipException(f"winnow {self.verb}: {_last_line(output) or last}")
        kind = AirflowFailException if status in (REFUSED, NOT_PASSED) else AirflowException
        raise kind(f"winnow {self.verb} ended with status {status}: {last}")


def _run_tags(context: Context) -> dict[str, str]:
    """The DAG run, and the parameters that it was triggered with, as tags of the study."""
    ti, params = context["ti"], context.get("params") or {}
    tags = {"airflow.dag": ti.dag_id, "airflow.run": ti.run_id}
    tags |= {f"airflow.param.{name}": str(value) for name, value in dict(params).items() if value is not None}
    return {"MLFLOW_RUN_CONTEXT": json.dumps(tags)}


def _answer(output: str) -> Any:
    try:
        return json.loads(output)
    except ValueError:
        return "\n".join(output.splitlines()[-SHOWN_LINES:])


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
