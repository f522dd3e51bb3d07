"""Gather what gates and comparisons judge by: rows that no version was trained on, and the versions' answers."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from winnow.bundle.columns import decode_row
from winnow.bundle.manifest import ONNX, Manifest, read_manifest
from winnow.bundle.row_digests import is_among, row_digests
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.config.next_command import next_flag
from winnow.config.settings import Settings
from winnow.data.labelled import LabelledRows, inputs_of, read_labelled, rows_of_study, target_for
from winnow.data.sources import load_data
from winnow.data.splits import deal_folds, split_holdout
from winnow.model_query.evidence import Answers, Evidence
from winnow.orchestrators.opened_study import find_study
from winnow.orchestrators.releases import choose_version, fetch_release
from winnow.serving.predictor import Predictor, WrongModelError
from winnow.serving.problems import ProblemError
from winnow.tracking.registry import Registry
from winnow.tracking.tracker import ModelVersion

AT_ONCE = 4096
LATENCY_REPEATS = 500


@dataclass(frozen=True, eq=False)
class LoadedVersion:
    """A registered version, ready to answer.

    `trained`: digests of the rows that it was trained on, sorted; None where they were not kept.
    """

    registered: ModelVersion
    bundle: Path
    manifest: Manifest
    trained: NDArray[np.uint64] | None = field(repr=False)

    @property
    def number(self) -> str:
        """The version's number."""
        return self.registered.version

    @functools.cached_property
    def predictor(self) -> Predictor:
        """Answers as the server does. Raises InputError where the bundle cannot be served."""
        try:
            return Predictor(self.bundle, self.number)
        except WrongModelError as error:
            raise InputError(
                f"{self.registered.name} version {self.number}",
                expected="a model that answers as it did when it was exported",
                found=str(error),
                remedy="Choose another version.",
            ) from error

    def outputs(self, inputs: NDArray[np.float32], source: str) -> NDArray[np.float32]:
        """The answers to rows, float32 [rows, outputs]. Raises InputError where one has none."""
        try:
            parts = [self.predictor.outputs(inputs[at : at + AT_ONCE]) for at in range(0, len(inputs), AT_ONCE)]
        except ProblemError as error:
            raise InputError(
                source,
                expected=f"rows that version {self.number} answers",
                found=error.detail,
                remedy="Leave these rows out.",
            ) from error
        return np.concatenate(parts) if parts else np.empty((0, self.predictor.signature.outputs), np.float32)

    def is_trained_on(self, inputs: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether it was trained on each row, bool [rows]; False for all where it is not known."""
        if self.trained is None:
            return np.zeros(len(inputs), dtype=np.bool_)
        return is_among(row_digests(inputs), self.trained)


@dataclass(frozen=True, eq=False)
class Rows:
    """Labelled rows with the first version's inputs.

    `missing`: why there are none, as a sentence; empty where there are some.
    """

    labelled: LabelledRows
    missing: str = ""


def load_version(registry: Registry, version: ModelVersion, settings: Settings) -> LoadedVersion:
    """Fetch a version's bundle and the digests of its training rows.

    Raises InputError if the store does not answer, or the bundle is damaged.
    """
    bundle = fetch_release(registry, version, settings.home, store=settings.tracking_uri).bundle
    return LoadedVersion(version, bundle, read_manifest(bundle), registry.trained_rows(version))


def choose(
    registry: Registry, name: str, settings: Settings, *, alias: str | None = None, number: str | None = None
) -> LoadedVersion:
    """Load the version of a model with this number, or else with this alias.

    Raises InputError if there is none, the store does not answer, or the bundle is damaged.
    """
    store = settings.tracking_uri
    version = choose_version(registry, name, store=store, alias=alias, number=number)
    return load_version(registry, version, settings)


def rows_for(source: str | None, version: LoadedVersion, settings: Settings) -> Rows:
    """The rows of `INPUT=`, as a version takes them; without it the holdout of the version's study.

    Raises:
        InputError: those of a source cannot be read, or lack the target.
    """
    if source is None:
        return rows_of_data(version.manifest, settings, is_holdout=True)
    experiment = experiment_of(version, settings)
    read = None if experiment is None else experiment.data
    return Rows(read_labelled(source, version.manifest, next_flag("input"), read))


def rows_of_data(manifest: Manifest, settings: Settings, *, is_holdout: bool) -> Rows:
    """The holdout of a version's study, or else the rows that it was trained on; `missing` says why there are none."""
    part = "holdout" if is_holdout else "training rows"
    what = f"the {part} of study {manifest.study}"
    none = LabelledRows(what, np.empty((0, *manifest.input_shape), np.float32), np.empty(0))
    store = find_study(settings, manifest.study)
    experiment = None if store is None else store.header.experiment
    if experiment is None:
        are = "holdout is" if is_holdout else "training rows are"
        return Rows(none, f"study '{manifest.study}' is not in the database of studies, so its {are} not known")
    if is_holdout and not experiment.data.holdout:
        return Rows(none, f"study '{manifest.study}' has no holdout (`data.holdout: 0`)")
    try:
        data = load_data(experiment.data)
    except InputError as error:
        return Rows(none, f"the data of study '{manifest.study}' cannot be read: {error}")
    if data.sha256 != manifest.data_sha256:
        return Rows(none, f"the data of study '{manifest.study}' have changed since it was trained")
    seed, splitter = experiment.search.seed, experiment.cross_validation.splitter
    parts = split_holdout(data, experiment.data.holdout, splitter, seed)
    index = parts.holdout if is_holdout else parts.rest
    frame = rows_of_study(experiment.data)
    names = data.class_names
    target = data.target[index] if names is None else np.asarray(names)[data.target[index]]
    rows = data.features[index] if frame is None else frame.iloc[index].reset_index(drop=True)
    return Rows(LabelledRows(what, rows, target))


def gather(
    rows: Rows, candidate: LoadedVersion, other: LoadedVersion | None, *, is_chosen: bool, latency: bool = False
) -> Evidence:
    """The answers of one or two versions to rows that the candidate was not trained on.

    Args:
        rows: of the candidate.
        other: the champion, or the version to compare with.
        is_chosen: a person named the rows: where it is not known what the other version was trained on, they count.
        latency: measure how long answers to single rows take.

    Raises:
        InputError: the rows do not fit a version, or the versions predict different things.
    """
    labelled = rows.labelled
    if other is not None:
        check_same_kind(candidate, other)
    inputs = inputs_of(labelled.rows, candidate.manifest, labelled.source) if not rows.missing else labelled.rows
    is_new = ~candidate.is_trained_on(inputs)
    left_out = int((~is_new).sum())
    source = labelled.source
    if left_out:
        source += f", less {left_out} rows that version {candidate.number} was trained on"
        labelled = LabelledRows(source, _chosen(labelled.rows, is_new), np.asarray(labelled.target)[is_new])
        inputs = inputs[is_new]
    target = target_for(labelled, candidate.manifest)
    answers = _answers(candidate, inputs, source)
    evidence = Evidence(source, labelled.rows, target, answers, missing=rows.missing)
    if other is None:
        return _with_latency(evidence, (candidate,), (inputs,)) if latency and len(inputs) else evidence
    theirs = inputs_of(labelled.rows, other.manifest, source) if not rows.missing else inputs
    evidence = replace(evidence, champion=_answers(other, theirs, source))
    if other.trained is not None or is_chosen:
        evidence = replace(evidence, is_unseen=~other.is_trained_on(theirs))
    elif not rows.missing:
        evidence = replace(
            evidence,
            missing=f"it is not known which rows version {other.number}, of an older winnow, was trained on: name rows "
            f"that it has not seen ({next_flag('input')})",
        )
    if latency and len(inputs):
        return _with_latency(evidence, (candidate, other), (inputs, theirs))
    return evidence


def with_folds(
    evidence: Evidence,
    candidate: LoadedVersion,
    other: LoadedVersion | None,
    registry: Registry,
    settings: Settings,
) -> Evidence:
    """The evidence with the folds' scores; the other version's only where its study dealt the same rows alike."""
    experiment = experiment_of(candidate, settings)
    found = replace(evidence.candidate, folds=registry.fold_scores(candidate.registered))
    if experiment is not None and (folds := _fold_rows(experiment, candidate)) is not None:
        found = replace(found, fold_rows=folds)
    evidence = replace(evidence, candidate=found)
    if other is None or evidence.champion is None or experiment is None:
        return evidence
    theirs = experiment_of(other, settings)
    is_same = theirs is not None and other.manifest.data_sha256 == candidate.manifest.data_sha256
    if theirs is None or not is_same or _dealing(theirs) != _dealing(experiment):
        return evidence
    champion = replace(evidence.champion, folds=registry.fold_scores(other.registered), fold_rows=found.fold_rows)
    return replace(evidence, champion=champion)


def check_same_kind(candidate: LoadedVersion, other: LoadedVersion) -> None:
    """Raise InputError where two versions cannot answer the same question: another task, classes or targets."""

    def predicts(manifest: Manifest) -> tuple[str, frozenset[str] | tuple[str, ...]]:
        if manifest.class_names is None:
            return "the targets", manifest.target_names
        return "the classes", frozenset(manifest.class_names)

    mine, theirs = predicts(candidate.manifest), predicts(other.manifest)
    if mine != theirs:
        raise InputError(
            f"version {candidate.number} of {candidate.registered.name}",
            expected=f"what version {other.number} predicts: {theirs[0]} {', '.join(sorted(theirs[1])[:12])}",
            found=f"{mine[0]} {', '.join(sorted(mine[1])[:12])}",
            remedy="Compare versions that predict the same.",
        )


def experiment_of(version: LoadedVersion, settings: Settings) -> Experiment | None:
    """The experiment of the version's study; None where the study is not in the database."""
    store = find_study(settings, version.manifest.study)
    return None if store is None else store.header.experiment


def _dealing(experiment: Experiment) -> tuple[object, ...]:
    """What decides which rows are in which fold."""
    return experiment.data.holdout, experiment.cross_validation, experiment.search.seed


def _fold_rows(experiment: Experiment, version: LoadedVersion) -> tuple[int, int] | None:
    """Training and validation rows of a fold, on average; None where the study's data are not those of its folds."""
    try:
        data = load_data(experiment.data)
    except InputError:
        return None
    if data.sha256 != version.manifest.data_sha256:
        return None
    dealing, seed = experiment.cross_validation, experiment.search.seed
    rest = split_holdout(data, experiment.data.holdout, dealing.splitter, seed).rest
    folds = deal_folds(data, rest, dealing, seed)
    rows = [(len(each.train), len(each.validation)) for each in folds]
    train, validation = (round(sum(part) / len(folds)) for part in zip(*rows, strict=True))
    return train, validation


def _answers(version: LoadedVersion, inputs: NDArray[np.float32], source: str) -> Answers:
    size_bytes = (version.bundle / ONNX).stat().st_size
    outputs = version.outputs(inputs, source)
    semantic = version.registered.semantic
    return Answers(
        version.number, version.manifest, outputs, size_bytes=size_bytes, bundle=version.bundle, semantic=semantic
    )


def _chosen(rows: Any, which: NDArray[np.bool_]) -> Any:
    return rows[which] if isinstance(rows, np.ndarray) else rows.loc[which].reset_index(drop=True)


def _with_latency(
    evidence: Evidence, versions: Sequence[LoadedVersion], inputs: Sequence[NDArray[np.float32]]
) -> Evidence:
    """Time answers to single rows, of the versions in turn, so that what slows the machine slows both."""
    taken = [np.empty(LATENCY_REPEATS) for _ in versions]
    for repeat in range(-20, LATENCY_REPEATS):  # the first ones warm caches up
        for each, version, rows in zip(taken, versions, inputs, strict=True):
            row = rows[repeat % len(rows) :][:1]
            began = time.perf_counter()
            version.predictor.outputs(row)
            each[max(repeat, 0)] = time.perf_counter() - began
    timed = [
        replace(answers, latency_s=each)
        for answers, each in zip((evidence.candidate, evidence.champion), taken, strict=False)
        if answers is not None
    ]
    return replace(evidence, candidate=timed[0], champion=timed[1] if len(timed) > 1 else None)


@dataclass(frozen=True)
class HoldoutRow:
    """A row that no training has seen, and its true answer.

    Attributes:
        body: a request for `/predict` with this row.
        index: the row's number in the data, 0-based.
        truth: its class or target value, as text.
    """

    body: Mapping[str, Any]
    index: int
    truth: str


def holdout_row(experiment: Experiment) -> HoldoutRow:
    """The first row of the experiment's holdout. Raises InputError if the data cannot be read or have no holdout."""
    if not experiment.data.holdout:
        raise InputError(
            "data.holdout",
            expected="a share above 0, so that there is a row that no training has seen",
            found="0",
            remedy="Raise it, and sweep again under another name.",
        )
    data = load_data(experiment.data)
    holdout = split_holdout(data, experiment.data.holdout, experiment.cross_validation.splitter, experiment.search.seed)
    index = int(holdout.holdout[0])
    row = data.features[index : index + 1][0].tolist()
    body = row if data.table is None else decode_row(data.table, row)
    target = data.target[index]
    truth = data.class_names[int(target)] if data.class_names is not None else f"{float(target[0]):.4g}"
    return HoldoutRow({"rows": [body]}, index, truth)
