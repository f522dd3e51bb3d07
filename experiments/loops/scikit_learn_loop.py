"""A fold fitted by a scikit-learn pipeline, and exported by skl2onnx: pip install skl2onnx."""

from skl2onnx import to_onnx
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler


def train_fold(fold, params):
    """Fit a fold; see docs/examples.md. The pipeline does its own preprocessing of raw rows."""
    train, validation = fold.train_features.cpu().numpy(), fold.validation_features.cpu().numpy()
    target = fold.validation_target.cpu().numpy().ravel()
    model = make_pipeline(
        SimpleImputer(),
        StandardScaler(),
        PolynomialFeatures(params["degree"], include_bias=False),
        Ridge(params["alpha"]),
    ).fit(train, fold.train_target.cpu().numpy().ravel())
    predictions = model.predict(validation)
    metrics = {"r2": r2_score(target, predictions), "rmse": root_mean_squared_error(target, predictions)}
    if not fold.is_refit:
        return metrics
    return {**metrics, "onnx": to_onnx(model, train[:1]), "predictions": predictions}
