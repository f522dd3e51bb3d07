"""The experiment file as frozen, typed values.

One file describes one study: its data, model, search, cross-validation, training, execution and refit. What decides
*what* is computed is in `Experiment.definition` and never changes during a study. What decides *how much* and *where*
(trials, sampler, workers, retries, …) may change between two calls on the same study.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from winnow.config.addresses import holds_password, shown_value
from winnow.config.frozen import Frozen, ListAsTuple, NameOrMapping, Open, Shorthand, checked
from winnow.config.functions import SQLITE, names_data_function
from winnow.config.monitoring import MonitoringConfig, Retrain, RetrainConfig
from winnow.config.names import fault_in_study_name
from winnow.config.quantities import DURATION, QUANTITY, seconds_of
from winnow.config.serving import ServingConfig


def _checked_name(name: str) -> str:
    fault = fault_in_study_name(name)
    if fault is not None:
        raise ValueError(fault)
    return name


Name = Annotated[str, AfterValidator(_checked_name)]
"""A study's name, which becomes part of the names of files, containers and Kubernetes objects."""


ClassName = Annotated[
    str | int | float | bool,
    checked(lambda name: isinstance(name, str | int | float), "the name of a class: a text, a number, true or false"),
]
"""A class as people write it: `yes`, `1` or `true`."""


def _check_bounds(parameter: Any) -> Any:
    low, high = parameter.bounds
    if low > high:
        raise ValueError("the lower bound first and the upper bound second")
    if parameter.log and low <= 0:
        raise ValueError("bounds above 0 where `log: true` is set")
    if parameter.log and parameter.step != type(parameter).model_fields["step"].default:
        raise ValueError("either `log` or `step`, not both")
    return parameter


def _checked_source(source: Any) -> Any:
    texts = [source] if isinstance(source, str) else source
    if not isinstance(texts, list | tuple) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("a text, or a list of texts")
    if any(holds_password(text) for text in texts):
        raise ValueError(
            "an address without a password: write ${NAME} in its place, the name of an environment variable"
        )
    return source if isinstance(source, str) else tuple(texts)


Source = Annotated[str | tuple[str, ...], BeforeValidator(_checked_source)]
"""Where rows come from."""


def _checked_delimiter(delimiter: Any) -> Any:
    if delimiter is None or (isinstance(delimiter, str) and len(delimiter) == 1 and delimiter not in '"\r\n'):
        return delimiter
    if delimiter in ("tab", "\\t"):
        return "\t"
    raise ValueError("one character, or `tab`")


def _checked_encoding(encoding: Any) -> Any:
    try:
        "".encode(encoding)
    except (LookupError, TypeError, UnicodeError):
        raise ValueError("the name of an encoding that Python knows, such as utf-8, cp1252 or utf-16") from None
    return encoding


class RawReadConfig(Frozen):
    """How raw files are read. All but the format concerns CSV files, whose columns stay text."""

    format: Literal["auto", "csv", "parquet", "arrow"] = Field(
        default="auto", description="The files' format; `auto`: as their names end."
    )
    delimiter: Annotated[str | None, BeforeValidator(_checked_delimiter)] = Field(
        default=None,
        description="What separates fields: one character, or `tab`; null: recognized from the first rows.",
    )
    encoding: Annotated[str, BeforeValidator(_checked_encoding)] = Field(
        default="utf-8", description="Encoding, such as utf-8, cp1252, latin-1 or utf-16."
    )
    missing: Annotated[tuple[str, ...], ListAsTuple] = Field(
        default=(), description="More texts that stand for a missing value, such as `?` or `-999`."
    )


class ReadConfig(RawReadConfig):
    """How files are read. All but the format concerns CSV files."""

    decimal: Literal[".", ","] | None = Field(
        default=None,
        description="Decimal mark; null: a point, or a comma where fields are not separated by commas and the numbers "
        "of whole columns have one.",
    )


class RawConfig(Frozen):
    """Where `winnow ingest` reads the raw data."""

    source: Source = Field(
        description="CSV, Parquet or Arrow files, or a list, pattern or folder of them, a URL (https, s3, gs, …), "
        "`dvc:PATH`, or a database (`sqlite:PATH`, `postgresql://…`)."
    )
    query: str | None = Field(default=None, description="A database's SQL query, or the name of a table to read whole.")
    by: str | None = Field(
        default=None,
        description="Of a database the column by which rows are added (a number, time or text without nulls): only "
        "rows with greater values than the last one's are read. By default, all rows are read each time.",
    )
    read: RawReadConfig = Field(default=RawReadConfig(), description="How files are read.")

    @property
    def sources(self) -> tuple[str, ...]:
        """The source as a list."""
        return (self.source,) if isinstance(self.source, str) else self.source


Engine = Literal["duckdb", "polars", "spark"]
"""What computes the rows that are trained on."""


class PrepareConfig(Frozen):
    """How `winnow prepare` makes the rows that are trained on from the raw ones. It needs `sql` or `function`."""

    engine: Engine = Field(default="duckdb", description="What computes them: duckdb, polars or spark.")
    sql: str | dict[Engine, str] | None = Field(
        default=None,
        description="A file with a query, or the query, over the table `raw`; or one for each engine: "
        "`{duckdb: a.sql, spark: b.sql}`.",
    )
    function: str | dict[Engine, str] | None = Field(
        default=None,
        description="`path/file.py:function` or `package.module:function`: gets the raw rows as the engine's table "
        "(DuckDB's relation, a LazyFrame of Polars, a DataFrame of Spark) and returns one; or one for each engine.",
    )
    sort: Annotated[tuple[str, ...], ListAsTuple] = Field(
        default=(),
        description="Columns that order the rows, and that no two rows share; by default all columns order them.",
    )
    partition_by: Annotated[tuple[str, ...], ListAsTuple] = Field(
        default=(), description="Columns that split the rows into folders `NAME=VALUE`; by default one file."
    )
    schema_file: str | None = Field(
        default=None, alias="schema", description="Schema file that prepared rows have to fit."
    )

    @model_validator(mode="after")
    def _has_one(self) -> PrepareConfig:
        is_split = isinstance(self.sql, dict) and isinstance(self.function, dict) and not {*self.sql} & {*self.function}
        if (self.sql is None) == (self.function is None) and not is_split:
            raise ValueError("either `sql` or `function`, or each of them for engines of its own")
        return self


class AugmentConfig(Open):
    """How training rows are changed by chance. A name, or a mapping; other keys are its arguments."""

    type: str = Field(
        description="`winnow.augment:flip` (with `p`), `winnow.augment:crop` (`padding`), `winnow.augment:noise` "
        "(`std`), or your own function as `path/file.py:function`: `function(rows, **options) -> rows`."
    )


def _listed(value: Any) -> Any:
    """A name or a mapping alone as a list."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


class DataConfig(Frozen):
    """Where the rows come from, and which are held out."""

    source: Source = Field(
        description="`sklearn:NAME` (breast_cancer, digits, diabetes, iris, wine), a CSV, Parquet or Arrow file, a "
        "list, pattern or folder of them, a URL (https, s3, gs, …), a database (`sqlite:PATH`, `postgresql://…`), a "
        "data function as `package.module:function` or `path/file.py:function`, `prepared` for what `winnow prepare` "
        "made, `dvc:PATH`, or `feast:REPOSITORY#SERVICE`."
    )
    rev: str | None = Field(
        default=None, description="Git revision of `dvc:` sources; by default the files as they are in the workspace."
    )
    entities: str | None = Field(
        default=None,
        description="Of a `feast:` source the CSV or Parquet file with keys, `event_timestamp` and the target.",
    )
    query: str | None = Field(default=None, description="A database's SQL query, or the name of a table to read whole.")
    read: ReadConfig = Field(default=ReadConfig(), description="How files are read.")
    schema_file: str | None = Field(
        default=None,
        alias="schema",
        description="Schema file that `winnow validate` checks the rows against, in the form of pandera's YAML files.",
    )
    target: str | None = Field(default=None, description="Column to predict; files and databases need it.")
    task: Literal["auto", "classification", "regression"] = Field(
        default="auto", description="`auto`: classification for text, booleans and few distinct whole numbers."
    )
    holdout: float = Field(
        default=0.2,
        ge=0.0,
        lt=1.0,
        description="Share of the rows that is split off before the sweep. Only refits are scored on it, once.",
    )
    group: str | None = Field(default=None, description="Column; rows with the same value stay in the same fold.")
    time: str | None = Field(default=None, description="Column that orders the rows in time.")
    drop: Annotated[tuple[str, ...], ListAsTuple] = Field(default=(), description="Columns to leave out.")
    columns: dict[str, Literal["number", "category", "boolean", "date", "drop"]] = Field(
        default={},
        description="Kinds of columns by name, where the one that is recognized from the values is not the right one; "
        "`drop` leaves a column out.",
    )
    scaling: Literal["standard", "robust", "none"] = Field(
        default="standard",
        description="How numbers are scaled inside the model. `standard`: by the mean and standard deviation of each "
        "fold's training rows. `robust`: by their median and the distance of their quartiles. `none`: missing values "
        "are filled in, and nothing else. `standardize: false`, the older form of `none`, is still read.",
    )
    missing_indicators: Annotated[
        Literal["auto"] | bool, checked(lambda value: value == "auto" or isinstance(value, bool), "auto, true or false")
    ] = Field(
        default="auto",
        description="Whether a number or date that may be missing gives the network a second input, which says so. "
        "`auto`: in tables with a column of categories or dates. A category always has a code for missing values.",
    )
    load: Literal["auto", "memory", "lazy"] = Field(
        default="auto",
        description="`memory`: read all rows once. `lazy`: fetch rows when a batch needs them. `auto`: lazy for "
        "memory-mapped arrays, images and torch Datasets of more than 256 MiB as float32, memory for all others.",
    )
    augment: Annotated[tuple[Annotated[AugmentConfig, NameOrMapping], ...], BeforeValidator(_listed)] = Field(
        default=(), description="Random changes of the training rows: one, or a list that is applied in its order."
    )
    options: dict[str, Any] = Field(
        default={}, description="Keyword arguments of the data function; of `images:` the `size` and `mode`."
    )
    positive: ClassName | None = Field(
        default=None,
        description="Of two classes the one that binary metrics and the decision threshold are about; by default the "
        "second. If it is set, f1 and its like are those of this class (`average: binary`).",
    )
    weight: str | None = Field(default=None, description="Column with each row's weight in the loss, at least 0.")
    raw: RawConfig | None = Field(default=None, description="The raw data, which `winnow ingest` copies to the home.")
    prepare: PrepareConfig | None = Field(
        default=None, description="How `winnow prepare` makes the rows of `source: prepared`."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_scaling(cls, given: Any) -> Any:
        """`scaling` for the older `standardize`, in files as in stored studies."""
        if not isinstance(given, dict) or not isinstance(given.get("standardize"), bool) or "scaling" in given:
            return given
        rest = {key: value for key, value in given.items() if key != "standardize"}
        return {**rest, "scaling": "standard" if given["standardize"] else "none"}

    @property
    def sources(self) -> tuple[str, ...]:
        """The source as a list."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def shown_source(self) -> str:
        """The source as one text, for display."""
        return ", ".join(self.sources)

    @property
    def function(self) -> str | None:
        """The data function that the source names; None for other sources."""
        return self.source if isinstance(self.source, str) and names_data_function(self.source) else None

    def moved_to(self, path: str) -> DataConfig:
        """The same with another place of its only file."""
        prefix = SQLITE if self.sources[0].startswith(SQLITE) else ""
        return self.model_copy(update={"source": prefix + path})


class ModelConfig(Frozen):
    """The function that builds the network."""

    factory: str | None = Field(
        default=None,
        description="`package.module:function` or `path/file.py:function`: "
        "`build(input_shape, outputs, **params) -> nn.Module`. Only `training.loop` does without.",
    )
    options: dict[str, Any] = Field(default={}, description="Fixed keyword arguments of the factory.")


def _alternatives(when: Any) -> Any:
    """`{optimizer: [sgd]}` for `{optimizer: sgd}`."""
    if not isinstance(when, dict):
        return when
    return {name: tuple(value) if isinstance(value, list | tuple) else (value,) for name, value in when.items()}


When = Annotated[
    dict[str, tuple[Any, ...]] | None, BeforeValidator(_alternatives, json_schema_input_type=dict[str, Any] | None)
]
"""The values that other parameters must have for this one to be active: one of the list, for each name."""


def _when() -> Any:
    return Field(
        default=None,
        description="Only where another parameter has this value, or one of a list: `{optimizer: sgd}`. Elsewhere, "
        "trials do not have this parameter.",
    )


class FloatParameter(Frozen):
    """A real number between two bounds, both included."""

    bounds: tuple[float, float] = Field(alias="float", description="Lower and upper bound.")
    log: bool = Field(default=False, description="Search on a logarithmic scale.")
    step: float | None = Field(default=None, gt=0, description="Distance of the values, from the lower bound on.")
    when: When = _when()

    _checked = model_validator(mode="after")(_check_bounds)


class IntParameter(Frozen):
    """A whole number between two bounds, both included."""

    bounds: tuple[int, int] = Field(alias="int", description="Lower and upper bound.")
    log: bool = Field(default=False, description="Search on a logarithmic scale.")
    step: int = Field(default=1, ge=1, description="Distance of the values, from the lower bound on.")
    when: When = _when()

    _checked = model_validator(mode="after")(_check_bounds)


class ChoiceParameter(Frozen):
    """One of a list of values: numbers, text, booleans, null or lists of them."""

    choices: tuple[Any, ...] = Field(alias="choice", min_length=1, description="The values to choose from.")
    when: When = _when()

    def stored(self) -> tuple[Any, ...]:
        """The choices as Optuna stores them."""
        return tuple(map(stored_choice, self.choices))


def stored_choice(choice: Any) -> Any:
    """A choice as Optuna stores it: lists and mappings as JSON text."""
    return json.dumps(choice, sort_keys=True) if isinstance(choice, list | tuple | dict) else choice


def _kind_of_parameter(value: Any) -> str | None:
    kinds = {"float": "float", "int": "int", "choice": "choice", "choices": "choice"}
    if isinstance(value, FloatParameter | IntParameter | ChoiceParameter):
        return value.__class__.__name__.removesuffix("Parameter").lower()
    found = {kinds[key] for key in value if key in kinds} if isinstance(value, dict) else set()
    return found.pop() if len(found) == 1 else None


Parameter = Annotated[
    Annotated[FloatParameter, Tag("float")]
    | Annotated[IntParameter, Tag("int")]
    | Annotated[ChoiceParameter, Tag("choice")],
    Discriminator(_kind_of_parameter),
]


class MetricConfig(Frozen):
    """What the search optimizes. A name, or `{name: f1, average: macro}`."""

    name: str = Field(
        description="A short name (f1, accuracy, rmse, r2, …), a torchmetrics class, `loss`, or your own function as "
        "`path/file.py:function`: `function(outputs, target, **options) -> float`."
    )
    goal: Literal["maximize", "minimize"] | None = Field(
        default=None, description="Direction; by default the one that the metric declares."
    )
    average: Literal["binary", "macro", "weighted", "micro", "none"] | None = Field(
        default=None,
        description="How the classes' values become one, as in scikit-learn; `none` records each as `NAME.CLASS`. By "
        "default macro, and binary if `data.positive` is set.",
    )
    of_class: ClassName | None = Field(
        default=None, alias="class", description="The value of this class against the others, recorded as `NAME.CLASS`."
    )
    options: dict[str, Any] = Field(
        default={}, description="Keyword arguments of your own function, or of a torchmetrics class."
    )

    @property
    def key(self) -> str:
        """The name under which it is recorded; one of several with the average `none`."""
        own = self.name.rpartition(":")[2]
        return own if self.of_class is None else f"{own}.{self.of_class}"


Metric = Annotated[MetricConfig, Shorthand("name")]


class SamplerConfig(Open):
    """How parameters are proposed. A name, or a mapping with the sampler's options as further keys."""

    type: str = Field(
        default="tpe",
        description="`tpe`, `random`, `grid`, `gp`, `cmaes`, `qmc`, `nsga2`, `nsga3` or `brute_force`, or a sampler "
        "class as `package.module:Class` or `path/file.py:Class`. Other keys are its options in Optuna.",
    )


class PrunerConfig(Open):
    """Which trials end before their last fold. A name, or `{type: racing, threshold: 0.001}`."""

    type: str = Field(
        default="auto",
        description="`racing`: stop a trial that is unlikely to become the best one. `median`: stop a trial whose mean "
        "over its folds so far is worse than the median of the other trials. `auto`: racing, but off with the splitter "
        "time_series, whose folds differ in size. `off`: none. Optuna's: `hyperband`, `successive_halving`, "
        "`percentile`, `patient`, `threshold`, `wilcoxon`, or a pruner class as `package.module:Class` or "
        "`path/file.py:Class`. Other keys are its options in Optuna.",
    )
    threshold: float = Field(
        default=0.01, gt=0, lt=0.5, description="Racing: stop a trial below this probability of becoming the best."
    )
    every: Literal["fold", "epoch"] = Field(
        default="fold",
        description="`epoch`: ask the pruner after each epoch of a fold, which measures the metrics on the validation "
        "rows (every `training.curves.every` epochs); between folds, trials race.",
    )


class BudgetConfig(Frozen):
    """What ends the search before its last trial. Trials that have begun are finished."""

    time: str | None = Field(
        default=None,
        pattern=DURATION,
        description="Working time from the first trial on, such as `90m`, `2h` or `1h30m`. Time in which the study has "
        "no workers does not count.",
    )
    failures: int | None = Field(default=None, ge=1, description="Failed trials, in total.")

    @property
    def time_s(self) -> float | None:
        """The working time in seconds; None: unlimited."""
        return None if self.time is None else seconds_of(self.time)


class WarmStartConfig(Frozen):
    """Points to try first, from one of `study`, `csv` and `points`. They count among the trials."""

    study: str | None = Field(
        default=None, description="Another study of the same database; its best trials are tried again on these data."
    )
    csv: str | None = Field(
        default=None,
        description="A file with a column per parameter: `lr`, or `params_lr` or `params.lr` as Optuna and MLflow "
        "export it. With a `value` column, the best rows are tried.",
    )
    points: tuple[dict[str, Any], ...] = Field(
        default=(), description="Points by hand; the sampler chooses the parameters that a point leaves out."
    )
    top: int = Field(default=10, ge=1, description="How many of the study's or the file's best points are tried.")

    @model_validator(mode="after")
    def _checked(self) -> WarmStartConfig:
        if sum((self.study is not None, self.csv is not None, bool(self.points))) != 1:
            raise ValueError("one of `study`, `csv` and `points`")
        return self


class SearchConfig(Frozen):
    """The search space, how it is searched, and for how long."""

    space: dict[str, Parameter] = Field(description="Parameters by name; each is `float`, `int` or `choice`.")
    trials: int | None = Field(
        default=None, ge=1, description="Trials of the finished study; null: 30, or all points with the sampler `grid`."
    )
    budget: BudgetConfig = BudgetConfig()
    metric: Metric = Field(description="The metric to optimize, averaged over the folds.")
    metrics: tuple[Metric, ...] = Field(
        default=(), description="More metrics to record for every fold: names, or mappings as for `metric`."
    )
    sampler: Annotated[SamplerConfig, NameOrMapping] = Field(
        default=SamplerConfig(), description="A name, or `{type: NAME, …}`."
    )
    pruner: Annotated[PrunerConfig, NameOrMapping] = Field(
        default=PrunerConfig(), description="A name, or `{type: NAME, threshold: …}`."
    )
    warm_start: WarmStartConfig | None = Field(default=None, description="Points to try first; null: none.")
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the sampler, the splits and the training.")


class CrossValidationConfig(Frozen):
    """How rows are split into folds."""

    splitter: Literal[
        "auto", "kfold", "stratified", "group", "stratified_group", "time_series", "repeated", "repeated_stratified"
    ] = Field(
        default="auto",
        description="`auto`: the splitter for groups or times if `data.group` or `data.time` is set, else stratified "
        "for classification and kfold for regression.",
    )
    folds: int = Field(default=5, ge=2, description="Number of folds.")
    repeats: int = Field(default=1, ge=1, description="Repetitions, with the `repeated` splitters.")


class EarlyStoppingConfig(Frozen):
    """When to stop before the last epoch.

    The loss is measured on a held-out part of the *training* rows, so that the fold's validation rows stay unseen until
    they are scored.
    """

    patience: int = Field(default=5, ge=1, description="Epochs without improvement before training stops.")
    min_delta: float = Field(default=0.0, ge=0.0, description="Smallest improvement of the loss that counts.")
    fraction: float = Field(default=0.1, gt=0.0, lt=0.5, description="Share of the training rows to hold out.")


class OptimizerConfig(Open):
    """A `torch.optim` optimizer; other keys are its arguments."""

    type: str = Field(default="adamw", description="Class name in `torch.optim`, in any case.")


class SchedulerConfig(Open):
    """`cosine` (with `warmup_steps`) or a `torch.optim.lr_scheduler` class; other keys are its arguments."""

    type: str = Field(description="`cosine`, or a class name in `torch.optim.lr_scheduler`, in any case.")
    every: Literal["step", "epoch"] | None = Field(
        default=None, description="When it steps; by default each `step` for cosine and OneCycleLR, else each `epoch`."
    )


class CurvesConfig(Frozen):
    """What is recorded after each epoch. A name, or `{type: metrics, every: 5}`."""

    type: Literal["off", "loss", "metrics"] = Field(
        default="loss",
        description="`loss`: the training loss, and with early stopping that of the watched rows. `metrics`: also "
        "every metric on the fold's validation rows, which takes time. `off`: nothing.",
    )
    every: int = Field(
        default=1, ge=1, description="How many epochs pass between two measurements on the validation rows."
    )


class LossConfig(Open):
    """What training minimizes. A name, or a mapping; other keys are its arguments."""

    type: str = Field(
        default="auto",
        description="`cross_entropy` (with `label_smoothing`), `focal` (`gamma`, `label_smoothing`), `mse`, `l1`, "
        "`huber` (`delta`), or your own function as `path/file.py:function`: `function(outputs, target, **options)`, "
        "which gives the loss of each row. `auto`: cross_entropy for classification, mse for regression.",
    )


def _is_class_weights(weights: Any) -> bool:
    if not isinstance(weights, dict):
        return weights in ("balanced", None)
    each = weights.values()
    return all(isinstance(weight, int | float) and not isinstance(weight, bool) and weight >= 0 for weight in each)


ClassWeight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class TrainingConfig(Frozen):
    """How one fold is trained."""

    epochs: int = Field(default=30, ge=1, description="Passes over the training rows.")
    batch_size: int = Field(default=64, ge=1, description="Rows of a global batch, split over the ranks.")
    optimizer: Annotated[OptimizerConfig, NameOrMapping] = Field(
        default=OptimizerConfig(), description="A name, or `{type: NAME, …}`."
    )
    scheduler: Annotated[SchedulerConfig | None, NameOrMapping] = Field(
        default=None, description="A name, or `{type: NAME, …}`; null: none."
    )
    loss: Annotated[LossConfig, NameOrMapping] = Field(
        default=LossConfig(), description="A name, or `{type: focal, gamma: 2}`."
    )
    class_weights: Annotated[
        Literal["balanced"] | dict[str, ClassWeight] | None,
        checked(_is_class_weights, "balanced, or a mapping of classes to numbers of at least 0"),
    ] = Field(
        default=None,
        description="What the rows of a class count in the loss: `balanced` (inversely to the class's share of the "
        "training rows) or `{class: weight}`, 1 for classes that it leaves out.",
    )
    precision: Literal["no", "bf16", "fp16"] = Field(default="no", description="Mixed precision; fp16 needs a GPU.")
    accumulation: int = Field(
        default=1, ge=1, description="Batches whose gradients are added up for one optimizer step."
    )
    clip_norm: float | None = Field(default=None, gt=0, description="Largest norm of the gradients; null: no clipping.")
    early_stopping: EarlyStoppingConfig | None = Field(default=None, description="Null: train all epochs.")
    curves: Annotated[CurvesConfig, NameOrMapping] = Field(
        default=CurvesConfig(), description="What is recorded after each epoch: `off`, `loss` or `metrics`."
    )
    loop: str | None = Field(
        default=None,
        description="Your own function instead of winnow's loop: `train_fold(fold, params) -> {metric: value}`.",
    )


class ResourcesConfig(Frozen):
    """What one node of a worker group may use."""

    cpu: float | None = Field(
        default=None, gt=0, description="CPUs; by default an equal share of the machine's, and 1 for a pod."
    )
    memory: str | None = Field(
        default=None,
        pattern=QUANTITY,
        description="Memory, such as `2Gi`; by default no limit, and `2Gi` for a pod. Not enforced for processes on "
        "this machine.",
    )
    shm: str = Field(
        default="256Mi",
        pattern=QUANTITY,
        description="Shared memory (`/dev/shm`) of a container or pod, for data loaders and NCCL.",
    )


class KubernetesConfig(Frozen):
    """Settings of pods. Other platforms ignore them."""

    requests: dict[str, str] = Field(
        default={},
        description="A pod's resource requests if they differ from its limits: `{cpu: 250m, memory: 1Gi}`.",
    )
    gpu_resource: str = Field(default="nvidia.com/gpu", description="Resource name of a GPU in the cluster.")
    node_selector: dict[str, str] = Field(default={}, description="Labels of the nodes that pods may run on.")
    tolerations: tuple[dict[str, Any], ...] = Field(default=(), description="Taints that the pods tolerate.")
    priority_class: str | None = Field(default=None, description="Priority class of the pods.")
    queue: str | None = Field(default=None, description="Kueue LocalQueue that admits the groups; null: none.")
    deadline_s: int | None = Field(
        default=None, ge=1, description="Time limit of a group's Job; the sweep then starts another. Null: no limit."
    )
    backoff_limit: int = Field(
        default=6, ge=0, description="How many pods of a group may fail. Evictions and other disruptions do not count."
    )
    ttl_s: int = Field(default=86400, ge=0, description="How long a finished group is kept for its logs.")
    start_patience_s: float = Field(
        default=300,
        ge=1,
        description="How long the sweep waits for pods that cannot start, while no group works, before it fails.",
    )
    annotations: dict[str, str] = Field(default={}, description="Annotations of the pods.")
    pod: dict[str, Any] = Field(
        default={},
        description="Other fields for the pods' `spec`. Mappings are merged into the planned ones, and lists of named "
        "items by name; the worker's container is called `worker`.",
    )


def _is_pack(pack: Any) -> bool:
    return pack in ("auto", "off") or (isinstance(pack, int) and not isinstance(pack, bool) and pack >= 1)


Pack = Annotated[Literal["auto", "off"] | int, checked(_is_pack, "auto, off or a whole number of at least 1")]
"""How many models a worker trains as one batched model."""


class ExecutionConfig(Frozen):
    """Where the sweep runs, and on how many workers."""

    workers: int = Field(default=2, ge=1, description="Concurrent worker groups. Each trains one trial at a time.")
    processes: int = Field(default=1, ge=1, description="Ranks of a group (DDP).")
    nodes: int = Field(default=1, ge=1, description="Machines (containers, pods) of a group.")
    pack: Pack = Field(
        default="auto",
        description="How many models a worker trains as one batched model: `auto` measures what is faster, `off` "
        "trains each alone, or a number.",
    )
    retries: int = Field(default=2, ge=0, description="How often a lost trial (not a failed one) is retried.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto`: GPUs if there are any.")
    share_gpus: bool = Field(
        default=False,
        description="Let several groups share one GPU. With `device: auto` they do so if there are too few GPUs.",
    )
    storage_patience_s: float = Field(
        default=300, ge=1, description="How long to wait for a study database, or an engine, that does not answer."
    )
    resources: ResourcesConfig = Field(
        default=ResourcesConfig(), description="Resources of one node of a worker group."
    )
    env: dict[str, str] = Field(default={}, description="Environment variables for every rank.")
    secrets: tuple[str, ...] = Field(
        default=(), description="Names of environment variables to pass on; values are never logged."
    )
    secrets_file: str | None = Field(
        default=None, description="File of `NAME=value` lines, for secrets that the environment does not set."
    )
    volumes: tuple[str, ...] = Field(
        default=(),
        description="Volumes of the containers: `SOURCE:TARGET` (read-only) or `SOURCE:TARGET:rw`. The source is a "
        "folder of the Docker host or a named volume; for pods, a volume claim. Not used by processes on this machine.",
    )
    kubernetes: KubernetesConfig = Field(default=KubernetesConfig(), description="Settings of pods.")

    @property
    def start_timeout_s(self) -> float:
        """How long the sweep waits, while no group works, before it fails. Applies to every platform."""
        return self.kubernetes.start_patience_s

    def options_for(self, platform: str) -> Frozen | None:
        """The section that only this platform reads, or None."""
        return {"kubernetes": self.kubernetes}.get(platform)


class ThresholdConfig(Frozen):
    """How the decision threshold is chosen. A name, or `{metric: f1}`."""

    type: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto`: of two classes, the probability of the positive one that is best for `metric` on "
        "out-of-fold predictions, if that is clearly better than 0.5. `off`: the likelier class is predicted.",
    )
    metric: Metric | None = Field(
        default=None,
        description="By default the objective, if it depends on the predicted classes (f1, …) and is not accuracy.",
    )


class RefitConfig(Frozen):
    """What happens after the last trial."""

    top: int = Field(
        default=3, ge=1, description="How many of the best trials to refit on all rows except the holdout."
    )
    temperature: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto`: divide the logits of a classifier by the temperature with the least log loss on "
        "out-of-fold predictions. `off`: leave them.",
    )
    threshold: Annotated[ThresholdConfig, NameOrMapping] = Field(
        default=ThresholdConfig(), description="A name, or `{metric: f1}`."
    )


class Experiment(Frozen):
    """One experiment file."""

    name: Name = Field(
        description="Lower-case letters, digits and dashes: names the registered model, its deployment and the study, "
        "unless `STUDY=` does."
    )
    data: DataConfig
    model: ModelConfig = ModelConfig()
    search: SearchConfig
    cross_validation: CrossValidationConfig = CrossValidationConfig()
    training: TrainingConfig = TrainingConfig()
    execution: ExecutionConfig = ExecutionConfig()
    refit: RefitConfig = RefitConfig()
    serving: ServingConfig = ServingConfig()
    monitoring: MonitoringConfig = MonitoringConfig()
    retrain: Retrain = Field(default=RetrainConfig(), description="When `winnow retrain` trains again.")
    tags: dict[str, str] = Field(default={}, description="Tags for every run of this study.")

    def without_secrets(self) -> Experiment:
        """The experiment without passwords and secret values of `execution.env`, to be stored.

        Workers get the real values, which every call reads from the file.
        """
        shown = {name: shown_value(name, value) for name, value in self.execution.env.items()}
        execution = self.execution.model_copy(update={"env": shown})
        return self.model_copy(update={"execution": execution})

    def definition(self) -> dict[str, Any]:
        """What never changes during a study, as JSON values. Experiments with equal definitions can share a study."""
        whole = self.model_dump(mode="json", by_alias=True)
        search = {key: whole["search"][key] for key in ("space", "metric", "metrics", "seed")}
        kept = {key: whole[key] for key in ("data", "model", "cross_validation", "training")}
        del kept["training"]["curves"]
        # `number` accepts a column that would be refused, and changes nothing that is computed.
        columns = {name: kind for name, kind in kept["data"]["columns"].items() if kind != "number"}
        kept["data"] = {**kept["data"], "columns": columns}
        for key in ("raw", "schema", "prepare", "rev", "entities"):  # trials train on the rows of `data.source` alone
            del kept["data"][key]
        return {**kept, "search": search}
