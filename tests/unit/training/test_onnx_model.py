"""ONNX models of other libraries' converters: what is taken, brought into a server's form, and refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from winnow.training.onnx_model import for_serving, network_of

IRIS, CLASSES = (np.asarray(each) for each in load_iris(return_X_y=True))
IRIS = IRIS.astype(np.float32)
CLASSIFIER = make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, CLASSES)
CONVERTED = to_onnx(CLASSIFIER, IRIS[:1], options={"zipmap": False})


def graph(
    *nodes, inputs=(("x", TensorProto.FLOAT, ["n", 4]),), outputs=(("y", TensorProto.FLOAT, ["n", 3]),), opset=17
):
    made = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_a_converted_classifier_answers_with_its_probabilities_alone():
    network = network_of(CONVERTED.SerializeToString(), IRIS, 3, is_probability=True)
    served = onnx.load_model_from_string(network.model)
    assert [each.name for each in (*served.graph.input, *served.graph.output)] == ["input", "output"]
    assert not any(node.op_type in ("ArgMax", "ArrayFeatureExtractor") for node in served.graph.node)
    np.testing.assert_allclose(network.answer(IRIS), CLASSIFIER.predict_proba(IRIS), atol=1e-6)


def test_values_of_one_target_are_a_column():
    features, target = load_diabetes(return_X_y=True)
    features = features.astype(np.float32)
    model = Ridge().fit(features, target)
    network = network_of(to_onnx(model, features[:1]), features, 1, is_probability=False)
    np.testing.assert_allclose(network.answer(features)[:, 0], model.predict(features), rtol=1e-4)
    flat = graph(
        helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0), outputs=(("y", TensorProto.FLOAT, ["n"]),)
    )
    flat.graph.initializer.append(helper.make_tensor("axis", TensorProto.INT64, [1], [1]))
    assert network_of(flat, IRIS, 1, is_probability=False).answer(IRIS).shape == (len(IRIS), 1)


def test_names_that_a_server_uses_may_mean_something_else_in_the_model():
    swapped = graph(
        helper.make_node("Identity", ["output"], ["inner"]),
        helper.make_node("Identity", ["inner"], ["input"]),
        inputs=(("output", TensorProto.FLOAT, ["n", 4]),),
        outputs=(("input", TensorProto.FLOAT, ["n", 4]),),
    )
    network = network_of(swapped, IRIS, 4, is_probability=False)
    np.testing.assert_array_equal(network.answer(IRIS), IRIS)


IDENTITY = helper.make_node("Identity", ["x"], ["y"])


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        (CLASSIFIER, TypeError, "returned a Pipeline as 'onnx'"),
        (b"no model", ValueError, "are no ONNX model"),
        (to_onnx(CLASSIFIER, IRIS[:1]), ValueError, r"options=\{'zipmap': False\}"),
        (to_onnx(CLASSIFIER, IRIS[:1].astype(np.float64), options={"zipmap": False}), ValueError, r"double \[\?, 4\]"),
        (graph(IDENTITY, inputs=(("x", TensorProto.FLOAT, [1, 4]),)), ValueError, r"float \[1, 4\]"),
        (graph(IDENTITY, inputs=(("x", TensorProto.FLOAT, ["n", 5]),)), ValueError, r"\[batch, 4\]"),
        (graph(IDENTITY, outputs=(("y", TensorProto.INT64, ["n", 3]),)), ValueError, "expected one float32 output"),
        (
            graph(IDENTITY, outputs=(("y", TensorProto.FLOAT, ["n", 4]),)),
            ValueError,
            r"shape \(150, 4\), not \(150, 3\)",
        ),
        (graph(helper.make_node("Unheard", ["x"], ["y"])), ValueError, "does not run the 'onnx' model"),
        (graph(IDENTITY, opset=999), ValueError, "target_opset"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused(model, error, said):
    with pytest.raises(error, match=said):
        network_of(model, IRIS, 3, is_probability=True)


def test_logits_are_no_probabilities():
    logits = graph(helper.make_node("Slice", ["x", "from", "to", "axis"], ["y"]))
    for name, value in (("from", 0), ("to", 3), ("axis", 1)):
        logits.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [1], [value]))
    with pytest.raises(ValueError, match="no class probabilities"):
        network_of(logits, IRIS, 3, is_probability=True)


def test_a_model_without_onnxs_own_operators_gets_those_that_are_added():
    (last,) = [node for node in CONVERTED.graph.node if node.op_type == "Normalizer"] or CONVERTED.graph.node[-1:]
    assert last is not None
    served = onnx.load_model_from_string(for_serving(CONVERTED, (4,), is_probability=True))
    assert "" in {each.domain for each in served.opset_import}
