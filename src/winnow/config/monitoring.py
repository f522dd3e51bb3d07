"""The sections `monitoring` and `retrain` of the experiment file: how a served model is watched, and trained again."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.config.addresses import holds_password
from winnow.config.cron import cron_of
from winnow.config.frozen import Frozen, ListAsTuple, Shorthand, checked
from winnow.config.quantities import DURATION, seconds_of

RuleMetric = Literal[
    "error_rate", "request_rate", "latency", "missing", "unknown", "mean", "psi", "prediction_share", "live_replicas"
]
UNITS: dict[str, tuple[str, ...]] = {
    "error_rate": ("%",),
    "request_rate": ("/s",),
    "latency": ("ms", "s"),
    "missing": ("%",),
    "unknown": ("%",),
    "mean": ("sd",),
    "psi": ("psi",),
    "prediction_share": ("%",),
    "live_replicas": ("replicas",),
}
"""The units of each metric's threshold."""
_SCALES = {"%": 0.01, "ms": 0.001}
_THRESHOLD = re.compile(r"^(-?[0-9]+(?:\.[0-9]+)?)\s*([%a-z/]+)$")
_A_THRESHOLD = "a number with its unit, such as `5 %`, `250 ms`, `0.5 sd`, `10 /s`"


def threshold_of(text: str) -> tuple[float, str]:
    """A threshold such as `5 %`, `250 ms` or `0.5 sd`: its number in base units (shares, seconds), and its unit.

    Raises:
        ValueError: it has no unit, or is no number.
    """
    found = _THRESHOLD.fullmatch(text.strip())
    if found is None:
        raise ValueError(_A_THRESHOLD)
    number, unit = found.groups()
    return float(number) * _SCALES.get(unit, 1.0), unit


Threshold = Annotated[str, checked(lambda text: _THRESHOLD.fullmatch(str(text).strip()) is not None, _A_THRESHOLD)]


def _checked_address(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise ValueError("an address that begins with http:// or https://")
    if holds_password(address):
        raise ValueError("an address without a password")
    return address


Address = Annotated[str, AfterValidator(_checked_address)]


class AlertConfig(Frozen):
    """Who is told of alarms. At most one: a command, a webhook or an Alertmanager."""

    command: str | None = Field(
        default=None,
        description="Run for each alarm that begins or ends, without a shell, with the alarm as JSON on its standard "
        "input and in `WINNOW_ALERT_NAME`, `WINNOW_ALERT_STATUS` (firing, resolved) and `WINNOW_ALERT_SUMMARY`.",
    )
    webhook: Address | None = Field(
        default=None,
        description="Posted to, in the form of Alertmanager's webhook (version 4), as `serve-hooks` takes it.",
    )
    alertmanager: Address | None = Field(
        default=None, description="Address of an Alertmanager, which groups, silences and sends e-mail and chat."
    )
    token_env: str | None = Field(
        default=None, description="Environment variable with the bearer token of the webhook or Alertmanager."
    )

    @model_validator(mode="after")
    def _one(self) -> AlertConfig:
        if sum(each is not None for each in (self.command, self.webhook, self.alertmanager)) > 1:
            raise ValueError("at most one of `command`, `webhook` and `alertmanager`")
        return self


class RuleConfig(Frozen):
    """When a person is told, whatever the tests for drift say. Rendered as a Prometheus rule, too."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", description="Name of the alert, such as `SlowAnswers`.")
    metric: RuleMetric = Field(
        description="`error_rate`, `request_rate`, `latency` (a quantile), `live_replicas`; of a column `missing`, "
        "`unknown` (shares), `mean` (distance from the training rows in their standard deviations) and `psi`; of a "
        "class `prediction_share`."
    )
    column: str | None = Field(default=None, description="Of `missing`, `unknown`, `mean` and `psi`: the column.")
    of_class: str | None = Field(default=None, description="Of `prediction_share`: the class.")
    quantile: float = Field(default=0.95, gt=0, lt=1, description="Of `latency`: the quantile.")
    above: Threshold | None = Field(default=None, description="With its unit: `5 %`, `250 ms`, `0.5 sd`, `0.2 psi`.")
    below: Threshold | None = Field(default=None, description="With its unit; one of `above` and `below`.")
    over: str = Field(default="10m", pattern=DURATION, description="How far back it looks.")
    wait: str = Field(default="0s", pattern=DURATION, description="How long it has to hold before it fires.")
    severity: Literal["page", "ticket"] = Field(default="page", description="Label of the alert.")
    summary: str = Field(default="", description="What a person on call reads; by default made from the rest.")

    @property
    def limit(self) -> tuple[float, Literal["above", "below"]]:
        """The threshold in base units, and on which side it fires."""
        return threshold_of(self.above or self.below or "")[0], "above" if self.above is not None else "below"

    @model_validator(mode="after")
    def _complete(self) -> RuleConfig:
        if (self.above is None) == (self.below is None):
            raise ValueError("one of `above` and `below`")
        units = UNITS[self.metric]
        if threshold_of(self.above or self.below or "")[1] not in units:
            example = f"{'0.5' if units[0] in ('sd', 'psi') else '5'} {units[0]}"
            raise ValueError(f"a threshold of {self.metric} in {' or '.join(units)}, such as `{example}`")
        needs_column = self.metric in ("missing", "unknown", "mean", "psi")
        if needs_column != (self.column is not None):
            raise ValueError(f"{'a' if needs_column else 'no'} `column` for the metric {self.metric}")
        if (self.metric == "prediction_share") != (self.of_class is not None):
            raise ValueError("`of_class` for the metric prediction_share, and for no other one")
        return self


class QualityConfig(Frozen):
    """How outcomes are judged, where they arrive (docs/outcomes.md)."""

    outcomes: Annotated[tuple[str, ...], ListAsTuple] = Field(
        default=(), description='Where prediction logs lie, such as [logs/*.jsonl, "s3://logs/cancer"].'
    )
    metric: Literal["accuracy", "absolute_error", "squared_error", "value"] | None = Field(
        default=None, description="By default accuracy for classifiers and absolute_error for regression."
    )
    window: str = Field(default="1d", pattern=DURATION, description="Length of the windows that are shown.")
    slices: Annotated[tuple[str, ...], ListAsTuple] = Field(
        default=(), description="Logged columns (`serving.log.fields`) by whose values metrics are shown."
    )
    margin: float = Field(
        default=0.02, ge=0, description="How much worse than on the holdout the metric may be, in its units."
    )
    delay: str = Field(
        default="0s",
        pattern=DURATION,
        description="How long outcomes take to arrive: newer predictions are not judged.",
    )

    @model_validator(mode="after")
    def _positive(self) -> QualityConfig:
        if seconds_of(self.window) < 1:
            raise ValueError("`window` of at least 1s")
        return self


class MonitoringConfig(Frozen):
    """How a served model is watched (`winnow monitor`)."""

    every: str = Field(
        default="1h", pattern=DURATION, description="How often `winnow monitor` is called: it sets no timer itself."
    )
    false_alarms_per_month: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="How many alarms about drift and quality may be false in 30 days, all columns and checks together.",
    )
    prometheus: Address | None = Field(
        default=None, description="Address of a Prometheus that scrapes the replicas; null: the replicas are asked."
    )
    alert: AlertConfig = Field(
        default=AlertConfig(), description="Who is told; by default the exit status alone tells."
    )
    rules: Annotated[tuple[RuleConfig, ...], ListAsTuple] = Field(default=(), description="Limits of your own.")
    quality: QualityConfig = QualityConfig()

    @property
    def every_s(self) -> float:
        """`every` in seconds."""
        return seconds_of(self.every)

    @model_validator(mode="after")
    def _distinct(self) -> MonitoringConfig:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"rules of different names: {twice} is there twice")
        if seconds_of(self.every) < 1:
            raise ValueError("`every` of at least 1s")
        return self


def _checked_schedule(schedule: str) -> str:
    cron_of(schedule)
    return schedule


class RetrainConfig(Frozen):
    """When `winnow retrain --if-due` trains again. A schedule, or a mapping."""

    schedule: Annotated[str, AfterValidator(_checked_schedule)] | None = Field(
        default=None, description="`hourly`, `daily`, `weekly`, or a cron expression (`0 3 * * 1`) in UTC; null: none."
    )
    on_data: bool = Field(default=True, description="When the data's digest differs from the champion's.")
    on_alert: bool = Field(default=True, description="When an alarm about the champion is newer than its training.")
    rules: str | None = Field(
        default=None, description="The rules file with the gates (`RULES=`); null: winnow's own, which has none."
    )
    stop_after: Literal["select", "promote", "deploy"] = Field(
        default="deploy", description="The last step: it selects, lets the gates decide, and deploys what passed them."
    )
    platform: Literal["local", "docker", "kubernetes"] = Field(
        default="local", description="Where it trains and serves (PLATFORM=)."
    )
    backoff: str = Field(
        default="1h",
        pattern=DURATION,
        description="Pause after a failure, doubled after each further one, up to 7 days.",
    )


Retrain = Annotated[RetrainConfig, Shorthand("schedule")]
"""A schedule alone stands for a mapping with one."""
