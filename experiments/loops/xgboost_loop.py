"""A fold trained by XGBoost, and exported by its own ONNX converter: pip install xgboost onnxmltools."""

import torch
import xgboost
from onnxmltools.convert import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from sklearn.metrics import f1_score, log_loss, roc_auc_score


class Report(xgboost.callback.TrainingCallback):
    """Passes each round on to winnow, for its progress and its learning curves."""

    def __init__(self, fold, rounds):
        self.fold, self.rounds = fold, rounds

    def after_iteration(self, model, epoch, evals_log):
        losses = {name: values["logloss"][-1] for name, values in evals_log.items()}
        self.fold.report(epoch + 1, self.rounds, losses["validation_0"], loss=losses["validation_1"])
        return False  # go on


def train_fold(fold, params):
    """Train a fold; see docs/examples.md. XGBoost takes raw rows, blanks (NaN) included."""
    train, train_target = fold.train_features.cpu().numpy(), fold.train_target.cpu().numpy()
    validation, target = fold.validation_features.cpu().numpy(), fold.validation_target.cpu().numpy()
    model = xgboost.XGBClassifier(
        **params,
        eval_metric="logloss",
        callbacks=[Report(fold, params["n_estimators"])],
        n_jobs=torch.get_num_threads(),
        random_state=fold.seed % 2**31,
    )
    model.fit(train, train_target, eval_set=[(train, train_target), (validation, target)], verbose=False)
    predictions = model.predict_proba(validation)
    metrics = {
        "f1": f1_score(target, predictions.argmax(1), average="macro"),
        "auroc": roc_auc_score(target, predictions[:, 1]),
        "loss": log_loss(target, predictions),
    }
    if not fold.is_refit:
        return metrics
    inputs = [("input", FloatTensorType([None, train.shape[1]]))]
    return {**metrics, "onnx": convert_xgboost(model, initial_types=inputs), "predictions": predictions}
