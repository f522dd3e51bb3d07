"""What a training function of one's own gets, and what it may return."""

import numpy as np
import onnxruntime
import pytest
import torch
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from tests.unit.training.test_jobs import PARTS, _jobs
from winnow.bundle.manifest import ONNX, read_manifest
from winnow.bundle.profile import read_profile
from winnow.config.experiment import Experiment
from winnow.training.custom_loop import run_loop
from winnow.training.failures import ExportDiffersError
from winnow.training.messages import FoldJob, Refit
from winnow.training.notes import notes_of
from winnow.training.preparation import prepare

JOB = FoldJob(0, 0, {"lr": 0.01})
FOLDS = []


def fold_of(world, **parts):
    """The fold that a function gets."""
    FOLDS.clear()
    _jobs(world, training={"loop": f"{__name__}:keep"}, **parts).train_fold(JOB)
    return FOLDS[0]


def keep(fold, params):
    FOLDS.append(fold)
    return {"accuracy": 1.0}


@pytest.fixture
def table(tmp_path):
    lines = [
        f"{row},{'abc'[row % 3]},{'' if row % 5 == 0 else row / 7},{'yes' if row % 2 else 'no'}" for row in range(60)
    ]
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["size,plan,rate,answer", *lines]) + "\n")
    return {"source": str(path), "data": {"target": "answer", "columns": {"size": "number"}}}


def test_raw_rows_have_blanks_and_prepared_rows_have_none_and_are_made_by_a_module_for_the_model(world, table):
    fold = fold_of(world, **table)
    raw, prepared = fold.train_features, fold.prepared
    assert torch.isnan(raw).any()
    assert not torch.isnan(torch.cat([prepared.train, prepared.validation])).any()
    assert [column.name for column in fold.columns] == list(fold.feature_names) == ["size", "plan", "rate"]
    assert fold.input_shape == (3,) != prepared.shape
    torch.testing.assert_close(prepared.module(fold.validation_features), prepared.validation)
    torch.testing.assert_close(prepared.train[:, 0].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)


def test_a_note_says_that_a_loop_gets_blanks_unless_it_asks_for_prepared_rows(table, tmp_path):
    parts = {
        "name": "a",
        "data": {"source": table["source"], **table["data"]},
        "search": {"space": {"lr": {"float": [1, 2]}}, "metric": {"name": "f1"}},
    }
    loops = {
        "raw": "def train(fold, params):\n    return fold.train_features\n",
        "filled": "def train(fold, params):\n    return fold.prepared\n",
    }
    notes = {}
    for name, text in loops.items():
        (tmp_path / f"{name}.py").write_text(text)
        training = {"loop": f"{tmp_path / name}.py:train"}
        notes[name] = notes_of(prepare(Experiment.model_validate({**parts, "training": training})))
    assert notes["filled"] == ()
    (note,) = notes["raw"]
    assert note.startswith("12 of 60 rows have missing values, which ")


@pytest.mark.parametrize(
    ("body", "every", "said"),
    [
        ("return {'f1': 1.0}", "epoch", ["silent.py:train never calls fold.report, so nothing is pruned by epoch"]),
        ("return {'f1': 1.0}", "fold", []),
        ("fold.report(1, 1, 0.5, f1=1.0)", "epoch", []),
    ],
)
def test_a_note_says_that_a_loop_that_reports_nothing_is_not_pruned_by_epoch(tmp_path, body, every, said):
    (tmp_path / "silent.py").write_text(f"def train(fold, params):\n    {body}\n")
    pruner = {"type": "median", "every": every}
    parts = {
        "name": "a",
        "data": {"source": "sklearn:iris"},
        "search": {"space": {"lr": {"float": [1, 2]}}, "metric": {"name": "f1"}, "pruner": pruner},
        "training": {"loop": f"{tmp_path}/silent.py:train"},
    }
    notes = notes_of(prepare(Experiment.model_validate(parts)))
    assert [note.removeprefix(f"{tmp_path}/").partition(" (")[0] for note in notes] == said


def test_metrics_that_the_experiment_names_are_missed_by_name(world):
    fold = fold_of(world)
    with pytest.raises(KeyError, match=r"\['f1'\], without 'accuracy' of search.metric, 'auroc' of search.metrics"):
        run_loop(lambda *_: {"f1": 1.0}, fold, {}, ("accuracy", "f1", "auroc"))
    with pytest.raises(TypeError, match="returned a str as the metric 'accuracy'"):
        run_loop(lambda *_: {"accuracy": "good"}, fold, {}, ("accuracy",))


def test_a_metric_may_be_called_loss_and_the_loss_may_be_named(world):
    reported = []
    fold = fold_of(world)
    object.__setattr__(fold, "_on_epoch", lambda *epoch, **metrics: reported.append((epoch, metrics)))
    fold.report(1, 3, 0.5, loss=torch.tensor(0.25))
    fold.report(2, 3, loss=0.5)
    assert reported == [((1, 3, 0.5), {"loss": 0.25}), ((2, 3, 0.5), {})]


def classifier(fold, params, wrong=0.0):
    """A model of scikit-learn, with predictions that are wrong by so much."""
    model = LogisticRegression(max_iter=1000).fit(fold.train_features.numpy(), fold.train_target.numpy())
    features = fold.validation_features.numpy()
    predictions = model.predict_proba(features)
    onnx = to_onnx(model, features[:1], options={"zipmap": False})
    return {"accuracy": 1.0, "onnx": onnx, "predictions": predictions + wrong}


def differing(fold, params):
    return classifier(fold, params, wrong=0.01)


def without_predictions(fold, params):
    return {**classifier(fold, params), "predictions": None}


def with_both(fold, params):
    return {**classifier(fold, params), "model": torch.nn.Linear(4, 3)}


def test_a_model_of_another_library_is_exported_and_scored_as_it_answers(world, tmp_path):
    jobs = _jobs(world, training={"loop": f"{__name__}:classifier"}, metric="accuracy")
    refitted = jobs.refit(Refit(0, {"lr": 0.01}, {"accuracy": 1.0}, str(tmp_path / "bundle")))
    assert refitted.metrics["accuracy"] > 0.9
    assert 0 < refitted.metrics["loss"] < 0.5
    profile = read_profile(tmp_path / "bundle")
    assert profile is not None
    assert profile.losses["accuracy"].mean == pytest.approx(refitted.metrics["accuracy"])
    assert max(each.importance for each in profile.columns) > 0.1
    manifest = read_manifest(tmp_path / "bundle")
    session = onnxruntime.InferenceSession(tmp_path / "bundle" / ONNX, providers=["CPUExecutionProvider"])
    (answers,) = session.run(["output"], {"input": np.zeros((2, 4), np.float32)})
    assert (answers.shape, manifest.input_shape) == ((2, 3), (4,))


@pytest.mark.parametrize(
    ("loop", "error", "said"),
    [
        ("differing", ExportDiffersError, "differs from the predictions that training.loop returned in 24 of 24 rows"),
        ("without_predictions", ValueError, r"without 'predictions', .* \[24, 3\]"),
        ("with_both", ValueError, "both 'model' and 'onnx'"),
    ],
)
def test_an_onnx_model_that_is_not_the_librarys_is_refused(world, loop, error, said):
    jobs = _jobs(world, training={"loop": f"{__name__}:{loop}"})
    with pytest.raises(error, match=said):
        jobs.train_fold(JOB)


def test_only_a_loop_does_without_a_factory():
    parts = {"name": "a", "data": {"source": "sklearn:iris"}, "search": {"space": {}, "metric": {"name": "f1"}}}
    assert prepare(Experiment.model_validate({**parts, "training": {"loop": f"{PARTS}:train_fold"}})).loop is not None
    with pytest.raises(Exception, match=r"(?s)model\.factory.*winnow\.models:mlp"):
        prepare(Experiment.model_validate(parts))
