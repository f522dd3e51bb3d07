"""Preprocessing inside the model: what is fitted, what missing values become, and that it exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from winnow.data.inputs import Scaling
from winnow.data.preprocessing import BLOCK_ELEMENTS, Impute, TargetScale, fit_scaling

Array = NDArray[np.float32]


def rows(*shape: int, seed: int = 0) -> Array:
    return (np.random.default_rng(seed).standard_normal(shape) * 3 + 5).astype(np.float32)


def apply(module: nn.Module, features: Array) -> Array:
    with torch.no_grad():
        result: Array = module(torch.from_numpy(features)).numpy()
    return result


def test_columns_get_mean_0_and_spread_1() -> None:
    features = rows(50, 4) * np.array([1, 10, 100, 1e-3], dtype=np.float32)
    scaled = apply(fit_scaling(features, "standard"), features)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)


def test_images_are_scaled_by_channel_and_other_tensors_as_a_whole() -> None:
    images = rows(20, 3, 4, 4) * np.array([1, 10, 100], dtype=np.float32).reshape(1, 3, 1, 1)
    scaled = apply(fit_scaling(images, "standard"), images)
    np.testing.assert_allclose(scaled.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=(0, 2, 3)), 1, atol=1e-5)
    grey = rows(20, 4, 4)
    np.testing.assert_allclose(apply(fit_scaling(grey, "standard"), grey), (grey - grey.mean()) / grey.std(), atol=1e-5)


def test_only_the_rows_it_was_fitted_to_count() -> None:
    train, validation = rows(40, 2), rows(10, 2, seed=1)
    scaled = apply(fit_scaling(train, "standard"), validation)
    np.testing.assert_allclose(scaled, (validation - train.mean(axis=0)) / train.std(axis=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scaling", ["standard", "none"])
def test_a_missing_value_becomes_the_training_mean(scaling: Scaling) -> None:
    train = np.array([[1, 10], [3, np.nan], [np.nan, 30]], dtype=np.float32)
    module = fit_scaling(train, scaling)
    unseen = np.full((1, 2), np.nan, dtype=np.float32)
    mean = np.array([[2, 20]], dtype=np.float32)
    np.testing.assert_allclose(apply(module, unseen), mean if scaling == "none" else np.zeros((1, 2)))
    np.testing.assert_allclose(apply(module, unseen), apply(module, mean))


def test_without_standardizing_present_values_stay_as_they_are() -> None:
    features = rows(5, 3)
    module = fit_scaling(features, "none")
    assert isinstance(module, Impute)
    np.testing.assert_array_equal(apply(module, features), features)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e30, 1e-42, np.nan])
def test_a_constant_or_empty_column_gives_finite_numbers(value: float) -> None:
    features = np.full((100, 1), value, dtype=np.float32)
    scaled = apply(fit_scaling(features, "standard"), features)
    np.testing.assert_allclose(scaled, 0, atol=1e-5)


def test_a_large_mean_does_not_swallow_a_small_spread() -> None:
    features = (1e6 + rows(1000, 1)).astype(np.float32)
    scaled = apply(fit_scaling(features, "standard"), features)
    assert scaled.std() == pytest.approx(1, abs=1e-3)
    assert scaled.mean() == pytest.approx(0, abs=0.05)


def test_large_data_is_read_in_blocks_with_the_same_result() -> None:
    features = rows(9000, 1, 30, 30)
    features[5, 0, 3, 3] = np.nan
    state = fit_scaling(features, "standard").state_dict()
    assert features.size > BLOCK_ELEMENTS
    assert state["mean"].item() == pytest.approx(np.nanmean(features, dtype=np.float64), rel=1e-6)
    assert state["std"].item() == pytest.approx(np.nanstd(features, dtype=np.float64), rel=1e-6)


def test_statistics_travel_in_the_state_as_float32() -> None:
    state = fit_scaling(rows(10, 3), "standard").state_dict()
    assert {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()} == {
        "mean": ((3,), torch.float32),
        "std": ((3,), torch.float32),
    }


def test_a_target_scale_is_undone_by_its_inverse() -> None:
    target = rows(30, 2) * np.array([1, 1000], dtype=np.float32)
    scale = TargetScale.fit(target)
    scaled = scale.scale(torch.from_numpy(target))
    np.testing.assert_allclose(scaled.numpy().std(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(scale.unscale(scaled).numpy(), target, rtol=1e-5)
    np.testing.assert_array_equal(scale(scaled).numpy(), scale.unscale(scaled).numpy())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("scaling", ["standard", "none"])
def test_it_exports_to_onnx_for_any_batch(tmp_path: Path, scaling: Scaling) -> None:
    features = rows(30, 3)
    target = rows(30, 1)
    model = nn.Sequential(fit_scaling(features, scaling), nn.Linear(3, 1), TargetScale.fit(target)).eval()
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        model,
        (torch.from_numpy(features[:2]),),
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    session = onnxruntime.InferenceSession(path)
    features[3, 1] = np.nan
    for batch in (1, 7, 30):
        (answer,) = session.run(["output"], {"input": features[:batch]})
        np.testing.assert_allclose(answer, apply(model, features[:batch]), rtol=1e-5, atol=1e-5)
