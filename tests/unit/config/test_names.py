"""Names as MLflow takes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

from winnow.config.names import recorded_name


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("lr", "lr"),
        ("model.lr", "model.lr"),
        ("a/b", "a/b"),
        ("a(b)", "a_b_"),
        ("kernel/", "kernel_"),
        ("/x", "_x"),
        ("a//b", "a__b"),
        (".", "_"),
        ("..", "__"),
        ("..x", "__x"),
        ("", "_"),
        ("a" * 249 + "/b", "a" * 249 + "_"),
    ],
)
def test_a_name_is_recorded_as_mlflow_takes_it(name: str, recorded: str) -> None:
    assert recorded_name(name) == recorded


@given(name=st.text(alphabet="a./ -_:(é\n", max_size=260))
def test_mlflow_takes_every_recorded_name(name: str) -> None:
    _validate_param_name(recorded_name(name))
    _validate_metric_name(recorded_name(name))
    _validate_tag_name(recorded_name(name))
