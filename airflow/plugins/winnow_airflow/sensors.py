"""Sensors: for new raw data, and for the verdict of a rollout."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from winnow_airflow.job import command_of
from winnow_airflow.place import DEFAULT, PlaceError, place_of

if TYPE_CHECKING:
    from airflow.sdk import Context

LONGEST_S = 300
REFUSED = 2


class _VerbSensor(BaseSensorOperator):
    """Asks a verb that answers in JSON. Between two questions it holds no slot."""

    verb = ""
    template_fields: Sequence[str] = ("flags", "connection")

    def __init__(
        self,
        *,
        flags: Mapping[str, Any] | None = None,
        connection: str = DEFAULT,
        mode: str = "reschedule",
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, **kwargs)
        self.flags, self.connection = dict(flags or {}), connection

    def _answer(self) -> Any:
        try:
            place = place_of(self.connection)
        except PlaceError as error:
            raise AirflowFailException(str(error)) from error
        command = command_of(place.winnow, self.verb, {**self.flags, "json": True})
        done = subprocess.run(
            command,
            cwd=place.project,
            env=place.environment(),
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        if done.returncode == 0:
            return json.loads(done.stdout)
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        kind = AirflowFailException if done.returncode == REFUSED else AirflowException
        raise kind(f"winnow {self.verb} ended with status {done.returncode}: {last}")


class NewDataSensor(_VerbSensor):
    """Waits until `winnow ingest` would read something. `flags`: at least `config`."""

    verb = "ingest --dry-run"

    def poke(self, context: Context) -> bool:
        """Whether there is something to read."""
        del context
        return bool(self._answer()["read"])


class VerdictSensor(_VerbSensor):
    """Waits until no rollout of a deployment is open, and fails where it was aborted. `flags` name the deployment."""

    verb = "prod-status"

    def poke(self, context: Context) -> bool:
        """Whether all requests go to one revision."""
        del context
        served = self._answer()
        if not served:
            raise AirflowFailException(f"nothing is served of {self.flags}")
        rollout = served[0]["rollout"]
        if rollout is None:  # the first one, or a change at once
            return True
        if rollout["state"] == "aborted":
            raise AirflowFailException(f"the rollout of {served[0]['name']} was aborted: {rollout['reason']}")
        if rollout["state"] == "paused":
            self.log.info("paused: %s", rollout["reason"])
        return bool(rollout["state"] == "promoted")
