"""What one look at a deployment found: the JSON of `winnow monitor`, and what its page and gauges show. Values only."""

from __future__ import annotations

from msgspec import Struct

from winnow.bundle.columns import Kind
from winnow.bundle.profile import ColumnCounts
from winnow.finding import Finding, Result


class ColumnDrift(Struct, frozen=True):
    """How one column or output moved.

    Attributes:
        name, kind: as in the profile.
        is_output: it is one of the model's outputs.
        importance: of the column for the model; None for outputs, and where it was not measured.
        reference, live: the counts that were compared.
        findings: one per statistic; `condition` is its name (`psi`, `jensen_shannon`, `wasserstein`, `missing`,
            `unknown`), `margin` the threshold from the null, `estimate` what was found. `fail` means drift.
        since: when the first of the checks in a row that found drift began, in seconds since the epoch; None without
            drift.
    """

    name: str
    kind: Kind
    is_output: bool
    importance: float | None
    reference: ColumnCounts
    live: ColumnCounts
    findings: tuple[Finding, ...]
    since: float | None = None

    @property
    def result(self) -> Result:
        """`fail` where a statistic shows drift; `not_enough_data` where none could be judged."""
        found = {each.result for each in self.findings}
        if Result.FAIL in found:
            return Result.FAIL
        return Result.PASS if Result.PASS in found else Result.NOT_ENOUGH_DATA


class Alarm(Struct, frozen=True):
    """One thing that a person should know of.

    Attributes:
        name: `WinnowDrift`, `WinnowQuality`, or the name of a rule: the `alertname` for Alertmanager.
        subject: the column, output, slice or metric that it is about; empty for the deployment as a whole.
        summary: one sentence: what was found, against what.
        since: when it was first found, in seconds since the epoch.
    """

    name: str
    subject: str
    summary: str
    since: float


class MonitoringReport(Struct, frozen=True):
    """What one look at a deployment found.

    Attributes:
        deployment, model, version, digest: what is watched; the version that answers when in doubt.
        checked_at: seconds since the epoch.
        since, until: the window of the counts.
        rows: in the window.
        needed_rows: how many rows it takes before drift is judged.
        source: where the counts come from: "2 replicas" or a Prometheus' address.
        drift: by column, outputs first.
        joint: all columns together, by a classifier; None where it was skipped.
        importances: the ranks of live importances; None where they were skipped.
        quality: of the outcomes, by window and slice, and their degradation.
        rules: of `monitoring.rules`.
        skipped: what was not judged and why, a sentence each.
        alarms: that hold now.
        false_alarms_per_month: what the thresholds were made for.
    """

    deployment: str
    model: str
    version: str
    digest: str
    checked_at: float
    since: float
    until: float
    rows: int
    needed_rows: int
    source: str
    drift: tuple[ColumnDrift, ...] = ()
    joint: Finding | None = None
    importances: Finding | None = None
    quality: tuple[Finding, ...] = ()
    rules: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    false_alarms_per_month: float = 1.0

    @property
    def result(self) -> Result:
        """`fail` with an alarm; `not_enough_data` where nothing could be judged."""
        if self.alarms:
            return Result.FAIL
        judged = [each.result for each in self.drift]
        judged += [each.result for each in (self.joint, self.importances, *self.quality, *self.rules) if each]
        return Result.PASS if Result.PASS in judged else Result.NOT_ENOUGH_DATA
