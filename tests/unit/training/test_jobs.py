"""Folds and refits on one rank, without sockets."""

import math

import numpy as np
import onnxruntime
import pytest
import torch

from winnow.bundle.manifest import ONNX, REFERENCE, read_manifest
from winnow.bundle.profile import read_profile
from winnow.config.experiment import Experiment
from winnow.training.failures import DivergedError, ExportError
from winnow.training.fitting import check_finite, seeds_of
from winnow.training.jobs import Jobs
from winnow.training.messages import FoldJob, Progress, Refit
from winnow.training.preparation import prepare

PARTS = "tests.unit.training.parts"


def _jobs(
    world,
    *,
    source="sklearn:iris",
    metric="accuracy",
    factory="winnow.models:mlp",
    sent=None,
    ask=lambda _scored: False,
    pruner="off",
    **parts,
) -> Jobs:
    experiment = Experiment.model_validate(
        {
            "name": "jobs",
            "data": {"source": source, **parts.pop("data", {})},
            "model": {"factory": factory, "options": parts.pop("options", {})},
            "search": {"space": {"lr": {"float": [1e-4, 1e-1]}}, "metric": {"name": metric}, "pruner": pruner},
            "training": {"epochs": 30, **parts.pop("training", {})},
            **parts,
        }
    )
    return Jobs(prepare(experiment), world, (sent if sent is not None else []).append, ask)


@pytest.mark.parametrize(
    ("source", "factory", "metric", "least"),
    [
        ("sklearn:iris", "winnow.models:mlp", "accuracy", 0.9),
        ("sklearn:digits", "winnow.models:cnn", "accuracy", 0.9),
        ("sklearn:diabetes", "winnow.models:linear", "r2", 0.3),
    ],
)
def test_a_fold_is_learned_and_a_refit_answers_in_onnx_as_in_torch(world, tmp_path, source, factory, metric, least):
    jobs = _jobs(world, source=source, factory=factory, metric=metric)
    scored = jobs.train_fold(FoldJob(0, 1, {"lr": 0.01}))
    assert scored.metrics[metric] > least
    refitted = jobs.refit(Refit(0, {"lr": 0.01}, {metric: 0.5}, str(tmp_path / "bundle")))
    assert refitted.metrics[metric] > least
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.parity == refitted.parity
    profile, rows = read_profile(tmp_path / "bundle"), 0.2 * jobs._prepared.data.rows
    assert profile is not None
    assert (profile.output_source, profile.output_rows) == ("holdout", pytest.approx(rows, abs=1))
    assert {each.counts.rows for each in profile.columns} == {profile.rows}
    session = onnxruntime.InferenceSession(tmp_path / "bundle" / ONNX, providers=["CPUExecutionProvider"])
    with np.load(tmp_path / "bundle" / REFERENCE, allow_pickle=False) as reference:
        (answers,) = session.run(["output"], {"input": reference["inputs"][:1]})
        np.testing.assert_allclose(answers, reference["outputs"][:1], rtol=1e-3, atol=1e-3)


def test_a_network_of_lazy_layers_trains(world):
    jobs = _jobs(world, factory=f"{PARTS}:lazy", training={"epochs": 3})
    assert jobs.train_fold(FoldJob(0, 0, {"lr": 0.01})).epochs == 3


def test_weights_that_end_as_nan_have_diverged(world):
    # A huge step in the last batch of the only epoch: its own loss was still finite.
    jobs = _jobs(world, metric="auroc", training={"epochs": 1, "batch_size": 1000, "optimizer": "sgd"})
    with pytest.raises(DivergedError, match="the metric loss is"):
        jobs.train_fold(FoldJob(0, 0, {"lr": 1e38}))


def test_progress_tells_every_epoch(world):
    sent: list[Progress] = []
    _jobs(world, sent=sent, training={"epochs": 4}).train_fold(FoldJob(0, 0, {"lr": 0.01}))
    assert [(progress.epoch, progress.epochs) for progress in sent] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_fold_stops_early(world):
    jobs = _jobs(world, training={"epochs": 200, "early_stopping": {"patience": 2}})
    scored = jobs.train_fold(FoldJob(0, 0, {"lr": 0.1}))
    assert scored.epochs < 200


def test_without_a_holdout_a_refit_has_no_metrics(world, tmp_path):
    jobs = _jobs(world, data={"holdout": 0.0}, training={"epochs": 2})
    assert jobs.refit(Refit(0, {"lr": 0.01}, {}, str(tmp_path / "bundle"))).metrics == {}
    assert read_manifest(tmp_path / "bundle").metrics == {}


def test_a_bundle_that_cannot_be_written_is_a_failure_of_its_own(world, tmp_path):
    (tmp_path / "file").touch()
    jobs = _jobs(world, training={"epochs": 1})
    with pytest.raises(ExportError, match="could not be exported: FileExistsError"):
        jobs.refit(Refit(0, {"lr": 0.01}, {}, str(tmp_path / "file" / "bundle")))


def test_every_trial_meets_a_fold_with_the_same_seeds():
    assert seeds_of(0, 1) == seeds_of(0, 1)
    assert len({seeds_of(study, fold) for study in range(3) for fold in range(5)}) == 15


def test_a_metric_that_is_no_number_has_diverged():
    check_finite({"r2": -3.0}, "fold 1")
    with pytest.raises(DivergedError, match="the metric r2 is nan on fold 1"):
        check_finite({"loss": 0.1, "r2": math.nan}, "fold 1")


def _loop(world, function="train_fold", metric="accuracy"):
    return _jobs(world, training={"loop": f"{PARTS}:{function}"}, metric=metric, source="sklearn:breast_cancer")


def test_a_loop_of_ones_own_trains_folds_and_refits(world, tmp_path):
    jobs = _loop(world)
    scored = jobs.train_fold(FoldJob(0, 2, {"ridge": 0.1}))
    assert scored.metrics["accuracy"] > 0.9
    assert (scored.metrics["mine"], scored.epochs) == (1.0, 1)
    refitted = jobs.refit(Refit(0, {"ridge": 0.1}, {}, str(tmp_path / "bundle")))
    assert refitted.metrics["accuracy"] > 0.9
    assert read_manifest(tmp_path / "bundle").params == {"ridge": 0.1}


def test_a_loop_of_ones_own_gets_an_accelerator_when_it_asks_for_one(world, tmp_path):
    jobs = _loop(world, "train_fold_with_accelerator")
    assert jobs.train_fold(FoldJob(0, 0, {})).metrics == {"accuracy": 1.0}
    assert jobs.refit(Refit(0, {}, {}, str(tmp_path / "bundle"))).metrics.keys() == {"accuracy", "loss"}


def test_a_loop_of_ones_own_can_fail_in_every_way(world, tmp_path):
    with pytest.raises(DivergedError, match="accuracy is nan"):
        _loop(world).train_fold(FoldJob(0, 0, {"ridge": -1.0}))
    with pytest.raises(LookupError, match=r"without 'accuracy' of search\.metric"):
        _loop(world, "train_fold_without_objective").train_fold(FoldJob(0, 0, {}))
    with pytest.raises(LookupError, match="neither 'model' nor 'onnx'"):
        _loop(world).refit(Refit(0, {"ridge": 0.1, "keeps_model": False}, {}, str(tmp_path / "bundle")))
    assert not (tmp_path / "bundle").exists()


def test_tensors_of_finished_jobs_are_freed(world):
    import gc

    jobs = _jobs(world, training={"epochs": 1}, options={"hidden": [333]})
    jobs.train_fold(FoldJob(0, 0, {"lr": 0.01}))
    world.free_memory()
    left = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor) and 333 in thing.shape]
    assert left == []
