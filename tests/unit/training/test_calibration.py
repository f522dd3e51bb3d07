"""Temperature and threshold, on predictions whose best ones are known, and in a refitted model."""

import dataclasses

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from winnow.bundle.manifest import ONNX, read_manifest
from winnow.bundle.row_digests import TRAINED_ROWS
from winnow.config.errors import InputError
from winnow.config.experiment import Experiment
from winnow.tracking.pyfunc import BundleModel
from winnow.training import out_of_fold, scores
from winnow.training.calibration import Calibration, Temperature, calibrate, fit_temperature, fit_threshold
from winnow.training.jobs import Jobs
from winnow.training.messages import FoldJob, Refit
from winnow.training.out_of_fold import PARQUET, FoldOutputs
from winnow.training.packs import Packed
from winnow.training.preflight import check
from winnow.training.preparation import prepare

F1 = scores.averaged(scores.f1_fraction, 1)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_factor_by_which_logits_are_too_large(classes, factor):
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, classes, generator=random)
    target = torch.multinomial(logits.softmax(1), 1, generator=random).squeeze(1)
    assert fit_temperature(factor * logits, target) == pytest.approx(factor, rel=0.05)


def test_rows_that_are_all_right_do_not_make_the_model_certain():
    logits = torch.tensor([[0.5, -0.5], [-0.5, 0.5]] * 20)
    temperature = fit_temperature(logits, torch.tensor([0, 1] * 20))
    assert (logits / temperature).softmax(1).max() == pytest.approx(1 - 1 / 42, abs=1e-3)


def test_a_temperature_that_does_not_lower_the_log_loss_is_left_out():
    logits = torch.tensor([[4.0, -4.0], [-4.0, 4.0]] * 5)
    assert fit_temperature(logits, torch.tensor([0, 1] * 5)) == 1.0


def test_logits_that_say_nothing_keep_the_temperature_one():
    assert fit_temperature(torch.zeros(10, 3), torch.arange(10) % 3) == 1.0


def _folds(share: float, rows: int = 4000, folds: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Calibrated probabilities of a positive class that is as rare as `share`."""
    random = np.random.default_rng(0)
    made = []
    for _ in range(folds):
        p = random.beta(share * 4, (1 - share) * 4, rows).astype(np.float32)
        made.append((torch.from_numpy(p), torch.from_numpy((random.random(rows) < p).astype(np.int64))))
    return made


def test_the_threshold_of_f1_is_half_of_the_best_f1():
    # Lipton, Elkan and Naryanaswamy 2014, for calibrated probabilities.
    found = fit_threshold(_folds(0.1), 1, F1)
    assert found.value == pytest.approx(found.after / 2, abs=0.03)
    assert found.after > found.before + 0.05


def test_the_threshold_holds_for_the_first_class_too():
    turned = [(p, 1 - target) for p, target in _folds(0.1)]
    assert fit_threshold(turned, 0, scores.averaged(scores.f1_fraction, 0)) == fit_threshold(_folds(0.1), 1, F1)


def test_a_gain_within_the_noise_of_the_folds_leaves_the_threshold_alone():
    found = fit_threshold(_folds(0.5), 1, scores.balanced_accuracy)
    assert (found.value, found.after) == (None, found.before)


def test_a_threshold_decides_as_the_probability_that_it_comes_from():
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    found = fit_threshold([(p, torch.tensor([0, 0, 1, 1]))], 1, F1)
    assert found.value == pytest.approx(0.25)
    assert ((p >= found.value) == torch.tensor([False, False, True, True])).all()


def imbalanced(rows=400, names=False):
    random = np.random.default_rng(1)
    x = random.normal(size=(rows, 4)).astype(np.float32)
    p = 1 / (1 + np.exp(-(1.5 * x[:, 0] - 3.2)))
    target = (random.random(rows) < p).astype(int)
    return {"X": x, "y": target, "class_names": ("stays", "leaves"), "feature_names": ("a", "b", "c", "d")}


def _experiment(**parts) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "calibrated",
            "data": {
                "source": parts.pop("source", f"{__name__}:imbalanced"),
                **parts.pop("data", {"positive": "leaves"}),
            },
            "model": {"factory": "winnow.models:linear"},
            "search": {
                "space": {"lr": {"float": [1e-4, 1.0]}},
                "metric": parts.pop("metric", "f1"),
                "metrics": ["auroc"],
            },
            "training": {"epochs": 10, **parts.pop("training", {})},
            "execution": {"device": "cpu"},
            **parts,
        }
    )


def _refitted(world, folder, experiment):
    prepared = prepare(experiment)
    jobs = Jobs(prepared, world, send=lambda _message: None)
    params = {"lr": 0.05}
    outputs = {fold: jobs.train_fold(FoldJob(0, fold, params)).outputs for fold in range(len(prepared.folds))}
    kept = {fold: each for fold, each in outputs.items() if each is not None}
    return prepared, jobs.refit(Refit(0, params, {"f1": 0.5}, str(folder / "bundle"), kept)), kept


def test_a_refitted_model_carries_temperature_and_threshold(world, tmp_path):
    prepared, refitted, kept = _refitted(world, tmp_path, _experiment())
    manifest = read_manifest(tmp_path / "bundle")
    found = calibrate(prepared, out_of_fold.read_outputs(prepared, kept))
    assert (manifest.positive, manifest.threshold) == ("leaves", found.threshold)
    assert 0.1 < found.threshold < 0.5
    assert refitted.calibration == found.metrics
    assert {name: manifest.metrics[name] for name in found.metrics} == pytest.approx(dict(found.metrics))
    assert found.metrics["calibration.f1.after"] > found.metrics["calibration.f1.before"]
    assert found.metrics["calibration.log_loss.after"] <= found.metrics["calibration.log_loss.before"]

    holdout = prepared.holdout.holdout
    inputs, target = prepared.data.features[holdout], prepared.data.target[holdout]
    session = onnxruntime.InferenceSession(tmp_path / "bundle" / ONNX, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["output"], {"input": inputs})
    labels = BundleModel(tmp_path / "bundle").predict(pd.DataFrame(inputs, columns=list("abcd")))["prediction"]
    assert labels.tolist() == ["leaves" if p >= manifest.threshold else "stays" for p in probabilities[:, 1]]
    right = ((labels == "leaves") & (target == 1)).sum()
    f1 = 2 * right / ((labels == "leaves").sum() + (target == 1).sum())
    assert refitted.metrics["f1"] == manifest.metrics["holdout.f1"] == pytest.approx(f1)

    table = pd.read_parquet(tmp_path / PARQUET)
    assert refitted.artifacts == (str(tmp_path / TRAINED_ROWS), str(tmp_path / PARQUET))
    assert sorted(table["row"]) == sorted(prepared.holdout.rest)
    assert table.columns.tolist() == ["row", "fold", "target", "probability.stays", "probability.leaves"]
    assert (table["target"] == np.array(["stays", "leaves"])[prepared.data.target[table["row"]]]).all()


def test_folds_that_train_as_one_keep_the_outputs_that_they_keep_alone(world):
    prepared = prepare(_experiment(execution={"device": "cpu", "pack": 2}))
    jobs = Jobs(prepared, world, send=lambda _message: None)
    members = [FoldJob(0, fold, {"lr": 0.05}) for fold in (0, 1)]
    (packed,) = [part for part in jobs.packs(members) if isinstance(part, Packed)]
    for job, scored in zip(members, packed.results, strict=True):
        alone = np.frombuffer(jobs.train_fold(job).outputs, dtype=np.float32)
        np.testing.assert_allclose(np.frombuffer(scored.outputs, dtype=np.float32), alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("parts", "is_kept", "threshold"),
    [
        ({"refit": {"temperature": "off", "threshold": "off"}}, False, None),
        ({"refit": {"threshold": "off"}}, True, None),
        ({"metric": "auroc"}, True, None),
        ({"metric": "accuracy"}, True, None),
    ],
)
def test_what_is_switched_off_or_of_no_use_is_left_out(world, tmp_path, parts, is_kept, threshold):
    _, refitted, kept = _refitted(world, tmp_path, _experiment(**parts))
    manifest = read_manifest(tmp_path / "bundle")
    assert (bool(kept), manifest.threshold, len(refitted.artifacts) == 2) == (is_kept, threshold, is_kept)
    assert ("calibration.temperature" in manifest.metrics) == is_kept


def test_a_threshold_can_be_chosen_by_another_metric_than_the_objective(world, tmp_path):
    refit = {"threshold": {"metric": "balanced_accuracy"}, "temperature": "off"}
    prepared, _, kept = _refitted(world, tmp_path, _experiment(metric="auroc", refit=refit))
    found = calibrate(prepared, out_of_fold.read_outputs(prepared, kept))
    assert (found.temperature, found.threshold) == (1.0, read_manifest(tmp_path / "bundle").threshold)
    assert found.threshold < 0.3


def test_a_trial_of_an_older_version_is_refitted_without_calibration(world, tmp_path):
    prepared = prepare(_experiment())
    jobs = Jobs(prepared, world, send=lambda _message: None)
    refitted = jobs.refit(Refit(0, {"lr": 0.05}, {}, str(tmp_path / "bundle")))
    manifest = read_manifest(tmp_path / "bundle")
    assert (manifest.positive, manifest.threshold, len(refitted.artifacts)) == ("leaves", None, 1)


def test_of_many_rows_a_fold_keeps_the_same_sample_in_every_trial():
    prepared = prepare(_experiment())
    rows = len(prepared.folds[1].validation)
    raw = torch.arange(2.0 * rows).view(rows, 2)
    kept = {fold: out_of_fold.kept_outputs(prepared, fold, raw, most=40) for fold in range(5)}
    folds = out_of_fold.read_outputs(prepared, kept, most=40)
    assert [len(fold.rows) for fold in folds] == [20] * 5
    one = folds[1]
    places = np.searchsorted(prepared.folds[1].validation, one.rows)
    assert (raw[places] == one.logits).all()
    assert (torch.from_numpy(prepared.data.target[one.rows]) == one.target).all()


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ({"refit": {"threshold": {"metric": "auroc"}}}, "refit.threshold.metric"),
        ({"refit": {"threshold": {"metric": {"name": "f1", "average": "none"}}}}, "refit.threshold.metric"),
        ({"refit": {"threshold": {"metric": "f1"}}, "source": "sklearn:iris", "data": {}}, "refit.threshold"),
        ({"refit": {"threshold": {"metric": "f2"}}}, "refit.threshold.metric"),
    ],
)
def test_a_metric_that_cannot_choose_a_threshold_is_refused(parts, place):
    with pytest.raises(InputError) as refused:
        check(_experiment(**parts))
    assert refused.value.place == place


def test_several_classes_get_a_temperature_alone():
    prepared = prepare(_experiment(source="sklearn:iris", data={}))
    random = torch.Generator().manual_seed(0)
    folds = []
    for number, fold in enumerate(prepared.folds):
        target = torch.from_numpy(prepared.data.target[fold.validation])
        logits = 3 * torch.nn.functional.one_hot(target, 3) + torch.randn(len(target), 3, generator=random)
        folds.append(FoldOutputs(number, fold.validation, 10 * logits, target))
    found = calibrate(prepared, folds)
    assert (found.threshold, found.temperature > 2) == (None, True)
    assert found.metrics["calibration.log_loss.after"] < found.metrics["calibration.log_loss.before"]
    assert dataclasses.replace(found, metrics={}) == Calibration(found.temperature)


def test_the_temperature_divides():
    torch.testing.assert_close(Temperature(4.0)(torch.tensor([[2.0, 8.0]])), torch.tensor([[0.5, 2.0]]))
