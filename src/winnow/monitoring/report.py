"""What one look at a deployment found: the JSON of `winnow monitor`, and what its page and gauges show. Values only."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from winnow.bundle.columns import Kind
from winnow.bundle.profile import ColumnCounts
from winnow.finding import Finding, Result
from winnow.routing import Versioned


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


class QualityPart(Struct, frozen=True):
    """The metric of a part of the predictions: of a window of time, or of a slice.

    Attributes:
        name: of a slice "region = north" or "age up to 40"; of a window empty.
        since, until: of the predictions, in seconds since the epoch.
        requests: answered; the rows of one request are one observation.
        outcomes: of these, those with an outcome.
        estimate, interval: mean of the metric, and where it lies with probability 0.95, for a single look; None where
            too few outcomes are known.
    """

    name: str
    since: float
    until: float
    requests: int
    outcomes: int
    estimate: float | None
    interval: tuple[float | None, float | None]


class LiveQuality(Struct, frozen=True):
    """What became of the predictions that are old enough for their outcomes to have arrived.

    Attributes:
        metric: as `monitoring.outcomes.OutcomeMetric`; of `accuracy` and `value` more is better.
        reference, reference_rows, reference_source: mean of the metric on rows that the model was not trained on, and
            which rows these were ("holdout", "folds" or "training"); None for a metric that these have no value of.
        allowed: a mean that is worse than this is a degradation; None without a reference.
        degradation: whether the metric is worse than on those rows, by a test that holds at every look. Its estimate
            is the metric since `since`, else since the first window.
        since: when the degradation began, as far as the windows tell; None without one.
        windows: in order of time, of the last 30 days; at most 720.
        slices: by the values of each column, the most frequent first, since `since`, else over the same time.
        waiting: requests that are too new to be judged.
        lag_s: after how many seconds half of the outcomes and 90 % of them had arrived, of those that did.
        notes: what may distort the figures, a sentence each.
    """

    metric: str
    reference: float | None
    reference_rows: int
    reference_source: str
    allowed: float | None
    degradation: Finding
    since: float | None
    windows: tuple[QualityPart, ...]
    slices: tuple[QualityPart, ...]
    waiting: int
    lag_s: tuple[float, float] | None
    notes: tuple[str, ...] = ()


class Alarm(Struct, frozen=True):
    """One thing that a person should know of.

    Attributes:
        name: `WinnowDrift`, `WinnowQuality`, or the name of a rule: the `alertname` for Alertmanager.
        subject: the column, output, slice or metric that it is about; empty for the deployment as a whole.
        summary: one sentence: what was found, against what.
        since: when it was first found, in seconds since the epoch.
        version: of the model that it is about.
        severity: `page` wakes a person, `ticket` waits for the morning: that of the rule; drift is a ticket.
        is_about_answers: it says that answers are late or wrong, so that another version may mend it.
    """

    name: str
    subject: str
    summary: str
    since: float
    version: str = ""
    severity: Literal["page", "ticket"] = "page"
    is_about_answers: bool = False

    @property
    def identity(self) -> tuple[str, str, str]:
        """What is equal while the alarm holds."""
        return self.name, self.subject, self.version


class MonitoringReport(Versioned, Struct, frozen=True):
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
        quality: of the outcomes, by window and slice, and their degradation; None where it was skipped.
        rules: of `monitoring.rules`.
        skipped: what was not judged and why, a sentence each.
        alarms: that hold now.
        false_alarms_per_month: what the thresholds were made for.
        semantic: the semantic version; empty where it is not known.
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
    quality: LiveQuality | None = None
    rules: tuple[Finding, ...] = ()
    skipped: tuple[str, ...] = ()
    alarms: tuple[Alarm, ...] = ()
    false_alarms_per_month: float = 1.0
    semantic: str = ""

    @property
    def result(self) -> Result:
        """`fail` with an alarm; `not_enough_data` where nothing could be judged."""
        if self.alarms:
            return Result.FAIL
        judged = [each.result for each in self.drift]
        quality = self.quality and self.quality.degradation
        judged += [each.result for each in (self.joint, self.importances, quality, *self.rules) if each]
        return Result.PASS if Result.PASS in judged else Result.NOT_ENOUGH_DATA
