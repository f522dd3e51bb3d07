"""The section `serving` of the experiment file: how the winner is served, the same way on every platform.

`serving_faults` checks what several keys say together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_serializer

from winnow.config.frozen import Frozen, ListAsTuple, NameOrMapping, Shorthand
from winnow.config.quantities import DURATION, QUANTITY

CPUS = r"^([0-9]+(\.[0-9]+)?|[0-9]+m)$"


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _paths(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Paths = Annotated[tuple[str, ...], BeforeValidator(_paths, json_schema_input_type=str | tuple[str, ...])]
Shares = Annotated[tuple[float, ...], ListAsTuple]
Cpus = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | float), Field(pattern=CPUS)]
Memory = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | float), Field(pattern=QUANTITY)]


class ResourcesConfig(Frozen):
    """What one replica may use."""

    cpu: Cpus = Field(default="1", description="Limit of CPUs: `500m` or `0.5`.")
    memory: Memory = Field(default="1Gi", description="Limit of memory, including swap: `512Mi`.")
    cpu_request: Cpus = Field(default="250m", description="CPUs that a cluster reserves; at most `cpu`.")
    memory_request: Memory = Field(default="256Mi", description="Memory that a cluster reserves; at most `memory`.")


class AutoscaleConfig(Frozen):
    """When a cluster adds replicas; `replicas` is then the least number."""

    max: int | None = Field(default=None, ge=1, description="The most replicas; by default twice `replicas`.")
    cpu: int = Field(default=80, ge=1, description="Percent of the CPU request above which it adds replicas.")
    scale_down_after_s: int = Field(
        default=300, ge=0, le=3600, description="Seconds before it removes replicas that are no longer needed."
    )


class LimitsConfig(Frozen):
    """What the server accepts from its clients."""

    max_body_bytes: int | None = Field(default=None, ge=1, description="Largest body; by default 32 MiB.")
    max_rows: int | None = Field(default=None, ge=1, description="Most rows in one request; by default 100,000.")
    max_header_bytes: int | None = Field(
        default=None, ge=1024, description="Largest request line and headers; by default 64 KiB."
    )
    max_connections: int | None = Field(
        default=None, ge=1, description="Most connections of one replica; by default 1,000."
    )
    max_inflight_bytes: int | None = Field(
        default=None,
        ge=1,
        description="Most bytes of large bodies and unread responses at one time; by default 4 times the largest body.",
    )
    header_timeout_s: float | None = Field(
        default=None, ge=0.1, description="Seconds for the whole header; by default 20."
    )
    body_timeout_s: float | None = Field(default=None, ge=0.1, description="Seconds for the whole body; by default 60.")


class KeyConfig(Frozen):
    """Where the API key is; never the key itself. Give one."""

    env: str | None = Field(default=None, description="Name of an environment variable of the command.")
    file: str | None = Field(default=None, description="Path of a file.")


class LogConfig(Frozen):
    """What servers log of their predictions, for docs/outcomes.md. The destination alone, or a mapping."""

    sample: float = Field(default=1.0, gt=0, le=1, description="Share of the requests that are logged.")
    fields: Annotated[tuple[str, ...], ListAsTuple] = Field(
        default=(), description="Columns of the input that are logged, too."
    )
    to: str = Field(
        default="stdout",
        description="`stdout`, or where replicas are processes of this machine a file's absolute path.",
    )


class FeaturesConfig(Frozen):
    """Where `/predict` looks up the features of rows that have entity keys in their place."""

    url: str = Field(
        pattern=r"^http://[^\s/@?#]+(/[^\s?#]*)?$",
        description="`http://HOST:PORT` of a feature server of Feast (`make feature-server`), as replicas reach it.",
    )
    service: str = Field(min_length=1, description="Feature service, as in `data.source`.")
    keys: Annotated[tuple[str, ...], ListAsTuple] = Field(
        min_length=1,
        description="Entity keys that rows have, and the columns that the service's on-demand features are made from.",
    )
    timeout_s: float = Field(default=0.5, gt=0, le=60, description="Seconds that a look-up may take.")
    fallback: Literal["error", "missing"] | dict[str, bool | int | float | str | None] = Field(
        default="error",
        description="What a feature is that does not come: `error`, the request is refused; `missing`, a missing "
        "value, as in training; or values by column: `{rating: 4.5}`.",
    )


class ConditionConfig(Frozen):
    """What a step of a rollout has to show. A name, or a mapping such as `{type: errors, margin: 0.01}`."""

    type: Literal["errors", "latency", "agreement", "prometheus", "metric"] = Field(
        description="`errors`: the candidate's share of failed requests. `latency`: a quantile of its time to answer. "
        "`agreement`: mirrored predictions that differ from the stable revision's. `prometheus`: a query. `metric`: a "
        "URL that answers with a number."
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        description="How much worse the candidate may be: of errors, a difference of shares (0.01); of latency, a "
        "share of the stable revision's quantile (0.5).",
    )
    quantile: float = Field(default=0.95, gt=0, lt=1, description="latency: the quantile.")
    max_flips: float | None = Field(default=None, ge=0, le=1, description="agreement: allowed share of flips.")
    url: str | None = Field(default=None, description="prometheus: its address. metric: what is asked.")
    query: str | None = Field(default=None, description="prometheus: a query with one result.")
    min: float | None = Field(default=None, description="prometheus, metric: the least value that passes.")
    max: float | None = Field(default=None, description="prometheus, metric: the largest value that passes.")


class RolloutConfig(Frozen):
    """How traffic moves to another revision. A name, or `{strategy: canary, …}`."""

    strategy: Literal["rolling", "canary", "shadow", "ab"] = Field(
        default="rolling",
        description="`rolling`: all requests at once, when every replica is ready. `canary`: step by step. `shadow`: "
        "copies of requests first, whose answers are compared and dropped; then as `then` says. `ab`: fixed shares, "
        "until outcomes show a winner by `metric`, or without `metric` a person decides.",
    )
    engine: Literal["winnow", "argo-rollouts"] = Field(
        default="winnow",
        description="What moves traffic where `make gitops-init` rendered the files: `winnow`: the Deployment, replica "
        "by replica. `argo-rollouts`: its controller, by the steps of a canary, with winnow's verdict; needs `gateway` "
        "and `monitoring.prometheus`.",
    )
    initial_weight: float = Field(default=0.01, gt=0, lt=1, description="canary: the first step's share of requests.")
    weight_steps: Shares = Field(
        default=(0.05, 0.25, 0.5, 1.0), description="canary: the further shares, rising, the last one 1."
    )
    step_duration_seconds: float = Field(default=300, gt=0, description="How long a step lasts at least.")
    max_step_duration_seconds: float | None = Field(
        default=None,
        gt=0,
        description="How long a step waits for its verdict before it pauses; by default 12 times the least.",
    )
    rollback_on_failure: bool = Field(
        default=True,
        description="Whether a failed verdict sends all requests back to stable; else it pauses.",
    )
    pause_at: Shares = Field(default=(), description="Weights below 1 at which a person has to let it go on.")
    conditions: Annotated[tuple[Annotated[ConditionConfig, NameOrMapping], ...], ListAsTuple] = Field(
        default=(ConditionConfig(type="errors"), ConditionConfig(type="latency")),
        description="What every step has to show: names, or mappings.",
    )
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Probability that a rollout of an equal candidate fails.",
    )
    mirror: float = Field(default=1.0, gt=0, le=1, description="shadow: the share of requests that is copied.")
    comparisons: int | None = Field(default=None, ge=1, description="shadow: how many comparisons are enough.")
    then: Literal["rolling", "canary"] = Field(default="rolling", description="shadow: how traffic moves afterwards.")
    weights: Shares = Field(default=(0.5, 0.5), description="ab: shares of stable and candidate; sum 1.")
    metric: Literal["accuracy", "absolute_error", "squared_error", "value"] | None = Field(
        default=None,
        description="ab: what outcomes are compared by. `accuracy`: the share of right classes; `absolute_error` and "
        "`squared_error`: of numbers, the smaller the better; `value`: the outcome itself, the larger the better.",
    )
    min_effect: float = Field(
        default=0.01, gt=0, description="ab: by how much the metric's mean has to differ for a change to be worth it."
    )
    max_duration: str = Field(
        default="14d",
        pattern=DURATION,
        description="ab: how long outcomes are awaited before the rollout pauses: `14d`, `36h`.",
    )
    outcomes: Paths = Field(
        default=(),
        description="ab: what collectors have written of the prediction log and its feedback: files, patterns such as "
        "`logs/*.jsonl`, `s3://BUCKET/PREFIX`.",
    )
    unit: str = Field(
        default="request",
        description="What meets one revision: `request`, or `header:NAME`, whose value is hashed (`header:x-user-id`).",
    )
    may_choose: bool = Field(
        default=False, description="Whether clients may name a revision in the header `x-winnow-revision`."
    )
    traffic: Literal["router", "gateway"] = Field(
        default="router",
        description="`router`: winnow's own, which fails open and compares. `gateway`: the weights of the platform's "
        "gateway, without either.",
    )
    routers: int = Field(default=2, ge=1, description="How many routers stand in the way during a rollout.")


STAGING = "staging"
"""The stage that serves `@staging`."""


class StageConfig(Frozen):
    """How the winner is served; below `serving.stages.NAME`, what differs there."""

    replicas: int = Field(default=1, ge=1, description="How many servers (`REPLICAS=`).")
    resources: ResourcesConfig = ResourcesConfig()
    autoscale: AutoscaleConfig | None = Field(default=AutoscaleConfig(), description="On a cluster; `null` for none.")
    max_unavailable: int = Field(default=1, ge=1, description="How many replicas a node drain may evict at a time.")
    host: str | None = Field(
        default=None,
        description="Local and Docker: the address to listen on, by default 127.0.0.1. On a cluster: the host of the "
        "Ingress, by default any; `*` stands for the deployment's name (`HOST=`).",
    )
    port: int | None = Field(
        default=None, ge=1, le=65535, description="Local, Docker: by default a free one (`PORT=`)."
    )
    ingress_class: str = Field(default="", description="Class of the Ingress; by default the cluster's.")
    tls_secret: str = Field(default="", description="Secret with the Ingress's certificate, in the namespace.")
    gateway: str = Field(default="", description="`NAMESPACE/NAME` of a Gateway: an HTTPRoute replaces the Ingress.")
    api_key: KeyConfig | None = Field(
        default=None, description="By default WINNOW_API_KEY or WINNOW_API_KEY_FILE of the command; unset, it stays."
    )
    limits: LimitsConfig = LimitsConfig()
    settle_s: float | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="Seconds for which a terminating replica still answers; by default as long as the platform needs.",
    )
    drain_s: float = Field(default=30, ge=0, le=3600, description="Seconds for its requests after that.")
    access_log: bool = Field(default=False, description="One JSON line per request.")
    log: Annotated[LogConfig | None, Shorthand("to")] = Field(
        default=None, description="Log of predictions and outcomes; none by default."
    )
    features: FeaturesConfig | None = Field(default=None, description="Look-up of features; none by default.")
    history: int = Field(default=3, ge=1, description="How many revisions are kept for a rollback.")
    rollout: Annotated[RolloutConfig, Shorthand("strategy")] = RolloutConfig()


class ServingConfig(StageConfig):
    """How the winner is served: the settings of a deployment, which later calls may change."""

    stages: dict[str, StageConfig] = Field(
        default={},
        description="By name, what differs in a stage, which is a deployment of its own, `NAME-STAGE` (`STAGE=`). Any "
        "key of `serving` but this; what a section leaves out stays.",
    )

    @field_serializer("stages")
    def _given(self, stages: dict[str, StageConfig]) -> dict[str, Any]:
        """A stage's own keys alone: its other values are those of `serving`."""
        return {name: stage.model_dump(mode="json", exclude_unset=True) for name, stage in stages.items()}

    @property
    def known_stages(self) -> tuple[str, ...]:
        """The stages that there may be: those of the file, and `staging`, which the gates know."""
        return tuple(dict.fromkeys((*self.stages, STAGING)))

    def of_stage(self, stage: str | None) -> StageConfig:
        """The settings of a stage; None for the deployment without one."""
        own = self.stages[stage].model_dump(exclude_unset=True) if stage in self.stages else {}
        return StageConfig.model_validate(_merged(self.model_dump(exclude={"stages"}), own))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping with another's values in its place, in nested mappings too."""
    inner = {
        key: _merged(below[key], value) if isinstance(value, dict) and isinstance(below.get(key), dict) else value
        for key, value in above.items()
    }
    return {**below, **inner}
