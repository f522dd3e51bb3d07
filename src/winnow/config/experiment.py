"""The experiment file as frozen, typed values.

One file describes one study: its data, model, search, cross-validation, training, execution and refit. Everything that
decides *what* is computed stands in `Experiment.definition`, which a study keeps for life; what only decides *how much*
and *where* (trials, sampler, workers, retries, …) may change between two calls on the same study.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from winnow.config.addresses import shown_value
from winnow.config.names import fault_in_study_name
from winnow.config.quantities import QUANTITY


def _checked_name(name: str) -> str:
    fault = fault_in_study_name(name)
    if fault is not None:
        raise ValueError(fault)
    return name


Name = Annotated[str, AfterValidator(_checked_name)]
"""A study's name: it becomes part of file, container and Kubernetes object names."""


class Frozen(BaseModel):
    """A frozen value that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class DataConfig(Frozen):
    """Where the rows come from and which of them are kept for the end."""

    source: str = Field(
        description="`sklearn:NAME` (breast_cancer, digits, diabetes, iris, wine), a CSV or Parquet path or `s3://` "
        "URL, or a data function as `package.module:function` or `path/file.py:function`."
    )
    target: str | None = Field(default=None, description="Column to predict; a CSV or Parquet source needs it.")
    task: Literal["auto", "classification", "regression"] = Field(
        default="auto", description="`auto`: classification for text, booleans and whole numbers of few values."
    )
    holdout: float = Field(
        default=0.2, ge=0.0, lt=1.0, description="Share of rows split off before the sweep and scored once, by refits."
    )
    group: str | None = Field(default=None, description="Column whose equal values must stay in one fold.")
    time: str | None = Field(default=None, description="Column that orders the rows in time.")
    drop: tuple[str, ...] = Field(default=(), description="Columns to leave out.")
    standardize: bool = Field(
        default=True, description="Fit mean and spread of the inputs on each fold's training part, inside the model."
    )
    options: dict[str, Any] = Field(default={}, description="Keyword arguments for a data function.")


class ModelConfig(Frozen):
    """The function that builds the network."""

    factory: str = Field(
        description="`package.module:function` or `path/file.py:function`: "
        "`build(input_shape, outputs, **params) -> nn.Module`."
    )
    options: dict[str, Any] = Field(default={}, description="Fixed keyword arguments for the factory.")


class FloatParameter(Frozen):
    """A real number between two bounds, both included."""

    bounds: tuple[float, float] = Field(alias="float", description="Lower and upper bound.")
    log: bool = Field(default=False, description="Search the exponent instead of the value.")
    step: float | None = Field(default=None, gt=0, description="Grid width, counted from the lower bound.")

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> FloatParameter:
        _check_bounds(self.bounds, self.log, self.step)
        return self


class IntParameter(Frozen):
    """A whole number between two bounds, both included."""

    bounds: tuple[int, int] = Field(alias="int", description="Lower and upper bound.")
    log: bool = Field(default=False, description="Search the exponent instead of the value.")
    step: int = Field(default=1, ge=1, description="Grid width, counted from the lower bound.")

    @model_validator(mode="after")
    def _bounds_make_sense(self) -> IntParameter:
        _check_bounds(self.bounds, self.log, self.step if self.step != 1 else None)
        return self


class ChoiceParameter(Frozen):
    """One of a list of values: numbers, text, booleans, null or lists of them."""

    choices: tuple[Any, ...] = Field(alias="choice", min_length=1, description="The values to choose from.")

    def stored(self) -> tuple[Any, ...]:
        """The choices as Optuna stores them: lists and mappings as JSON text."""
        return tuple(
            json.dumps(choice, sort_keys=True) if isinstance(choice, list | tuple | dict) else choice
            for choice in self.choices
        )


def _check_bounds(bounds: tuple[float, float], log: bool, step: float | None) -> None:
    low, high = bounds
    if low > high:
        raise ValueError("the lower bound first and the upper bound second")
    if log and low <= 0:
        raise ValueError("bounds above 0 where `log: true` is set")
    if log and step is not None:
        raise ValueError("either `log` or `step`, not both")


def _with_type(value: Any) -> Any:
    """A name in place of a mapping: `adam` for `{type: adam}`."""
    return {"type": value} if isinstance(value, str) else value


def _kind_of_parameter(value: Any) -> str | None:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, Frozen) else {}
    named = {"float": "float", "int": "int", "choice": "choice", "choices": "choice"}
    found = {named[key] for key in keys if key in named}
    if isinstance(value, FloatParameter):
        return "float"
    if isinstance(value, IntParameter):
        return "int"
    return found.pop() if len(found) == 1 else None


Parameter = Annotated[
    Annotated[FloatParameter, Tag("float")]
    | Annotated[IntParameter, Tag("int")]
    | Annotated[ChoiceParameter, Tag("choice")],
    Discriminator(_kind_of_parameter),
]


class MetricConfig(Frozen):
    """What the search optimizes."""

    name: str = Field(description="A short name (f1, accuracy, rmse, r2, …), a torchmetrics class, or `loss`.")
    goal: Literal["maximize", "minimize"] | None = Field(
        default=None, description="Direction; by default the one that the metric itself declares."
    )


class PrunerConfig(Frozen):
    """Which trials end before their last fold. A name, or `{type: racing, threshold: 0.001}`."""

    type: Literal["auto", "racing", "median", "off"] = Field(
        default="auto",
        description="`racing`: stop a trial that can hardly become the best one; `median`: stop a trial whose mean "
        "over the folds so far is worse than the median's. `auto`: racing, or off with the splitter time_series, whose "
        "folds differ in size.",
    )
    threshold: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="Racing: a trial stops below this probability of becoming the best.",
    )


class SearchConfig(Frozen):
    """The space, how it is searched, and for how long."""

    space: dict[str, Parameter] = Field(description="Parameters by name; each is `float`, `int` or `choice`.")
    trials: int = Field(default=30, ge=1, description="How many trials the study holds when it is done.")
    metric: MetricConfig = Field(description="The metric to optimize, averaged over the folds.")
    metrics: tuple[str, ...] = Field(default=(), description="Further metrics to record for every fold.")
    sampler: Literal["tpe", "random"] = Field(default="tpe", description="How parameters are proposed.")
    pruner: PrunerConfig = Field(default=PrunerConfig(), description="A name, or `{type: NAME, threshold: …}`.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the sampler, the splits and the training.")

    @field_validator("pruner", mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return _with_type(value)


class CrossValidationConfig(Frozen):
    """How rows are dealt into folds."""

    splitter: Literal[
        "auto",
        "kfold",
        "stratified",
        "group",
        "stratified_group",
        "time_series",
        "repeated",
        "repeated_stratified",
    ] = Field(
        default="auto",
        description="`auto`: stratified for classes, kfold for numbers; with groups or times, the splitter for them.",
    )
    folds: int = Field(default=5, ge=2, description="Number of folds.")
    repeats: int = Field(default=1, ge=1, description="Repetitions of the `repeated` splitters.")


class EarlyStoppingConfig(Frozen):
    """When to stop before the last epoch.

    The loss is watched on a part of the *training* rows that is held out for it, so that the fold's own validation
    rows stay unseen until they are scored.
    """

    patience: int = Field(default=5, ge=1, description="Epochs without improvement to wait for.")
    min_delta: float = Field(default=0.0, ge=0.0, description="Smallest improvement of the loss that counts.")
    fraction: float = Field(default=0.1, gt=0.0, lt=0.5, description="Share of the training rows to watch on.")


class OptimizerConfig(Frozen):
    """A `torch.optim` optimizer; further keys are its own arguments."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)
    type: str = Field(default="adamw", description="Class name in `torch.optim`, in any case.")


class SchedulerConfig(Frozen):
    """`cosine` (with `warmup_steps`) or a `torch.optim.lr_scheduler` class; further keys are its own arguments."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)
    type: str = Field(description="`cosine`, or a class name in `torch.optim.lr_scheduler`, in any case.")
    every: Literal["step", "epoch"] | None = Field(
        default=None, description="When it advances; by default `step` for cosine and OneCycleLR, else `epoch`."
    )


class TrainingConfig(Frozen):
    """How one fold is trained."""

    epochs: int = Field(default=30, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(default=64, ge=1, description="Rows of a global batch, split over the ranks.")
    optimizer: OptimizerConfig = Field(default=OptimizerConfig(), description="A name, or `{type: NAME, …}`.")
    scheduler: SchedulerConfig | None = Field(default=None, description="A name, or `{type: NAME, …}`; null: none.")
    loss: Literal["auto", "cross_entropy", "mse", "l1", "huber"] = Field(
        default="auto", description="`auto`: cross_entropy for classification, mse for regression."
    )
    precision: Literal["no", "bf16", "fp16"] = Field(default="no", description="Mixed precision; fp16 needs a GPU.")
    accumulation: int = Field(default=1, ge=1, description="Batches whose gradients make one optimizer step.")
    clip_norm: float | None = Field(default=None, gt=0, description="Largest gradient norm; null: no clipping.")
    early_stopping: EarlyStoppingConfig | None = Field(default=None, description="Null: train all epochs.")
    loop: str | None = Field(
        default=None,
        description="A function of your own instead of this loop: `train_fold(fold, params) -> {metric: value}`.",
    )

    @field_validator("optimizer", "scheduler", mode="before")
    @classmethod
    def _a_name_alone(cls, value: Any) -> Any:
        return _with_type(value)


class ResourcesConfig(Frozen):
    """What one node of a worker group may use."""

    cpu: float | None = Field(
        default=None, gt=0, description="CPUs; by default an equal share of the machine's, of a pod 1."
    )
    memory: str | None = Field(
        default=None,
        pattern=QUANTITY,
        description="Memory, such as `2Gi`; by default no limit, of a pod `2Gi`. Processes of this machine are not "
        "held to it.",
    )
    shm: str = Field(
        default="256Mi",
        pattern=QUANTITY,
        description="Shared memory (`/dev/shm`) of a container or pod: data loaders and NCCL use it.",
    )


class KubernetesConfig(Frozen):
    """What only pods have. Other platforms ignore it."""

    requests: dict[str, str] = Field(
        default={},
        description="What a pod asks the scheduler for where that is less than its limits: `{cpu: 250m, memory: 1Gi}`.",
    )
    gpu_resource: str = Field(default="nvidia.com/gpu", description="What the cluster calls a GPU.")
    node_selector: dict[str, str] = Field(default={}, description="Labels of the nodes that pods may run on.")
    tolerations: tuple[dict[str, Any], ...] = Field(default=(), description="Taints that pods put up with.")
    priority_class: str | None = Field(default=None, description="Priority class of the pods.")
    queue: str | None = Field(default=None, description="Kueue's LocalQueue that admits the groups; null: none.")
    deadline_s: int | None = Field(
        default=None, ge=1, description="Longest life of a group's Job; the sweep then starts another. Null: no limit."
    )
    backoff_limit: int = Field(
        default=6, ge=0, description="How many of a group's pods may fail, disruptions not counted."
    )
    ttl_s: int = Field(default=86400, ge=0, description="How long a group that is over is kept for its logs.")
    start_patience_s: float = Field(
        default=300, ge=1, description="How long pods that cannot start are waited for where no group is at work."
    )
    annotations: dict[str, str] = Field(default={}, description="Annotations of the pods.")
    pod: dict[str, Any] = Field(
        default={},
        description="Any further fields of the pods' `spec`, laid over what is planned: maps are merged, lists of "
        "named things by name; the worker's container is called `worker`.",
    )


def _checked_pack(pack: Any) -> Any:
    if pack not in ("auto", "off") and (isinstance(pack, bool) or not isinstance(pack, int) or pack < 1):
        raise ValueError("auto, off or a whole number of at least 1")
    return pack


Pack = Annotated[Literal["auto", "off"] | int, BeforeValidator(_checked_pack)]
"""How many models a worker trains as one batched model."""


class ExecutionConfig(Frozen):
    """Where and how widely the sweep runs."""

    workers: int = Field(default=2, ge=1, description="Worker groups at once; each trains one trial at a time.")
    processes: int = Field(default=1, ge=1, description="Ranks of a group (DDP).")
    nodes: int = Field(default=1, ge=1, description="Machines (containers, pods) of a group.")
    pack: Pack = Field(
        default="auto",
        description="How many models a worker trains as one: `auto` measures what pays, `off` trains each alone, a "
        "number is how many.",
    )
    retries: int = Field(default=2, ge=0, description="How often a trial that was lost (not failed) is tried again.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto`: GPUs where there are any.")
    share_gpus: bool = Field(
        default=False,
        description="Let several groups share one GPU; with `device: auto` they do where there are too few.",
    )
    storage_patience_s: float = Field(
        default=300, ge=1, description="How long an unreachable study, or engine, is waited for."
    )
    resources: ResourcesConfig = Field(default=ResourcesConfig(), description="What one worker group may use.")
    env: dict[str, str] = Field(default={}, description="Environment variables for every rank.")
    secrets: tuple[str, ...] = Field(default=(), description="Names of environment variables to pass on, unlogged.")
    secrets_file: str | None = Field(
        default=None, description="File of `NAME=value` lines with secrets that the environment does not set."
    )
    volumes: tuple[str, ...] = Field(
        default=(),
        description="What containers see beside their image: `SOURCE:TARGET`, read-only, or `SOURCE:TARGET:rw`. The "
        "source is a folder of the Docker host or a named volume; for pods it is a volume claim. Processes of this "
        "machine need none.",
    )
    kubernetes: KubernetesConfig = Field(default=KubernetesConfig(), description="What only pods have.")

    @property
    def start_timeout_s(self) -> float:
        """How long no group may start before the sweep fails, on every platform."""
        return self.kubernetes.start_patience_s

    def options_for(self, platform: str) -> Frozen | None:
        """The section that this platform alone reads; None where it has none."""
        return {"kubernetes": self.kubernetes}.get(platform)


class RefitConfig(Frozen):
    """What happens after the last trial."""

    top: int = Field(default=3, ge=1, description="How many of the best trials to train again on all but the holdout.")


class Experiment(Frozen):
    """One experiment file."""

    name: Name = Field(description="Lower-case letters, digits and dashes: names the study, its runs and its model.")
    data: DataConfig
    model: ModelConfig
    search: SearchConfig
    cross_validation: CrossValidationConfig = CrossValidationConfig()
    training: TrainingConfig = TrainingConfig()
    execution: ExecutionConfig = ExecutionConfig()
    refit: RefitConfig = RefitConfig()
    tags: dict[str, str] = Field(default={}, description="Tags for every run of this study.")

    def without_secrets(self) -> Experiment:
        """The experiment as it may be kept: passwords and secret values in `execution.env` are starred.

        Workers are started with the real values, which come from the file at each call.
        """
        shown = {name: shown_value(name, value) for name, value in self.execution.env.items()}
        execution = self.execution.model_copy(update={"env": shown})
        return self.model_copy(update={"execution": execution})

    def definition(self) -> dict[str, Any]:
        """What a study keeps for life, as JSON values: two experiments with equal definitions share a study."""
        whole = self.model_dump(mode="json", by_alias=True)
        search = {key: whole["search"][key] for key in ("space", "metric", "metrics", "seed")}
        kept = {key: whole[key] for key in ("data", "model", "cross_validation", "training")}
        return {**kept, "search": search}
